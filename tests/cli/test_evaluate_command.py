"""The commands ``evaluate`` and ``predict``, with a transparent network."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mammoscope.__main__ import main
from mammoscope.cli.evaluate import ScoresFile
from mammoscope.cli.output import shown
from mammoscope.imaging.network_input import NetworkInput
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.model.artifact.card import Card, CardOperatingPoint
from mammoscope.model.calibration import Calibration
from mammoscope.model.engine import Scores
from mammoscope.model.prediction import Prediction
from tests.fake_engine import NetworkStub

CARD = Card(
    version="1.2.3",
    sha256="0" * 64,
    input_size=(96, 64),
    calibration=Calibration(slope=2.0, intercept=0.5),
    operating_points={
        "default": CardOperatingPoint(threshold=0.5),
        "high_sensitivity": CardOperatingPoint(threshold=1e-9),
    },
)

FULL_DISK = Path("/dev/full")


class BrightnessEngine(NetworkStub):
    """Scores an image by its mean brightness."""

    card = CARD

    def infer(self, pixels, /):
        logits = pixels.mean(axis=(1, 2)).astype(np.float32) / 32 - 2
        return Scores(logits, logits[:, None, None])

    def predict(self, mammogram, *, operating_point="default", age=None):
        preprocessed = (
            mammogram.preprocessed
            if isinstance(mammogram, NetworkInput)
            else preprocess(mammogram, CARD.input_size)
        )
        scores = self.infer(preprocessed.pixels[None])
        logit = float(scores.logits[0])
        return Prediction(
            probability=CARD.calibration.probability(logit),
            logit=logit,
            threshold=CARD.threshold(operating_point),
            model_version=CARD.version,
            warnings=("A warning.",) if mammogram.source.bits == 16 else (),
            age_used=False,
            preprocessed=preprocessed,
            logit_map=scores.logit_maps[0],
        )


@pytest.fixture(autouse=True)
def engine(monkeypatch):
    monkeypatch.setattr("mammoscope.cli.evaluate.load_artifact", lambda path: path)
    monkeypatch.setattr("mammoscope.cli.predict.load_artifact", lambda path: path)
    monkeypatch.setattr("mammoscope.model.engine.load_engine", lambda artifact: BrightnessEngine())


@pytest.fixture
def folder(tmp_path, phantom_dataset):
    copy = tmp_path / "data"
    shutil.copytree(phantom_dataset, copy)
    return copy


@pytest.fixture
def images(tmp_path, phantom_folder):
    copy = tmp_path / "pictures"
    shutil.copytree(phantom_folder, copy / "below" / "deep")
    for path in sorted((copy / "below" / "deep").iterdir())[:2]:
        shutil.move(path, copy)
    return copy


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments)])


def predict(*arguments):
    return main(["predict", *map(str, arguments)])


class TestEvaluate:
    def test_figures_agree_with_the_scores(self, folder, tmp_path, capsys):
        report, scores = tmp_path / "out.json", tmp_path / "scores.csv"
        status = evaluate(
            "--data", folder, "--split", "train", "--json", report, "--scores", scores
        )
        assert status == 0
        found = json.loads(report.read_text())
        with scores.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert list(rows[0]) == ["file", "label", "patient", "logit", "probability"]
        labels = [int(row["label"]) for row in rows]
        logits = [float(row["logit"]) for row in rows]
        assert found["auc"]["value"] == pytest.approx(roc_auc_score(labels, logits))
        assert found["images"] == len(rows) == len(list((folder / "train").rglob("*.jpg")))
        assert found["positives"] == sum(labels)
        assert found["patients"] == len({row["patient"] for row in rows})
        assert {folder / row["file"] for row in rows} == set((folder / "train").rglob("*.jpg"))
        for row in rows:
            expected = CARD.calibration.probability(float(row["logit"]))
            assert float(row["probability"]) == pytest.approx(expected)
        shown = capsys.readouterr().out
        assert f"{found['auc']['value']:.3f}" in shown
        assert "Split train" in shown

    def test_the_default_split_is_test(self, folder, tmp_path):
        report = tmp_path / "out.json"
        evaluate("--data", folder, "--split", "all", "--json", report)
        everything = json.loads(report.read_text())
        assert everything["split"] == "all"
        assert everything["images"] == len(list(folder.rglob("*.jpg")))
        assert evaluate("--data", folder, "--json", report) == 0
        found = json.loads(report.read_text())
        assert found["split"] == "test"
        assert found["images"] == len(list((folder / "test").rglob("*.jpg")))

    def test_a_runs_own_test_part_is_evaluated(self, folder, tmp_path, capsys):
        run, report = tmp_path / "run", tmp_path / "out.json"
        run.mkdir()
        chosen = sorted((folder / "train").rglob("*.jpg"))
        lines = [f"{path.name},0,1,{'test' if i % 2 else 'train'}" for i, path in enumerate(chosen)]
        (run / "split.csv").write_text("\n".join(["file,label,patient_id,part", *lines]))
        assert evaluate("--data", folder, "--run", run, "--json", report) == 0
        assert json.loads(report.read_text())["images"] == len(chosen) // 2
        assert json.loads(report.read_text())["split"] == "test"
        assert "has learned from" not in capsys.readouterr().out
        assert evaluate("--data", folder, "--run", run, "--split", "test") == 2
        (run / "split.csv").write_text("file,patient_id,part\nelsewhere.jpg,1,test\n")
        assert evaluate("--data", folder, "--run", run) == 1
        assert "no images of the training run" in capsys.readouterr().err
        assert evaluate("--data", folder, "--run", tmp_path / "missing") == 1
        assert "no readable split.csv" in capsys.readouterr().err

    def test_a_model_of_a_leaky_split_is_called_leaky(self, folder, tmp_path, capsys, monkeypatch):
        leaky = CARD.model_copy(update={"training": {"data": {"leaky": True}}})
        monkeypatch.setattr(BrightnessEngine, "card", leaky)
        report = tmp_path / "out.json"
        assert evaluate("--data", folder, "--json", report) == 0
        assert json.loads(report.read_text())["leaky_training"] is True
        assert "LEAKY" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("split", "is_learned"), [("train", True), ("all", True), ("test", False)]
    )
    def test_splits_that_training_learns_from_are_named(self, folder, capsys, split, is_learned):
        assert evaluate("--data", folder, "--split", split) == 0
        assert ("has learned from its splits train and valid" in capsys.readouterr().out) is (
            is_learned
        )

    def test_a_split_must_be_chosen_if_there_is_no_test(self, folder, capsys):
        shutil.rmtree(folder / "test")
        assert evaluate("--data", folder) == 2
        assert "choose --split from train, valid, all" in capsys.readouterr().err

    def test_a_folder_without_splits_needs_no_split(self, folder, tmp_path, capsys):
        plain = folder / "train"
        report = tmp_path / "out.json"
        assert evaluate("--data", plain, "--json", report) == 0
        assert json.loads(report.read_text())["split"] is None
        assert evaluate("--data", plain, "--split", "test") == 2
        assert "no splits" in capsys.readouterr().err

    def test_unknown_patients_are_reported(self, folder, tmp_path, capsys):
        plain = tmp_path / "plain"
        for index, path in enumerate(sorted((folder / "train").rglob("*.jpg"))):
            target = plain / path.parent.name / f"image{index}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        assert evaluate("--data", plain) == 0
        out = capsys.readouterr().out
        assert "leakage cannot be excluded" in out
        assert "because patients are unknown" in out

    def test_a_bad_image_is_listed_and_left_out(self, folder, tmp_path, capsys):
        report = tmp_path / "out.json"
        bad = min((folder / "train" / "0").glob("*.jpg"))
        bad.write_bytes(bad.read_bytes()[:200])
        assert evaluate("--data", folder, "--split", "train", "--json", report) == 0
        captured = capsys.readouterr()
        assert f"refused {bad.relative_to(folder)}" in captured.err
        assert "Images refused and left out: 1: corrupt_image (1)" in captured.out
        assert json.loads(report.read_text())["refused"]["count"] == 1

    def test_a_single_class_is_refused(self, folder, capsys):
        shutil.rmtree(folder / "train" / "1")
        assert evaluate("--data", folder, "--split", "train") == 1
        assert "labels 0 and 1" in capsys.readouterr().err

    def test_reasons_are_printed_if_no_image_is_readable(self, folder, capsys):
        for path in (folder / "train").rglob("*.jpg"):
            path.write_text("not an image")
        assert evaluate("--data", folder, "--split", "train") == 1
        err = capsys.readouterr().err
        assert err.count("refused ") == len(list((folder / "train").rglob("*.jpg")))
        assert "nothing to evaluate" in err

    @pytest.mark.parametrize("content", ["missing", "empty"])
    def test_missing_data_are_refused(self, tmp_path, capsys, content):
        if content == "empty":
            (tmp_path / "empty").mkdir()
        assert evaluate("--data", tmp_path / content) == 1
        assert "Traceback" not in capsys.readouterr().err

    @pytest.mark.skipif(not FULL_DISK.exists(), reason="no /dev/full on this system")
    @pytest.mark.parametrize("option", ["--json", "--scores"])
    def test_a_full_disk_does_not_lose_the_figures(self, folder, capsys, option):
        assert evaluate("--data", folder, "--split", "train", option, FULL_DISK) == 1
        captured = capsys.readouterr()
        assert "AUC" in captured.out
        assert "no space" in captured.err

    def test_a_missing_folder_is_reported_early(self, folder, tmp_path, capsys):
        assert evaluate("--data", folder, "--json", tmp_path / "no" / "out.json") == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "does not exist" in captured.err

    def test_a_failed_write_keeps_the_existing_report(self, folder, tmp_path, monkeypatch):
        report = tmp_path / "out.json"
        report.write_text("earlier")
        monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        assert evaluate("--data", folder, "--split", "train", "--json", report) == 1
        assert report.read_text() == "earlier"
        assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []

    @pytest.mark.parametrize("fault", ["interrupted", "full disk"])
    def test_a_failed_evaluation_keeps_the_existing_scores(
        self, folder, tmp_path, monkeypatch, fault
    ):
        scores = tmp_path / "scores.csv"
        scores.write_text("earlier")

        def interrupted(*_):
            raise KeyboardInterrupt

        def full(*_):
            raise OSError(28, "full")

        if fault == "interrupted":
            monkeypatch.setattr(ScoresFile, "add", interrupted)
            assert evaluate("--data", folder, "--split", "train", "--scores", scores) != 0
        else:
            monkeypatch.setattr(Path, "replace", full)
            assert evaluate("--data", folder, "--split", "train", "--scores", scores) == 1
        assert scores.read_text() == "earlier"
        assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []

    def test_usage(self, capsys):
        for arguments in ([], ["--data", "x", "--split", "no"]):
            with pytest.raises(SystemExit) as stopped:
                evaluate(*arguments)
            assert stopped.value.code == 2
        assert "usage" in capsys.readouterr().err


class TestPredict:
    def test_files_and_folders(self, images, tmp_path, capsys):
        lines = tmp_path / "out.jsonl"
        assert predict(images, "--json", lines) == 0
        found = [json.loads(line) for line in lines.read_text().splitlines()]
        assert {each["path"] for each in found} == {
            str(path) for path in images.rglob("*") if path.is_file()
        }
        for each in found:
            assert 0 <= each["probability"] <= 1
            assert each["label"] in ("tumour", "no tumour")
            assert isinstance(each["warnings"], list)
            assert each["model_version"] == "1.2.3"
        out = capsys.readouterr().out
        assert len(out.splitlines()) == 1 + len(found)
        assert "A warning." in out

    def test_files_are_sorted_by_name(self, images, tmp_path):
        lines = tmp_path / "out.jsonl"
        files = sorted((path for path in images.rglob("*") if path.is_file()), reverse=True)
        assert predict(*files, "--json", lines) == 0
        found = [json.loads(line)["path"] for line in lines.read_text().splitlines()]
        assert found == [str(path) for path in files]

    def test_shards_cover_every_file_once(self, images, tmp_path):
        found = []
        for index in range(3):
            lines = tmp_path / f"{index}.jsonl"
            assert predict(images, "--json", lines, "--shard", f"{index}/3") == 0
            found += [json.loads(line)["path"] for line in lines.read_text().splitlines()]
        assert sorted(found) == sorted(str(p) for p in images.rglob("*") if p.is_file())

    @pytest.mark.parametrize("shard", ["4/4", "0/0", "-1/4", "1", "a/b", "1/2/3"])
    def test_an_invalid_shard_is_refused(self, images, capsys, shard):
        assert predict(images, f"--shard={shard}") == 2
        assert "part" in capsys.readouterr().err

    def test_studies_cannot_be_sharded(self, images, capsys):
        assert predict(images, "--study", "--shard", "0/2") == 2
        assert "--shard" in capsys.readouterr().err

    def test_json_to_standard_output(self, images, capsys):
        assert predict(images, "--json", "-") == 0
        lines = capsys.readouterr().out.splitlines()
        assert all(json.loads(line)["probability"] >= 0 for line in lines)

    def test_label_at_the_operating_point(self, images, capsys):
        assert predict(images, "--json", "-", "--operating-point", "high_sensitivity") == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {each["label"] for each in found} == {"tumour"}
        assert predict(images, "--operating-point", "high_specificity") == 1
        assert "no such operating point" in capsys.readouterr().err

    def test_refused_images_are_reported_and_the_others_predicted(self, images, tmp_path, capsys):
        (images / "text.jpg").write_text("not an image")
        (images / "empty.png").touch()
        whole = next(path for path in images.iterdir() if path.is_file())
        (images / "cut.png").write_bytes(whole.read_bytes()[:500])
        lines = tmp_path / "out.jsonl"
        assert predict(images, tmp_path / "missing.png", "--json", lines) == 1
        found = {
            Path(each["path"]).name: each
            for each in map(json.loads, lines.read_text().splitlines())
        }
        assert len(found) == 10
        errors = {name: each["error"]["code"] for name, each in found.items() if "error" in each}
        assert errors == {
            "text.jpg": "unsupported_image",
            "empty.png": "empty_image",
            "cut.png": "corrupt_image",
            "missing.png": "unreadable_file",
        }
        assert "[corrupt_image]" in capsys.readouterr().out

    def test_hidden_and_other_files_are_skipped(self, images, capsys):
        (images / ".hidden.png").write_text("x")
        (images / "notes.txt").write_text("x")
        (images / ".cache").mkdir()
        (images / ".cache" / "a.png").write_text("x")
        assert predict(images) == 0
        out = capsys.readouterr().out
        assert ".hidden.png" not in out
        assert len(out.splitlines()) == 7

    def test_an_unreadable_path_is_reported(self, images, capsys):
        assert predict(images / ("a" * 300 + ".png"), images, "--json", "-") == 1
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert found[0]["error"]["code"] == "unreadable_file"
        assert len(found) == 7

    def test_an_empty_folder_is_reported(self, tmp_path, capsys):
        assert predict(tmp_path) == 1
        assert "has no image" in capsys.readouterr().out

    def test_an_unreadable_folder_is_reported(self, images, capsys, monkeypatch):
        real = os.scandir

        def scandir(path):
            if Path(path).name == "deep":
                raise PermissionError(13, "no", str(path))
            return real(path)

        monkeypatch.setattr("os.scandir", scandir)
        assert predict(images) == 1
        out = capsys.readouterr().out
        assert "cannot be listed" in out
        assert out.count("A warning.") + out.count("tumour") >= 2

    def test_existing_results_are_not_lost(self, images, tmp_path, capsys):
        lines = tmp_path / "out.jsonl"
        assert predict(images, "--json", lines) == 0
        earlier = lines.read_bytes()
        assert predict(images, "--json", lines) == 1
        assert "continue it with --resume" in capsys.readouterr().err
        assert predict(images, "--study", "--json", lines) == 1
        assert "name another file" in capsys.readouterr().err
        assert lines.read_bytes() == earlier
        lines.write_bytes(b"")  # as created by `touch` and `mktemp`
        assert predict(images, "--json", lines) == 0
        assert lines.read_bytes() == earlier

    def test_resuming_gives_the_same_results_as_an_uninterrupted_command(
        self, images, tmp_path, capsys, caplog
    ):
        (images / "text.jpg").write_text("not an image")
        lines = tmp_path / "out.jsonl"
        assert predict(images, "--json", lines, "--resume") == 1
        whole = lines.read_bytes()
        assert whole.count(b"\n") == 7
        lines.write_bytes(whole[: len(whole) // 2])
        capsys.readouterr()
        assert predict(images, "--json", lines, "--resume") == 1
        assert lines.read_bytes() == whole
        assert 1 < capsys.readouterr().out.count("\n") < 7
        caplog.clear()
        assert predict(images, "--json", lines, "--resume") == 1  # the refused one still counts
        assert caplog.messages[-1] == "No image is left to predict."
        assert lines.read_bytes() == whole
        status = predict(
            images, "--json", lines, "--resume", "--operating-point", "high_sensitivity"
        )
        assert status == 1
        assert "another model or operating point" in capsys.readouterr().err
        assert lines.read_bytes() == whole

    def test_resume_needs_a_file(self, images, tmp_path, capsys):
        study = ["--study", "--json", tmp_path / "study.json"]
        for options in ([], ["--json", "-"], study):
            assert predict(images, "--resume", *options) == 2
            assert "--resume needs --json FILE" in capsys.readouterr().err

    @pytest.mark.skipif(not FULL_DISK.exists(), reason="no /dev/full on this system")
    def test_a_full_disk(self, images, capsys):
        assert predict(images, "--json", FULL_DISK) == 1
        assert "no space" in capsys.readouterr().err

    def test_an_unwritable_output_is_refused(self, images, tmp_path, capsys):
        assert predict(images, "--json", tmp_path / "no" / "out.jsonl") == 1
        assert "cannot be written" in capsys.readouterr().err

    def test_the_old_name_still_works(self, images, capsys):
        assert predict(images, "--json", "-") == 0
        answered = capsys.readouterr()
        assert main(["score", str(images), "--json", "-"]) == 0
        deprecated = capsys.readouterr()
        assert deprecated.out == answered.out
        assert answered.err == ""
        assert "deprecated" in deprecated.err
        with pytest.raises(SystemExit):
            main(["--help"])
        listed = capsys.readouterr().out
        assert "\n    predict " in listed
        assert "\n    score " not in listed

    def test_usage(self):
        with pytest.raises(SystemExit) as stopped:
            predict()
        assert stopped.value.code == 2


SLOW = """
import sys, time
import mammoscope.cli.predict as command, mammoscope.model.engine as engine
from mammoscope.__main__ import main
from mammoscope.model.artifact.card import Card
from tests.fake_engine import FakeEngine

