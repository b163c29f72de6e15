"""Run the fuzzer for seconds; `make fuzz` runs it for minutes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
"""One round at most."""

INPUTS = 500


@pytest.mark.skipif(
    sys.platform != "linux", reason="the fuzzer is published for Linux; see Pipfile"
)
def test_fuzzing_finds_nothing(tmp_path: Path) -> None:
    corpus, findings = tmp_path / "corpus", tmp_path / "findings"
    corpus.mkdir()
    findings.mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", str(SECONDS), str(corpus),
         f"-runs={INPUTS}", f"-artifact_prefix={findings}/"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS + 150,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert list(findings.iterdir()) == []
    executed = re.search(r"number_of_executed_units:\s*(\d+)", run.stderr)
    assert executed is not None
    assert int(executed[1]) >= INPUTS
