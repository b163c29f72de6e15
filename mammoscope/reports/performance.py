"""ROC curve and reliability diagram, with intervals by patient."""

from typing import Final

import numpy as np
from matplotlib.figure import Figure

from mammoscope.evaluation.metrics.curves import reliability, roc_band
from mammoscope.evaluation.metrics.intervals import RESAMPLES, bootstrap
from mammoscope.evaluation.metrics.measures import Curve, Measures
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.reports.record import Scores
from mammoscope.reports.style import BLUE, GREY, VERMILION, new_figure, styled

_ROC_GRID: Final = 201
_HISTOGRAM_BINS: Final = 25


@styled
def draw_reliability(scores: Scores, *, resamples: int = RESAMPLES) -> Figure:
    """Draw the observed share of tumours against the predicted probability, in bins of equal size.

    Parameters
    ----------
    scores
        Scores of held-out images.
    resamples
        Number of bootstrap resamples of patients, for the 95 % intervals.
    """
    values = scores.probabilities
    scored = scores.scored()
    bins = reliability(scored, resamples=resamples)
    measures = Measures(scored)
    ece = bootstrap(
        lambda weights: {"ece": measures(weights)["ece"]},
        scored.labels,
        scored.patients,
        resamples=resamples,
    )["ece"]
    observed = [each.observed for each in bins]
    figure = new_figure(4.4, 4.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color=GREY, ls=":", label="perfect calibration")
    upper.errorbar(
        [each.predicted for each in bins],
        [interval.value for interval in observed],
        yerr=[
            [interval.value - interval.low for interval in observed],
            [interval.high - interval.value for interval in observed],
        ],
        color=BLUE,
        marker="o",
        capsize=2.5,
        elinewidth=1.0,
        label="tenths of the images, 95 % interval",
    )
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="observed share of tumours")
    upper.set_title(f"Reliability; calibration error {ece}")
    upper.legend(loc="lower right")
    edges = np.linspace(0, 1, _HISTOGRAM_BINS + 1)
    lower.hist(
        [values[scored.labels == 0], values[scored.labels == 1]],
        bins=list(edges),
        stacked=True,
        color=[GREY, VERMILION],
        label=["no tumour", "tumour"],
    )
    lower.set(xlabel="predicted probability of a tumour", ylabel="images")
    lower.legend(loc="upper right")
    return figure


@styled
def draw_roc(scores: Scores, *, resamples: int = RESAMPLES) -> Figure:
    """Draw the ROC curve with a pointwise 95 % band.

    Parameters
    ----------
    scores
        Scores of held-out images of both classes.
    resamples
        Number of bootstrap resamples of patients, for the band.
    """
    scored = Scored.of(scores.labels, scores.logits, patients=scores.patients)
    curve = Curve(scored.logits, scored.labels)
    grid = np.linspace(0.0, 1.0, _ROC_GRID)
    false_rate, true_rate = (rate[0] for rate in curve.rates(np.ones((1, scored.labels.size))))
    band = roc_band(scored, grid, resamples=resamples)
    area = bootstrap(
        lambda weights: {"auc": curve.auc(weights)},
        scored.labels,
        scored.patients,
        resamples=resamples,
    )["auc"]
    figure = new_figure(4.4, 4.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, ls=":", label="chance")
    axes.fill_between(
        grid,
        band.low,
        band.high,
        color=BLUE,
        alpha=0.2,
        lw=0,
        label="95 % band, resampled patients",
    )
    axes.plot(false_rate, true_rate, color=BLUE, label="held-out patients, by image")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="1 – specificity", ylabel="sensitivity")
    axes.set_aspect("equal")
    axes.set_title(f"ROC; AUC {area}")
    axes.legend(loc="lower right")
    return figure
