"""Memory of this process: what it shares with its forks, and what it returns to the system."""

import ctypes
import gc
import mmap
import re
from pathlib import Path
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""Parameters of mallopt(3) in glibc."""

_ARENAS: Final = 2
_LARGE_BYTES: Final = 1 << 20
_SERVICE_KEPT_BYTES: Final = 2 << 20
"""Room for the arrays of an answer."""

_KEPT_LARGE_BYTES: Final = 8 << 20
_KEPT_BYTES: Final = 16 << 20
"""Room for the arrays of one image of 640 x 640 pixels, and of reduced larger ones."""

_MAPS: Final = Path("/proc/self/smaps")
_UNCHANGED: Final = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) [r-]-\S\S \S+ \S+ \S+ +(/.*)\n(?:[A-Z].*\n)*?Anonymous: +0 kB$",
    re.MULTILINE,
)
"""First address, end and file of a mapping that is not writable and holds no written page."""


def return_memory() -> None:
    """Let this process return most freed memory to the system; call it before many threads start.

    By default, glibc gives each thread an arena of its own, and learns to keep blocks of up to
    32 MiB in them. A service with many threads then holds the bodies of earlier requests many
    times. Other C libraries are left as they are.
    """
    _set(
        {
            _M_ARENA_MAX: _ARENAS,
            _M_MMAP_THRESHOLD: _LARGE_BYTES,
            _M_TRIM_THRESHOLD: _SERVICE_KEPT_BYTES,
        }
    )


def keep_memory() -> None:
    """Let this process and its forks keep a little freed memory for what they allocate next.

    By default, glibc returns most of what is freed at the end of its heap. The system must then
    provide and clear these pages again for the next array, image after image.
    """
    _set({_M_TRIM_THRESHOLD: _KEPT_BYTES, _M_MMAP_THRESHOLD: _KEPT_LARGE_BYTES})


def _set(parameters: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in parameters.items():
            mallopt(name, value)


def share_memory() -> None:
    """Let forks of this process share its memory for longer; call it before a fork.

    Python's garbage collector writes into every object that it looks at, and a page is copied when
    it is written to. The objects that exist now are no longer looked at. Garbage among them stays;
    collecting it would take longer, and leave gaps into which forks then write.
    """
    gc.freeze()


def release_code(folder: Path) -> None:
    """Take libraries out of this process's memory until it uses them again.

    Loading a library maps most of it, and using it most often needs a small part. The system keeps
    the pages in its cache for as long as it has memory for them. No other thread may be loading one
    of these libraries.

    Parameters
    ----------
    folder
        The libraries are below this folder.
    """
    madvise = ctypes.CDLL(None).madvise
    libraries = folder.resolve()
    for found in _UNCHANGED.finditer(_MAPS.read_text("utf-8", "replace")):
        first, end = int(found[1], 16), int(found[2], 16)
        if Path(found[3]).is_relative_to(libraries):
            madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)
