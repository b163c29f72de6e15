"""The service and `evaluate` give the same results for the same images."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

ROOT = Path(__file__).resolve().parents[2]
IMAGES_A_LABEL = 8
"""Each image's probability is compared; the whole split would take minutes."""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def test_auc_over_http_equals_evaluate_to_four_digits(
    real_dataset: Path, released_service, tmp_path: Path
):
    data, report = tmp_path / "data", tmp_path / "evaluation.json"
    for label in ("0", "1"):
        (data / "test" / label).mkdir(parents=True)
        for path in sorted((real_dataset / "test" / label).iterdir())[:IMAGES_A_LABEL]:
            (data / "test" / label / path.name).symlink_to(path)
    shutil.copy(real_dataset / "metadata.csv", data)
    scores = tmp_path / "scores.csv"
    evaluated = run(
        "-m", "mammoscope", "evaluate", "--data", data, "--json", report, "--scores", scores
    )
    assert evaluated.returncode == 0, evaluated.stderr
    expected = json.loads(report.read_text())
    asked = run("test.py", data / "test", "--server", released_service.address, "--json")
    assert asked.returncode == 0, asked.stdout + asked.stderr
    answers = [json.loads(line) for line in asked.stdout.splitlines()]
    answered = [answer for answer in answers if "probability" in answer]
    assert len(answered) == expected["images"]
    assert len(answers) - len(answered) == expected["refused"]["count"]
    with scores.open(newline="") as stream:
        evaluated_as = {Path(row["file"]).name: float(row["probability"])
                        for row in csv.DictReader(stream)}  # fmt: skip
    assert {Path(each["picture"]).name: each["probability"] for each in answered} == pytest.approx(
        evaluated_as, abs=5e-5
    )
    labels = [int(Path(answer["picture"]).parent.name) for answer in answered]
    auc = roc_auc_score(labels, [answer["probability"] for answer in answered])
    assert auc == pytest.approx(expected["auc"]["value"], abs=5e-5)
    versions = {answer["model_version"] for answer in answered}
    assert versions == {expected["model_version"]}
