"""Where an error comes from a disk or a damaged database: what is wrong with it."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_SQLITE_DISK = ("disk is full", "disk I/O error", "readonly database")


def disk_problem(error: BaseException) -> str | None:
    """What is wrong with the disk, if that is what an error comes from."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _DISK:
            return cause.strerror
        if isinstance(cause, sqlite3.OperationalError) and any(
            words in str(cause) for words in _SQLITE_DISK
        ):
            return str(cause)
    return None


def database_problem(error: BaseException) -> str | None:
    """What is wrong with a database, if that is what an error comes from."""
    for cause in _causes(error):
        is_passing = isinstance(cause, sqlite3.OperationalError) and "no such" not in str(cause)
        if isinstance(cause, sqlite3.DatabaseError) and not is_passing:
            return str(cause)
    # What Optuna or we made of its rows.
    if isinstance(error, ValueError | TypeError | KeyError):
        return f"{type(error).__name__}: {error}"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and every error that it was raised from or during."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__context__, one.__cause__]


def overwrite(path: Path, text: str) -> bool:
    """Write a file in place, as on a full disk; returns whether it had the room."""
    try:
        with path.open("r+b") as file:
            room = len(file.read())
            content = text.encode()
            if len(content) > room:
                content = json.dumps(json.loads(text), separators=(",", ":")).encode()
            if len(content) > room:
                return False
            file.seek(0)
            file.write(content.ljust(room))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return False
    return True
