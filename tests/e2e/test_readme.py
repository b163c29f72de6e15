"""README's commands do what README shows.

Blocks marked ``console`` are run in order in one folder, and what they print is compared, ``...``
standing for anything. Blocks marked ``sh`` need data, a network or hours: of them it is checked
that the programs take those options.
"""

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
CHECK = doctest.OutputChecker().check_output
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PORT = "9696"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def steps() -> list[tuple[str, str]]:
    """Commands of the console blocks with the output that README shows."""
    found: list[tuple[str, str]] = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the checkout; what commands write stays in it."""
    place = tmp_path_factory.mktemp("readme")
    for name in ("mammoscope", "model", "predict.py", "gunicorn.conf.py", "test.py", "train.py"):
        (place / name).symlink_to(ROOT / name)
    return place


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"}


def test_there_are_commands():
    assert len(steps()) >= 6


def test_console_blocks_print_what_they_show(folder, environment, released_service):
    port = str(released_service.port)
    for command, expected in steps():
        answer = subprocess.run(
            ["bash", "-c", command.replace(PORT, port)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        printed = answer.stdout.replace(port, PORT)
        assert CHECK(expected, printed, FLAGS), (
            f"README shows for {command!r}:\n{expected}\nIt printed:\n{printed}\n{answer.stderr}"
        )


def commands(language: str) -> list[str]:
    text = "\n".join(blocks(language)).replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]


def test_every_option_in_readme_exists():
    import train
    from mammoscope.__main__ import parser

    parsers = {"train.py": train.parser(), "-m mammoscope": parser()}
    seen = 0
    for line in commands("sh") + [command for command, _ in steps()]:
        words = shlex.split(line, comments=True)
        if words[:1] != ["python"]:
            continue
        name = " ".join(words[1:3]) if words[1] == "-m" else words[1]
        if name in parsers:
            seen += 1
            parsers[name].parse_args(words[3 if words[1] == "-m" else 2 :])
    assert seen >= 8


def test_every_setting_of_the_service_stands_in_the_table():
    from mammoscope.settings.service import ENVIRONMENT_PREFIX, ServiceSettings

    rows = re.findall(
        rf"^\| `{ENVIRONMENT_PREFIX}(\w+)` \| `([^`]*)` \| (.*) \|$", README, re.MULTILINE
    )
    fields = ServiceSettings.model_fields
    assert sorted(name.lower() for name, _, _ in rows) == sorted(fields)
    for name, default, does in rows:
        described = fields[name.lower()]
        assert default in (str(described.default), str(described.default).lower())
        assert does == described.description


def test_python_blocks_run(folder, environment, phantom_folder):
    (folder / "mammogram.jpg").write_bytes(min(phantom_folder.glob("*.jpg")).read_bytes())
    for block in blocks("python"):
        answer = subprocess.run(
            [sys.executable, "-c", block],
            cwd=folder,
            env={**environment, "KERAS_BACKEND": "openvino"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
