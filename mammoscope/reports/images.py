"""The figures of README and the documentation, drawn from the committed records."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from mammoscope.reports import comparison, data, decisions
from mammoscope.reports.modelcard import validated
from mammoscope.reports.performance import draw_reliability, draw_roc
from mammoscope.reports.record import Run, read_runs
from mammoscope.reports.style import save_figures

BACKBONES: Final = "backbone-*"
TUNING: Final = "tuning-*"
BASELINE: Final = "tuning-baseline"

_Drawings = dict[str, Callable[[], Figure]]


def write_images(
    card: Mapping[str, Any], records: Path, dataset: Mapping[str, Any] | None, to: Path
) -> list[Path]:
    """Draw every figure whose data are in the records.

    Parameters
    ----------
    card
        The released model's card.json.
    records
        Folder of the run records, including that of the released model.
    dataset
        Result of `mammoscope.evaluation.exploration.explore`; None if there is no record of it.
    to
        Folder to write the figures to.

    Returns
    -------
    list of Path
        The written files.

    Raises
    ------
    RunError
        If a record is damaged or lacks data for its figures.
    StorageError
        If a figure cannot be written.
    """
    runs = read_runs(records)
    drawings: _Drawings = {
        **(_of_dataset(dataset) if dataset else {}),
        **_of_study(records),
        **_of_model(card, find_released(runs, card)),
    }
    return save_figures(drawings, to)


def find_released(runs: tuple[Run, ...], card: Mapping[str, Any]) -> Run | None:
    """Return the run that produced the model of `card`; None if it has no record."""
    return next((run for run in runs if run.model_version == card["version"]), None)


def _of_dataset(found: Mapping[str, Any]) -> _Drawings:
    return {
        "data-counts": lambda: data.draw_counts(found),
        "data-inverted": lambda: data.draw_inverted(found["inverted"]),
        "data-leakage": lambda: data.draw_leakage(found["leakage"]),
    }


def _of_study(records: Path) -> _Drawings:
    drawings: _Drawings = {}
    backbones = read_runs(records, BACKBONES)
    if backbones:
        drawings |= {
            "backbones-epochs": lambda: comparison.draw_epochs_of(backbones),
            "backbones-auc": lambda: comparison.draw_areas(backbones),
            "backbones-work": lambda: comparison.draw_costs(backbones),
        }
    tuned = read_runs(records, TUNING)
    baseline = next((run for run in tuned if run.name == BASELINE), None)
    others = [run for run in tuned if run is not baseline]
    if baseline is not None and others:
        drawings["tuning-differences"] = lambda: comparison.draw_differences(baseline, others)
    return drawings


def _of_model(card: Mapping[str, Any], run: Run | None) -> _Drawings:
    points = card["operating_points"]
    fitted = {name: point["measured"] for name, point in points.items()}
    measured = {validated(card["metrics"]): fitted}
    if "test" in card["metrics"]:
        measured["test"] = card["metrics"]["test"]["operating_points"]
    drawings: _Drawings = {"operating-points": lambda: decisions.draw_operating_points(measured)}
    if "robustness" in card["metrics"]:
        drawings["robustness"] = lambda: decisions.draw_robustness(card["metrics"]["robustness"])
    if run is None or run.scores is None:
        return drawings
    scores = run.scores
    return drawings | {
        "roc": lambda: draw_roc(scores),
        "reliability": lambda: draw_reliability(scores),
        "decision-curve": lambda: decisions.draw_decision_curve(scores),
    }
