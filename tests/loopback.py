"""Servers on 127.0.0.1, separate for each test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, timeout_s: float = 120) -> None:
    """Wait until something listens there; if nothing does, the next step of the test fails."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)


@contextmanager
def ray_node(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node of a Ray cluster, with its processes in one session; killed at the end."""
    scripts = Path(sys.executable).parent
    node = subprocess.Popen(
        [
            scripts / "ray", "start", "--block", "--node-ip-address=127.0.0.1",
            "--disable-usage-stats", *arguments,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RNNSEARCH_CHECKPOINT_S": "0.5",
        },
    )  # fmt: skip
    try:
        yield node
    finally:
        if node.poll() is None:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()
