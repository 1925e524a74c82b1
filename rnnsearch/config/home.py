"""Where rnnsearch keeps what it makes, and how files there are written: whole or not at all."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from rnnsearch.config import settings
from rnnsearch.errors import RnnsearchError, StoreError


def home() -> Path:
    """The folder named by RNNSEARCH_HOME, or `~/.rnnsearch`.

    Raises:
        SettingError: it has no path that can be used.
    """
    return settings.folder("RNNSEARCH_HOME", "~/.rnnsearch")


def require_temporary_folder() -> None:
    """See that temporary files have a place: in the home where the system has none for them.

    Raises:
        RnnsearchError: nor can the home be written.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:  # a container whose file system is read-only
        own = home() / "tmp"
        with suppress(OSError):
            own.mkdir(parents=True, exist_ok=True)
        os.environ["TMPDIR"] = str(own)  # for other processes too
        try:
            tempfile.gettempdir()
        except FileNotFoundError:
            msg = (
                f"no folder can be written for temporary files, and neither can {own}: set TMPDIR "
                "to one that can (in a container without a writable /tmp: `--tmpfs /tmp`)"
            )
            raise RnnsearchError(msg) from None


def sqlite_url(path: Path) -> str:
    """The address of a database file for SQLAlchemy, MLflow and Optuna, whatever its path holds.

    A path that needs no escapes gives `sqlite:///` and the path, as in studies of old.
    """
    from sqlalchemy.engine import URL, make_url

    plain = f"sqlite:///{path}"
    if not {"%", "?"} & set(plain) and make_url(plain).database == str(path):
        return plain
    # Of `sqlite:` MLflow would make the folder that the address names without its escapes read.
    url = URL.create("sqlite+pysqlite", database=str(path))
    return url.render_as_string(hide_password=False)


def private_folder(path: Path) -> Path:
    """Make a folder that its owner alone may enter, whatever the umask; one that exists is kept.

    A study has the study file, uncommitted code and tracebacks, and none of them were written for
    others who use the machine. Ray's workers run as the same user as the study does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def private_file(path: str | os.PathLike[str], flags: int) -> int:
    """The `opener` of a file that its owner alone may read."""
    return os.open(path, flags, 0o600)


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file so that at any time it has its old content or all of the new.

    That holds when the machine loses its power, too: both are on the disk when this returns. In the
    home its owner alone may read it; elsewhere the umask decides.

    Raises:
        StoreError: the file cannot be written; says which and why.
    """
    target = Path(path)
    # Beside the target, for `os.replace` to stay on one file system.
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    opener = private_file if target.absolute().is_relative_to(home()) else None
    try:
        with open(partial, "xb", opener=opener) as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
        _sync_folder(target.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        msg = f"cannot write {target}: {error.strerror or error}"
        raise StoreError(msg) from error


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where its file system lets folders be synced."""
    try:
        file = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(file)
    finally:
        os.close(file)
