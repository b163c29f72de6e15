"""Describe the report as lines of text."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mammoscope.data.audit.auditing import WITHOUT_SPLIT
from mammoscope.data.audit.findings import AuditReport, SplitCount

_MAX_LISTED: Final = 5
"""Number of files or patients listed below a line; the JSON lists all."""


def describe(report: AuditReport) -> Iterator[str]:
    """Yield the report's lines; details are indented below their line."""
    in_splits = set(report.splits) != {WITHOUT_SPLIT}
    yield _images(report.pictures) + " in the published folders" * in_splits
    yield from _describe_splits(report.splits)
    if "valid" in report.splits:
        yield "With valid merged into train (files stay in place)"
        yield from _describe_splits(report.merged)
    yield f"Sizes in pixels: {_shares(report.sizes)}"
    yield f"Modes: {_shares(report.modes)}; formats: {_shares(report.formats)}"
    yield from _describe_refused(report)
    yield from _describe_duplicates(report)
    yield from _describe_conflicts(report)
    yield _describe_inverted(report)
    yield from _describe_patients(report)
    yield from _describe_leaks(report)
    verdict = "no leak and no label conflict found" if report.passed else "leak or label conflict"
    yield f"Verdict: {verdict}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _images(count: int) -> str:
    return _counted(count, "image")


def _describe_splits(splits: Mapping[str, SplitCount]) -> Iterator[str]:
    for name, count in splits.items():
        where = "no splits" if name == WITHOUT_SPLIT else name
        patients = f", {_counted(count.patients, 'patient')}" if count.patients else ""
        yield (
            f"  {where}: {_images(count.pictures)}, {count.no_tumour:,} no tumour, "
            f"{count.tumour:,} tumour{patients}"
        )


def _describe_refused(report: AuditReport) -> Iterator[str]:
    if not report.refused:
        yield "Unreadable files: none"
        return
    codes = Counter(refused.code for refused in report.refused)
    yield f"Files that cannot be used: {len(report.refused):,}, {_shares(codes)}"
    yield from _listed([f"{refused.file}: {refused.code}" for refused in report.refused])


def _describe_duplicates(report: AuditReport) -> Iterator[str]:
    exact = [group for group in report.same_pictures if group.distance is None]
    copies = sum(len(group.files) - 1 for group in exact)
    yield (
        f"Exact duplicates: {copies:,} in {_counted(len(exact), 'group')}"
        if exact
        else ("Exact duplicates: none")
    )
    yield from _listed([" = ".join(group.files) for group in exact])
    near = report.near_duplicates
    if not near.pairs:
        yield f"Near duplicates (at most {near.max_distance} of {near.bits} bits apart): none"
        return
    at_least = "" if near.complete else "at least "
    yield (
        f"Near duplicates (at most {near.max_distance} of {near.bits} bits apart): {at_least}"
        f"{_counted(near.pairs, 'pair')}, {near.same_patient:,} of one patient, "
        f"{near.other_patient:,} of different or unknown patients, "
        f"{near.across_splits:,} across splits"
    )
    yield from _listed([f"{' ~ '.join(pair.files)}: {pair.distance} bits" for pair in near.listed])


def _describe_conflicts(report: AuditReport) -> Iterator[str]:
    if not report.conflicts:
        yield "Label conflicts between copies of one image: none"
        return
    yield f"Label conflicts between copies of one image: {len(report.conflicts):,}"
    yield from _listed([" = ".join(group.files) for group in report.conflicts])


def _describe_inverted(report: AuditReport) -> str:
    inverted = report.inverted
    line = f"Inverted (bright background): {_images(inverted.pictures)}"
    if report.pictures:
        line += f", {inverted.pictures / report.pictures:.1%}"
    machines = [
        f"machine {name}: {count.inverted:,} of {count.pictures:,}"
        for name, count in inverted.by_machine.items()
        if count.inverted
    ]
    return f"{line}; {', '.join(machines)}" if machines else line


def _describe_patients(report: AuditReport) -> Iterator[str]:
    patients, breasts = report.patients, report.breasts
    yield f"Patients: {patients.count:,}" + (
        f"; {_images(patients.pictures_without)} without a patient, each counted as one patient"
        if patients.pictures_without
        else ""
    )
    if not patients.count:
        return
    by = "laterality" if not breasts.by_chest_wall else "laterality or side of the chest wall"
    if breasts.by_chest_wall + patients.pictures_without == report.pictures:
        by = "side of the chest wall"
    labels = f"{breasts.both_labels:,} with images of both labels"
    yield f"Breasts (by patient and {by}): {breasts.count:,}, {labels}"


def _describe_leaks(report: AuditReport) -> Iterator[str]:
    leaks = report.leaks
    if leaks.patients:
        yield f"LEAK: {_counted(len(leaks.patients), 'patient')} in more than one split"
        yield from _listed(
            [
                f"patient {leak.patient_id}: "
                + ", ".join(f"{split} ({count:,})" for split, count in leak.splits.items())
                for leak in leaks.patients
            ]
        )
    if leaks.pictures:
        yield f"LEAK: {_images(len(leaks.pictures))} in more than one split"
        yield from _listed([" = ".join(group.files) for group in leaks.pictures])
    if leaks.excluded:
        yield "Leaks: none; no patient and no image is in more than one split"
    elif report.patients.pictures_without:
        unknown = _images(report.patients.pictures_without)
        yield f"Leaks cannot be excluded: {unknown} without a known patient; use --metadata"


def _shares(counts: Mapping[str, int]) -> str:
    listed = [f"{name} ({count:,})" for name, count in list(counts.items())[:_MAX_LISTED]]
    rest = len(counts) - len(listed)
    return ", ".join(listed) + (f" and {rest:,} more" if rest else "") or "none"


def _listed(lines: Sequence[str]) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:_MAX_LISTED])
    if len(lines) > _MAX_LISTED:
        yield f"  and {len(lines) - _MAX_LISTED:,} more (--json lists all)"
