"""Common behaviour of all commands: exit status, output, file names, model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mammoscope.__main__ import main
from mammoscope.errors import ConfigurationError
from mammoscope.settings.service import ServiceSettings, model_path, released_model

ROOT = Path(__file__).resolve().parents[2]
NO_TEXT = os.fsdecode(b"br\xfcst \xff.jpg")
"""A file name whose bytes are not valid text."""


def status_of(*words: object) -> int:
    """Exit status, even if the parser exits."""
    try:
        return main([str(word) for word in words])
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize(
    "line",
    [
        "predict --shard 3/2 a.png",
        "predict --shard x a.png",
        "predict --study --shard 0/2 a.png",
        "predict --operating-point other a.png",
        "compile --metadata a.csv",
        "compile --data images",
        "dev card",
        "dev distributions --data images",
        "dev release run --data images",
        "dev gate --mammograms images --others images",
        "dev quality --every 0 a.png",
        "dev quality --every x a.png",
        "dev trainings recipes.toml",
        "key --days 0 --file keys ward",
        "phantoms --count 0 --studies folder",
        "audit --labels benign folder",
        "audit --labels benign,Benign folder",
        "train --data x --output run --epochs -1",
        "train --data x --output run --labels benign",
        "train --data x --output run --input-size 9",
        "dev explore",
        "nothing",
    ],
)
def test_wrong_usage_exits_with_2(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    for name in ("card.json", "model.keras"):
        (tmp_path / "model" / name).symlink_to(ROOT / "model" / name)
    monkeypatch.setenv("MAMMOSCOPE_MODEL", "model")  # a setting does not name the folder
    assert status_of(*line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "card.json",
        "model.keras",
    ]


@pytest.mark.parametrize(
    "command",
    [
        "predict",
        "evaluate",
        "explain",
        "compile",
        "dev robustness",
        "dev figures",
        "dev experiments",
    ],
)
def test_the_setting_selects_the_model(
    command: str, phantom_dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (image, *_) = phantom_dataset.rglob("*.jpg")
    monkeypatch.setenv("MAMMOSCOPE_MODEL", str(tmp_path / "other"))
    lines = {
        "predict": ["predict", image],
        "evaluate": ["evaluate", "--data", phantom_dataset],
        "explain": ["explain", image, "--output", tmp_path / "map.png"],
        "compile": ["compile"],
        "dev robustness": ["dev", "robustness", "--data", phantom_dataset],
        "dev figures": ["dev", "figures", "--output", tmp_path],
        "dev experiments": ["dev", "experiments"],
    }
    assert status_of(*lines[command]) == 1  # the released model is not used instead
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert "MAMMOSCOPE_MODEL" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict", "a.png", "--model", "no/model"], "no/model: There is no model; "),
        (["audit", "no/data"], "no/data: The folder does not exist."),
        (["audit", "folder"], "folder: The folder has no images in 0/ and 1/"),
        (["explain", "no.png", "--output", "map.png"], "no.png: The file does not exist."),
        (["explain", "folder", "--output", "map.png"], "folder is a folder; give one image."),
        (["predict", "--study", "folder"], "folder: The folder has no images; "),
    ],
)
def test_errors_name_the_argument_as_written(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert status_of(*words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mammoscope: {said}")


def test_a_study_of_unknown_patients_is_reported(
    phantom_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (image, *_) = phantom_folder.glob("*.jpg")
    assert status_of("predict", "--study", image) == 0
    assert "Give patient_id and laterality in a manifest" in capsys.readouterr().err


def test_the_environment_selects_the_model() -> None:
    assert model_path({}) == released_model()
    assert model_path({"MAMMOSCOPE_MODEL": "other"}) == Path("other")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("MAMMOSCOPE_MODLE", "did you mean MAMMOSCOPE_MODEL? "),
        ("MAMMOSCOPE_Max_Pixel", "did you mean MAMMOSCOPE_MAX_PIXELS? "),
        ("MAMMOSCOPE_port", ""),
    ],
)
def test_unknown_settings_are_named_as_spelt(name: str, near: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        ServiceSettings.from_environment({name: "1"})
    assert str(raised.value) == (
        f"Unknown setting {name} in the environment; {near}"
        "`mammoscope serve --help` lists the settings."
    )
    with pytest.raises(ConfigurationError, match="MAMMOSCOPE_Max_Pixels: Input should be"):
        ServiceSettings.from_environment({"MAMMOSCOPE_Max_Pixels": "many"})


def test_json_to_standard_output_is_only_json(
    phantom_dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for line in (
        ["audit", phantom_dataset],
        ["dev", "quality", "--list", phantom_dataset / "test"],
    ):
        status_of(*line, "--json", "-")
        assert json.loads(capsys.readouterr().out)["pictures"]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def no_text(phantom_folder: Path, tmp_path: Path) -> Path:
    """A data set with a file and a folder whose names are not valid text."""
    root = tmp_path / os.fsdecode(b"gr\xfcn")
    for number, image in enumerate(sorted(phantom_folder.iterdir())[:4]):
        (root / str(number % 2)).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, root / str(number % 2) / f"{number} {NO_TEXT}")
    return root


def ran(*words: object, **options: object) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, check=False, timeout=300, **options
    )  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "line",
    [
        ["-m", "mammoscope", "audit"],
        ["-m", "mammoscope", "dev", "quality", "--list"],
        ["-m", "mammoscope", "predict"],
        ["-m", "mammoscope", "predict", "--study"],
        ["-m", "mammoscope", "predict", "--study", "--json", "-"],
        ["-m", "mammoscope", "evaluate", "--scores", "{scores}", "--data"],
        ["test.py", "--server", "http://127.0.0.1:1"],
    ],
)
def test_names_that_are_not_valid_text(line: list[str], no_text: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.csv"
    finished = ran(*(word.format(scores=scores) for word in line), no_text)
    assert b"Traceback" not in finished.stderr
    assert finished.returncode in (0, 1) or line[0] == "test.py"
    if line[2:3] == ["predict"]:
        named = json.dumps(NO_TEXT)[1:-1].encode() if "-" in line else os.fsencode(NO_TEXT)
        assert finished.stdout.count(named) == 4
    if scores.exists():
        # As the file's name, and for the patient whom nothing else names.
        assert scores.read_bytes().count(os.fsencode(NO_TEXT)) == 8


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("requests", ["test.py", "a.png"]),
        ("cv2", ["test.py", "a.png"]),
        ("argparse", ["test.py", "a.png"]),
        ("argparse", ["train.py"]),
        ("logging", ["-m", "mammoscope", "audit", "folder"]),
        ("tqdm", ["-m", "mammoscope", "audit", "folder"]),
        ("keras", ["train.py", "--output", "{tmp_path}/run", "--preset", "smoke", "--data"]),
    ],
)
def test_ctrl_c_during_an_import_exits_silently(
    module: str, line: list[str], tmp_path: Path, phantom_dataset: Path
) -> None:
    stopped = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    (tmp_path / f"{module}.py").write_text(f"{stopped}\nraise ImportError('masks the cause')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    words = [word.format(tmp_path=tmp_path) for word in line]
    finished = ran(*words, *[phantom_dataset] * (line[-1] == "--data"), env=environment)
    assert (finished.returncode, finished.stdout, finished.stderr) == (130, b"", b"")


@pytest.mark.parametrize(
    "line",
    [
        "predict --model {} a.png",
        "explain a.png --model {} --output map.png",
        "compile --model {}",
        "key name --file {}",
        "dev card --model {} --test test.json",
        "dev compare {} {}",
        "dev experiments {}",
        "bulk {} --output out",
        "predict --model {}/model a.png",
    ],
)
def test_a_path_that_is_too_long_is_reported(
    line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word.replace("{}", str(tmp_path / ("x" * 5000))) for word in line.split()]
    assert main(words) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("mammoscope")
    assert len(said) < 300
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_before_the_first_epoch_is_over_says_so(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    phantom_dataset: Path,
) -> None:
    def train(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    run = ModuleType("mammoscope.training.training_run")
    run.train = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, run.__name__, run)
    line = ["train", "--preset", "smoke", "--data", str(phantom_dataset)]
    assert main([*line, "--output", str(tmp_path / "run")]) == 130
    assert "No epoch was completed; run the same command" in capsys.readouterr().err


@pytest.mark.parametrize("line", [["test.py", "--server", "http://127.0.0.1:1"]])
def test_wrong_usage_of_the_client(line: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    for options in (["--age", "nan"], ["--age", "7"], ["--wait", "inf"], ["--key-file", "nothing"]):
        assert ran(*line, *options, tmp_path / "a.png").returncode == 2
    assert ran(*line, "--json", "-").returncode == 2


def test_training_checks_before_it_imports_tensorflow(tmp_path: Path, phantom_folder: Path) -> None:
    one_class = tmp_path / "one class"
    shutil.copytree(phantom_folder, one_class / "0")
    (tmp_path / "empty").mkdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("x")
    program = (
        "import sys; from mammoscope.__main__ import main\n"
        "for data, output in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    print(main(['train', '--data', data, '--output', output]))\n"
        "print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    run = tmp_path / "run"
    finished = ran(
        "-c", program, tmp_path / "nothing", run, tmp_path / "empty", run, one_class, run,
        ROOT / "tests", other,
    )  # fmt: skip
    assert finished.stdout.split() == [*[b"1"] * 4, b"False", b"False"], finished
    assert len(finished.stderr.splitlines()) == 4
    assert not run.exists()
