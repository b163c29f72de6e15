"""Output and files of the commands, each in a separate process."""

import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.record.encoded_images import encoded, grey8, jpeg, refused
from tests.record.keeping import NETWORK, ROOT, Entries, as_text, sha256
from tests.record.scores import MODEL, served

COMMANDS = (
    "archive report", "audit", "compile", "dev", "dev card", "dev compare", "dev distributions",
    "dev experiments", "dev explore", "dev figures", "dev folds", "dev gate", "dev pointing",
    "dev quality", "dev release", "dev report", "dev robustness", "dev trainings", "download",
    "evaluate", "explain", "key", "phantoms", "predict", "serve", "train",
)  # fmt: skip

ENVIRONMENT = {
    "COLUMNS": "100",
    "LINES": "40",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONPATH": str(ROOT),
    "MPLBACKEND": "Agg",
}
PATIENCE_S = 500

_KEY = re.compile(r"mammoscope_[\w-]{43}")
_KEPT_KEY = re.compile(r"(?<=sha256:)[0-9a-f]{64}")
_PSEUDONYM = re.compile(r"(?<=[,\"])[0-9a-f]{16}(?=[,\"])")


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, and the files that it makes, by their names in the folder.

    The first word is ``mammoscope`` or one of our scripts. Commands that are not ``alone`` share a
    process with others, whose imports take longer than what they do.
    """

    line: str
    makes: tuple[str, ...] = ()
    network: bool = False
    alone: bool = False


def run(commands: list[Command], folder: Path) -> Entries:
    """Run commands in a separate process, and return their output and files."""
    if len(commands) == 1:
        told = [_process(_program(commands[0].line), folder)]
    else:
        lines = [command.line for command in commands]
        shared = _process(["-m", "tests.record.sharing", str(ROOT)], folder, json.dumps(lines))
        assert shared["exit"] == 0, shared
        told = json.loads(shared["stdout"])
    entries: Entries = {}
    for command, each in zip(commands, told, strict=True):
        entry: dict[str, Any] = {NETWORK: True} if command.network else {}
        entry["exit"] = each["exit"]
        for name in ("stdout", "stderr"):
            if each[name]:
                entry[name] = normalised(each[name], folder).split("\n")
        if command.makes:
            entry["makes"] = {name: _made(folder / name, folder) for name in command.makes}
        entries[normalised(command.line, folder)] = entry
    return entries


def _program(line: str) -> list[str]:
    first, *rest = line.split()
    return [*(["-m", "mammoscope"] if first == "mammoscope" else [str(ROOT / first)]), *rest]


def _process(arguments: list[str], folder: Path, given: str = "") -> dict[str, Any]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name == "MAMMOSCOPE_CACHE"
        or not name.startswith(("MAMMOSCOPE_", "KERAS_", "PYTEST_", "PYTHON"))
    }
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**inherited, **ENVIRONMENT},
        check=False,
        capture_output=True,
        input=given,
        encoding="utf-8",
        timeout=PATIENCE_S,
    )
    return {"exit": ended.returncode, "stdout": ended.stdout, "stderr": ended.stderr}


def normalised(text: str, folder: Path) -> str:
    """Replace paths, keys and pseudonyms, which differ in each run, by their names."""
    for place, name in ((folder, "<folder>"), (ROOT, "<repository>")):
        text = text.replace(str(place), name)
    text = _KEPT_KEY.sub("<hash>", _KEY.sub("<key>", text))
    names: dict[str, str] = {}
    return _PSEUDONYM.sub(
        lambda found: names.setdefault(found[0], f"<pseudonym {len(names) + 1}>"), text
    )


def _made(path: Path, folder: Path) -> Any:
    if path.is_dir():
        return {str(each.relative_to(path)): sha256(each.read_bytes())[:16]
                for each in sorted(path.rglob("*")) if each.is_file()}  # fmt: skip
    if not path.is_file():
        return "is missing"
    if path.suffix == ".png":
        with Image.open(path) as image:
            pixels = np.asarray(image)
        return f"<PNG {' x '.join(map(str, pixels.shape))}, pixels {sha256(pixels.tobytes())}>"
    return as_text(normalised(path.read_text(encoding="utf-8"), folder))


def _prepare(folder: Path) -> None:
    """Input files of the commands."""
    with_refused = folder / "with_refused"
    with_refused.mkdir()
    for name, data in {
        "a.jpg": jpeg("left CC"),
        "blank.png": refused()["blank, black"],
        "broken.jpg": refused()["truncated JPEG"],
        "mass.tif": encoded(grey8("left MLO mass"), "TIFF"),
        "noise.png": refused()["noise"],
        "text.png": refused()["a text"],
    }.items():
        (with_refused / name).write_bytes(data)
    (folder / "empty").mkdir()
    (folder / "secret").write_bytes(b"the key of the record")
    (folder / "manifest.csv").write_text(
        "file,patient_id,laterality,view\n"
        "with_refused/a.jpg,1,L,CC\nwith_refused/mass.tif,1,L,MLO\nwith_refused/noise.png,1,R,CC\n",
        encoding="utf-8",
    )
    for name in ("model_1", "model_2"):
        (folder / name).mkdir()
        for file in MODEL.iterdir():
            target = folder / name / file.name
            if file.name == "card.json":
                target.write_bytes(file.read_bytes())
            elif file.name != "MODEL_CARD.md":
                target.symlink_to(file)


FIRST = (
    Command("mammoscope phantoms --count 6 phantoms", ("phantoms",)),
    Command("mammoscope phantoms --count 6 --seed 4 --dataset dataset", ("dataset",)),
    Command("mammoscope phantoms --count 1 --studies --syntax jpeg-ls studies", ("studies",)),
)
"""Commands that make the images for the others."""


def _independent() -> list[Command]:
    """Commands that do not use the network."""
    records = MODEL / "experiments"
    return [
        *(Command(f"mammoscope {name} --help") for name in COMMANDS),
        *(Command(line, alone=True) for line in (
            "mammoscope --help", "mammoscope --version", "mammoscope audit nothing",
            "train.py --help", "test.py --help", "test.py",
        )),
        *map(Command, (
            "mammoscope", "mammoscope nothing",
            "test.py --study --age 50 a.png",
            "test.py --study http://127.0.0.1/a.png", "test.py --key-file nothing a.png",
            "test.py --server http://127.0.0.1:1 with_refused/a.jpg",
            "test.py --server http://127.0.0.1:1 --json --study with_refused",
            "mammoscope phantoms --count 0 other",
            "mammoscope phantoms --dataset --count 2 other",
            "mammoscope phantoms --seed -1 other",
            "mammoscope audit empty",
            "mammoscope audit --strict dataset",
            "mammoscope dev quality nothing", "mammoscope dev quality --list with_refused phantoms",
            "mammoscope dev quality --every 2 dataset",
            "mammoscope evaluate --data nothing", "mammoscope evaluate --data empty",
            "mammoscope evaluate --data dataset --model nothing",
            "mammoscope predict --model nothing a.png", "mammoscope predict --shard 3/2 a.png",
            "mammoscope predict --study --shard 0/2 a.png",
            "mammoscope predict --operating-point other a.png",
            "mammoscope score --model nothing a.png",
            "mammoscope explain nothing.png --output empty",
            "mammoscope explain nothing.png --output nothing/a.png",
            "mammoscope dev report nothing",
            f"mammoscope dev experiments --all {records}", "mammoscope dev experiments nothing",
            f"mammoscope dev trainings --list --data dataset {ROOT}/recipes/experiments.toml",
            "mammoscope key --file keys a/b", "mammoscope key --file keys --days 0 ward",
            "mammoscope dev distributions --data nothing --model nothing",
            "mammoscope compile --model nothing", "mammoscope dev release nothing --data dataset",
            "mammoscope download dataset", "mammoscope dev robustness --data nothing",
            "mammoscope dev card --model nothing", "mammoscope card --model nothing",
            "mammoscope dev explore nothing",
        )),
        Command("mammoscope audit dataset --json audit.json", ("audit.json",)),
        Command("mammoscope dev quality phantoms --json quality.json", ("quality.json",)),
        Command(
            f"mammoscope dev report {records}/smoothed {records}/released --output report.html",
            ("report.html",),
            alone=True,
        ),
        Command(
            f"mammoscope dev figures --model {MODEL} --output figures", ("figures",), alone=True
        ),
        Command("mammoscope key --file new_keys ward", ("new_keys",)),
        Command(
            f"mammoscope dev card --model model_1 --about {MODEL}/about.toml",
            ("model_1/card.json", "model_1/MODEL_CARD.md"),
        ),
    ]  # fmt: skip


def _asking() -> list[Command]:
    """Commands that use the released model, or fit other models."""
    model = f"--model {MODEL}"
    made = {
        f"mammoscope predict {model} phantoms": (),
        f"mammoscope predict {model} with_refused empty nothing.png": (),
        f"mammoscope predict {model} --json - phantoms": (),
        f"mammoscope predict {model} --json lines.json with_refused": ("lines.json",),
        f"mammoscope predict {model} --operating-point high_sensitivity phantoms": (),
        f"mammoscope predict {model} --shard 0/2 phantoms": (),
        f"mammoscope predict {model} --study studies": (),
        f"mammoscope predict {model} --study --id-key secret --json - studies": (),
        f"mammoscope predict {model} --study manifest.csv": (),
        f"mammoscope explain {model} with_refused/mass.tif --output map.png": ("map.png",),
        f"mammoscope explain {model} with_refused/noise.png --output no_map.png": ("no_map.png",),
        f"mammoscope evaluate {model} --data dataset --split all --shortcuts "
        "--json evaluation.json --scores scores.csv": ("evaluation.json", "scores.csv"),
        f"mammoscope evaluate {model} --data dataset": (),
        f"mammoscope dev robustness {model} --data dataset --split all --sample 2": (),
        "mammoscope dev distributions --model model_2 --data dataset --sample 6": (
            "model_2/card.json",
        ),
        "mammoscope dev explore dataset --json exploration.json": ("exploration.json",),
    }
    return [Command(line, files, network=True) for line, files in made.items()]


def record() -> Entries:
    served()  # compiled now, so that no command logs the compilation
    with tempfile.TemporaryDirectory(prefix="record-") as name:
        folder = Path(name)
        _prepare(folder)
        entries = run(list(FIRST), folder)
        others = [*_asking(), *_independent()]
        groups = [[each] for each in others if each.alone]
        groups.append([each for each in others if not each.alone and each.network])
        groups.append([each for each in others if not each.alone and not each.network])
        with ThreadPoolExecutor(2) as pool:
            for made in pool.map(lambda group: run(group, folder), groups[::-1]):
                entries |= made
    return entries
