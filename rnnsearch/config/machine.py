"""What of this machine a process may use: CPUs and memory, as far as its container grants them.

An affinity mask (`taskset`, `docker --cpuset-cpus`, batch systems) and Linux control groups
(`docker --cpus --memory`, Kubernetes, systemd) leave the processors visible that they take away.
Both versions of control groups are read: cgroups(7), and "Control Group v2" in the kernel's
documentation. A limit holds for a group and for all below it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def cpus(root: Path = Path("/")) -> int:
    """CPUs that this process may use: whole ones, and at least one.

    Args:
        root: where `/proc` and `/sys` are.
    """
    granted = float(_visible_cpus())
    for group in _groups("cpu", root):
        granted = min(granted, _quota(group))
    return max(1, math.floor(granted))


def memory(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may use, with all others in its control group."""
    granted = _installed_memory()
    for group in _groups("memory", root):
        limits = (*_numbers(group / "memory.max"), *_numbers(group / "memory.limit_in_bytes"))
        granted = min([granted, *(limit for limit in limits if limit > 0)])
    return granted


def is_limited() -> bool:
    """Whether there is more memory in the machine than this process may use."""
    return memory() < _installed_memory()


def _visible_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _installed_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _quota(group: Path) -> float:
    """CPUs that a control group grants: time that it may run, of time that passes."""
    numbers = _numbers(group / "cpu.max") or (
        *_numbers(group / "cpu.cfs_quota_us"),
        *_numbers(group / "cpu.cfs_period_us"),
    )
    quota, period = numbers if len(numbers) == 2 else (-1, 1)
    return quota / period if quota > 0 and period > 0 else math.inf


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of this process's control groups, from its own to the outermost visible one."""
    own: dict[str, str] = {}  # by controller; version 2 has one group for all, under ""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, system = line.partition(" - ")
        kind, _, options = (*system.split(" ", 2), "", "")[:3]
        if kind != "cgroup2" and (kind != "cgroup" or controller not in options.split(",")):
            continue
        path = own.get("" if kind == "cgroup2" else controller, "/")
        shown, place = mount.split(" ")[3:5]
        folder = base = root / place.lstrip("/")
        # A container sees its own group as the root of the mount, or does not see it at all.
        if f"{path}/".startswith(f"{shown.rstrip('/')}/"):
            folder = base / path[len(shown.rstrip("/")) :].lstrip("/")
        while folder.is_relative_to(base):
            yield folder
            folder = folder.parent


def _numbers(path: Path) -> tuple[int, ...]:
    """The numbers in a file of a control group; none if it is not there or says `max`."""
    try:
        return tuple(map(int, path.read_text("ascii").split()))
    except (OSError, ValueError):
        return ()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
