"""Audit a data set and compile the report."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mammoscope.data.audit import findings
from mammoscope.data.audit.inspection import Inspection, inspect_images
from mammoscope.data.dataset import Dataset, Example, breast_ids
from mammoscope.data.duplicates import (
    HASH_BITS,
    NEAR_DISTANCE,
    SAME_IMAGE_DISTANCE,
    find_near_pairs,
)

WITHOUT_SPLIT: Final = "all"
"""Name of the only split of a folder without splits."""

MAX_LISTED_PAIRS: Final = 1_000
"""Number of near duplicates listed individually, nearest first; all are counted."""


def audit(dataset: Dataset, on_image: Callable[[], object] = lambda: None) -> findings.AuditReport:
    """Inspect every image of a data set.

    Parameters
    ----------
    dataset
        The folder, as listed by `read_dataset`.
    on_image
        Called after each image, for a progress bar.
    """
    inspections = inspect_images(dataset.examples, on_image)
    names = _Names(dataset)
    exact = _exact_duplicates(inspections, names)
    near, resaved = _near_duplicates(inspections, names)
    same_images = (*exact, *resaved)
    conflicts = tuple(group for group in same_images if len(group.labels) > 1)
    leaks = _leaks(dataset, same_images)
    readable = [found.source for found in inspections if found.source]
    return findings.AuditReport(
        pictures=len(inspections),
        splits=_count_splits(dataset.examples, lambda example: example.split or WITHOUT_SPLIT),
        merged=_count_splits(
            dataset.examples,
            lambda example: {"valid": "train"}.get(example.split, example.split) or WITHOUT_SPLIT,
        ),
        sizes=_count(f"{source.width}x{source.height}" for source in readable),
        modes=_count(source.mode for source in readable),
        formats=_count(source.format for source in readable),
        refused=tuple(
            findings.RefusedFile(names.file(found.example), found.refusal)
            for found in inspections
            if found.refusal
        ),
        same_pictures=same_images,
        near_duplicates=near,
        conflicts=conflicts,
        inverted=_count_inverted(inspections),
        patients=findings.Patients(
            count=len(
                {example.patient_id for example in dataset.examples if example.patient_known}
            ),
            pictures_without=sum(not example.patient_known for example in dataset.examples),
        ),
        breasts=_count_breasts(inspections),
        leaks=leaks,
        passed=not (conflicts or leaks.patients or leaks.pictures),
    )


@dataclass(frozen=True, slots=True)
class _Names:
    dataset: Dataset

    def file(self, example: Example) -> str:
        return example.path.relative_to(self.dataset.root).as_posix()

    def same_image(self, examples: Sequence[Example], distance: int | None) -> findings.SamePicture:
        return findings.SamePicture(
            files=tuple(self.file(example) for example in examples),
            distance=distance,
            labels=tuple(sorted({example.label for example in examples})),
            splits=tuple(sorted({example.split for example in examples})),
            patients=tuple(sorted({one.patient_id for one in examples if one.patient_known})),
        )


def _exact_duplicates(
    inspections: Sequence[Inspection], names: _Names
) -> tuple[findings.SamePicture, ...]:
    by_digest: defaultdict[str, list[Example]] = defaultdict(list)
    for found in inspections:
        if found.digest:
            by_digest[found.digest].append(found.example)
    return tuple(names.same_image(group, None) for group in by_digest.values() if len(group) > 1)


def _near_duplicates(
    inspections: Sequence[Inspection], names: _Names
) -> tuple[findings.NearDuplicates, tuple[findings.SamePicture, ...]]:
    """Find near duplicates, and those that are one image; one file represents exact copies."""
    by_digest = {found.digest: found for found in reversed(inspections)}
    hashed = [
        (found.example, found.fingerprint)
        for found in reversed(by_digest.values())
        if found.fingerprint is not None
    ]
    hashes = np.array([fingerprint for _, fingerprint in hashed], np.uint64)
    near = find_near_pairs(hashes.reshape(len(hashed), HASH_BITS // 64), NEAR_DISTANCE)
    pairs = [
        ((hashed[first][0], hashed[second][0]), distance)
        for (first, second), distance in zip(
            near.pairs.tolist(), near.distances.tolist(), strict=True
        )
    ]
    described = [
        findings.NearPair(
            files=(names.file(one), names.file(other)),
            distance=distance,
            same_patient=one.patient_known and one.patient_id == other.patient_id,
            same_split=one.split == other.split,
            same_label=one.label == other.label,
        )
        for (one, other), distance in pairs
    ]
    same_patient = sum(pair.same_patient for pair in described)
    duplicates = findings.NearDuplicates(
        max_distance=NEAR_DISTANCE,
        bits=HASH_BITS,
        complete=near.complete,
        pairs=len(described),
        same_patient=same_patient,
        other_patient=len(described) - same_patient,
        across_splits=sum(not pair.same_split for pair in described),
        listed=tuple(described[:MAX_LISTED_PAIRS]),
    )
    resaved = tuple(
        names.same_image(pair, distance)
        for pair, distance in pairs
        if distance <= SAME_IMAGE_DISTANCE
    )
    return duplicates, resaved


def _leaks(dataset: Dataset, same_images: Iterable[findings.SamePicture]) -> findings.Leaks:
    splits: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for example in dataset.examples:
        if example.patient_known:
            splits[example.patient_id][example.split] += 1
    patients = tuple(
        findings.PatientLeak(patient_id, dict(found))
        for patient_id, found in sorted(splits.items())
        if len(found) > 1
    )
    images = tuple(group for group in same_images if len(group.splits) > 1)
    return findings.Leaks(patients, images, not patients and not images and dataset.patients_known)


def _count(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _count_splits(
    examples: Iterable[Example], name: Callable[[Example], str]
) -> dict[str, findings.SplitCount]:
    by_split: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_split[name(example)].append(example)
    return {
        split: findings.SplitCount(
            pictures=len(members),
            no_tumour=sum(example.label == 0 for example in members),
            tumour=sum(example.label == 1 for example in members),
            patients=len({example.patient_id for example in members if example.patient_known}),
        )
        for split, members in by_split.items()
    }


def _count_inverted(inspections: Iterable[Inspection]) -> findings.InvertedCount:
    machines: defaultdict[str, list[bool]] = defaultdict(list)
    images = 0
    for found in inspections:
        images += found.inverted
        if found.example.facts.machine_id:
            machines[found.example.facts.machine_id].append(found.inverted)
    return findings.InvertedCount(
        images,
        {
            name: findings.MachineCount(sum(flags), len(flags))
            for name, flags in sorted(machines.items())
        },
    )


def _count_breasts(inspections: Sequence[Inspection]) -> findings.Breasts:
    known = [found for found in inspections if found.example.patient_known]
    breasts = breast_ids([found.example for found in known], [found.chest_wall for found in known])
    labels: defaultdict[str, set[int]] = defaultdict(set)
    for breast, found in zip(breasts, known, strict=True):
        labels[breast].add(found.example.label)
    return findings.Breasts(
        count=len(labels),
        by_chest_wall=sum(found.example.facts.laterality is None for found in known),
        both_labels=sum(len(found) > 1 for found in labels.values()),
    )
