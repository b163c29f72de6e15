"""Describe a data set, and what could invalidate results on it, in numbers without names."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import numpy as np

from mammoscope.data.audit import AuditReport, audit
from mammoscope.data.dataset import Dataset, Example, read_dataset
from mammoscope.data.scanner_groups import Appearance, group_by_scanner
from mammoscope.errors import EmptyDatasetError, RunError, StorageError
from mammoscope.evaluation.evaluate import describe_examples
from mammoscope.evaluation.leakage import measure_leakage
from mammoscope.evaluation.shortcuts import measure_shortcuts
from mammoscope.system.files import write_json
from mammoscope.system.progress import phase, progress

NOT_LEARNED_FROM: Final = "test"
"""Split whose files are counted but not measured."""


def explore(dataset: Dataset, *, seed: int = 0) -> dict[str, Any]:
    """Audit a data set, and measure the effect of leakage and shortcuts on it.

    A terminal shows the progress.

    Parameters
    ----------
    dataset
        As listed by `read_dataset`.
    seed
        Seed of splits, models and intervals.

    Returns
    -------
    dict
        JSON object of counts and measures without names of files or patients. For all splits, as in
        `AuditReport`: images, ``splits`` and ``merged`` by label, sizes, modes, formats, refused,
        patients, breasts, duplicates, leaks and inverted images. For the images outside the test
        split: ``groups`` (labels by metadata field), ``looks`` (for each image its position in the
        plane of the largest scanner differences, its cluster, machine and label), ``leakage`` and
        ``shortcuts``.

    Raises
    ------
    EmptyDatasetError
        If every image outside the test split was refused, or too few patients are left.
    SingleClassError
        If the remaining images all have the same label.
    """
    with progress(range(0), len(dataset.examples), "audit") as bar:
        report = audit(dataset, bar.update)
    learned_from = [each for each in dataset.examples if each.split != NOT_LEARNED_FROM]
    outcomes = progress(describe_examples(learned_from), len(learned_from), "describe")
    seen = [outcome for outcome in outcomes if isinstance(outcome, Appearance)]
    if not seen:
        raise EmptyDatasetError("Every image outside the test split was refused.")
    with phase("measure shortcuts"):
        shortcuts = measure_shortcuts(seen, (), seed=seed)
    with phase("find scanner groups"):
        looks = _scanner_groups(seen, seed)
    with phase("measure leakage"):
        leakage = measure_leakage(seen, seed=seed)
    return {
        **_counted(report),
        "groups": {
            name: _tumours_by(value, (each.example for each in seen))
            for name, value in _FACTS.items()
        },
        "looks": looks,
        "leakage": leakage.to_json(),
        "shortcuts": {name: area.to_json() for name, area in shortcuts.items()},
    }


def explore_once(data: Path, record: Path) -> dict[str, Any]:
    """Read the record of an exploration; if there is none, explore and write it.

    Raises
    ------
    DatasetError
        If the images cannot be used.
    RunError
        If the record is damaged.
    StorageError
        If the record cannot be written.
    """
    if record.is_file():
        try:
            stored: dict[str, Any] = json.loads(record.read_bytes())
        except (OSError, ValueError) as err:
            raise RunError("The record of the exploration is damaged.") from err
        return stored
    found = explore(read_dataset(data))
    try:
        write_json(record, found)
    except OSError as err:
        raise StorageError("The record of the exploration cannot be written.") from err
    return found


def _counted(report: AuditReport) -> dict[str, Any]:
    near = asdict(report.near_duplicates)
    del near["listed"]  # has file names
    return {
        "pictures": report.pictures,
        "splits": {name: asdict(count) for name, count in report.splits.items()},
        "merged": {name: asdict(count) for name, count in report.merged.items()},
        "sizes": dict(report.sizes),
        "modes": dict(report.modes),
        "formats": dict(report.formats),
        "refused": dict(Counter(file.code for file in report.refused)),
        "patients": asdict(report.patients),
        "breasts": asdict(report.breasts),
        "same_pictures": len(report.same_pictures),
        "conflicts": len(report.conflicts),
        "near_duplicates": near,
        "leaks": {
            "patients": len(report.leaks.patients),
            "pictures": len(report.leaks.pictures),
            "excluded": report.leaks.excluded,
        },
        "inverted": asdict(report.inverted),
    }


_FACTS: Final[Mapping[str, Callable[[Example], str | None]]] = {
    "machine": attrgetter("facts.machine_id"),
    "site": attrgetter("facts.site_id"),
    "view": attrgetter("facts.view"),
    "density": attrgetter("facts.density"),
    "age": lambda example: (
        None if example.facts.age is None else f"{int(example.facts.age // 10) * 10}s"
    ),
}


def _tumours_by(
    value: Callable[[Example], str | None], examples: Iterable[Example]
) -> dict[str, dict[str, int]]:
    """Images without and with a tumour by the value of a fact; unknown values are left out."""
    counts: Counter[tuple[str, int]] = Counter()
    for example in examples:
        found = value(example)
        if found is not None:
            counts[str(found), example.label] += 1
    return {
        name: {"no_tumour": counts[name, 0], "tumour": counts[name, 1]}
        for name in sorted({name for name, _ in counts}, key=lambda name: (len(name), name))
    }


def _scanner_groups(seen: Sequence[Appearance], seed: int) -> dict[str, list[Any]]:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    features = [each.features for each in seen]
    plane = PCA(2).fit_transform(StandardScaler().fit_transform(np.stack(features)))
    # Sorting by position hides the order of the files.
    order = np.lexsort(plane.T)
    clusters = group_by_scanner(features, seed=seed)
    return {
        "x": [round(float(plane[i, 0]), 3) for i in order],
        "y": [round(float(plane[i, 1]), 3) for i in order],
        "cluster": [clusters[i] for i in order],
        "machine": [seen[i].example.facts.machine_id for i in order],
        "label": [seen[i].example.label for i in order],
    }
