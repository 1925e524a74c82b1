"""Files in the home: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rnnsearch.errors import StoreError
from rnnsearch.home import home, write_whole


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
