"""``make bench-train``: compare our training pipeline with that of the Keras tutorials."""

import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.measurement import Spread
from benchmarks.starting import WorkerFailedError, run_worker
from mammoscope.phantoms.drawing import write_phantom_dataset

SIDE: Final = 299
"""Height and width of the network's input in pixels, as in the reference project."""

PATIENTS: Final = 20
EPOCHS: Final = 2
"""Measured epochs per round, after one that is not measured."""

_PIPELINES: Final = {"ours": "ours", "plain": "plain Keras"}
_PRECISIONS: Final = ("float32", "mixed_bfloat16")


def run(*, rounds: int, side: int = SIDE, patients: int = PATIENTS) -> dict[str, Any]:
    """Train with both pipelines in both precisions, in turn, in the training environment.

    Parameters
    ----------
    rounds
        Number of rounds; each starts every pipeline anew and measures `EPOCHS` epochs.
    side
        Height and width of the network's input in pixels.
    patients
        Number of patients of the phantom data set, with four images each; about 60 % are used for
        training.
    """
    facts = report.machine()
    variants = [(how, precision) for precision in _PRECISIONS for how in _PIPELINES]
    answers: dict[tuple[str, str], list[dict[str, Any]]] = {variant: [] for variant in variants}
    failures: dict[tuple[str, str], str] = {}
    with tempfile.TemporaryDirectory(prefix="mammoscope-") as folder:
        write_phantom_dataset(Path(folder), patients=patients)
        for _ in range(rounds):
            for how, precision in variants:
                print(f"{how}, {precision}", file=sys.stderr, flush=True)
                try:
                    answer = run_worker(
                        Path(sys.executable),
                        "training",
                        "--how", how,
                        "--data", folder,
                        "--precision", precision,
                        "--epochs", str(EPOCHS),
                        "--side", str(side),
                    )  # fmt: skip
                except WorkerFailedError as err:
                    failures[how, precision] = str(err)
                else:
                    answers[how, precision].append(answer)
    return {
        "benchmark": "train",
        "machine": facts,
        "input_size": [side, side],
        "rounds": rounds,
        "epochs": EPOCHS,
        **summary(answers, failures),
    }


def summary(
    answers: dict[tuple[str, str], list[dict[str, Any]]], failures: dict[tuple[str, str], str]
) -> dict[str, Any]:
    """Return medians and ratios of the workers' results.

    Parameters
    ----------
    answers
        Results by pipeline and precision, one per round.
    failures
        Reasons why pipelines were not measured.
    """
    rows: list[dict[str, Any]] = []
    for (how, precision), found in answers.items():
        row: dict[str, Any] = {"pipeline": _PIPELINES[how], "precision": precision}
        if (how, precision) in failures or not found:
            rows.append({**row, "failure": failures.get((how, precision), "not measured")})
            continue
        spread = Spread.of([value for answer in found for value in answer["per_s"]])
        row["per_s"] = {"median": spread.median, "low": spread.low, "high": spread.high}
        row |= {key: found[0][key] for key in ("images", "batch_size", "versions")}
        rows.append(row)
    plain = {r["precision"]: r["per_s"]["median"] for r in rows
             if r["pipeline"] == _PIPELINES["plain"] and "per_s" in r}  # fmt: skip
    for row in rows:
        if "per_s" in row:
            median = row["per_s"]["median"]
            row["times_plain"] = report.ratio(median, plain.get(row["precision"]))
            row["times_plain_float32"] = report.ratio(median, plain.get("float32"))
    return {"pipelines": rows}


def text(results: dict[str, Any]) -> str:
    """Format the results as a table."""
    rows, notes = [], []
    for row in results["pipelines"]:
        name = f"{row['pipeline']}, {row['precision']}"
        if "failure" in row:
            notes.append(f"{name} FAILED: {row['failure']}")
            rows.append([name, "–", "–", "–", "–"])
            continue
        ratios = (row["times_plain"], row["times_plain_float32"])
        rows.append(
            [
                name,
                *("–" if value is None else f"{value:.2f}" for value in ratios),
                report.spread_cell(Spread(**row["per_s"]), 2),
                f"{row['images']} in batches of {row['batch_size']}",
            ]
        )
    titles = (
        "pipeline, precision", "times plain, same precision", "times plain, float32", "images/s",
        "an epoch",
    )  # fmt: skip
    height, width = results["input_size"]
    return "\n".join(
        [
            report.heading(results["machine"]),
            f"The default preset's network on {height}x{width}, random weights, all layers trained",
            "",
            report.table(titles, rows),
            *notes,
        ]
    )
