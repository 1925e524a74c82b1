"""A watch over a study's driver: a small process that outlives it, and writes down how it ended.

Ray's own code ends a driver whose cluster went away, with a dump of its stack and without a word to
Python; and where the driver is process 1, its end is that of the container. So the process that was
started waits, hands on signals, and lets a child be the driver.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import tempfile
from typing import IO

import click

from rnnsearch.cli.output import echo
from rnnsearch.config import settings

_HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PR_SET_PDEATHSIG = 1
_ENDED = b"\n"
_OF_THE_CLUSTER = ("GCS", "gcs", "raylet")
_MOST_READ = 1 << 20

_say: int | None = None  # where a watched driver says which study it drives, and that it has ended


def watch(context: click.Context) -> None:
    """Go on in a child, if this is a driver to be watched; this process ends when that has.

    To be called before anything is imported that starts threads.
    """
    global _say
    is_own_process = context.find_root().obj is True
    is_needed = settings.text("RAY_ADDRESS") or os.getpid() == 1
    is_watched = _say is not None
    if is_watched or not (is_own_process and is_needed and sys.platform == "linux"):
        return
    said, say = os.pipe()
    dump = tempfile.TemporaryFile()  # noqa: SIM115 - both processes have it until they end
    parent = os.getpid()
    child = os.fork()
    if child:
        os.close(say)
        raise click.exceptions.Exit(_wait(child, said, dump))
    os.close(said)
    # In a group of its own, so that Ctrl-C comes once, from the parent.
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    # What Python says goes where it went; what native code says is kept aside.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    os.dup2(dump.fileno(), 2)
    _say = say
    atexit.register(os.write, say, _ENDED)


def name_study(name: str) -> None:
    """Let the watch know which study is driven."""
    if _say is not None:
        os.write(_say, name.encode())


def _wait(child: int, said: int, dump: IO[bytes]) -> int:
    """Wait for the driver, and record that it was interrupted if it could not."""
    for number in _HANDED_ON:
        signal.signal(number, lambda number, frame: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    heard = b""
    while piece := os.read(said, 4096):
        heard += piece
    if heard.endswith(_ENDED):
        return code
    name = heard.decode()
    echo(f"error: {_record(name, code, dump)}", err=True)
    return 1 if code >= 0 else 128 - code


def _record(name: str, code: int, dump: IO[bytes]) -> str:
    """Write down how a driver ended that could not; returns it in one line."""
    dump.seek(0)
    text = dump.read(_MOST_READ).decode(errors="replace")
    if any(word in text for word in _OF_THE_CLUSTER):
        why = f"the Ray cluster at {settings.text('RAY_ADDRESS') or 'this machine'} went away"
    else:
        why = (
            f"its process ended by {signal.Signals(-code).name}" if code < 0 else "its process died"
        )
    if not name:
        return f"the study could not begin: {why}"
    from rnnsearch.config.home import write_whole
    from rnnsearch.errors import RnnsearchError
    from rnnsearch.records.store import StudyStore

    try:
        with StudyStore.open(name).held("writing") as store:
            if store.info.state == "running":
                store.write_info(state="interrupted")
            if text:
                errors = store.folder / "errors"
                errors.mkdir(exist_ok=True)
                write_whole(errors / "driver.txt", text)
    except (RnnsearchError, OSError) as error:
        return f"study `{name}` was interrupted: {why}. That could not be recorded: {error}"
    return f"study `{name}` was interrupted: {why}. `rnnsearch study resume {name}` continues it"
