"""Curves of scored images with intervals by patient: ROC, reliability and decision curve."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from mammoscope.evaluation.metrics.decision import NetBenefit
from mammoscope.evaluation.metrics.intervals import (
    CONFIDENCE,
    RESAMPLES,
    Interval,
    Measured,
    bootstrap,
    draw_weights,
)
from mammoscope.evaluation.metrics.measures import ECE_BINS, Curve, equal_mass_bins
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.imaging.arrays import FloatArray

DECISION_THRESHOLDS: Final = np.linspace(0.01, 0.7, 70)
"""Threshold probabilities of the decision curve."""

_TAILS: Final = ((1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Pointwise 95 % interval of a curve, float64 (P,) each; NaN if there is only one patient."""

    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True)
class ReliabilityBin(Measured):
    """Images of similar probability.

    Parameters
    ----------
    images, positives
        Number of images in the bin, and of those with label 1.
    predicted
        Their mean calibrated probability in [0, 1].
    observed
        Share of label 1 in [0, 1], with its 95 % interval.
    """

    images: int
    positives: int
    predicted: float
    observed: Interval


@dataclass(frozen=True, slots=True, eq=False)
class DecisionCurve:
    """Net benefit per image at threshold probabilities, float64 (T,) each.

    Parameters
    ----------
    thresholds
        `DECISION_THRESHOLDS`.
    net_benefit, band
        Of acting on the score, with its interval.
    of_acting_on_all
        Of acting on every image; that of acting on none is 0.
    """

    thresholds: FloatArray
    net_benefit: FloatArray
    band: Band
    of_acting_on_all: FloatArray


def roc_band(
    scored: Scored, false_positive_rates: FloatArray, *, resamples: int = RESAMPLES
) -> Band:
    """Interval of the sensitivity at each of `false_positive_rates`, float64 (P,) in [0, 1]."""
    curve = Curve(scored.logits, scored.labels)
    drawn = [
        np.interp(false_positive_rates, false, true)[None]
        for weights in draw_weights(scored.labels, scored.patients, resamples, seed=0)
        for false, true in zip(*curve.rates(weights), strict=True)
    ]
    return _band(drawn, false_positive_rates)


def reliability(scored: Scored, *, resamples: int = RESAMPLES) -> list[ReliabilityBin]:
    """Divide the images by probability into up to `ECE_BINS` bins of equal size, in this order."""
    bins = equal_mass_bins(scored.probabilities)
    members = [bins == number for number in range(ECE_BINS) if (bins == number).any()]

    def shares(weights: FloatArray) -> dict[str, FloatArray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                str(number): weights @ (where & (scored.labels == 1)) / (weights @ where)
                for number, where in enumerate(members)
            }

    observed = bootstrap(shares, scored.labels, scored.patients, resamples=resamples)
    return [
        ReliabilityBin(
            images=int(where.sum()),
            positives=int(scored.labels[where].sum()),
            predicted=float(scored.probabilities[where].mean()),
            observed=observed[str(number)],
        )
        for number, where in enumerate(members)
    ]


def decision_curve(scored: Scored, *, resamples: int = RESAMPLES) -> DecisionCurve:
    """Measure the net benefit of acting on the calibrated probabilities."""
    benefit = NetBenefit(scored.probabilities, scored.labels, DECISION_THRESHOLDS)
    once = np.ones((1, scored.labels.size))
    drawn = [
        benefit(weights)
        for weights in draw_weights(scored.labels, scored.patients, resamples, seed=0)
    ]
    return DecisionCurve(
        thresholds=DECISION_THRESHOLDS,
        net_benefit=benefit(once)[0],
        band=_band(drawn, DECISION_THRESHOLDS),
        of_acting_on_all=benefit.of_acting_on_all(once)[0],
    )


def _band(drawn: list[FloatArray], places: FloatArray) -> Band:
    """Quantiles of curves, each (R, P), at `places` (P,)."""
    if not drawn:
        nothing = np.full(places.size, np.nan)
        return Band(nothing, nothing)
    low, high = np.quantile(np.concatenate(drawn), _TAILS, axis=0)
    return Band(low, high)
