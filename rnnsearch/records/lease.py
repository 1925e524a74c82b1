"""The lease on a name: only one process at a time starts, runs, repairs or deletes a study.

A lease is a file that its holder has locked (flock) and touches every five seconds. On one machine,
containers included, the lock decides, and the kernel releases it when the holder dies. Some network
file systems keep locks to one machine, or have none; there the heartbeat decides: a holder on
another machine is dead when its file was not touched for thirty seconds by the clock of the file
server, which both see. Readers ask for no lock.

A holder is identified by more than its process number, which is 1 in every container and is reused
after a while: by the boot of its machine, its namespace and when its process started.

A process that was asleep when the lease was taken over (on a suspended laptop, or stopped) finds
out before it writes again: `Lease.require` looks at the file whenever its last look was so long ago
that another process may have taken over since.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType

from typing_extensions import override

from rnnsearch.errors import StoreError

BEAT_S = 5.0
STALE_S = 30.0
# A holder whose last look at its lease is so recent was not asleep long enough to lose it.
_SURE_S = 2 * BEAT_S
_LOCK_PATIENCE_S = 2.0  # for a process that only looks, or is just releasing it
_NAMED_WITHIN_S = 1.0
_SETTLE_S = 2.0  # for two who take over at once where locks do not reach
_BETWEEN_TRIES_S = 0.05
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


@dataclass(frozen=True)
class Holder:
    """A process that holds a lease.

    Attributes:
        token: drawn for this lease alone.
        doing: what for: `running`, `repairing`, `deleting`, `importing`, `writing`.
        pid: its number, in its own namespace.
        host: name of its machine or container.
        job: the Ray job that it is, if it is one.
        boot: identifies the machine from its start to its end.
        namespace: where its number counts; empty where it cannot be looked up.
        started: when the process began, as its machine says it.
        locked: whether the file system took its lock.
    """

    token: str
    doing: str
    pid: int
    host: str
    job: str | None = None
    boot: str = ""
    namespace: str = ""
    started: str = ""
    locked: bool = False

    @classmethod
    def this_process(cls, doing: str, job: str | None, locked: bool) -> Holder:
        return cls(
            token=secrets.token_hex(8),
            doing=doing,
            pid=os.getpid(),
            host=socket.gethostname(),
            job=job,
            boot=_boot(),
            namespace=_namespace(),
            started=_started("self") or "",
            locked=locked,
        )

    @property
    def is_here(self) -> bool:
        """Whether this process can look it up by its number."""
        return bool(self.namespace) and (self.boot, self.namespace) == (_boot(), _namespace())

    @property
    def is_alive_here(self) -> bool:
        """Whether it is here, lives, and is the process that it was."""
        return self.is_here and _started(str(self.pid)) == self.started

    @override
    def __str__(self) -> str:
        where = f"process {self.pid} on {self.host}"
        return f"{where}, Ray job {self.job}" if self.job else where

    def interrupt(self) -> bool:
        """Send it SIGTERM, and to no other process; False if it is not here or not alive."""
        if sys.platform != "linux":
            if self.is_alive_here:
                os.kill(self.pid, signal.SIGTERM)
                return True
            return False
        try:
            # A handle, which cannot come to mean another process between the look and the signal.
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.is_alive_here:
                return False
            signal.pidfd_send_signal(handle, signal.SIGTERM)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


class TakenError(Exception):
    """Somebody else holds a lease.

    Attributes:
        holder: who, or None where that is just being written.
        seconds: in how many it counts as dead unless it shows a sign of life; None if it is alive.
    """

    def __init__(self, holder: Holder | None, seconds: float | None) -> None:
        super().__init__(holder, seconds)
        self.holder, self.seconds = holder, seconds


class Lease:
    """A lease that this process holds, from `take` to `release`; a context.

    Attributes:
        holder: this process.
        replaced: the dead holder it was taken from, if any.
    """

    def __init__(self, path: Path, file: int, holder: Holder, replaced: Holder | None) -> None:
        self._path, self._file = path, file
        self.holder, self.replaced = holder, replaced
        self._sure_until = _now() + _SURE_S
        self._looking = Lock()
        self._over = Event()
        self._heart = Thread(target=self._beat, name="lease", daemon=True)
        self._heart.start()

    def require(self) -> None:
        """Refuse to continue once another process has taken over.

        Raises:
            StoreError: one has, or it cannot be determined.
        """
        if _now() < self._sure_until:
            return
        with self._looking:
            self._look()

    def _look(self) -> None:
        try:
            found = _read(self._path)
        except OSError as error:
            msg = f"cannot read {self._path}: {error.strerror or error}"
            raise StoreError(msg) from error
        if found is None or found.token != self.holder.token:
            by = f"{found} took over" if found else f"somebody removed {self._path}"
            msg = f"{by} while this process was asleep; it stops and writes nothing more"
            raise StoreError(msg)
        os.utime(self._path)  # by the clock of the file's server
        self._sure_until = _now() + _SURE_S

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            # The next write is told what is wrong.
            with suppress(OSError, StoreError), self._looking:
                if not self._over.is_set():
                    self._look()

    def release(self) -> None:
        """Let go, and leave nothing."""
        self._over.set()
        self._heart.join()
        with suppress(OSError):
            found = _read(self._path)
            if found is not None and found.token == self.holder.token:
                self._path.unlink()
        os.close(self._file)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def take(path: Path, doing: str, *, job: str | None = None, force: bool = False) -> Lease:
    """Take a lease that is free, or whose holder is dead.

    Args:
        path: its file.
        doing: what for, in one word.
        job: the Ray job that this process is.
        force: also from a holder on another machine that was alive seconds ago.

    Raises:
        TakenError: another process holds it.
        OSError: the file cannot be written.
    """
    while True:
        file, is_new = _open(path)
        try:
            locked = _lock(file)
            if locked is False:
                raise TakenError(_read(path), None)
            if _is_at(file, path):
                return _taken_over(path, file, doing, job, bool(locked), is_new, force)
        except TakenError as error:
            os.close(file)  # now a process that has made it and not yet written to it can
            raise TakenError(error.holder or _read_soon(path), error.seconds) from None
        except BaseException:
            if is_new and _is_at(file, path):
                path.unlink()
            os.close(file)
            raise
        os.close(file)  # it was released in between


def _taken_over(
    path: Path,
    file: int,
    doing: str,
    job: str | None,
    locked: bool,
    is_new: bool,
    force: bool,
) -> Lease:
    """Write this process into a file that no other process has locked, if its holder is dead."""
    here = Holder.this_process(doing, job, locked)
    before = None if is_new else _read(path)
    if not is_new:
        seconds = _seconds_left(before, path, locked)
        if seconds is None or (seconds > 0 and not force):
            raise TakenError(before, seconds)
    content = json.dumps(asdict(here)).encode()
    os.pwrite(file, content, 0)
    os.ftruncate(file, len(content))
    os.fsync(file)
    if not is_new and (before is None or before.boot != here.boot):
        # Where locks do not reach, another may have written at the same time; the last one has it.
        time.sleep(_SETTLE_S)
        if (found := _read(path)) is None or found.token != here.token:
            raise TakenError(found, None)
    return Lease(path, file, here, before)


def _seconds_left(holder: Holder | None, path: Path, locked: bool) -> float | None:
    """In how many seconds a holder counts as dead, 0 if it is; None if it is alive.

    Args:
        holder: what the file says, None where that cannot be read.
        path: the file.
        locked: whether this process has the lock.
    """
    if holder is not None:
        if holder.is_here:
            return None if holder.is_alive_here else 0.0
        if locked and holder.locked and holder.boot == _boot():
            return 0.0  # this kernel would not have given the lock twice
    return max(0.0, STALE_S - _age(path))


def holder_of(path: Path) -> Holder | None:
    """The holder of a lease; None if there is none, or it is dead."""
    try:
        holder = _read(path)
        left = _seconds_left(holder, path, locked=False)
    except OSError:
        return None
    return holder if left is None or left > 0 else None


def _open(path: Path) -> tuple[int, bool]:
    """Open a lease's file, and whether it was made by this."""
    while True:
        with suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), True
        with suppress(FileNotFoundError):  # it was released meanwhile
            return os.open(path, os.O_RDWR | os.O_CLOEXEC), False


