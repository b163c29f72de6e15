"""Memory of this process: what it shares with its forks, and what it returns to the system."""

import ctypes
import gc
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""Parameters of mallopt(3) in glibc."""

_ARENAS: Final = 2
_LARGE_BYTES: Final = 1 << 20


def return_memory() -> None:
    """Let this process return freed memory to the system; call it before threads start.

    By default, glibc gives each thread an arena of its own, and learns to keep blocks of up to
    32 MiB in them. A service with many threads then holds the bodies of earlier requests many
    times. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def share_memory() -> None:
    """Let forks of this process share its memory for longer; call it before a fork.

    Python's garbage collector writes into every object that it looks at, and a page is copied when
    it is written to. The objects that exist now are no longer looked at.
    """
    gc.collect()
    gc.freeze()
