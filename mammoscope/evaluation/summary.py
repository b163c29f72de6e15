"""Describe an assessment as lines of text."""

from collections.abc import Iterator, Mapping
from typing import Final

from mammoscope.data.dataset import ALL_SPLITS
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
"""Measures that are also given with the age."""

_LEARNED: Final = frozenset({"train", "valid", ALL_SPLITS})
"""Splits with images that training learns from: it merges train and valid."""

_FACTS: Final = {"look": "scanner group"}
"""Printed names of facts, if they differ from the keys of the JSON result."""

_POINTS_HEADER: Final = f"{'Operating point':22}{'from':8}{'sensitivity':21}specificity"


def describe(assessment: Assessment) -> Iterator[str]:
    """Yield the evaluation as lines of text."""
    found = assessment.evaluation
    split = f"Split {assessment.split}: " if assessment.split else ""
    yield (
        f"{split}{found.images:,} images, {found.positives:,} with tumour, of "
        f"{found.breasts:,} breasts and {found.patients:,} patients; "
        f"model {assessment.model_version}"
    )
    if assessment.refused:
        codes = ", ".join(f"{code} ({count:,})" for code, count in assessment.refused.items())
        yield f"Images refused and left out: {sum(assessment.refused.values()):,}: {codes}"
    yield from _warnings(assessment)
    yield ""
    yield f"{'':34}{'by image':21}{'by breast':21}by patient"
    for name, title in _TITLES.items():
        cells = (level[name] for level in (found.image, found.breast, found.patient))
        yield f"  {title:32}{' '.join(f'{cell!s:20}' for cell in cells)}".rstrip()
    by = "patients" if assessment.patients_known else "images, because patients are unknown"
    yield f"Brackets: 95 % intervals from {RESAMPLES:,} bootstrap resamples of {by}."
    yield f"Accuracies are at probability {found.threshold:g}."
    if assessment.with_age:
        yield from _describe_age(assessment.with_age)
    if found.operating_points:
        yield ""
        yield _POINTS_HEADER
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
            "patients. Use the result only to compare models trained in the same way."
        )
    if assessment.split in _LEARNED:
        yield (
            "A model trained on this folder has learned from its splits train and valid. Only its "
            "split test shows how good such a model is for other patients."
        )
    if assessment.shared_patients:
        yield (
            f"LEAK: {assessment.shared_patients:,} patients of this split are also in another "
            "split of the folder. A model trained there has seen them."
        )
    if not assessment.patients_known:
        yield (
            "The patients of some images are unknown; each such image counts as a patient. "
            "Intervals may be too narrow and leakage cannot be excluded. Name the patients "
            "with --metadata."
        )


def _describe_groups(assessment: Assessment) -> Iterator[str]:
    yield ""
    yield f"{'AUC within':22}{'images':>9}{'tumour':>8}  by image"
    for fact, groups in assessment.evaluation.groups.items():
        title = _FACTS.get(fact, fact)
        for value, group in groups.items():
            area = str(group.auc) if group.auc else f"fewer than {MIN_PER_CLASS} of a class"
            yield f"  {f'{title} {value}':20}{group.images:9,}{group.positives:8,}  {area}"
    for fact in ("machine", "look"):
        if within := assessment.evaluation.within.get(fact):
            yield f"Mean of these {_FACTS.get(fact, fact)}s' AUCs: {within}"
    if assessment.shortcuts:
        yield ""
        yield "AUC by image of baselines that ignore the tissue, fitted to other patients"
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
    if found.operating_points:
        yield _POINTS_HEADER
        yield from _points(found.operating_points)
