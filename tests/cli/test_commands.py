"""All commands: their names, and their behaviour without the extras."""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mammoscope import __version__, cli
from mammoscope.__main__ import main, parser
from mammoscope.cli.extras import EXTRAS
from mammoscope.data.dataset import read_dataset
from mammoscope.data.split_table import write_split
from mammoscope.model.artifact.folder import sha256_of
from mammoscope.model.engine import computes_in
from mammoscope.settings.service import ServiceSettings
from mammoscope.settings.training import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
NEEDS_TRAIN = "needs train"
NEEDS_ARCHIVE = "needs archive"
NEEDS_BULK = "needs bulk"
NEEDS_DISTRIBUTED = "needs distributed"
NEEDED = (NEEDS_TRAIN, NEEDS_ARCHIVE, NEEDS_BULK, NEEDS_DISTRIBUTED)

# Each command and each option, with what is answered: an exit status, or that the extra is needed.
LINES: dict[str, int | str] = {
    "serve --model model": 0,
    "predict --model model --operating-point default --json lines.json --resume --shard 0/1 "
    "images": 0,
    "predict --model model --study --id-key key_file manifest.csv": 0,
    "bulk images --output out --model model --operating-point default --address auto --id-key "
    "key_file --identifiers": NEEDS_BULK,
    "train --data dataset --output out --metadata dataset/metadata.csv --labels 0,1 --cache cache "
    "--resume "
    "--preset smoke --backbone xception --weights none --input-size 96x96 --crop --smoothing 0 "
    "--batch-size 8 --drop-rate 0.1 --learning-rate 0.1 --schedule cosine --epochs 1 "
    "--stop-after 1 --head-epochs 1 --head mean --trainable-from all --augmentation none "
    "--label-smoothing 0.1 --ema-momentum 0 --teachers run --teacher-share 0.5 "
    "--precision float32 --split patients --validation-fraction 0.2 --seed 1": NEEDS_TRAIN,
    "train --data dataset --output out --processes 2": NEEDS_DISTRIBUTED,
    "train --data dataset --output out --processes 2 --process 1 "
    "--coordinator 127.0.0.1:9700": NEEDS_DISTRIBUTED,
    "evaluate --data dataset --model model --metadata dataset/metadata.csv --split test "
    "--labels 0,1 --json evaluation.json --scores scores.csv": 0,
    "evaluate --data dataset --model model --run run": 0,
    "evaluate --data dataset --model model --shortcuts": NEEDS_TRAIN,
    "audit dataset --json audit.json --metadata dataset/metadata.csv --labels 0,1 "
    "--strict": NEEDS_TRAIN,
    "download new_data": NEEDS_TRAIN,
    "archive worker --dicomweb http://127.0.0.1:1 --send-to A@127.0.0.1:1 --state sqlite:///s.db "
    "--listen A@1 --from 2020-01-01 --to 2020-01-31 --until-idle --model model": NEEDS_ARCHIVE,
    "archive status --state sqlite:///s.db --uids": NEEDS_ARCHIVE,
    "archive retry --state sqlite:///s.db --all": NEEDS_ARCHIVE,
    "archive pull 1.2.3 --dicomweb http://127.0.0.1:1 --output pulled": NEEDS_ARCHIVE,
    "archive push made --dicomweb http://127.0.0.1:1 --send-to A@127.0.0.1:1": NEEDS_ARCHIVE,
    "archive report made_studies --output results --model model "
    "--operating-point default": NEEDS_ARCHIVE,
    "compile --model model --output compiled": 0,
    # Without either, there is nothing to choose, which it says.
    "compile --model model --data dataset --metadata dataset/metadata.csv --labels 0,1": int(
        not (computes_in("bfloat16") or computes_in("int8"))
    ),
    "compile --kind x": 2,
    "compile --calibration x": 2,
    "key ward --file keys --days 3": 0,
    "phantoms made --count 1 --seed 3": 0,
    "phantoms made_set --dataset --count 12": 0,
    "phantoms made_studies --studies --count 1 --syntax explicit": 0,
    "phantoms made_exams --exams --count 1": 0,
    "explain image.jpg --output map.png --model model --operating-point default": 0,
    "dev card --model model --validation-scores s.csv --test t.json --robustness r.json "
    "--external There=t.json --folds f.json --reference run --reference-test t.json "
    "--about about.toml": 1,
    "dev card --model model --curves s.csv --data dataset --labels 0,1": 1,
    "dev compare folds folds --data dataset --labels 0,1 --folds 1 2 --age --json pairs.json": 0,
    "dev distributions --data dataset --model model --sample 2 --seed 1 --labels 0,1": 0,
    "dev experiments records --all": NEEDS_TRAIN,
    "dev folds --data dataset --labels 0,1 --output folds.csv": NEEDS_TRAIN,
    "dev explore dataset --json explored.json --labels 0,1": NEEDS_TRAIN,
    "dev figures --model model --output figures": NEEDS_TRAIN,
    "dev gate --mammograms images --others dataset --unseen-mammograms images --model model "
    "--unseen-others images --every 50 --pairs 1 --json gate.json": 0,
    "dev gate --mammograms images --others images --model model --fit": NEEDS_TRAIN,
    "dev pointing model.keras --lesions films --cache cache": NEEDS_TRAIN,
    "dev quality images --every 2 --list --json quality.json": 0,
    "dev release run --data dataset --output released": NEEDS_TRAIN,
    "dev release run_without_model --data dataset --output released --record-only": 0,
    "dev report run --output page.html": NEEDS_TRAIN,
    "dev robustness --data dataset --labels 0,1 --split test --model model --sample 1 --seed 0 "
    "--json robustness.json": 0,
    "dev trainings recipes.toml --data dataset --runs runs --records records "
    "--imagenet weights.h5 --folds folds.csv --only backbone-inceptionv3": NEEDS_TRAIN,
    "dev trainings recipes.toml --data dataset --address auto": NEEDS_BULK,
    "dev trainings --data dataset --list recipes.toml": 0,
}

