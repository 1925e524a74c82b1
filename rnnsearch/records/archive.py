"""Studies as files: one archive to pass on, read back with suspicion; and how a study is removed.

An archive is a zip of what a study's folder holds for readers, with a manifest that has the sha256
of every member. It carries no secrets: no passwords in addresses, no differences of the code beside
the study file, nothing of the process that ran it. A reader trusts nothing in it: names,
sizes, checksums and content are checked before the study gets its name, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import sqlite3
import stat
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rnnsearch.config.check import check_config
from rnnsearch.config.home import private_file, private_folder, write_whole
from rnnsearch.config.secrets import has_password, hide, hide_all
from rnnsearch.config.study_file import parse_study
from rnnsearch.errors import DamagedError, StoreError, StudyFileError
from rnnsearch.records.store import INFO_FILE, STUDY_FILE, StudyStore, list_stores, studies_folder
from rnnsearch.records.study_info import StudyInfo
from rnnsearch.records.trial_check import check_record

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
MOST_BYTES = 8 << 30
MOST_MEMBERS = 20_000
MOST_RATIO = 100  # unpacked to packed; below `_ANY_RATIO` bytes it does no harm
_ANY_RATIO = 64 << 20
_MOST_TEXT = 32 << 20  # of a member that is read into memory
_CHUNK = 1 << 20

_KIND = "rnnsearch study"
# A part of a path that is a plain file name on every system.
_PART = (
    r'[^\x00-\x20/\\:*?"<>|.\x7f](?:[^\x00-\x1f/\\:*?"<>|\x7f]{0,150}[^\x00-\x20/\\:*?"<>|.\x7f])?'
)
_MEMBER = re.compile(
    rf"study\.(?:yaml|json)|trials\.db|comparison\.(?:csv|png|svg)"
    rf"|analyses/{_PART}/(?:{_PART}/)?{_PART}\.(?:json|png|svg)"
    rf"|report/{_PART}\.(?:html|md|tex|csv|svg|png)"
    rf"|weights/{_PART}\.pt|errors/{_PART}\.txt"
)
_LABEL = re.compile(_PART)
_WRITTEN_FOR_READERS = (".yaml", ".json", ".csv", ".svg", ".html", ".md", ".tex", ".txt")
# What ties a study to the process and the MLflow store of the machine that it ran on.
_OF_THE_PROCESS = ("pid", "host")
_OF_TRACKING = ("tracking_uri", "experiment_id", "run_id")
# What reading a damaged or hostile zip raises.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    struct.error,
)


@dataclass(frozen=True)
class Exported:
    """An archive that was written.

    Attributes:
        path: the archive.
        members: what is in it, without the manifest.
        left_out: files in the study's folder that are no part of an archive.
        size: bytes of the archive.
    """

    path: Path
    members: tuple[str, ...]
    left_out: tuple[str, ...]
    size: int


def export_study(store: StudyStore, path: Path) -> Exported:
    """Write a study into one archive, whole or not at all; a study that runs may be exported.

    Args:
        store: the study.
        path: where to; nothing may be there.

    Raises:
        StoreError: the file exists or cannot be written, or the study cannot be read.
    """
    if path.exists():
        msg = f"{path} exists already. Give the archive another name, or remove that file"
        raise StoreError(msg)
    members, left_out = _files_of(store.folder)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with zipfile.ZipFile(partial, "x", zipfile.ZIP_DEFLATED) as archive:
            listed = {name: _pack(store, name, archive) for name in members}
            manifest = {
                "kind": _KIND,
                "schema_version": SCHEMA_VERSION,
                "name": store.name,
                "rnnsearch": version("rnnsearch"),
                "members": listed,
            }
            archive.writestr(_entry(MANIFEST), json.dumps(manifest, indent=2) + "\n")
        size = partial.stat().st_size
        os.replace(partial, path)
    except (OSError, sqlite3.Error) as error:
        msg = f"cannot write {path}: {getattr(error, 'strerror', None) or error}"
        raise StoreError(msg) from error
    finally:
        partial.unlink(missing_ok=True)
    return Exported(path, tuple(members), tuple(left_out), size)


def _files_of(folder: Path) -> tuple[list[str], list[str]]:
    """The files of a study that an archive holds, and those that it does not."""
    found: list[str] = []
    left_out: list[str] = []
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_dir() and not file.is_symlink():
            continue
        if file.is_symlink() or not file.is_file() or not _MEMBER.fullmatch(name):
            left_out.append(name)
        else:
            found.append(name)
    return found, left_out


def _entry(name: str) -> zipfile.ZipInfo:
    """A member without a date: the same study gives the same archive."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    return entry


