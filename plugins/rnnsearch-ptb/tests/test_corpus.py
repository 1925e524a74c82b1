"""Where the licensed text is searched for, and the errors if it is missing or damaged."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rnnsearch import DataError, MissingDataError, sha256_of
from rnnsearch_ptb.characters import CharPTB
from rnnsearch_ptb.corpus import PTB, digest_of_text, find_corpus, read_lines
from rnnsearch_ptb.words import WordPTB

from .conftest import FILES, sentences, write


@pytest.mark.parametrize("task", [CharPTB, WordPTB])
def test_a_missing_text_says_where_to_put_it(
    task: type[CharPTB | WordPTB], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RNNSEARCH_DATA_DIR", str(tmp_path))
    with pytest.raises(MissingDataError) as caught:
        task().find()
    message = str(caught.value)
    assert (
        f"RNNSEARCH_DATA_DIR ({tmp_path}): ptb/ptb.train.txt.gz is missing, and 2 more" in message
    )
    assert "licensed (LDC99T42" in message
    assert "never downloaded" in message
    for name in FILES.values():
        assert f"ptb/{name}" in message
    assert "set RNNSEARCH_DATA_DIR to that folder" in message
    assert "rnnsearch data verify PTB" in message
    assert "internet" not in message
    assert caught.value.dataset == "PTB"


def test_nothing_is_downloaded_where_it_would_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNNSEARCH_OFFLINE")
    with pytest.raises(MissingDataError, match="never downloaded"):
        find_corpus()
    assert PTB.downloader is not None
    with pytest.raises(DataError, match="licensed and never downloaded; compress your"):
        PTB.downloader(Path())


def test_another_text_is_corrupt(small: Path) -> None:
    write(small, "validation", b" another text \n")
    with pytest.raises(DataError, match=r"ptb\.valid\.txt\.gz \(PTB\) is corrupt: expected sha256"):
        CharPTB().find()


def test_a_text_that_is_not_compressed_is_corrupt(small: Path) -> None:
    (small / "ptb" / FILES["train"]).write_text("".join(sentences("train")))
    with pytest.raises(DataError, match="is corrupt: it cannot be read as a file compressed by"):
        WordPTB().find()


def test_half_a_file_is_corrupt(small: Path) -> None:
    path = small / "ptb" / FILES["test"]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="is corrupt: it cannot be read as a file compressed by"):
        find_corpus()
    with pytest.raises(DataError, match=r"ptb\.test\.txt\.gz cannot be read"):
        read_lines(small, "test")


def test_the_digest_does_not_depend_on_the_compression(tmp_path: Path) -> None:
    paths = [tmp_path / f"{level}.gz" for level in (1, 9)]
    for level, path in zip((1, 9), paths, strict=True):
        path.write_bytes(gzip.compress(b" some text \n" * 999, level))
    assert digest_of_text(paths[0]) == digest_of_text(paths[1])
    assert sha256_of(paths[0]) != sha256_of(paths[1])


def test_the_command_says_what_is_missing() -> None:
    command = [sys.executable, "-m", "rnnsearch", "data", "verify", "PTB", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 7, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["file"], row["state"]) for row in rows] == [
        (f"ptb/{name}", "missing") for name in FILES.values()
    ]


def test_the_licensed_text_is_verified(real: Path) -> None:
    assert find_corpus().origin == "RNNSEARCH_DATA_DIR"
    assert find_corpus().folder == real
