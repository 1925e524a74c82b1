"""Only one process at a time holds a study; it is identified by more than its process number."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from rnnsearch.errors import StoreError
from rnnsearch.records import lease as lease_module
from rnnsearch.records.lease import STALE_S, Holder, TakenError, holder_of, take
from rnnsearch.records.store import StudyStore
from rnnsearch.records.study_info import StudyInfo

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

HERE = Holder.this_process("running", None, locked=True)
ELSEWHERE = replace(HERE, token="other", pid=1, host="elsewhere", boot="another boot")
# Takes the lease named by its first argument and reports it; holds it until its input ends.
HOLDS = """
import sys
from pathlib import Path
from rnnsearch.records.lease import TakenError, take
print("ready", flush=True)
sys.stdin.readline()
try:
    held = take(Path(sys.argv[1]), "running")
except TakenError as error:
    print("refused", error.holder.pid if error.holder else None, flush=True)
else:
    print("holds", flush=True)
    sys.stdin.readline()
    held.release()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".small.lease"


class Process:
    """Another process that takes a lease on command."""

    def __init__(self, path: Path, *before: str) -> None:
        self.popen = subprocess.Popen(
            [*before, sys.executable, "-c", HOLDS, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def go(self) -> None:
        """Let it take or release the lease."""
        assert self.popen.stdin is not None
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def take(self) -> str:
        """Let it take the lease; return its message."""
        self.go()
        return self._line()

    def end(self) -> None:
        self.popen.kill()
        self.popen.communicate()


@pytest.fixture
def holding(path: Path) -> Iterator[Process]:
    """A process that holds the lease."""
    process = Process(path)
    assert process.take() == "holds"
    yield process
    process.end()


def _write(path: Path, holder: Holder | None, age: float = 0.0) -> None:
    path.write_text(json.dumps(asdict(holder)) if holder else "")
    os.utime(path, (time.time() - age,) * 2)


def test_of_processes_that_ask_at_once_exactly_one_gets_it(path: Path) -> None:
    for _ in range(3):
        processes = [Process(path) for _ in range(4)]
        for process in processes:
            process.go()
        said = [process._line() for process in processes]
        winner = processes[said.index("holds")]
        assert sorted(said) == ["holds", *[f"refused {winner.popen.pid}"] * 3]
        winner.go()
        assert winner.popen.wait() == 0
        for process in processes:
            process.end()
        assert list(path.parent.iterdir()) == [], "nothing is left behind"


def test_a_holder_that_was_killed_is_replaced_at_once_and_named(
    path: Path, holding: Process
) -> None:
    with pytest.raises(TakenError) as caught:
        take(path, "running")
    assert caught.value.holder is not None
    assert (caught.value.holder.pid, caught.value.seconds) == (holding.popen.pid, None)
    assert holder_of(path) == caught.value.holder
    holding.popen.kill()
    holding.popen.wait()
    assert path.exists()
    assert holder_of(path) is None
    with take(path, "running") as held:
        assert held.replaced == caught.value.holder
    assert not path.exists()


def test_a_holder_that_was_killed_and_not_collected_is_dead(path: Path, holding: Process) -> None:
    os.kill(holding.popen.pid, signal.SIGKILL)
    os.waitid(os.P_PID, holding.popen.pid, os.WEXITED | os.WNOWAIT)
    os.kill(holding.popen.pid, 0)  # its number is still in use
    assert holder_of(path) is None


def test_a_holder_that_is_stopped_for_long_still_holds_it(path: Path, holding: Process) -> None:
    os.kill(holding.popen.pid, signal.SIGSTOP)
    os.utime(path, (time.time() - 10 * STALE_S,) * 2)
    assert holder_of(path) is not None
    with pytest.raises(TakenError):
        take(path, "running", force=True)


def test_a_process_that_has_the_number_of_a_dead_holder_is_neither_believed_nor_interrupted(
    path: Path,
) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        holder = replace(HERE, pid=stranger.pid, started="1")
        _write(path, holder)
        assert holder_of(path) is None
        assert not holder.interrupt()
        assert stranger.poll() is None
        with take(path, "running") as held:
            assert held.replaced == holder
        started = lease_module._started(str(stranger.pid))
        assert started is not None
        assert replace(holder, started=started).interrupt()
        assert stranger.wait() == -signal.SIGTERM


@pytest.mark.skipif(shutil.which("unshare") is None, reason="has no unshare")
def test_process_1_of_a_new_container_does_not_take_itself_for_the_dead_process_1(
    path: Path,
) -> None:
    new = ["unshare", "--pid", "--fork", "--uts", "--mount", "--mount-proc"]
    if subprocess.run([*new, "true"], capture_output=True, check=False).returncode:
        pytest.skip("cannot make namespaces here")
    first = Process(path, *new)
    assert first.take() == "holds"
    assert json.loads(path.read_text())["pid"] == 1
    second = Process(path, *new)
    assert second.take() == "refused 1", "it lives, and is no process of this namespace"
    assert holder_of(path) is not None
    first.end()
    third = Process(path, *new)
    assert third.take() == "holds", "the kernel let go of the lock, whatever the heartbeat says"
    for process in (second, third):
        process.end()


def test_a_holder_on_another_machine_is_believed_while_its_heart_beats(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "_SETTLE_S", 0.0)
    _write(path, ELSEWHERE, age=STALE_S - 10)
    assert holder_of(path) == ELSEWHERE
    assert not ELSEWHERE.interrupt()
    with pytest.raises(TakenError) as caught:
        take(path, "running")
    assert caught.value.holder == ELSEWHERE
    assert caught.value.seconds is not None
    assert 0 < caught.value.seconds <= 11
    _write(path, ELSEWHERE, age=STALE_S + 1)
    assert holder_of(path) is None
    with take(path, "running") as held:
        assert held.replaced == ELSEWHERE


def test_the_clock_of_this_machine_decides_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(path, ELSEWHERE)
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert holder_of(path) == ELSEWHERE
    monkeypatch.setattr(time, "time", lambda: 0.0)
    _write_old = path.stat().st_mtime - STALE_S - 1
    os.utime(path, (_write_old, _write_old))
    assert holder_of(path) is None


def test_by_force_it_is_taken_from_another_machine_only(path: Path, holding: Process) -> None:
    with pytest.raises(TakenError):
        take(path, "deleting", force=True)
    holding.end()
    _write(path, ELSEWHERE)
    with take(path, "deleting", force=True) as held:
        assert held.replaced == ELSEWHERE


def _without_locks(*arguments: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_where_the_file_system_has_no_locks_one_of_those_who_take_over_at_once_gets_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", _without_locks)
    monkeypatch.setattr(lease_module, "_SETTLE_S", 0.5)
    _write(path, ELSEWHERE, age=STALE_S + 1)
    held: list[Any] = []
    together = threading.Barrier(3)
    seconds_left = lease_module._seconds_left

    def all_look_first(*arguments: Any) -> float | None:
        found = seconds_left(*arguments)
        together.wait(timeout=10)
        return found

    monkeypatch.setattr(lease_module, "_seconds_left", all_look_first)

    def ask() -> None:
        try:
            held.append(take(path, "running"))
        except TakenError as error:
            held.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    leases = [one for one in held if isinstance(one, lease_module.Lease)]
    assert len(leases) == 1
    leases[0]._over.set()
    monkeypatch.setattr(lease_module, "_seconds_left", seconds_left)
    with pytest.raises(TakenError):
        take(path, "running")
    leases[0].release()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 3}'])
def test_a_lease_that_is_just_being_written_is_waited_for_and_a_damaged_one_is_not(
    path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "_SETTLE_S", 0.0)
    path.write_text(content)
    with pytest.raises(TakenError) as caught:
        take(path, "running")
    assert caught.value.holder is None
    _write_old = time.time() - STALE_S - 1
    os.utime(path, (_write_old, _write_old))
    take(path, "running").release()
    assert not path.exists()


def test_a_full_disk_leaves_no_half_a_lease(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space left"):
            take(path, "running")
    assert list(path.parent.iterdir()) == []


def test_the_heart_beats(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "BEAT_S", 0.01)
    with take(path, "running"):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


# Suspended drivers


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> Iterator[StudyStore]:
    """A study's driver that was suspended for an hour while another took over."""
    store = StudyStore.create("small", "name: small\n")
    with store.held("running") as held:
        held.write_info(state="running", pid=1)
        held.optuna_study("search", "lstm", "maximize")
        os.utime(held.beside("lease"), (0, 0))
        _write(held.beside("lease"), ELSEWHERE)
        now = lease_module._now
        monkeypatch.setattr(lease_module, "_now", lambda: now() + 3600)
        yield held
    assert store.beside("lease").exists(), "it is the other one's"


def test_a_driver_that_was_asleep_while_another_took_over_writes_nothing_any_more(
    asleep: StudyStore,
) -> None:
    for write in (
        lambda: asleep.write_info(state="finished"),
        lambda: asleep.optuna_study("search", "elman", "maximize"),
        lambda: asleep.end_zombies("its driver died"),
    ):
        with pytest.raises(StoreError, match="process 1 on elsewhere took over while"):
            write()
    assert asleep.info == StudyInfo(state="running", pid=1)
    assert StudyStore(asleep.folder).optuna_study("search", "lstm", "maximize").trials == []


def test_a_driver_whose_lease_is_still_its_own_goes_on_after_a_sleep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with StudyStore.create("small", "name: small\n").held("running") as held:
        now = lease_module._now
        monkeypatch.setattr(lease_module, "_now", lambda: now() + 3600)
        held.write_info(state="running")
        held.optuna_study("search", "lstm", "maximize").ask()
    assert not held.beside("lease").exists()


def test_what_is_written_without_a_lease_takes_one_for_as_long() -> None:
    store = StudyStore.create("small", "name: small\n")
    held = "`small` is being repaired: process"
    with store.held("repairing"), pytest.raises(StoreError, match=held):
        store.write_info(state="finished")
    store.write_info(state="finished")
    assert sorted(f.name for f in store.folder.parent.iterdir()) == ["small"]
