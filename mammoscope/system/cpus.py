"""Count the processors available to this process.

A container sees every processor of its node, but is paused for the rest of a period once its
threads have together used up its quota. Threads beyond the quota would only wait for each other.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
"""Environment variables with which libraries for linear algebra start no threads when NumPy is
imported. Processes with such threads cannot be forked safely."""

_UNIFIED: Final = "cgroup2"


class _Mount(NamedTuple):
    """A mounted cgroup hierarchy that limits processors, and the group shown in it."""

    unified: bool
    group: str
    point: Path


def available_processors(root: Path = Path("/")) -> int:
    """Count the processors that this process may use, at least 1.

    This is the minimum of the processors on which it can be scheduled and the CPU quotas of its
    cgroup and all parent groups (version 1 or 2). Quotas are rounded up, so that a quota of 1.5 is
    used in full.

    Parameters
    ----------
    root
        Folder with ``proc`` and the cgroup file systems.

    References
    ----------
    Linux kernel documentation, "Control Group v2" (cpu.max) and "CFS Bandwidth Control"
    (cpu.cfs_quota_us, cpu.cfs_period_us).
    """
    quotas = [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min([_scheduled(), *quotas]))


def _scheduled() -> int:
    # Only Linux reports this; elsewhere all processors may be used.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas, in processors, of this process's groups and their parents, if any."""
    own = _own_groups(root)
    for mount in _mounts(root):
        group = own.get(mount.unified)
        if group is None:
            continue
        inside = Path(group.removeprefix(mount.group.rstrip("/")).lstrip("/"))
        # The group can be outside the mounted part, as in some container engines.
        if not group.startswith(mount.group) or ".." in inside.parts:
            inside = Path()
        for part in (inside, *inside.parents):
            quota = _quota(mount.point / part, unified=mount.unified)
            if quota is not None:
                yield quota


def _own_groups(root: Path) -> dict[bool, str]:
    """Path of the group in the unified hierarchy (True) and in that of version 1 (False)."""
    groups = {}
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            groups[True] = group
        elif "cpu" in controllers.split(","):
            groups[False] = group
    return groups


def _mounts(root: Path) -> Iterator[_Mount]:
    for line in _lines(root / "proc/self/mountinfo"):
        place, _, file_system = line.partition(" - ")
        fields, kind = place.split(), file_system.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        unified = kind[0] == _UNIFIED
        if unified or (kind[0] == "cgroup" and "cpu" in kind[2].split(",")):
            yield _Mount(unified, fields[3], root / fields[4].lstrip("/"))


def _quota(folder: Path, *, unified: bool) -> float | None:
    """Quota of one group in processors; None if it has none or is unreadable."""
    if unified:
        numbers = " ".join(_lines(folder / "cpu.max")).split()
    else:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        numbers = [number for name in names for number in _lines(folder / name)]
    try:
        quota_us, period_us = (int(number) for number in numbers)
    except ValueError:  # "max", or nothing
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
