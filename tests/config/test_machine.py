"""CPUs and memory are those granted by a container, a batch system or an affinity mask."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rnnsearch.config import machine

_GB = 1 << 30
_V2 = "30 23 0:26 {shown} /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
_V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 {shown} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {shown} /sys/fs/cgroup/memory rw master:9 - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
_V1_OWN = "9:name=systemd:/\n4:memory:{own}\n2:cpu,cpuacct:{own}\n0::/\n"


@pytest.fixture(autouse=True)
def _eight_cpus_and_64_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "_installed_memory", lambda: 64 * _GB)


def _tree(root: Path, own: str, mounts: str, files: dict[str, str]) -> Path:
    """`/proc` and `/sys` as seen by a process."""
    for name, content in {
        "proc/self/cgroup": own,
        "proc/self/mountinfo": mounts,
        **{f"sys/fs/cgroup/{name}": content for name, content in files.items()},
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_a_machine_without_control_groups_is_all_there(tmp_path: Path) -> None:
    assert machine.cpus(tmp_path) == 8
    assert machine.memory(tmp_path) == 64 * _GB


def test_an_affinity_mask_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    assert machine.cpus(tmp_path) == 3


@pytest.mark.parametrize(
    ("written", "cpus"),
    [
        ("max 100000", 8),
        ("300000 100000", 3),
        ("150000 100000", 1),
        ("50000 100000", 1),  # `--cpus 0.5`
        ("1000 100000", 1),
        ("25000 5000", 5),
        ("6400000 100000", 8),
        ("garbage", 8),
        ("", 8),
    ],
)
def test_a_container_of_version_2_has_the_cpus_of_its_quota(
    written: str, cpus: int, tmp_path: Path
) -> None:
    root = _tree(tmp_path, "0::/\n", _V2.format(shown="/"), {"cpu.max": written})
    assert machine.cpus(root) == cpus


@pytest.mark.parametrize(
    ("quota", "period", "cpus"),
    [("-1", "100000", 8), ("200000", "100000", 2), ("50000", "100000", 1), ("0", "0", 8)],
)
def test_a_container_of_version_1_has_the_cpus_of_its_quota(
    quota: str, period: str, cpus: int, tmp_path: Path
) -> None:
    files = {"cpu,cpuacct/cpu.cfs_quota_us": quota, "cpu,cpuacct/cpu.cfs_period_us": period}
    # Docker shows a container its own group as the root, together with its path on the host.
    own, mounts = _V1_OWN.format(own="/docker/1f2e"), _V1.format(shown="/docker/1f2e")
    assert machine.cpus(_tree(tmp_path, own, mounts, files)) == cpus


@pytest.mark.parametrize("outer", ["2", "16"], ids=["outer is tighter", "inner is tighter"])
def test_the_tightest_limit_of_a_group_and_those_around_it_holds(
    outer: str, tmp_path: Path
) -> None:
    files = {
        "memory.max": "max",
        "slurm/memory.max": str(int(outer) * _GB),
        "slurm/job 7/memory.max": str(4 * _GB),
        "slurm/job 7/step/memory.max": "max",
        "slurm/job 7/step/cpu.max": "max 100000",
        "slurm/cpu.max": f"{outer}00000 100000",
    }
    root = _tree(tmp_path, "0::/slurm/job 7/step\n", _V2.format(shown="/"), files)
    assert machine.memory(root) == min(4, int(outer)) * _GB
    assert machine.cpus(root) == min(8, int(outer))


@pytest.mark.parametrize(
    ("written", "gb"), [("9223372036854771712", 64), (str(2 * _GB), 2), ("-1", 64)]
)
def test_memory_of_version_1_is_what_its_limit_leaves(
    written: str, gb: int, tmp_path: Path
) -> None:
    own, mounts = _V1_OWN.format(own="/kubepods/pod1"), _V1.format(shown="/")
    files = {"memory/kubepods/pod1/memory.limit_in_bytes": written}
    assert machine.memory(_tree(tmp_path, own, mounts, files)) == gb * _GB


def test_a_group_that_cannot_be_seen_is_looked_for_at_the_root_of_the_mount(
    tmp_path: Path,
) -> None:
    files = {"cpu.max": "200000 100000", "memory.max": str(_GB)}
    root = _tree(tmp_path, "0::/../elsewhere\n", _V2.format(shown="/kubepods/pod1"), files)
    assert (machine.cpus(root), machine.memory(root)) == (2, _GB)
