"""The model card in Markdown, rendered from card.json.

References
----------
M. Mitchell et al., "Model cards for model reporting", FAT* 2019. A. Tejani et al., "Checklist for
artificial intelligence in medical imaging (CLAIM): 2024 update", Radiology: AI 6:e240300, 2024.
"""

from collections.abc import Mapping
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from mammoscope.model.artifact.card import Card
from mammoscope.model.prediction import RESEARCH_USE_NOTICE

MODEL_CARD_NAME: Final = "MODEL_CARD.md"

SCREENING_PREVALENCE: Final = 0.02
"""Share of images with cancer in the RSNA screening data (1,158 of 54,706)."""

_MEASURES: Final = {
    "auc": "AUC by image",
    "breast.auc": "AUC by breast",
    "within_machine": "mean AUC within scanners",
    "auprc": "AUPRC",
    "sensitivity_at_specificity_90": "sensitivity at specificity 0.90",
    "sensitivity_at_specificity_95": "sensitivity at specificity 0.95",
    "specificity_at_sensitivity_90": "specificity at sensitivity 0.90",
    "accuracy": "accuracy at 0.5",
    "majority": "accuracy of always predicting the majority class",
    "balanced_accuracy": "balanced accuracy at 0.5",
    "log_loss": "log-loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
}
_LOGITS: Final = {
    "breast": "mean of its images' logits",
    "patient": "higher of the two breasts' logits",
}
"""How the logit of a breast or patient is computed."""

_RULES: Final = {
    "mean": "mean of the logits",
    "highest": "highest logit",
    "noisy_or": "noisy-or of the probabilities",
}
_COMPARED: Final = {
    "validation": "images of validation patients",
    "training": "images of its training patients",
    "images": "images given to `mammoscope compile`",
    "phantoms": "phantoms",
}
_WITH_AGE: Final = ("auc", "breast.auc", "accuracy", "log_loss", "ece")
_OUT_OF_FOLD: Final = "all patients out of fold (scored by networks trained without them)"
_EXTERNAL: Final = ("auc", "breast.auc", "within_machine", "auprc", "brier", "ece")


def render(card: Card) -> str:
    """Write the card as Markdown.

    Parameters
    ----------
    card
        Sections without data are left out.
    """
    environment = Environment(
        loader=PackageLoader("mammoscope.reports"),
        autoescape=False,  # noqa: S701 Markdown, no HTML; all of it is from the card
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"interval": _interval, "number": _number}
    return environment.get_template("MODEL_CARD.md.j2").render(
        card=card,
        notice=RESEARCH_USE_NOTICE,
        columns=_columns(card),
        measures=_MEASURES,
        with_age={name: _MEASURES[name] for name in _WITH_AGE},
        value=_value,
        logits=_LOGITS,
        rules=_RULES,
        predictive=_predictive_values,
        prevalences=_prevalences(card),
        compared=_COMPARED,
        validated=validated(card.metrics),
        fitted_on=_fitted_on(card),
        external={name: _MEASURES[name] for name in _EXTERNAL},
    )


def _columns(card: Card) -> dict[str, Mapping[str, Any]]:
    """Return the result columns by title."""
    reference = card.metrics.get("reference", {})
    found = {
        "test": card.metrics.get("test"),
        validated(card.metrics): card.metrics.get("validation"),
        "reference preset, test": reference.get("test"),
        "reference preset, validation": reference.get("validation"),
        "as the reference project published": reference.get("published"),
    }
    return {title: result for title, result in found.items() if result}


def validated(metrics: Mapping[str, Any]) -> str:
    """Title of a card's results on patients that the measured network was not trained on."""
    return "out of fold" if _is_by_folds(metrics) else "validation"


def _fitted_on(card: Card) -> str:
    return _OUT_OF_FOLD if _is_by_folds(card.metrics) else "validation patients"


def _is_by_folds(metrics: Mapping[str, Any]) -> bool:
    """Whether the network was trained on the patients of all folds, and those of folds measured."""
    return bool(metrics.get("validation", {}).get("by_folds"))


def _prevalences(card: Card) -> list[float]:
    measured = card.metrics.get("test") or card.metrics.get("validation")
    here = [measured["positives"] / measured["images"]] if measured else []
    return [*here, SCREENING_PREVALENCE]


def _value(result: Mapping[str, Any], name: str) -> Any:
    """Return a measure by its dotted name; None if it was not measured."""
    found: Any = result
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _predictive_values(point: Mapping[str, Any], prevalence: float) -> dict[str, float]:
    """Return positive and negative predictive value at a prevalence, by Bayes' theorem."""
    sensitivity = point["sensitivity"]["value"]
    specificity = point["specificity"]["value"]
    true_positive, false_positive = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_negative, false_negative = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    called, cleared = true_positive + false_positive, true_negative + false_negative
    return {
        "positive": true_positive / called if called else float("nan"),
        "negative": true_negative / cleared if cleared else float("nan"),
    }


def _interval(found: Any) -> str:
    """Format as ``0.626 (0.591 to 0.662)``, or as a dash if not measured."""
    if found is None:
        return "–"
    if not isinstance(found, Mapping):
        return f"{found:g}"  # a figure published by others is kept as it is
    if found["value"] is None:
        return "–"
    if found["low"] is None:
        return _number(found["value"])
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _number(found: float | None) -> str:
    return "–" if found is None or found != found else f"{found:.3f}"  # noqa: PLR0124 NaN
