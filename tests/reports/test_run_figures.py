"""Comparisons of runs: tables, figures, the page and the documentation's images."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mammoscope.__main__ import main
from mammoscope.evaluation.metrics.decision import NetBenefit
from mammoscope.reports.comparison import draw_costs, draw_differences, draw_epochs_of, draw_rocs
from mammoscope.reports.data import draw_counts, draw_gallery
from mammoscope.reports.decisions import (
    choose_examples,
    draw_confusion_matrices,
    draw_decision_curve,
    draw_heat_maps,
    draw_operating_points,
    draw_scores,
)
from mammoscope.reports.record import read_run, read_runs
from mammoscope.reports.style import svg
from mammoscope.reports.tables import (
    auc_difference,
    choose_cheapest,
    tabulate_changes,
    tabulate_costs,
    tabulate_epochs,
    tabulate_performance,
)

IMAGES = 240


def write_run(folder: Path, *, strength: float, seconds: float = 60.0, **changes) -> Path:
    """A record of two epochs whose scores separate tumours better with higher `strength`."""
    rng = np.random.default_rng(3)
    labels = (np.arange(IMAGES) // 2) % 2
    noise = rng.normal(size=IMAGES)
    logits = noise + strength * labels
    probabilities = 1 / (1 + np.exp(-logits))
    folder.mkdir(parents=True)
    config = {"input_size": [96, 64], "weights": "none", "batch_size": 32} | changes
    (folder / "config.json").write_text(json.dumps(config))
    entry = {
        "stage": "tune",
        "train": {"loss": 0.6, "accuracy": 0.7, "auc": 0.8},
        "validation": {"loss": 0.7, "accuracy": 0.6, "auc": 0.55},
        "seconds": {"train": seconds, "validation": 1.0},
        "processor_seconds": {"train": seconds, "validation": 0.0},
    }
    second = {**entry, "validation": {"loss": 0.5, "accuracy": 0.8, "auc": 0.65}}
    history = [{**entry, "epoch": 1}, {**second, "epoch": 2}]
    (folder / "history.json").write_text(json.dumps(history))
    (folder / "network.json").write_text(
        json.dumps({"parameters": 21_800_000, "multiply_adds": 560_000_000})
    )
    area = float(roc_auc_score(labels, logits))
    interval = {"value": area, "low": area - 0.05, "high": area + 0.05}
    validation = {
        "auc": interval,
        "accuracy": interval,
        "log_loss": interval,
        "ece": interval,
        "within_machine": None,
        "breast": {"auc": interval},
    }
    metrics = {"model_version": folder.name, "validation": validation}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with (folder / "validation_scores.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("sha256", "label", "patient", "breast", "logit", "probability"))
        for i in range(IMAGES):
            writer.writerow((f"{i:x}", labels[i], i // 4, i // 2, logits[i], probabilities[i]))
    return folder


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "records"
    write_run(folder / "tuning-baseline", strength=0.5)
    write_run(folder / "tuning-better", strength=1.5, seconds=600.0, batch_size=16)
    write_run(folder / "tuning-alike", strength=0.52, seconds=30.0, drop_rate=0.2)
    (folder / "unfinished").mkdir()
    for name in ("config.json", "history.json"):
        text = (folder / "tuning-baseline" / name).read_text()
        (folder / "unfinished" / name).write_text(text)
    return folder


def test_finished_runs_are_read_by_name(records):
    assert [run.name for run in read_runs(records)] == [
        "tuning-alike",
        "tuning-baseline",
        "tuning-better",
    ]
    assert [run.name for run in read_runs(records, "*-better")] == ["tuning-better"]
    assert read_run(records / "unfinished").scores is None


def test_a_difference_of_areas_has_a_paired_interval(records):
    baseline, better = (read_run(records / f"tuning-{name}") for name in ("baseline", "better"))
    difference = auc_difference(better, baseline)
    areas = [roc_auc_score(run.scores.labels, run.scores.logits) for run in (better, baseline)]
    assert difference.value == pytest.approx(areas[0] - areas[1])
    assert 0 < difference.low < difference.value < difference.high
    reverse = auc_difference(baseline, better)
    assert reverse.value == pytest.approx(-difference.value)
    alone = better.interval("auc")
    assert difference.high - difference.low < 2 * (alone.high - alone.low)
    itself = auc_difference(baseline, baseline)
    assert (itself.low, itself.value, itself.high) == (0, 0, 0)


def test_images_are_paired_by_name_not_by_position(records):
    path = records / "tuning-better" / "validation_scores.csv"
    header, *rows = path.read_text().splitlines()
    baseline, better = (read_run(records / f"tuning-{name}") for name in ("baseline", "better"))
    before = auc_difference(better, baseline)
    path.write_text("\n".join([header, *reversed(rows)]) + "\n")
    assert auc_difference(read_run(path.parent), baseline).value == pytest.approx(before.value)
    path.write_text("\n".join([header, *(f"other{row}" for row in rows)]) + "\n")
    assert auc_difference(read_run(path.parent), baseline) is None


def test_tables_agree_with_the_records(records):
    alike, baseline, better = read_runs(records)
    epochs = tabulate_epochs([baseline])
    row = dict(zip(epochs.header, epochs.rows[0], strict=True))
    assert row["epochs"] == "2"
    assert row["mean validation accuracy"] == "0.700"
    assert row["final validation accuracy"] == "0.800"
    assert row["mean validation loss"] == "0.600"
    assert row["final train loss"] == "0.600"
    costs = tabulate_costs([better], watts=36.0)
    row = dict(zip(costs.header, costs.rows[0], strict=True))
    assert row["parameters / 10⁶"] == "21.80"
    assert row["multiply-adds per image / 10⁹"] == "0.56"
    assert row["processor seconds per epoch"] == "600"
    assert row["Wh, estimated"] == "12.0"  # 1,200 s at 36 W
    assert "36 W" in costs.note
    changes = tabulate_changes(baseline, [alike, better])
    assert [row[0] for row in changes.rows] == ["baseline", "drop rate 0.2", "batch size 16"]
    assert changes.rows[0][2] == "–"
    assert changes.rows[2][2].startswith("+0.")
    table = tabulate_performance([baseline])
    assert table.rows[0][4] == "–"  # the scanners are unknown
    assert "not for its own" not in table.note
    by_folds = replace(baseline, config={**baseline.config, "calibrated_on": ["folds"]})
    assert "Figures of tuning-baseline: out of fold" in tabulate_performance([by_folds]).note
    assert str(table).count("\n") >= 3
    assert table._repr_html_().count("<tr>") == 2


def test_a_cell_cannot_break_the_page():
    from mammoscope.reports.tables import Table

    assert "<script>" not in Table(("<script>",), (("<script>",),), "<script>")._repr_html_()


def test_the_cheapest_of_the_runs_that_are_not_clearly_worse_is_chosen(records):
    alike, baseline, better = read_runs(records)
    assert choose_cheapest([baseline, alike])[0] is alike
    chosen, reason = choose_cheapest([alike, baseline, better])
    assert chosen is better
    assert "clearly higher" in reason
    assert "the only run" in choose_cheapest([alike])[1]


def test_figures_show_the_runs(records):
    alike, baseline, better = read_runs(records)
    panel = draw_epochs_of([baseline, better]).axes[1]
    lines = {line.get_label(): line.get_ydata() for line in panel.lines}
    np.testing.assert_allclose(lines["tuning-baseline"], [0.6, 0.8])
    axes = draw_differences(baseline, [alike, better]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "drop rate 0.2",
        "batch size 16",
    ]
    values = [float(each.lines[0].get_xdata()[0]) for each in axes.containers]
    assert values[1] == pytest.approx(auc_difference(better, baseline).value)
    bars = draw_costs([baseline, better], watts=30.0).axes[1].patches
    assert [bar.get_width() for bar in bars] == pytest.approx([1.0, 10.0])
    assert len(draw_rocs([baseline, better]).axes[0].lines) == 3


def test_net_benefit_agrees_with_its_definition():
    probabilities, labels = np.array([0.9, 0.6, 0.4, 0.1]), np.array([1, 0, 1, 0])
    benefit = NetBenefit(probabilities, labels, np.array([0.2, 0.5]))
    once = np.ones((1, 4))
    # At 0.2: two tumours, one false alarm at 1/4; at 0.5: one tumour, one false alarm at 1.
    np.testing.assert_allclose(benefit(once), [[(2 - 0.25) / 4, 0.0]])
    np.testing.assert_allclose(benefit.of_acting_on_all(once), [[(2 - 0.5) / 4, 0.0]])
    np.testing.assert_allclose(benefit(np.array([[2.0, 0, 0, 2.0]])), [[0.5, 0.5]])


def test_decisions_are_drawn(records):
    scores = read_run(records / "tuning-better").scores
    lines = {x.get_label(): x for x in draw_decision_curve(scores, resamples=20).axes[0].lines}
    assert max(lines["acting on the score"].get_ydata()) > 0.3
    panels = draw_confusion_matrices(scores, {"default": 0.5, "all": 1e-9}).axes
    counts = [[int(text.get_text().split()[0]) for text in axes.texts] for axes in panels]
    assert counts[1] == [0, 120, 0, 120]
    assert sum(counts[0]) == IMAGES
    chosen = choose_examples(scores, each=3)
    for kind, places in chosen.items():
        assert len({scores.patients[place] for place in places}) == 3
        assert {scores.labels[place] for place in places} == {
            1 if kind in ("right, tumour", "wrong, tumour missed") else 0
        }
    assert scores.probabilities[chosen["right, tumour"][0]] == max(
        scores.probabilities[scores.labels == 1]
    )
    assert len(draw_scores(scores, chosen["right, tumour"]).axes[0].texts) == 3


def test_each_part_is_in_the_legend_once():
    rate = {"value": 0.5, "low": 0.4, "high": 0.6}
    point = {"sensitivity": rate, "specificity": rate}
    parts = {"validation": {"a": {}, "b": point, "c": point}, "test": {"a": point, "b": point}}
    (legend,) = draw_operating_points(parts).legends
    assert sorted(text.get_text() for text in legend.get_texts()) == ["test", "validation"]


def test_only_galleries_contain_rasters():
    cells = np.random.default_rng(0).normal(size=(11, 7)).astype(np.float32)
    assert "<image" not in svg(draw_heat_maps({"a": cells, "b": cells}))
    assert "<image" in svg(draw_gallery({"a": np.zeros((40, 30), np.uint8)}))
    count = {"no_tumour": 3, "tumour": 2, "pictures": 5, "patients": 2}
    drawn = draw_counts({"splits": {"train": count, "valid": count}, "merged": {"train": count}})
    assert [bar.get_height() for bar in drawn.axes[0].patches] == [3, 3, 2, 2]


def test_figures_do_not_change_the_global_style(records):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    text = svg(draw_epochs_of(read_runs(records)))
    assert dict(mpl.rcParams) == before
    with mpl.rc_context({"font.size": 30.0, "axes.grid": False}):
        assert svg(draw_epochs_of(read_runs(records))) == text


def test_the_page_needs_no_other_file(records, tmp_path, capsys):
    output = tmp_path / "page.html"
    runs = [str(records / name) for name in ("tuning-baseline", "tuning-better", "unfinished")]
    assert main(["dev", "report", *runs, "--output", str(output)]) == 0
    assert str(output) in capsys.readouterr().out
    page = output.read_text()
    assert page.count("<svg") == page.count("</svg>") == 13
    # xlink:href="#..." alone: within the page.
    assert not re.search(r"""(?:href|src)=["'](?!#)|url\((?!#)|@import|<script|<\?xml""", page)
    for name in ("tuning-baseline", "tuning-better", "unfinished"):
        assert f"<h2>{name}</h2>" in page
    difference = auc_difference(*(read_run(Path(run)) for run in (runs[1], runs[0])))
    assert f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})" in page


def test_the_page_of_an_invalid_run_is_refused(tmp_path, capsys):
    assert main(["dev", "report", str(tmp_path), "--output", str(tmp_path / "page.html")]) == 1
    assert "history.json" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_the_documented_figures_are_drawn_from_the_records(records, tmp_path, capsys):
    model = tmp_path / "model"
    records.rename(tmp_path / "experiments")
    model.mkdir()
    (tmp_path / "experiments").rename(model / "experiments")
    rate = {"value": 0.5, "low": 0.4, "high": 0.6}
    point = {"threshold": 0.4, "sensitivity": rate, "specificity": rate}
    card = {
        "version": "tuning-better",
        "operating_points": {"default": {"threshold": 0.4, "measured": point}},
        "metrics": {"validation": {}},
    }
    (model / "card.json").write_text(json.dumps(card))
    assert (
        main(["dev", "figures", "--model", str(model), "--output", str(tmp_path / "images")]) == 0
    )
    assert {path.stem for path in (tmp_path / "images").iterdir()} == {
        "decision-curve", "operating-points", "reliability", "roc", "tuning-differences",
    }  # fmt: skip
    assert main(["dev", "figures", "--model", str(tmp_path / "nowhere")]) == 1
