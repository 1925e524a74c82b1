"""Files in the home are written completely or not at all."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy

from rnnsearch.config.home import home, sqlite_url, write_whole
from rnnsearch.errors import StoreError

from ..command import run_here


def test_the_home_is_where_the_environment_says(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RNNSEARCH_HOME", str(tmp_path))
    assert home() == tmp_path


@pytest.mark.parametrize("content", ["né\n", "né\n".encode()], ids=["text", "bytes"])
def test_a_file_is_replaced_by_all_of_the_new(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text("old and longer than the new")
    write_whole(path, content)
    assert path.read_bytes() == b"n\xc3\xa9\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "study.json"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match=r"cannot write .*json: No space left on device"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*absent.*No such file"):
        write_whole(tmp_path / "absent" / "study.json", "new")


@pytest.mark.parametrize(
    "name", ["plain", "my%20work", "100%", "what?", "a#b", "é", "a b&c=d;e", "a@b:c", "{x}", "+"]
)
def test_a_database_is_made_where_its_path_says(name: str, tmp_path: Path) -> None:
    path = tmp_path / name / "trials.db"
    path.parent.mkdir()
    engine = sqlalchemy.create_engine(sqlite_url(path))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("create table found (here int)"))
    engine.dispose()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("select name from sqlite_master").fetchall() == [("found",)]


def test_the_address_of_a_plain_path_is_what_it_was_in_studies_of_old() -> None:
    assert sqlite_url(Path("/home/ann lee/é+/mlflow.db")) == "sqlite:////home/ann lee/é+/mlflow.db"


@pytest.fixture
def no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Temporary files can only go to the folder in TMPDIR."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    named = lambda: [os.environ["TMPDIR"]]  # noqa: E731
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", named)
    return monkeypatch


@pytest.mark.usefixtures("no_temporary_folder")
def test_where_the_system_has_no_place_for_temporary_files_they_lie_in_the_home(
    own_home: Path,
) -> None:
    assert run_here("study", "list").returncode == 0
    assert tempfile.gettempdir() == str(own_home / "tmp")


def test_where_nothing_can_be_written_it_is_said_what_to_do(
    no_temporary_folder: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = run_here("study", "list", RNNSEARCH_HOME=str(tmp_path / "file"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: no folder can be written for temporary files")
    assert "set TMPDIR to one that can" in done.stderr
