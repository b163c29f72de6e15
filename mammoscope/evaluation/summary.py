"""An assessment as lines that a person understands."""

from collections.abc import Iterator, Mapping
from typing import Final

from mammoscope.evaluation.evaluate import Assessment
from mammoscope.evaluation.metrics.assessment import MIN_PER_CLASS, Evaluation
from mammoscope.evaluation.metrics.intervals import RESAMPLES
from mammoscope.evaluation.metrics.operating import OperatingPoint

_TITLES: Final = {
    "auc": "AUC",
    "auprc": "AUPRC",
    "accuracy": "accuracy",
    "majority": "majority class",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity_at_specificity_90": "sensitivity at specificity 0.90",
    "sensitivity_at_specificity_95": "sensitivity at specificity 0.95",
    "specificity_at_sensitivity_90": "specificity at sensitivity 0.90",
    "brier": "Brier score",
    "log_loss": "log-loss",
    "ece": "expected calibration error",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
}

_WITH_AGE: Final = ("auc", "auprc", "accuracy", "balanced_accuracy", "log_loss", "ece")
"""Measures that are given a second time, with the age."""


def describe(assessment: Assessment) -> Iterator[str]:
    """The evaluation as lines that a person understands."""
    found = assessment.evaluation
    split = f"Split {assessment.split}: " if assessment.split else ""
    yield (
        f"{split}{found.images:,} images, {found.positives:,} with tumour, of "
        f"{found.breasts:,} breasts and {found.patients:,} patients; "
        f"model {assessment.model_version}"
    )
    if assessment.refused:
        codes = ", ".join(f"{code} ({count:,})" for code, count in assessment.refused.items())
        yield f"Refused and left out: {sum(assessment.refused.values()):,} images: {codes}"
    yield from _warnings(assessment)
    yield ""
    yield f"{'':34}{'by image':21}{'by breast':21}by patient"
    for name, title in _TITLES.items():
        cells = (level[name] for level in (found.image, found.breast, found.patient))
        yield f"  {title:32}{' '.join(f'{cell!s:20}' for cell in cells)}".rstrip()
    by = "patients" if assessment.patients_known else "images, their patients not being known"
    yield f"In brackets: 95 % interval from {RESAMPLES:,} resamples of {by}."
    yield f"Accuracies at probability {found.threshold:g}."
    if assessment.with_age:
        yield from _describe_age(assessment.with_age)
    if found.operating_points:
        yield ""
        yield f"{'Operating point':22}{'from':8}{'sensitivity':21}specificity"
        yield from _points(found.operating_points)
        for level, points in found.level_points.items():
            yield f"By {level}"
            yield from _points(points)
    yield from _describe_groups(assessment)


def _points(points: Mapping[str, OperatingPoint]) -> Iterator[str]:
    for name, point in points.items():
        yield f"  {name:20}{point.threshold:<8.3f}{point.sensitivity!s:21}{point.specificity}"


def _warnings(assessment: Assessment) -> Iterator[str]:
    if assessment.leaky_training:
        yield (
            "LEAKY: the model was trained on a published split whose test folder shares its "
            "patients; for like-for-like comparison only."
        )
    if assessment.shared_patients:
        yield (
            f"LEAK: {assessment.shared_patients:,} patients of this split stand in another split "
            "of the folder too; a model trained there knows them."
        )
    if not assessment.patients_known:
        yield (
            "The patients of some images are not known; each such image counts as a patient "
            "of its own. Intervals may be too narrow and leakage cannot be excluded; give the "
            "patients with --metadata."
        )


def _describe_groups(assessment: Assessment) -> Iterator[str]:
    yield ""
    yield f"{'AUC within':22}{'images':>9}{'tumour':>8}  by image"
    for fact, groups in assessment.evaluation.groups.items():
        for value, group in groups.items():
            area = str(group.auc) if group.auc else f"under {MIN_PER_CLASS} of a class"
            yield f"  {f'{fact} {value}':20}{group.images:9,}{group.positives:8,}  {area}"
    for fact in ("machine", "look"):
        if within := assessment.evaluation.within.get(fact):
            yield f"Mean within {fact}s that have an AUC: {within}"
    if assessment.shortcuts:
        yield ""
        yield "What a score could know without looking at tissue: AUC by image"
        for shortcut, interval in assessment.shortcuts.items():
            yield f"  {shortcut + ' alone':40}{interval}"
        yield f"  {'the model':40}{assessment.evaluation.image['auc']}"


def _describe_age(found: Evaluation) -> Iterator[str]:
    yield ""
    title = f"With the age ({found.images:,} images)"
    yield f"{title:34}{'by image':21}{'by breast':21}by patient"
    for name in _WITH_AGE:
        cells = (level[name] for level in (found.image, found.breast, found.patient))
        yield f"  {_TITLES[name]:32}{' '.join(f'{cell!s:20}' for cell in cells)}".rstrip()
    yield from _points(found.operating_points)
