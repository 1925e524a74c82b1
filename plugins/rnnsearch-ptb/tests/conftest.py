"""A small text in place of the licensed one, and the licensed one if the user has it."""

from __future__ import annotations

import gzip
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rnnsearch import DataFile, Dataset
from rnnsearch_ptb import characters, corpus, next_token, words

GIVEN = os.environ.get("RNNSEARCH_DATA_DIR", "")
FILES = {"train": "ptb.train.txt.gz", "validation": "ptb.valid.txt.gz", "test": "ptb.test.txt.gz"}
LINES = {"train": 60, "validation": 30, "test": 36}
WORDS = ["the", "of", "N", "<unk>", "mr.", "it", "said", "a", "company's", "$", "u.s."]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no data dir, and no download."""
    monkeypatch.delenv("RNNSEARCH_DATA_DIR", raising=False)
    monkeypatch.setenv("RNNSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RNNSEARCH_OFFLINE", "1")
    return tmp_path / "home"


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the licensed text, or skip."""
    if not (Path(GIVEN) / "ptb" / FILES["train"]).exists() or not GIVEN:
        pytest.skip("RNNSEARCH_DATA_DIR has no Penn Treebank")
    monkeypatch.setenv("RNNSEARCH_DATA_DIR", GIVEN)
    return Path(GIVEN)


def sentences(split: str) -> list[str]:
    """Sentences of random words, one per line of the files; every word is in training."""
    source = np.random.RandomState(len(split))
    drawn = [source.choice(WORDS, source.randint(3, 12)).tolist() for _ in range(LINES[split])]
    lines = [WORDS, *drawn] if split == "train" else drawn
    return [f" {' '.join(line)} " for line in lines]


def write(folder: Path, split: str, content: bytes) -> None:
    """Write a file to its place in the corpus."""
    path = folder / "ptb" / FILES[split]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a random text, which the tasks use as the corpus."""
    folder = tmp_path / "data"
    digests = []
    for split in FILES:
        content = "".join(f"{line}\n" for line in sentences(split)).encode()
        write(folder, split, content)
        digests.append(hashlib.sha256(content).hexdigest())
    monkeypatch.setenv("RNNSEARCH_DATA_DIR", str(folder))
    files = [
        DataFile(file.path, digest, digest=file.digest)
        for file, digest in zip(corpus.PTB.files, digests, strict=True)
    ]
    dataset: Dataset = replace(corpus.PTB, files=tuple(files))
    for module in (corpus, next_token):
        monkeypatch.setattr(module, "PTB", dataset)
    for convention in ("text", "stripped"):
        lengths = {
            split: len(characters.join_lines(sentences(split), convention)) for split in FILES
        }
        monkeypatch.setitem(characters.LENGTHS, convention, lengths)
    for split in FILES:
        monkeypatch.setitem(words.LENGTHS, split, len(words.words_of(sentences(split))))
    return folder
