"""Memory that threads have freed is returned to the system."""

import subprocess
import sys

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
