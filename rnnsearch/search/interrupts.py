"""Interrupts: Ctrl-C asks a study to stop, then stops it; nothing is left half written.

A trial that is drawn but not yet started, or recorded but not yet reported, would never be
reported. Blocking the signals meanwhile does not help: another thread takes them, and Python still
runs their handlers in the main thread.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_is_writing = _waits = False


def arrive(number: int, frame: object) -> None:
    """Interrupt, at once or when all is written: for `signal.signal`."""
    global _waits
    if not _is_writing:
        raise KeyboardInterrupt
    _waits = True


@contextmanager
def wait() -> Iterator[None]:
    """Let interrupts wait until the end of the block."""
    global _is_writing, _waits
    _is_writing = True
    try:
        yield
    finally:
        _is_writing = False
        if _waits:
            _waits = False
            raise KeyboardInterrupt


@contextmanager
def first_asks(stop_file: Path) -> Iterator[None]:
    """Let Ctrl-C ask for a stop at first, by a file, and interrupt when it comes again."""

    def ask(number: int, frame: object) -> None:
        if stop_file.exists():
            arrive(number, frame)
            return
        stop_file.touch()
        print(
            "\nstopping once the running trials have ended; Ctrl-C again stops at once",
            file=sys.stderr,
            flush=True,
        )

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # not in the main thread: then it is the caller's to handle
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
