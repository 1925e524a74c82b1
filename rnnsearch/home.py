"""Where rnnsearch keeps what it makes, and how files there are written: whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from rnnsearch.errors import StoreError


def home() -> Path:
    """The folder named by RNNSEARCH_HOME, or `~/.rnnsearch`."""
    return Path(os.environ.get("RNNSEARCH_HOME") or "~/.rnnsearch").expanduser().absolute()


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file so that at any time it has its old content or all of the new.

    Raises:
        StoreError: the file cannot be written; says which and why.
    """
    target = Path(path)
    # Beside the target, for `os.replace` to stay on one file system.
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        msg = f"cannot write {target}: {error.strerror or error}"
        raise StoreError(msg) from error
