"""Progress in a terminal and in a file."""

import os
import pty
import subprocess
import sys
import termios

PROGRAM = """
import time
from mammoscope.system.progress import phase, progress
with phase("start TensorFlow"):
    time.sleep(2)
for _ in progress(range(3), 3, "read"):
    time.sleep(0.2)
"""


def test_a_terminal_shows_phases_and_bars_and_nothing_remains() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    subprocess.run([sys.executable, "-c", PROGRAM], stderr=theirs, check=True, timeout=300)
    os.set_blocking(ours, False)
    shown = os.read(ours, 10_000).decode()  # before the other end is closed, which would lose it
    os.close(theirs)
    os.close(ours)
    assert "start TensorFlow ... 00:00" in shown
    assert "start TensorFlow ... 00:01" in shown
    assert "read: " in shown
    assert "3" in shown
    assert shown.split("\r")[-2].strip() == ""


def test_a_file_gets_nothing() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, check=True, timeout=300
    )
    assert (ended.stdout, ended.stderr) == (b"", b"")
