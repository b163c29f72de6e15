"""CPU quotas in folders with the layout of /proc and /sys/fs/cgroup."""

import os
from pathlib import Path

import pytest

from mammoscope.system.cpus import available_processors

V2_MOUNT = "31 23 0:28 {group} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "30 23 0:27 / / rw - overlay overlay rw\n"
    "33 31 0:30 {group} /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "32 31 0:29 {group} /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
)


@pytest.fixture(autouse=True)
def sixteen_processors(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v2(root: Path, quotas: dict[str, str], *, own: str = "/", mounted: str = "/") -> Path:
    return write(root, {
        "proc/self/cgroup": f"0::{own}\n",
        "proc/self/mountinfo": V2_MOUNT.format(group=mounted),
        **{f"sys/fs/cgroup/{group}/cpu.max": text for group, text in quotas.items()},
    })  # fmt: skip


def v1(root: Path, quotas: dict[str, int], *, own: str = "/", mounted: str = "/") -> Path:
    folder = "sys/fs/cgroup/cpu,cpuacct"
    return write(root, {
        "proc/self/cgroup": f"9:name=systemd:/other\n3:cpuset:/other\n1:cpu,cpuacct:{own}\n0::/\n",
        "proc/self/mountinfo": V1_MOUNTS.format(group=mounted),
        **{f"{folder}/{group}/cpu.cfs_quota_us": f"{us}\n" for group, us in quotas.items()},
        **{f"{folder}/{group}/cpu.cfs_period_us": "100000\n" for group in quotas},
    })  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 16),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("100000 50000\n", 2),
        ("6400000 100000\n", 16),
        ("200000\n", 16),
        ("none at all\n", 16),
        ("0 0\n", 16),
        ("", 16),
    ],
)
def test_quota_of_version_2(tmp_path: Path, text: str, expected: int):
    assert available_processors(v2(tmp_path, {".": text})) == expected


@pytest.mark.parametrize(("quota_us", "expected"), [(-1, 16), (200_000, 2), (120_000, 2), (1, 1)])
def test_quota_of_version_1(tmp_path: Path, quota_us: int, expected: int):
    assert available_processors(v1(tmp_path, {".": quota_us})) == expected


def test_the_smallest_quota_of_a_group_and_its_parents_counts(tmp_path: Path):
    quotas = {"pods/a/b": "max 100000", "pods/a": "300000 100000", "pods": "500000 100000"}
    assert available_processors(v2(tmp_path / "2", quotas, own="/pods/a/b")) == 3
    assert available_processors(v2(tmp_path / "0", quotas, own="/other")) == 16
    v1_quotas = {"pods/a": 400_000, "pods": 300_000, ".": -1}
    assert available_processors(v1(tmp_path / "1", v1_quotas, own="/pods/a")) == 3


@pytest.mark.parametrize(
    ("own", "mounted"),
    [("/docker/c1", "/docker/c1"), ("/../../docker/c1", "/"), ("/elsewhere", "/docker/c1")],
)
def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path, own: str, mounted: str):
    quotas = {".": "200000 100000"}
    assert available_processors(v2(tmp_path / "2", quotas, own=own, mounted=mounted)) == 2
    assert available_processors(v1(tmp_path / "1", {".": 200_000}, own=own, mounted=mounted)) == 2


def test_without_cgroups_the_scheduler_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert available_processors(tmp_path) == 16
    write(tmp_path, {"proc/self/cgroup": "no\ncolons", "proc/self/mountinfo": "short - line\n"})
    assert available_processors(tmp_path) == 16
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_processors(tmp_path) == 1


def test_this_machine_has_at_least_one_processor():
    assert 1 <= available_processors() <= 16
