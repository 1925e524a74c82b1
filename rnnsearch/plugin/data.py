"""Data sets on disk: where their files are looked for, how they are checked and downloaded.

A data set is looked for in `RNNSEARCH_DATA_DIR`, then in the cache (`RNNSEARCH_HOME/data`), and is
then downloaded into the cache, unless `RNNSEARCH_OFFLINE` is set. All its files must lie in one
place, at the same relative paths in each. Every file is checked against its digest each time it
is located.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal, TypeAlias

from rnnsearch.config import settings
from rnnsearch.config.home import home
from rnnsearch.errors import DataError, MissingDataError

TIMEOUT_S = 10.0
_CHUNK_BYTES = 1 << 20

FileState: TypeAlias = Literal["ok", "missing", "corrupt", "unreadable"]


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class DataFile:
    """One file of a data set.

    Attributes:
        path: where it lies below a place, with `/`.
        sha256: the digest that it must have.
        size: bytes, or None where the digest does not fix them.
        url: where it is downloaded from, if it is published as it is.
        digest: computes the digest from a path: of the file's bytes, unless the same content can
            be stored in different bytes. Raises OSError for a file that cannot be read, ValueError
            for one that is damaged.
    """

    path: str
    sha256: str
    size: int | None = None
    url: str = ""
    digest: Callable[[Path], str] = sha256_of

    def download(self, folder: Path) -> Path:
        """Download the file to its path below `folder`, check it, and return where it lies.

        Raises:
            DataError: there is no url, the download failed, or the file is not the right one.
        """
        if not self.url:
            msg = f"{self.path} cannot be downloaded: no address is known"
            raise DataError(msg)
        target = folder / self.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy_from(self.url, target, self.path, self.size)
        except (OSError, HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is the server's answer too
            msg = f"{self.url}: {_reason(error)}"
            raise DataError(msg) from error
        status = _inspect_file(self, Location("download", folder))
        if status.state != "ok":
            msg = f"{self.url}: not the expected file, {status.problem}"
            raise DataError(msg)
        return target


@dataclass(frozen=True)
class Dataset:
    """Files that belong together.

    Attributes:
        name: what users know it as.
        files: its files.
        terms: licence, or what is known of the terms of use.
        homepage: where it is published.
        downloader: puts every file at its path below a folder, and may leave others there. Raises
            DataError or OSError. Where it is None, each file is downloaded from its own `url`.
    """

    name: str
    files: tuple[DataFile, ...]
    terms: str
    homepage: str
    downloader: Callable[[Path], None] | None = None

    @property
    def sha256(self) -> str:
        """The file's own digest; of several files, that of their listing by `sha256sum`."""
        if len(self.files) == 1:
            return self.files[0].sha256
        listing = "".join(f"{file.sha256}  {file.path}\n" for file in self.files)
        return hashlib.sha256(listing.encode()).hexdigest()

    def download(self, folder: Path) -> None:
        """Download the files below `folder`; the caller checks them.

        Raises:
            DataError: the download failed.
            OSError: it failed, or `folder` cannot be written.
        """
        if self.downloader is not None:
            self.downloader(folder)
            return
        for file in self.files:
            file.download(folder)


@dataclass(frozen=True)
class Location:
    """Where a data set was found.

    Attributes:
        origin: `RNNSEARCH_DATA_DIR`, `cache` or `download` (into the cache, just now).
        folder: the folder that the paths of the files start from.
    """

    origin: str
    folder: Path


@dataclass(frozen=True)
class FileStatus:
    """What was found of one file in one place.

    Attributes:
        file: the file.
        state: `ok`, `missing`, `corrupt` (another digest) or `unreadable`.
        place: `RNNSEARCH_DATA_DIR` or `cache`.
        path: where it lies, or would lie.
        problem: what was expected and what was found, or an empty string.
    """

    file: DataFile
    state: FileState
    place: str
    path: Path
    problem: str = ""


def data_folder() -> Path:
    """Return the cache, `RNNSEARCH_HOME/data`; `RNNSEARCH_HOME` is `~/.rnnsearch` unless set.

    Raises:
        DataError: there is no home folder.
    """
    try:
        return home() / "data"
    except RuntimeError as error:
        msg = "there is no home folder to keep data in. Set RNNSEARCH_HOME to a folder."
        raise DataError(msg) from error


def locate(dataset: Dataset) -> Location:
    """Find a data set and check every file of it, downloading it where that is allowed.

    Raises:
        MissingDataError: it is in no place and was not downloaded.
        DataError: a file of it is corrupt or cannot be read; no further place is tried then.
    """
    return _obtain(dataset, replace_cached=False)


def fetch(dataset: Dataset) -> Location:
    """Do as `locate` does, but replace files in the cache that are corrupt.

    Raises:
        MissingDataError: it is in no place and was not downloaded.
        DataError: a file of it in `RNNSEARCH_DATA_DIR` is corrupt or cannot be read.
    """
    return _obtain(dataset, replace_cached=True)


def verify(dataset: Dataset) -> tuple[FileStatus, ...]:
    """Check each file in the place that `locate` would stop at, downloading nothing.

    If no place has them all, the place with the most is described.
    """
    surveyed = [statuses for _, statuses in _survey(dataset)]
    if _faulty(surveyed[-1]):
        return surveyed[-1]
    return max(surveyed, key=lambda statuses: sum(s.state == "ok" for s in statuses))