# Commands run one after another in one process, whose imports take longer than the commands.
RUNNER = """
import contextlib, io, json, os, sys
missing = json.loads(sys.argv[1])

class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing)
from mammoscope.__main__ import main
os.execve = lambda *arguments: sys.exit(0)  # serve
found = []
for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(line.split())
        except SystemExit as end:
            status = end.code
        except BaseException as failure:
            status = repr(failure)
    found.append([status, err.getvalue()])
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    artifact_folder: Path,
    phantom_folder: Path,
    phantom_dataset: Path,
) -> Path:
    """Files named in the command lines."""
    place = tmp_path_factory.mktemp("commands")
    shutil.copytree(artifact_folder, place / "model")
    shutil.copytree(phantom_folder, place / "images")
    shutil.copy(min(phantom_folder.glob("*.jpg")), place / "image.jpg")
    (place / "dataset").symlink_to(phantom_dataset)
    (place / "recipes.toml").symlink_to(ROOT / "recipes" / "experiments.toml")
    (place / "key_file").write_bytes(bytes(32))
    row = "image.jpg,1,L,CC"
    (place / "manifest.csv").write_text(f"file,patient_id,laterality,view\n{row}\n")
    dataset = read_dataset(phantom_dataset, None)
    for name in ("run", "run_without_model"):
        (place / name).mkdir()
        (place / name / "history.json").write_text("[]")
        (place / name / "environment.json").write_text("{}")
        config = TrainConfig.from_preset("smoke", {})
        (place / name / "config.json").write_text(json.dumps(config.to_record()))
        write_split(place / name, {"test": dataset.split("test")})
    for file in artifact_folder.iterdir():
        shutil.copy(file, place / "run")
    scores = "file,label,patient,breast,logit,probability\n"
    (place / "run" / "validation_scores.csv").write_text(scores)
    for number, split in ((1, "train"), (2, "valid")):
        table = place / "folds" / f"fold-{number}" / "validation_scores.csv"
        table.parent.mkdir(parents=True)
        rows = [
            f"{sha256_of(e.path)},{e.label},{e.patient_id},{e.patient_id},{place_of},0.5"
            for place_of, e in enumerate(dataset.split(split))
        ]
        table.write_text("\n".join(["sha256,label,patient,breast,logit,probability", *rows]))
    (place / "records" / "one").mkdir(parents=True)
    (place / "records" / "one" / "history.json").write_text("[]")
    return place


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, tuple[Any, str]]:
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    ended = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps([*EXTRAS, "pandas"])],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        input=json.dumps(list(LINES)),
        text=True,
    )
    return dict(zip(LINES, json.loads(ended.stdout), strict=True))


@pytest.mark.parametrize("line", LINES)
def test_command_without_the_packages_of_extras(line: str, answers) -> None:
    status, told = answers[line]
    if LINES[line] in NEEDED:
        assert status == 1, told
        (sentence,) = told.splitlines()
        extra = str(LINES[line]).removeprefix("needs ")
        assert f"pip install 'mammoscope[{extra}]'" in sentence
    else:
        assert status == LINES[line], told
        assert "mammoscope[" not in told


def _commands(
    command: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    groups = [each for each in command._actions if isinstance(each, argparse._SubParsersAction)]
    for group in groups:
        for word, below in group.choices.items():
            yield from _commands(below, f"{name} {word}".strip())
    if not groups:
        yield name, command


def test_every_command_and_option_is_tried() -> None:
    for name, command in _commands(parser()):
        tried = {
            word
            for line in LINES
            if line.startswith(f"{name} ")
            for word in line.removeprefix(name).split()
        }
        assert tried, name
        for action in command._actions:
            if action.option_strings and action.dest != "help":
                assert tried & set(action.option_strings), (name, action.option_strings)


def test_help_lists_what_users_need(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    lines = told.partition("COMMAND\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == [*cli.COMMANDS, "dev"]


def test_help_has_neither_missing_defaults_nor_doubled_percent_signs() -> None:
    for name, command in _commands(parser()):
        text = " ".join(command.format_help().split())
        odd = [each for each in ("default: None", "default: False", "()", "%%") if each in text]
        assert odd == [], name


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"mammoscope {__version__}\n"


def test_a_command_does_not_import_the_others() -> None:
    program = (
        "import contextlib, sys; from mammoscope.__main__ import main\n"
        "for words in ['dev', 'folds'], ['phantoms']:\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main([*words, '--help'])\n"
        "print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    imported = set(ran.stdout.splitlines()[-1].split())
    for names in (cli.COMMANDS, cli.DEV_COMMANDS):
        found = {name for name in names if f"mammoscope.cli.{name}" in imported}
        assert len(found) == 1, found
    assert imported.isdisjoint({"flask", "sklearn", "tensorflow", "openvino"})


@pytest.mark.parametrize("old", cli.RENAMED)
def test_old_names_work_with_a_notice(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([old, "--help"])
    assert end.value.code == 0
    new = " ".join(cli.RENAMED[old])
    captured = capsys.readouterr()
    assert captured.out.startswith(f"usage: mammoscope {new} ")
    assert captured.err == f"mammoscope: {old} is deprecated; use mammoscope {new}.\n"


def test_an_unknown_missing_package_is_not_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> None:
        raise ModuleNotFoundError("No module named 'other'", name="other")

    monkeypatch.setattr("mammoscope.cli.predict.load_artifact", broken)
    with pytest.raises(ModuleNotFoundError):
        main(["predict", "image.png"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["test.py"], "test.py: error: give the images to predict"),
        (["train.py"], "mammoscope train: error: the following arguments are required: --data"),
        (["predict.py", "--nothing"], "mammoscope: error: unrecognized arguments: --nothing"),
    ],
)
def test_launchers_without_arguments_explain_usage(
    words: list[str], said: str, tmp_path: Path
) -> None:
    program, *options = words
    ended = subprocess.run(
        [sys.executable, ROOT / program, *options],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert said in ended.stderr


@pytest.mark.parametrize(
    "words", [["predict.py"], ["-m", "mammoscope", "serve"]], ids=["predict.py", "serve"]
)
def test_an_address_that_cannot_be_used_is_one_line(words: list[str], tmp_path: Path) -> None:
    program = [ROOT / words[0]] if len(words) == 1 else words
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for bind, said in (
            (f"127.0.0.1:{port}", f"Port {port} is in use; stop the other program or set "),
            ("192.0.2.1:9797", "The service cannot listen on 192.0.2.1:9797: "),
            ("9797", "MAMMOSCOPE_BIND must be HOST:PORT, such as 127.0.0.1:9797; got '9797'"),
            ("nowhere:", "MAMMOSCOPE_BIND must be HOST:PORT, "),
        ):
            ended = subprocess.run(
                [sys.executable, *program],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT), "MAMMOSCOPE_BIND": bind},
                check=False,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert ended.returncode == 1
            (line,) = ended.stderr.splitlines()
            assert line.startswith("mammoscope: ")
            assert said in line


def test_the_help_of_serve_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    printed = capsys.readouterr().out
    for name in ServiceSettings.model_fields:
        assert f"  MAMMOSCOPE_{name.upper()} (" in printed
    words = " ".join(printed.split())
    assert "MAX_PIXELS (50000000) Maximum width x height in pixels. MAMMO" in words  # inherited
    assert "(throughput) Whether all threads of the engine share one image (latency), or" in words


@pytest.mark.parametrize("command", ["serve", "predict"])
def test_an_invalid_setting_is_refused(command, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MAMMOSCOPE_THREADS", "many")
    monkeypatch.setenv("MAMMOSCOPE_MODEL", "nowhere")
    assert main([command, *(["image.png"] if command == "predict" else [])]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mammoscope: ")
