"""The fuzzer, for seconds: `make fuzz` runs it for minutes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 5
LEAST_INPUTS = 100


@pytest.mark.skipif(
    sys.platform != "linux", reason="the fuzzer is published for Linux; see Pipfile"
)
def test_nothing_is_found(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", str(SECONDS), f"-artifact_prefix={tmp_path}/"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert list(tmp_path.iterdir()) == []
    executed = re.search(r"number_of_executed_units:\s*(\d+)", run.stderr)
    assert executed is not None
    assert int(executed[1]) > LEAST_INPUTS
