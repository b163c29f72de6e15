"""What this process shares with its forks, and what it returns to the system."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = """
import ctypes, sys, threading
from mammoscope.system.allocator import return_memory

def held_mb():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024

if sys.argv[1] == "limited":
    return_memory()
bytes(30 << 20)  # without a limit, glibc learns from it to keep blocks of this size
before, together = held_mb(), threading.Barrier(8)

def work():
    block = b"." * (20 << 20)
    small = [b"." * 1000 for _ in range(1000)]
    together.wait()
    del block
    together.wait()  # all are alive when memory is measured
    together.wait()

threads = [threading.Thread(target=work, daemon=True) for _ in range(7)]
for thread in threads:
    thread.start()
together.wait()
together.wait()
print(held_mb() - before)
"""


@pytest.mark.parametrize(("how", "is_small"), [("limited", True), ("default", False)])
def test_freed_memory_of_threads_is_returned(how: str, is_small: bool):
    held = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    )
    assert (float(held.stdout) < 60) == is_small, held.stdout


KEEPING_PROGRAM = """
import resource, sys
from mammoscope.system.allocator import keep_memory

if sys.argv[1] == "kept":
    keep_memory()

def work():
    arrays = [b"." * (2 << 20) for _ in range(4)]

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize(("how", "is_small"), [("kept", True), ("default", False)])
def test_arrays_of_one_image_after_another_use_the_same_memory(how: str, is_small: bool):
    faults = subprocess.run(
        [sys.executable, "-c", KEEPING_PROGRAM, how], capture_output=True, text=True, check=True
    )
    assert (int(faults.stdout) < 100) == is_small, faults.stdout


FORKING_PROGRAM = """
import gc, os, sys
from mammoscope.system.allocator import share_memory

objects = [[number] for number in range(400_000)]
if sys.argv[1] == "shared":
    share_memory()
if os.fork() == 0:
    gc.collect()
    with open("/proc/self/smaps_rollup") as rollup:
        print(next(int(line.split()[1]) for line in rollup if line.startswith("Private_Dirty:")))
    sys.stdout.flush()
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize(("how", "is_small"), [("shared", True), ("default", False)])
def test_garbage_collection_in_a_fork_copies_no_shared_memory(how: str, is_small: bool):
    own_kb = subprocess.run(
        [sys.executable, "-c", FORKING_PROGRAM, how], capture_output=True, text=True, check=True
    )
    assert (int(own_kb.stdout) < 15_000) == is_small, own_kb.stdout


RELEASING_PROGRAM = """
import re, sys
from pathlib import Path
import numpy
from mammoscope.system.allocator import release_code

def mapped_kb():
    within, total = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-", line):
            within = "/numpy/" in line
        elif within and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total

matrix = numpy.random.default_rng(0).random((50, 50))
expected = numpy.linalg.inv(matrix)
before = mapped_kb()
release_code(Path(sys.argv[1]))
print(before, mapped_kb())
assert (numpy.linalg.inv(matrix) == expected).all()
"""


def test_code_is_mapped_again_when_it_runs(tmp_path: Path):
    link = tmp_path / "link"
    link.symlink_to(Path(np.__file__).parent)
    result = subprocess.run(
        [sys.executable, "-c", RELEASING_PROGRAM, link], capture_output=True, text=True, check=True
    )
    before, after = map(int, result.stdout.split())
    assert 0 < after < before / 3  # pages that were written to stay


def test_code_elsewhere_stays(tmp_path: Path):
    result = subprocess.run(
        [sys.executable, "-c", RELEASING_PROGRAM, tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(int, result.stdout.split())
    assert after == before
