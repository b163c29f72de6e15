"""Two runs on the same patients: measures of each fold, averaged over the folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mammoscope.data.dataset import Facts
from mammoscope.evaluation.metrics.assessment import MIN_PER_CLASS
from mammoscope.evaluation.metrics.intervals import CONFIDENCE, RESAMPLES, Interval, Measured
from mammoscope.evaluation.metrics.measures import Curve, Measures
from mammoscope.evaluation.metrics.operating import rates_at
from mammoscope.evaluation.out_of_fold import Folds, FoldScores
from mammoscope.imaging.arrays import FloatArray

MACHINES: Final = "within machines"
"""Name of the mean AUC within machines."""

Masks = Mapping[str, npt.NDArray[np.bool_]]
"""Images (N,) of a fold that belong to a group, by the group's name."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Machines and subgroups of the images of a fold."""

    machines: Masks
    subgroups: Masks


@dataclass(frozen=True, slots=True)
class Paired(Measured):
    """A measure of two runs, averaged over the folds.

    Parameters
    ----------
    first, second
        The two runs, with 95 % intervals from resamples of patients within folds.
    difference
        Second minus first, on the same resamples.
    error
        Standard error of the difference.
    """

    first: Interval
    second: Interval
    difference: Interval
    error: float


def groups_of(run: Folds, facts: Mapping[str, Facts]) -> list[Groups]:
    """Return the groups of each fold that have enough images of both labels in all folds.

    A subgroup of cancers, such as ``in situ``, also has all images without a cancer.

    Parameters
    ----------
    run
        The folds of a run.
    facts
        Facts about images, by digest; may be incomplete.
    """
    known = [[facts.get(digest, Facts()) for digest in fold.digests] for fold in run]
    machines = sorted({each.machine_id for of in known for each in of if each.machine_id})
    inside = [
        {name: np.array([each.machine_id == name for each in of]) for name in machines}
        for of in known
    ]
    subgroups = [_subgroups(of, fold) for of, fold in zip(known, run, strict=True)]
    return [Groups(*both) for both in zip(_large(inside, run), _large(subgroups, run), strict=True)]


def _subgroups(facts: Sequence[Facts], fold: FoldScores) -> Masks:
    ages = np.array([np.nan if each.age is None else each.age for each in facts])
    healthy = fold.scored.labels == 0
    return {
        "invasive": np.array([each.invasive is True for each in facts]) | healthy,
        "in situ": np.array([each.invasive is False for each in facts]) | healthy,
        "density A or B": np.array([each.density in ("A", "B") for each in facts]),
        "density C or D": np.array([each.density in ("C", "D") for each in facts]),
        "under 50 years": ages < 50,
        "50 to 69 years": (ages >= 50) & (ages < 70),
        "70 years and over": ages >= 70,
    }


def _large(groups: Sequence[Masks], run: Folds) -> list[Masks]:
    kept = [
        name
        for name in groups[0]
        if all(
            min(np.bincount(fold.scored.labels[of[name]], minlength=2)) >= MIN_PER_CLASS
            for of, fold in zip(groups, run, strict=True)
        )
    ]
    return [{name: of[name] for name in kept} for of in groups]


def compare_folds(
    first: Sequence[Folds],
    second: Sequence[Folds],
    groups: Sequence[Groups],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Paired]:
    """Measure two runs on the same resamples of patients, all images of a patient together.

    Parameters
    ----------
    first, second
        The same folds of both runs, for each seed that a run was trained with. If they are
        calibrated, calibration error and operating points are measured, too.
    groups
        Groups of each fold.
    resamples
        Number of resamples of patients, with replacement and within their fold. They also resample
        the seeds of a run that has several.
    seed
        Seed of the resampling.

    Returns
    -------
    dict
        By the measure's name; ``image``, the AUC by image, is the primary endpoint.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[list[FloatArray]]] = {}
    for number, of in enumerate(groups):
        sides = [[run[number] for run in side] for side in (first, second)]
        count = int(sides[0][0].scored.patients.max()) + 1
        drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=resamples)
        # The first row is the original sample.
        times = np.concatenate([np.ones((1, count)), drawn])
        measured = [
            _mean_of_seeds([_measure(fold, of, times) for fold in side], rng) for side in sides
        ]
        for name in measured[0]:
            found.setdefault(name, []).append([each[name] for each in measured])
    return {name: _paired(*np.mean(pairs, axis=0)) for name, pairs in found.items()}


def _mean_of_seeds(
    runs: Sequence[Mapping[str, FloatArray]], rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Average the values (1 + resamples,) of runs with different seeds.

    Resamples draw one seed fewer than there are, with replacement: drawing all would make means of
    so few vary too little (J. N. K. Rao, C. F. J. Wu, "Resampling inference with complex survey
    data", J. Am. Stat. Assoc. 83, 1988).
    """
    seeds = len(runs)
    if seeds == 1:
        return dict(runs[0])
    resamples = next(iter(runs[0].values())).size - 1
    drawn = rng.multinomial(seeds - 1, np.full(seeds, 1.0 / seeds), size=resamples)
    shares = np.concatenate([np.full((1, seeds), 1.0 / seeds), drawn / (seeds - 1)])
    return {
        name: np.sum([share * run[name] for share, run in zip(shares.T, runs, strict=True)], axis=0)
        for name in runs[0]
    }


def _paired(first: FloatArray, second: FloatArray) -> Paired:
    """Compare the values (1 + resamples,) of two runs."""
    difference = second - first
    error = float(np.nanstd(difference[1:]))
    return Paired(_interval(first), _interval(second), _interval(difference), error)


def _interval(values: FloatArray) -> Interval:
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.nanquantile(values[1:], [tail, 1.0 - tail])
    return Interval(float(values[0]), float(low), float(high))


def _measure(fold: FoldScores, groups: Groups, times: FloatArray) -> dict[str, FloatArray]:
    """Return values (R,) by name, for the weights of patients (R, patients)."""
    scored, breasts = fold.scored, fold.scored.by_breast()
    everything = np.ones(scored.labels.size, np.bool_)

    def area(mask: npt.NDArray[np.bool_]) -> FloatArray:
        curve = Curve(scored.logits[mask], scored.labels[mask])
        return curve.auc(times[:, scored.patients[mask]])

    found = {
        "image": area(everything),
        "breast": Curve(breasts.logits, breasts.labels).auc(times[:, breasts.patients]),
    }
    if groups.machines:
        found[MACHINES] = np.mean([area(mask) for mask in groups.machines.values()], axis=0)
    found |= {name: area(mask) for name, mask in groups.subgroups.items()}
    if fold.thresholds:
        weights = times[:, scored.patients]
        found["calibration error"] = Measures(scored)(weights)["ece"]
        found |= rates_at(fold.thresholds, scored)(weights)
    return found
