"""The commands of README and docs print what the pages show.

Blocks marked ``console`` run in order, one folder per page, and their output is compared; ``...``
stands for anything. Blocks marked ``python`` run between them. Blocks marked ``sh`` need data, a
network or hours: of these, the test checks that the commands take the options.
"""

import doctest
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("[!_]*.md")]
    if not any(part.startswith("_") for part in page.relative_to(ROOT).parts)
)
CHECK = doctest.OutputChecker().check_output
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PORT = "9696"
CHECKOUT = ("mammoscope", "model", "predict.py", "gunicorn.conf.py", "test.py", "train.py")


def blocks(page: str, *languages: str) -> list[tuple[str, str]]:
    """Return language and text of a page's code blocks, in order."""
    text = (ROOT / page).read_text("utf-8")
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(language, block) for language, block in found if language in languages]


def steps(block: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a console block with the output that it shows."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


@pytest.fixture
def folder(tmp_path: Path, phantom_folder: Path) -> Path:
    """A folder similar to the checkout, with an image in it."""
    for name in CHECKOUT:
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(min(phantom_folder.glob("*.jpg")), tmp_path / "mammogram.jpg")
    return tmp_path


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with the command ``mammoscope``, whether the package is installed or not.

    `mammoscope train` trains a small network: tests/training trains that of the preset.
    """
    bin_folder = tmp_path_factory.mktemp("bin")
    command = bin_folder / "mammoscope"
    python, root = shlex.quote(sys.executable), shlex.quote(str(ROOT))
    command.write_text(
        "#!/bin/sh\n"
        f'[ "$1" != train ] || export PYTHONPATH={root}\n'
        f'[ "$1" != train ] || exec {python} -m tests.training.small_network "$@"\n'
        f'exec {python} -m mammoscope "$@"\n'
    )
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    kept = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    path = os.pathsep.join([str(bin_folder), str(Path(sys.executable).parent), kept["PATH"]])
    return {**kept, "PATH": path}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "console", "python")])
def test_pages_show_the_output_of_their_commands(
    page, folder, environment, released_service, tmp_path_factory
):
    port = str(released_service.port)
    # Programs run in the service's environment as well.
    missing = tmp_path_factory.mktemp("missing")
    (missing / "tensorflow.py").write_text("raise ModuleNotFoundError(name='tensorflow')")
    without_tensorflow = {**environment, "PYTHONPATH": str(missing)}
    for language, block in blocks(page, "console", "python"):
        if language == "python":
            program = block.replace(PORT, port)
            run([sys.executable, "-c", program], folder, without_tensorflow)
            continue
        for command, expected in steps(block):
            answer = run(["bash", "-c", command.replace(PORT, port)], folder, environment)
            printed = answer.stdout.replace(port, PORT)
            shown = f"{page} shows for {command!r}:\n{expected}\nIt printed:\n{printed}"
            assert CHECK(expected, printed, FLAGS), f"{shown}\n{answer.stderr}"


def run(
    command: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    answer = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert answer.returncode == 0, f"{command[-1]}\n{answer.stdout}{answer.stderr}"
    return answer


def commands(page: str) -> Iterator[list[str]]:
    """Yield the words of each command that a page shows."""
    for language, block in blocks(page, "sh", "console"):
        lines = block if language == "sh" else "\n".join(command for command, _ in steps(block))
        for line in lines.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = next(
                    (at for at, word in enumerate(words) if word in ("&&", "|", ">")), len(words)
                )
                command, words = words[:end], words[end + 1 :]
                while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
                    command = command[1:]
                if command:
                    yield command


def parser_of(words: list[str]) -> tuple[ArgumentParser, list[str]] | None:
    """Return the parser of a command, and the arguments for it."""
    from mammoscope.__main__ import parser

    if words[0] == "mammoscope":
        return parser(), words[1:]
    if words[:3] == ["python", "-m", "mammoscope"]:
        return parser(), words[3:]
    return None


@pytest.mark.parametrize("page", PAGES)
def test_every_option_of_a_page_exists(page):
    for words in commands(page):
        found = parser_of(words)
        if found is not None:
            found[0].parse_args(found[1])


def test_pages_contain_commands():
    shown = [words for page in PAGES for words in commands(page)]
    assert sum(parser_of(words) is not None for words in shown) >= 30
    assert {words[1] for words in shown if words[0] == "mammoscope"} >= {
        "predict", "serve", "train", "evaluate", "audit", "download", "compile", "key", "phantoms",
        "explain", "dev",
    }  # fmt: skip