class Slow(FakeEngine):
    card = Card(version="1", sha256="0" * 64, input_size=(96, 72))

    def predict(self, mammogram, **options):
        time.sleep(0.2)
        return super().predict(mammogram, **options)

command.load_artifact = lambda path: path
engine.load_engine = lambda artifact: Slow()
sys.exit(main(sys.argv[1:]))
"""


class TestInterruption:
    @pytest.fixture
    def start(self, images):
        image = next(path for path in images.iterdir() if path.is_file())

        def begin(*options):
            return subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(SLOW), "predict", *[image] * 200, *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

        return begin

    def test_ctrl_c_keeps_finished_results(self, start, tmp_path):
        lines = tmp_path / "out.jsonl"
        with start("--json", lines) as process:
            for _ in range(3):
                process.stdout.readline()
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in errors
        kept = lines.read_text()
        assert kept.endswith("\n")
        found = [json.loads(line) for line in kept.splitlines()]
        assert 2 <= len(found) < 200
        assert len(found) - (2 + len(rest.splitlines())) in (0, 1)

    def test_a_killed_command_is_resumed(self, images, tmp_path):
        """After kill -9, finished images are not predicted again, and none is missing."""
        folder = tmp_path / "many"
        folder.mkdir()
        image = next(path for path in images.iterdir() if path.is_file())
        for number in range(40):
            shutil.copy(image, folder / f"{number:02}{image.suffix}")
        lines = tmp_path / "out.jsonl"
        command = [sys.executable, "-c", textwrap.dedent(SLOW), "predict", folder, "--json", lines]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(6):
                process.stdout.readline()
            process.kill()
        kept = lines.read_bytes()
        done = kept.count(b"\n")
        assert 5 <= done < 40
        again = subprocess.run(
            [*command, "--resume"], capture_output=True, text=True, timeout=120, check=False
        )
        assert again.returncode == 0, again.stderr
        assert f"already has {done} results" in again.stderr
        assert again.stdout.count("\n") == 1 + 40 - done
        assert lines.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
        paths = [json.loads(line)["path"] for line in lines.read_text().splitlines()]
        assert paths == sorted(map(str, folder.iterdir()))

    def test_a_closed_pipe_shows_no_error(self, start):
        with start() as process:
            process.stdout.readline()
            process.stdout.close()
            errors = process.stderr.read()
            process.wait(timeout=60)
        assert process.returncode == 1
        assert errors == ""


def test_control_characters_in_names_are_replaced():
    # A byte that is not valid text stays: standard output restores it.
    assert shown(Path("a\x1b[31m\n\udcff.png")) == "a�[31m�\udcff.png"