def _pack(store: StudyStore, name: str, archive: zipfile.ZipFile) -> dict[str, Any]:
    """Add a member; returns what the manifest says of it."""
    path = store.folder / name
    if name == "trials.db":
        with tempfile.TemporaryDirectory() as folder:
            _back_up(path, Path(folder) / name)
            return _pack_file(Path(folder) / name, name, archive)
    if not name.endswith(_WRITTEN_FOR_READERS):
        return _pack_file(path, name, archive)
    content = path.read_bytes()
    if name == "study.json":
        info = hide_all(_without_process(store.info.content()))
        content = (json.dumps(info, indent=2) + "\n").encode()
    else:
        content = hide_secrets(content)
    if name == "study.yaml":
        _require_hidden(content.decode("utf-8", "replace"), path)
    archive.writestr(_entry(name), content)
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def _pack_file(path: Path, name: str, archive: zipfile.ZipFile) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file, archive.open(_entry(name), "w", force_zip64=True) as member:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            member.write(chunk)
    return {"sha256": digest.hexdigest(), "size": size}


def _back_up(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment, even while it is being written to."""
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
        new.execute("PRAGMA journal_mode=DELETE")  # one file, whatever the source had


def hide_secrets(text: bytes) -> bytes:
    """Text without passwords and tokens, those in addresses foremost."""
    return hide(text.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _require_hidden(text: str, path: Path) -> None:
    """Refuse a study file whose tracking password is written in a way that nothing hid."""
    tracking = parse_study(text, str(path)).data.get("tracking")
    uri = tracking.get("uri") if isinstance(tracking, dict) else None
    if isinstance(uri, str) and has_password(uri):
        msg = f"the password in `tracking.uri` of {path} cannot be left out; write it plainly"
        raise StoreError(msg)


def _without_process(info: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a study, without what is private."""
    kept = {key: value for key, value in info.items() if key not in _OF_THE_PROCESS}
    if isinstance(kept.get("git"), dict):
        # Whatever lay uncommitted beside the study file, keys and passwords included.
        kept["git"] = {key: value for key, value in kept["git"].items() if key != "diff"}
    if kept.get("state") == "running":
        kept["state"] = "interrupted"  # the copy does not run
    return kept


def import_study(path: Path, name: str | None = None) -> StudyStore:
    """Read an archive back as a study: all of it, or nothing.

    Args:
        path: the archive.
        name: name of the study; the one it had if None.

    Raises:
        StoreError: the name is taken, or the archive is damaged, too large, of a newer version, or
            holds what no study holds.
        StudyFileError: the study file in it cannot be used.
    """
    if not path.is_file():
        msg = f"{path} is no file" if path.exists() else f"there is no file {path}"
        raise StoreError(msg)
    with _reading(path), zipfile.ZipFile(path) as archive:
        entries = _checked_entries(archive, path)
        manifest = _checked_manifest(archive, entries, path)
        name = manifest["name"] if name is None else name
        folder = _free_folder(name)
        with StudyStore.new(name, "importing") as store:
            made = StudyStore(store.beside("partial"))
            shutil.rmtree(made.folder, ignore_errors=True)  # of one who was killed at it
            try:
                private_folder(made.folder)
                for member, entry in entries.items():
                    if member != MANIFEST:
                        _extract(archive, entry, manifest["members"][member], made.folder, path)
                _check_content(made, path)
                _write_info(made, path, manifest["name"])
                os.rename(made.folder, folder)
            finally:
                shutil.rmtree(made.folder, ignore_errors=True)
    return StudyStore(folder)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _ZIP_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        msg = f"{path} cannot be imported: {reason}"
        raise StoreError(msg) from error


def _refused(path: Path, reason: str) -> StoreError:
    return StoreError(f"{path} is refused: {reason}. Nothing was imported")


def _shown(name: str) -> str:
    """A name from an archive, fit for a terminal."""
    return f"`{name[:80].encode('unicode_escape').decode()}`"


def _checked_entries(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The members by name, after everything that can be said of them without unpacking."""
    entries: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise _refused(path, f"{len(infos):,} members, more than {MOST_MEMBERS:,}")
    for entry in infos:
        name = entry.orig_filename
        if problem := _problem_with(entry):
            raise _refused(path, f"{_shown(name)} {problem}")
        if name.casefold() in seen:
            raise _refused(path, f"{_shown(name)} is in it twice")
        seen.add(name.casefold())
        entries[name] = entry
    unpacked = sum(entry.file_size for entry in infos)
    size = path.stat().st_size
    if sum(entry.compress_size for entry in infos) > size:
        raise _refused(path, "its members overlap")
    if unpacked > MOST_BYTES:
        raise _refused(
            path,
            f"it unpacks to {unpacked:,} bytes, more than the limit of {MOST_BYTES:,}",
        )
    if unpacked > _ANY_RATIO and unpacked > MOST_RATIO * size:
        raise _refused(
            path,
            f"it unpacks to {unpacked / size:,.0f} times its size, more than the limit of "
            f"{MOST_RATIO} times",
        )
    for needed in (MANIFEST, "study.yaml"):
        if needed not in entries:
            raise _refused(path, f"it has no {needed}, so it is no archive of a study")
    return entries


def _problem_with(entry: zipfile.ZipInfo) -> str | None:
    """What is wrong with a member, if anything."""
    name = entry.orig_filename
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name):
        return "leads out of the study's folder"
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) == stat.S_IFLNK:
        return "is a symbolic link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "is no regular file"
    if name != MANIFEST and not _MEMBER.fullmatch(name):
        return "is nothing that an archive of a study holds"
    if not name.isprintable():
        return "has characters that cannot be shown"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way that no export writes"
    if name.endswith((".json", ".yaml")) and entry.file_size > _MOST_TEXT:
        return f"has {entry.file_size:,} bytes, more than the limit of {_MOST_TEXT:,}"
    return None


def _checked_manifest(
    archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], path: Path
) -> dict[str, Any]:
    manifest = _read_json(b"".join(_unpack(archive, entries[MANIFEST])))
    if not isinstance(manifest, dict) or manifest.get("kind") != _KIND:
        raise _refused(path, f"its {MANIFEST} is none of a study")
    found = manifest.get("schema_version")
    if found != SCHEMA_VERSION or isinstance(found, bool):
        by = manifest.get("rnnsearch")
        raise _refused(
            path,
            f"it has schema version {_shown(str(found))}, and this rnnsearch reads "
            f"{SCHEMA_VERSION}; it was written by rnnsearch {_shown(str(by))}",
        )
    listed = manifest.get("members")
    name = manifest.get("name")
    if not (isinstance(name, str) and name.isprintable() and isinstance(listed, dict)):
        raise _refused(path, f"its {MANIFEST} is incomplete")
    for name in listed.keys() ^ (entries.keys() - {MANIFEST}):
        what = "in the manifest only" if name in listed else "not in the manifest"
        raise _refused(path, f"{_shown(name)} is {what}")
    return manifest


def _read_json(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        msg = "JSON nested too deeply"
        raise ValueError(msg) from None


def _free_folder(name: str) -> Path:
    """The folder of a study that does not exist yet."""
    # A name that is none is refused by `require_new`, before anything is looked for by it.
    if name in (store.name for store in list_stores()):
        raise _taken(name)
    return StudyStore.require_new(name)


def _taken(name: str) -> StoreError:
    return StoreError(
        f"a study named `{name}` exists already in {studies_folder() / name}. Import this one "
        f"under another name with `--name`, or remove that one with `rnnsearch study delete {name}`"
    )


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of a member in pieces: read in one, it would be unpacked beyond its size."""
    with archive.open(entry) as member:
        while chunk := member.read(_CHUNK):
            yield chunk


def _extract(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, listed: Any, folder: Path, path: Path
) -> None:
    """Write a member below a folder, and compare it with the manifest."""
    name = entry.orig_filename
    target = folder / name
    for above in reversed(target.relative_to(folder).parents[:-1]):
        private_folder(folder / above)
    digest = hashlib.sha256()
    with open(target, "xb", opener=private_file) as file:
        for chunk in _unpack(archive, entry):
            digest.update(chunk)
            file.write(chunk)
    if not isinstance(listed, dict) or listed.get("sha256") != digest.hexdigest():
        raise _refused(path, f"{_shown(name)} does not have the sha256 that the manifest gives it")


def _check_content(store: StudyStore, path: Path) -> None:
    """Refuse what commands would stumble over later."""
    try:
        text = (store.folder / STUDY_FILE).read_text(encoding="utf-8")
        file = parse_study(text, f"{path}, {STUDY_FILE}")
        check_config(file)
        info_path = store.folder / INFO_FILE
        if info_path.exists():
            info = StudyInfo.parse(info_path.read_bytes(), INFO_FILE)
            at = f"{path}, {INFO_FILE}, `extended`"
            check_config(info.extended.applied_to(replace(file, path=at, lines={})))
        if (store.folder / "trials.db").exists():
            _check_database(store.folder / "trials.db")
            for record in store.records(interrupted=True):
                if record.phase not in ("search", "confirmation"):
                    raise ValueError(f"a trial of the phase {_shown(record.phase)}")
                if not (_LABEL.fullmatch(record.label) and record.label.isprintable()):
                    raise ValueError(f"a row named {_shown(record.label)}")
                if record.spec and (record.spec.label, record.spec.phase) != (
                    record.label,
                    record.phase,
                ):
                    raise ValueError(f"a trial of {_shown(record.label)} that is another row's")
                check_record(record)
    except StudyFileError:
        raise
    except StoreError as error:
        problem = error.problem if isinstance(error, DamagedError) else str(error)
        raise _refused(path, problem.replace(f"{store.folder}{os.sep}", "")) from None
    except Exception as error:  # it is the content's fault, whatever it is
        reason = str(error).strip().split("\n")[0][:300] or type(error).__name__
        raise _refused(path, f"what is in it cannot be read ({reason})") from error


def _check_database(path: Path) -> None:
    """Refuse a database that is damaged, or that would do something when it is read."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        database.execute("PRAGMA trusted_schema=OFF")
        database.execute("PRAGMA cell_size_check=ON")
        for kind, name, statement in database.execute("SELECT type, name, sql FROM sqlite_master"):
            plain = kind == "index" or re.match(r"\s*CREATE\s+TABLE\b", statement or "", re.I)
            if kind not in ("table", "index") or not plain:
                msg = f"trials.db holds {_shown(str(name))}, which is no plain table"
                raise ValueError(msg)
        (answer,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            msg = f"trials.db is damaged: {answer}"
            raise ValueError(msg)


def _write_info(store: StudyStore, path: Path, name: str) -> None:
    """Say where the study is from; its runs are in an MLflow store that need not be here."""
    info = _without_process(store.info.content())
    origin = {key: info.pop(key) for key in _OF_TRACKING if key in info}
    origin = {"file": path.name, "name": name, "on": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **origin}
    known = StudyInfo().with_fields(**{**info, "imported": origin})
    write_whole(store.folder / INFO_FILE, known.to_json())


__all__ = [
    "Exported",
    "export_study",
    "hide_secrets",
    "import_study",
]
