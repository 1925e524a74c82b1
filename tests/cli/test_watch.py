"""A driver that ends without a message leaves one line, and the study is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnnsearch.records.store import StudyStore

from ..leases import write_lease

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches where Linux lets it")

# A command that acts as a driver and does what its first argument says.
DRIVER = """
import os, signal, sys, time
from rnnsearch.__main__ import main
from rnnsearch.cli import rnnsearch
from rnnsearch.cli.watch import name_study, watch
from rnnsearch.errors import StoreError
import click

@rnnsearch.command()
@click.argument("what")
@click.pass_context
def drive(context, what):
    watch(context)
    name_study("small")
    print("driver", os.getpid(), flush=True)
    if what == "abort":
        os.write(2, b"Check failed: GCS is gone\\n  *** stack trace ***\\n")
        os.abort()
    if what == "exit":
        os._exit(1)
    if what == "fail":
        raise StoreError("said by Python")
    heard = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    print("waits", flush=True)
    deadline = time.monotonic() + 60
    while not heard and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    print("heard", len(heard), flush=True)

sys.argv[1:] = ["drive", sys.argv[1]]
main()
"""


@pytest.fixture
def store() -> StudyStore:
    """A study in the state `running`."""
    made = StudyStore.create("small", "name: small\n")
    made.write_info(state="running")
    write_lease(made, 99999, started="1")
    return made


def _begin(what: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, what],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_ADDRESS": "ray-head:6379", **environment},
    )


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_the_loss_of_the_cluster_is_one_line_and_the_study_is_interrupted(
    store: StudyStore,
) -> None:
    driver = _begin("abort")
    _, stderr = driver.communicate(timeout=60)
    assert driver.returncode == 128 + signal.SIGABRT
    assert stderr == (
        "error: study `small` was interrupted: the Ray cluster at ray-head:6379 went away. "
        "`rnnsearch study resume small` continues it\n"
    )
    assert store.info.state == "interrupted"
    assert "stack trace" in (store.folder / "errors" / "driver.txt").read_text()
    assert not store.beside("lease").exists()


def test_a_driver_that_ends_without_a_word_is_recorded_and_one_that_speaks_is_not(
    store: StudyStore,
) -> None:
    driver = _begin("exit")
    _, stderr = driver.communicate(timeout=60)
    assert driver.returncode == 1
    assert "interrupted: its process died. `rnnsearch study resume" in stderr
    assert store.info.state == "interrupted"
    store.write_info(state="finished")
    driver = _begin("fail")
    _, stderr = driver.communicate(timeout=60)
    assert (driver.returncode, stderr) == (9, "error: said by Python\n")
    assert store.info.state == "finished"


def test_a_signal_is_handed_on_once_and_a_driver_does_not_outlive_its_watch() -> None:
    for kill in (signal.SIGINT, signal.SIGKILL):
        driver = _begin("wait")
        assert driver.stdout is not None
        pid = int(driver.stdout.readline().split()[1])
        assert pid != driver.pid
        assert driver.stdout.readline() == "waits\n"
        driver.send_signal(kill)
        if kill == signal.SIGINT:
            assert driver.communicate(timeout=60)[0] == "heard 1\n"
            assert driver.returncode == 0
        else:
            driver.wait(timeout=60)
            deadline = time.monotonic() + 60
            while not _gone(pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert _gone(pid)
            driver.communicate()


def test_without_a_cluster_a_driver_is_the_process_that_was_started() -> None:
    driver = _begin("exit", RAY_ADDRESS="")
    stdout, _ = driver.communicate(timeout=60)
    assert stdout == f"driver {driver.pid}\n"