def _obtain(dataset: Dataset, *, replace_cached: bool) -> Location:
    looked: list[str] = []
    for place, statuses in _survey(dataset):
        faulty = _faulty(statuses)
        if faulty and not (replace_cached and place.origin == "cache"):
            raise DataError(_fault_text(dataset, faulty))
        wrong = [status for status in statuses if status.state != "ok"]
        if not wrong:
            return place
        rest = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        folder = "" if place.folder.is_dir() else ", a folder that does not exist"
        what = f"{wrong[0].file.path} is {wrong[0].state}{rest}"
        looked.append(f"{place.origin} ({place.folder}{folder}): {what}")
    if not settings.text("RNNSEARCH_DATA_DIR"):
        looked.insert(0, "RNNSEARCH_DATA_DIR: not set")
    if settings.flag("RNNSEARCH_OFFLINE"):
        looked.append("download: not tried, because RNNSEARCH_OFFLINE is set")
    else:
        try:
            return _download(dataset)
        except (DataError, OSError) as error:
            looked.append(f"download: failed: {_reason(error)}")
    raise MissingDataError(_missing_text(dataset, looked), dataset.name, tuple(looked))


def _survey(dataset: Dataset) -> list[tuple[Location, tuple[FileStatus, ...]]]:
    """Inspect the places in order, up to the first that has all files or a faulty one."""
    places = [Location("cache", data_folder())]
    if settings.text("RNNSEARCH_DATA_DIR"):
        # Absolute: Ray's workers have another working directory.
        places.insert(0, Location("RNNSEARCH_DATA_DIR", settings.folder("RNNSEARCH_DATA_DIR")))
    surveyed = []
    for place in places:
        statuses = tuple(_inspect_file(file, place) for file in dataset.files)
        surveyed.append((place, statuses))
        if _faulty(statuses) or all(status.state == "ok" for status in statuses):
            break
    return surveyed


def _faulty(statuses: tuple[FileStatus, ...]) -> list[FileStatus]:
    return [status for status in statuses if status.state in ("corrupt", "unreadable")]


def _inspect_file(file: DataFile, place: Location) -> FileStatus:
    path = place.folder / file.path
    try:
        found = file.digest(path)
    except (FileNotFoundError, NotADirectoryError):
        return FileStatus(file, "missing", place.origin, path)
    except OSError as error:
        return FileStatus(file, "unreadable", place.origin, path, _reason(error))
    except ValueError as error:
        return FileStatus(file, "corrupt", place.origin, path, str(error))
    if found == file.sha256:
        return FileStatus(file, "ok", place.origin, path)
    problem = f"expected sha256 {file.sha256}, found {found}"
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        problem += f" ({size:,} bytes instead of {file.size:,})"
    return FileStatus(file, "corrupt", place.origin, path, problem)


def _download(dataset: Dataset) -> Location:
    cache = data_folder()
    cache.mkdir(parents=True, exist_ok=True)
    # In the cache itself: a rename is atomic only within one file system.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as name:
        staging = Location("download", Path(name))
        dataset.download(staging.folder)
        for status in (_inspect_file(file, staging) for file in dataset.files):
            if status.state != "ok":
                msg = f"got {status.file.path}, but {status.problem or 'it is missing'}"
                raise DataError(msg)
        for file in dataset.files:
            target = cache / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            (staging.folder / file.path).replace(target)
    return Location("download", cache)


def _copy_from(url: str, target: Path, name: str, size: int | None) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "rnnsearch"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response, target.open("wb") as file:
        total = f" of {size / 1e6:.1f}" if size is not None else ""
        done, live = 0, sys.stderr.isatty()
        print(f"downloading {name} from {url}", file=sys.stderr)
        while chunk := response.read(_CHUNK_BYTES):
            done += len(chunk)
            if size is not None and done > size:
                msg = f"sends more than the expected {size:,} bytes"
                raise OSError(msg)
            file.write(chunk)
            if live:
                print(f"\r{done / 1e6:.1f}{total} MB", end="", file=sys.stderr, flush=True)
        if live:
            print(file=sys.stderr)


def _fault_text(dataset: Dataset, faulty: list[FileStatus]) -> str:
    lines = [f"{s.path} ({dataset.name}) is {s.state}: {s.problem}." for s in faulty]
    if faulty[0].place == "cache":
        lines.append("Delete it and run again: it is then downloaded.")
    else:
        lines.append(
            f"Put the original there ({dataset.homepage}), or unset {faulty[0].place}: the cache "
            "and a download are then tried."
        )
    return "\n".join(lines)


def _missing_text(dataset: Dataset, looked: list[str]) -> str:
    return "\n".join(
        [
            f"{dataset.name} was not found. Looked in:",
            *(f"  {line}" for line in looked),
            "Run once where there is internet access, or put these files below one folder and set "
            "RNNSEARCH_DATA_DIR to that folder:",
            *(f"  {file.path}" for file in dataset.files),
            f"{dataset.name} is published at {dataset.homepage}.",
        ]
    )


def _reason(error: BaseException) -> str:
    """Say what went wrong on one line."""
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        return str(error.reason)
    return " ".join(str(error).split()) or type(error).__name__
