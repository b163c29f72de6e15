"""Two runs on the same patients: paired differences, fold by fold."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mammoscope.__main__ import main
from mammoscope.data.dataset import read_dataset
from mammoscope.evaluation.metrics.calibration_fit import fit_platt, fit_platt_with_age
from mammoscope.evaluation.metrics.intervals import Interval
from mammoscope.evaluation.metrics.operating import measure_points
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.evaluation.out_of_fold import (
    FoldScores,
    add_age,
    average_runs,
    calibrate_folds,
    folds_in_common,
    read_fold_scores,
)
from mammoscope.evaluation.paired import Groups, Paired, compare_folds
from mammoscope.model.artifact.folder import sha256_of


def scores(seed: int, skill: float, patients: int = 60) -> Scored:
    """Four images per patient, two per breast; labels are the same for all seeds."""
    labels = np.random.default_rng(0).integers(0, 2, (patients, 2)).repeat(2, axis=1).ravel()
    noise = np.random.default_rng(seed).normal(size=labels.size)
    return Scored.of(
        labels,
        skill * labels + noise,
        patients=np.arange(patients).repeat(4).tolist(),
        breasts=np.arange(2 * patients).repeat(2).tolist(),
    )


def compared(
    pairs: list[tuple[Scored, Scored]], groups: Groups, resamples: int = 200
) -> dict[str, Paired]:
    sides = [[FoldScores("a", (), scored) for scored in side] for side in zip(*pairs, strict=True)]
    first, second = ([side] for side in sides)
    return compare_folds(first, second, [groups] * len(pairs), resamples=resamples)


HALF = np.arange(240) % 8 < 4
HALVES = Groups({"a": HALF, "b": ~HALF}, {"some": HALF})


def test_aucs_are_means_over_folds_and_machines():
    pairs = [(scores(1, 0.3), scores(2, 1.0)), (scores(3, 0.3), scores(4, 1.0))]
    found = compared(pairs, HALVES)
    image = [np.mean([roc_auc_score(p[i].labels, p[i].logits) for p in pairs]) for i in (0, 1)]
    assert (found["image"].first.value, found["image"].second.value) == pytest.approx(image)
    difference = found["image"].difference
    assert difference.value == pytest.approx(image[1] - image[0])
    breasts = [pair[1].by_breast() for pair in pairs]
    expected = np.mean([roc_auc_score(b.labels, b.logits) for b in breasts])
    assert found["breast"].second.value == pytest.approx(expected)
    inside = [
        roc_auc_score(p[1].labels[mask], p[1].logits[mask]) for p in pairs for mask in (HALF, ~HALF)
    ]
    assert found["within machines"].second.value == pytest.approx(np.mean(inside))
    assert found["some"].second.value == pytest.approx(np.mean(inside[::2]))
    assert 0 < difference.low < difference.value < difference.high
    assert found["image"].second.low < image[1] < found["image"].second.high


def test_scales_of_folds_have_no_effect_and_equal_runs_have_no_difference():
    first, second = scores(1, 0.5), scores(2, 0.5)
    moved = Scored(second.labels, 7 * second.logits + 30, second.patients, second.breasts)
    same = compared([(first, second), (first, first)], HALVES)
    assert compared([(first, moved), (first, first)], HALVES) == same
    for pair in compared([(first, first)], HALVES).values():
        assert (pair.difference, pair.error) == (Interval(0, 0, 0), 0)


def test_images_of_a_patient_are_resampled_together():
    one, other = scores(1, 0.8), scores(2, 0.2)
    apart = compared([(one, other)], HALVES, 2000)["image"].error

    def doubled(scored: Scored) -> Scored:
        arrays = (scored.labels, scored.logits, scored.patients, scored.breasts)
        return Scored(*(np.concatenate([each, each]) for each in arrays))

    again = compared([(doubled(one), doubled(other))], Groups({}, {}), 2000)
    assert again["image"].error == pytest.approx(apart, rel=0.1)
    assert set(again) == {"image", "breast"}


def test_seeds_are_averaged_and_widen_the_interval():
    base, seeds = scores(0, 0.5), [scores(seed, skill) for seed, skill in ((1, 0.2), (2, 1.2))]
    fold = [FoldScores("a", (), base)]
    runs = [[FoldScores("a", (), each)] for each in seeds]
    alone = [compare_folds([fold], [run], [HALVES])["image"] for run in runs]
    both = compare_folds([fold], runs, [HALVES])["image"]
    values = [each.second.value for each in alone]
    assert both.second.value == pytest.approx(np.mean(values))
    assert both.difference.value == pytest.approx(np.mean(values) - both.first.value)
    # The mean of two varies by patient, and by half the variance of a seed: d squared by 4.
    patients = np.mean([each.error**2 for each in alone])
    noise = (values[1] - values[0]) ** 2 / 4
    assert both.error == pytest.approx(np.sqrt(patients + noise), rel=0.05)


def test_calibration_and_thresholds_come_from_the_other_folds():
    run = [FoldScores(str(seed), (), scores(seed, 1.0)) for seed in (1, 2, 3)]
    calibrated = calibrate_folds(run)
    others = [np.concatenate([getattr(f.scored, n) for f in run[1:]]) for n in ("logits", "labels")]
    expected = fit_platt(*others)
    assert calibrated[0].scored.calibration == expected
    moved = [FoldScores("1", (), scores(9, 0.0)), *run[1:]]
    again = calibrate_folds(moved)
    assert again[0].thresholds == calibrated[0].thresholds
    assert again[1].thresholds != calibrated[1].thresholds
    found = compare_folds([calibrated], [again], [HALVES] * 3, resamples=50)
    points = [measure_points(fold.thresholds, fold.scored) for fold in calibrated]
    for rate in ("sensitivity", "specificity"):
        value = np.mean([getattr(each["high_sensitivity"], rate).value for each in points])
        assert found[f"high_sensitivity/{rate}"].first.value == pytest.approx(value)
    error = found["calibration error"]
    assert 0 < error.first.value < error.second.value


def write(record: Path, dataset: Path, seed: int, skill: float = 3.0) -> None:
    """A record like that of a run on phantoms."""
    record.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    with (record / "validation_scores.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("sha256", "label", "patient", "breast", "logit", "probability"))
        paths = sorted(dataset.glob("*/[01]/*"))
        rng.shuffle(paths)
        for path in paths:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            patient = path.name.split("_")[0]
            logit = rng.normal() + skill * (path.parent.name == "1")
            writer.writerow((digest, path.parent.name, patient, patient, logit, 0.5))


def test_the_command_compares_common_folds(phantom_dataset, tmp_path, capsys):
    for name, folds in (("a", (1, 2)), ("b", (2, 3))):
        for number in folds:
            write(tmp_path / name / f"fold-{number}", phantom_dataset, seed=number)
    command = ["dev", "compare", str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "fold-2: b less a"
    assert [line.split()[:1] for line in lines[2:]] == [["image"], ["breast"]]
    assert lines[2].split()[3:5] == ["+0.000", "0.000"]
    assert main([*command, "--data", str(phantom_dataset)]) == 0
    assert any(line.startswith("invasive") for line in capsys.readouterr().out.splitlines())
    assert main([*command, "--folds", "3"]) == 1
    assert "no scores of the same fold" in capsys.readouterr().err
    assert main([*command, "--age"]) == 2
    assert main([*command, "--age", "--data", str(phantom_dataset)]) == 1
    assert "there is only one" in capsys.readouterr().err


def test_a_mean_and_an_age_are_calibrated_by_the_other_folds(phantom_dataset, tmp_path, capsys):
    for name, skill in (("a", 0.5), ("b", 0.5)):
        for number in (1, 2):
            seed = number + 10 * (name == "b")
            write(tmp_path / name / f"fold-{number}", phantom_dataset, seed, skill)
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    first, second = read_fold_scores(tmp_path / "a"), read_fold_scores(tmp_path / "b")
    means = average_runs(folds_in_common([first, second]))
    others = [
        fit_platt(run[1].scored.logits, run[1].scored.labels).log_odds(run[0].scored.logits)
        for run in (first, second)
    ]
    assert means[0].scored.logits == pytest.approx(np.mean(others, axis=0))
    assert main(["dev", "compare", a, f"{a}+{b}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "fold-1, fold-2: a+b less a"
    area = np.mean([roc_auc_score(f.scored.labels, f.scored.logits) for f in means])
    assert lines[2].split()[2] == f"{area:.3f}"
    assert main(["dev", "compare", a, b, "--age", "--data", str(phantom_dataset)]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("both with age")
    facts = {sha256_of(e.path): e.facts for e in read_dataset(phantom_dataset).examples}
    ages = [np.array([facts[digest].age for digest in fold.digests]) for fold in first]
    fitted = fit_platt_with_age(first[1].scored.logits, ages[1], first[1].scored.labels)
    assert add_age(first, facts)[0].scored.logits == pytest.approx(
        fitted.log_odds(first[0].scored.logits, ages[0])
    )


def test_the_command_averages_seeds_and_writes_json(phantom_dataset, tmp_path, capsys):
    for name, skill in (("a", 0.5), ("b", 0.5), ("c", 1.5)):
        for number in (1, 2):
            write(tmp_path / name / f"fold-{number}", phantom_dataset, number, skill)
    a, b, c = (str(tmp_path / name) for name in "abc")
    report = tmp_path / "report.json"
    assert main(["dev", "compare", a, f"{b},{c}", "--json", str(report)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "fold-1, fold-2: b,c less a"
    content = json.loads(report.read_text())
    assert content["folds"] == ["fold-1", "fold-2"]
    assert (content["first"], content["second"], content["with_age"]) == ("a", "b,c", False)
    image = content["measures"]["image"]
    values = [image[side]["value"] for side in ("first", "second")]
    assert printed[2].split()[1:3] == [f"{value:.3f}" for value in values]
    alone = [read_fold_scores(Path(run)) for run in (b, c)]
    areas = [[roc_auc_score(f.scored.labels, f.scored.logits) for f in run] for run in alone]
    assert image["second"]["value"] == pytest.approx(np.mean(areas))
    assert main(["dev", "compare", a, b, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["measures"]["image"]["difference"]["value"] == 0


def test_runs_on_different_images_are_refused(phantom_dataset, tmp_path, capsys):
    for name in ("a", "b"):
        write(tmp_path / name / "fold-1", phantom_dataset, seed=1)
    path = tmp_path / "b" / "fold-1" / "validation_scores.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    assert main(["dev", "compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "different images in fold-1" in capsys.readouterr().err