def _lock(file: int) -> bool | None:
    """Lock a file: whether it was to be had, None where there are no locks."""
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_BETWEEN_TRIES_S)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return None
            raise
        else:
            return True


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), path.stat())
    return False


def _read_soon(path: Path) -> Holder | None:
    """Who holds a file; a process that has just made or locked it writes its name soon."""
    deadline = time.monotonic() + _NAMED_WITHIN_S
    while (holder := _read(path)) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return holder


def _read(path: Path) -> Holder | None:
    """What a lease says; None if it does not exist or is incomplete."""
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _age(path: Path) -> float:
    """Seconds since a file was touched, by the clock of the machine that has it."""
    touched = path.stat().st_mtime
    try:
        with tempfile.TemporaryFile(dir=path.parent) as probe:
            return os.fstat(probe.fileno()).st_mtime - touched
    except OSError:  # it can only be read
        return time.time() - touched


def _now() -> float:
    """Seconds on a clock that runs while a machine is suspended."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:  # no Linux
        return socket.gethostname()


def _namespace() -> str:
    """Where process numbers count; empty where `/proc` shows those of another namespace."""
    if sys.platform != "linux":
        return sys.platform
    try:
        seen_as = os.readlink("/proc/self")
        return os.readlink("/proc/self/ns/pid") if seen_as == str(os.getpid()) else ""
    except OSError:
        return ""


def _started(pid: str) -> str | None:
    """When a process began; None if there is none of that number, or it waits to be collected."""
    if sys.platform != "linux":
        number = str(os.getpid()) if pid == "self" else pid
        asked = ["ps", "-o", "lstart=", "-p", number]
        said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        return said.strip() or None
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    state, *fields = line.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]
