"""Ray: where a local cluster listens, and a study on a cluster that was there before."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnnsearch.store import StudyStore

from .command import run, write_study

_LISTENING = "0A"

# Starts a cluster as a study does, lists the sockets that it and its processes listen on (from
# /proc: no tool needed), and prints their addresses.
_LIST_LISTENERS = """
import os
from pathlib import Path
from rnnsearch.tuning import cluster

def family(root):
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = {root}
    while more := {p for p, above in parents.items() if above in found} - found:
        found |= more
    return found

def inodes(process):
    found = set()
    for link in Path(f"/proc/{process}/fd").glob("*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found

with cluster(0):
    ours = set().union(*(inodes(p) for p in family(os.getpid())))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in ours:
                print(table, fields[1].partition(":")[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_local_cluster_listens_on_loopback_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LIST_LISTENERS],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listeners = done.stdout.split("\n")[:-1]
    assert len(listeners) >= 3, "Ray listens on several ports"
    loopback = {
        f"tcp {int.from_bytes(socket.inet_aton('127.0.0.1'), 'little'):08X}",
        "tcp6 00000000000000000000000001000000",
        "tcp6 0000000000000000FFFF00000100007F",
    }
    assert set(listeners) <= loopback


@pytest.fixture
def ray_address(tmp_path: Path) -> Iterator[str]:
    """A Ray head on 127.0.0.1, started by hand."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    ray = Path(sys.executable).with_name("ray")
    head = subprocess.Popen(
        [
            ray, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}",
            "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.5)
    time.sleep(3)  # the head answers before its node has registered
    yield f"127.0.0.1:{port}"
    head.terminate()
    try:
        head.wait(timeout=30)
    except subprocess.TimeoutExpired:
        head.kill()
        head.wait()


def test_a_study_runs_on_the_cluster_at_ray_address(ray_address: str, tmp_path: Path) -> None:
    path = write_study(tmp_path, search={"trials": 1}, confirmation={"seeds": 1})
    done = run(
        "study", "start", path, "-q",
        RNNSEARCH_HOME=str(tmp_path), RAY_ADDRESS=ray_address, RAY_AUTH_MODE="disabled",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    states = [r.state for r in StudyStore(tmp_path / "studies" / "small").records()]
    assert states == ["COMPLETE"] * 4
