"""Checkpoints: what a trial has learned so far, kept so that it can resume after an interruption.

Each is a file of the study's folder, sealed by a hash: a damaged one costs its trial the epochs
that it had trained, and never a wrong result.
"""

from __future__ import annotations

import glob
import hashlib
from pathlib import Path

from rnnsearch.config.home import private_folder, write_whole
from rnnsearch.spec.trial import file_name

# Increase it when a checkpoint comes to hold something else, so that no older one is read.
_FORMAT = b"3"


class Checkpoints:
    """The checkpoints of a study's trials, at most one for each trial.

    Args:
        folder: the study's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "checkpoints"

    def keep(self, key: str, epoch: int, content: bytes) -> None:
        """Write what a trial had learned after an epoch; `drop` removes its older ones.

        Raises:
            StoreError: the file cannot be written.
        """
        write_whole(private_folder(self._folder) / _name(key, epoch), _sealed(content))

    def hand_over(self, before: str, key: str, epoch: int) -> bytes | None:
        """Read the checkpoint of an interrupted trial, which becomes that of its successor.

        Args:
            before: key of the interrupted trial.
            key: key under which it resumes.
            epoch: the epoch after which it was written.

        Returns:
            its content; None if it is missing, damaged or of another format.
        """
        path = self._folder / _name(before, epoch)
        if not path.is_file():
            return None
        content = _unsealed(path.read_bytes())
        if content is None:
            path.unlink()
        else:
            path.replace(path.with_name(_name(key, epoch)))
        return content

    def drop(self, key: str, but: int = 0) -> None:
        """Remove a trial's checkpoints, except the one of an epoch."""
        kept = _name(key, but)
        for path in self._folder.glob(_name(glob.escape(key), "*")):
            if path.name != kept:
                path.unlink(missing_ok=True)


def _name(key: str, epoch: int | str) -> str:
    return f"{file_name(key)}.{epoch}.pt"


def _sealed(content: bytes) -> bytes:
    """Content behind its hash, which reveals damage and checkpoints of another format."""
    return hashlib.sha256(_FORMAT + content).digest() + content


def _unsealed(sealed: bytes) -> bytes | None:
    """What was sealed, or None if it has changed since."""
    content = sealed[32:]
    return content if _sealed(content) == sealed else None
