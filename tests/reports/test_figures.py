"""Figures agree with the record, and are always the same."""

import csv
import json
import subprocess
import sys
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from mammoscope.errors import RunError, StorageError
from mammoscope.reports.epochs import draw_curves, draw_runtime
from mammoscope.reports.performance import draw_reliability, draw_roc
from mammoscope.reports.record import Scores
from mammoscope.reports.run_figures import write_figures

HISTORY = [
    {
        "epoch": epoch,
        "stage": "head" if epoch == 1 else "tune",
        "seconds": {"train": 100.0 * epoch, "validation": 10.0},
        "train": {"loss": 0.7 / epoch, "accuracy": 0.6, "auc": 0.5 + 0.05 * epoch},
        "validation": {"loss": 0.7, "accuracy": 0.65, "auc": 0.6, "breast_auc": 0.62},
    }
    for epoch in (1, 2, 3)
]


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    logits = rng.normal(-0.5, 1.2, 200)
    probabilities = 1 / (1 + np.exp(-logits))
    labels = (rng.random(200) < probabilities).astype(int)
    patients = tuple(str(i // 3) for i in range(200))
    return Scores(patients, patients, patients, labels, logits, probabilities)


@pytest.fixture
def run(tmp_path, scores):
    (tmp_path / "history.json").write_text(json.dumps(HISTORY))
    with (tmp_path / "validation_scores.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "label", "patient", "breast", "logit", "probability"))
        columns = (scores.logits, scores.probabilities, scores.labels, scores.patients)
        for logit, probability, label, patient in zip(*columns, strict=True):
            writer.writerow(("a.png", label, patient, patient, logit, probability))
    return tmp_path


def test_all_figures_are_svg(run):
    paths = write_figures(run)
    assert [path.name for path in paths] == [
        "curves.svg",
        "runtime.svg",
        "reliability.svg",
        "roc.svg",
    ]
    for path in paths:
        root = ET.fromstring(path.read_bytes())  # noqa: S314 - our own file
        assert root.tag.endswith("svg")
        assert not list(path.parent.glob(".*"))


def test_same_record_same_bytes(run):
    first = [path.read_bytes() for path in write_figures(run)]
    assert [path.read_bytes() for path in write_figures(run)] == first
    assert not any(b"<dc:date>" in figure for figure in first)


def test_without_scores_the_history_is_drawn(run):
    (run / "validation_scores.csv").unlink()
    assert [path.name for path in write_figures(run)] == ["curves.svg", "runtime.svg"]


def test_curves_show_the_history():
    panels = draw_curves(HISTORY).axes
    assert [axes.get_title() for axes in panels] == ["Loss (log-loss)", "Accuracy", "AUC"]
    lines = {line.get_label(): line.get_ydata() for line in panels[2].lines}
    np.testing.assert_allclose(lines["train"], [0.55, 0.6, 0.65])
    np.testing.assert_allclose(lines["validation"], [0.6] * 3)
    np.testing.assert_allclose(lines["validation, by breast"], [0.62] * 3)
    assert "validation, within scanners" not in lines


def test_one_epoch_is_enough():
    assert len(draw_curves(HISTORY[:1]).axes) == 3
    left, right = draw_curves([{**HISTORY[0], "epoch": 0}]).axes[0].get_xlim()
    assert left < 0 < right
    assert draw_runtime(HISTORY[:1]).axes[0].get_title() == "Runtime per epoch; 2 min in total"


def test_runtime_stacks_training_and_validation():
    axes = draw_runtime(HISTORY).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [100, 200, 300, 10, 10, 10]
    assert [bar.get_y() for bar in axes.patches[3:]] == [100, 200, 300]


def test_reliability_shows_observed_shares(scores):
    probabilities, labels = scores.probabilities, scores.labels
    upper, lower = draw_reliability(scores, resamples=50).axes
    points = upper.containers[0].lines[0]
    order = np.argsort(probabilities)
    expected = labels[order].reshape(10, 20).mean(axis=1)
    np.testing.assert_allclose(np.asarray(points.get_ydata(), float), expected)
    np.testing.assert_allclose(
        np.asarray(points.get_xdata(), float), probabilities[order].reshape(10, 20).mean(axis=1)
    )
    assert sum(bar.get_height() for bar in lower.containers[-1]) + sum(
        bar.get_height() for bar in lower.containers[0]
    ) == pytest.approx(200)


def test_roc_curve_lies_in_its_band(scores):
    axes = draw_roc(scores, resamples=200).axes[0]
    line = next(each for each in axes.lines if each.get_label() == "held-out patients, by image")
    false_rate, true_rate, _ = roc_curve(scores.labels, scores.logits, drop_intermediate=False)
    np.testing.assert_allclose(line.get_xdata(), false_rate)
    np.testing.assert_allclose(line.get_ydata(), true_rate)
    band = axes.collections[0].get_paths()[0].vertices
    middle = band[np.isclose(band[:, 0], 0.5)][:, 1]
    assert middle.min() < np.interp(0.5, false_rate, true_rate) < middle.max()


def test_constant_scores_can_be_drawn():
    names = tuple("abcd")
    labels = np.array([0, 1, 0, 1])
    constant = Scores(names, names, names, labels, np.zeros(4), np.full(4, 0.5))
    assert draw_roc(constant, resamples=20).axes
    assert draw_reliability(constant, resamples=20).axes


@pytest.mark.parametrize("text", [None, "", "{}", "[]", "[{}]", "[1]"])
def test_a_damaged_history_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "history.json").write_text(text)
    with pytest.raises(RunError):
        write_figures(tmp_path)
    assert not (tmp_path / "figures" / "curves.svg").exists()


@pytest.mark.parametrize(
    "text", ["", "label,logit\n1,2\n", "label,logit,probability,patient\nx,,,\n"]
)
def test_damaged_scores_are_refused(run, text):
    (run / "validation_scores.csv").write_text(text)
    with pytest.raises(RunError):
        write_figures(run)


def test_an_unwritable_folder_is_reported(run):
    (run / "figures").write_text("a file in the way")
    with pytest.raises(StorageError):
        write_figures(run)


def test_no_global_plotting_state():
    code = (
        "import sys, matplotlib as m; before = dict(m.rcParams); import "
        "mammoscope.reports.images, mammoscope.reports.page, mammoscope.reports.run_figures; "
        "assert 'matplotlib.pyplot' not in sys.modules; assert dict(m.rcParams) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
