"""Measures of scored images, with intervals clustered by patient; NumPy only.

Scores are taken at three levels: image, breast (mean of the logits of its views) and patient
(maximum of the breasts). Every interval is a 95 % percentile interval of 2,000 resamples of
patients, so that the several images of one patient are not counted as independent.
"""

from mammoscope.evaluation.metrics.aggregation_rules import RULES_IN_USE, RuleResult, compare_rules
from mammoscope.evaluation.metrics.assessment import (
    MIN_PER_CLASS,
    Evaluation,
    Group,
    evaluate_scores,
    evaluate_with_age,
    within_groups,
)
from mammoscope.evaluation.metrics.calibration import fit_platt, fit_platt_with_age
from mammoscope.evaluation.metrics.decision import NetBenefit
from mammoscope.evaluation.metrics.intervals import (
    CONFIDENCE,
    RESAMPLES,
    Interval,
    bootstrap,
    draw_weights,
)
from mammoscope.evaluation.metrics.measures import ECE_BINS, Curve, Measures, equal_mass_bins
from mammoscope.evaluation.metrics.operating import (
    OperatingPoint,
    Scale,
    fit_scale,
    measure_points,
    operating_points,
)
from mammoscope.evaluation.metrics.scored import Scored

__all__ = [
    "CONFIDENCE",
    "ECE_BINS",
    "MIN_PER_CLASS",
    "RESAMPLES",
    "RULES_IN_USE",
    "Curve",
    "Evaluation",
    "Group",
    "Interval",
    "Measures",
    "NetBenefit",
    "OperatingPoint",
    "RuleResult",
    "Scale",
    "Scored",
    "bootstrap",
    "compare_rules",
    "draw_weights",
    "equal_mass_bins",
    "evaluate_scores",
    "evaluate_with_age",
    "fit_platt",
    "fit_platt_with_age",
    "fit_scale",
    "measure_points",
    "operating_points",
    "within_groups",
]
