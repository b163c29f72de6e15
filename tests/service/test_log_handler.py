"""An unread log does not stop the service."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.abuse("load")

LINES = 30_000
PROGRAM = f"""
import logging, os, sys
from mammoscope.service.tracing import configure_logging
from mammoscope.service.log_handler import dropped_lines
configure_logging("info")
log = logging.getLogger("mammoscope.test")
def flush():
    for _ in range(20):  # each waits for a second at most
        logging.getLogger().handlers[0].flush()
if os.fork() == 0:  # like gunicorn's worker
    for number in range({LINES}):
        log.info("line %d of many", number)
    dropped = dropped_lines()
    print(dropped, flush=True)
    sys.stdin.readline()
    flush()  # the reader is back; the next line finds room
    log.info("again")
    flush()
    sys.exit(0)
_, status = os.wait()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_unread_lines_are_dropped_and_counted() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        dropped = int(process.stdout.readline())  # is answered although nobody reads the log
        assert 0 < dropped < LINES
        process.stdin.write("\n")
        process.stdin.flush()
        events = [json.loads(line) for line in process.stderr]
        assert process.wait() == 0
    told = [event["count"] for event in events if event["event"] == "log_lines_dropped"]
    assert sum(told) == dropped
    lines = [event["event"] for event in events if event["event"].startswith("line ")]
    numbers = [int(line.split()[1]) for line in lines]
    assert len(numbers) == LINES - dropped
    assert numbers == sorted(set(numbers))  # in order, and none twice
    assert numbers[0] == 0


def test_a_closed_log_does_not_stop_the_service() -> None:
    program = PROGRAM.replace("sys.stdin.readline()", "")
    closed = f"import os; os.close(2)\n{program}"
    done = subprocess.run(
        [sys.executable, "-c", closed], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert done.stdout.strip().isdigit()
