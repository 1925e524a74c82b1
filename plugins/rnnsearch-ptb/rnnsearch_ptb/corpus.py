"""The Penn Treebank as language models use it: three files supplied by the user."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import Literal, TypeAlias

from rnnsearch import DataError, DataFile, Dataset, Location, MissingDataError, locate

Split: TypeAlias = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TERMS = "LDC99T42, licensed by the Linguistic Data Consortium: never downloaded, supplied by you"
_FILES: dict[Split, str] = {
    "train": "ptb/ptb.train.txt.gz",
    "validation": "ptb/ptb.valid.txt.gz",
    "test": "ptb/ptb.test.txt.gz",
}


def digest_of_text(path: Path) -> str:
    """Return the sha256, in hexadecimal, of the contents of a file compressed with gzip.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or not compressed.
    """
    with path.open("rb") as file:
        try:
            return hashlib.sha256(gzip.decompress(file.read())).hexdigest()
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            msg = f"it cannot be read as a file compressed by gzip: {error}"
            raise ValueError(msg) from error


def _refuse_download(folder: Path) -> None:
    msg = f"the text is licensed and never downloaded; {_where_to_put_it()}"
    raise DataError(msg)


def _where_to_put_it() -> str:
    return (
        "compress your ptb.train.txt, ptb.valid.txt and ptb.test.txt (T. Mikolov's preprocessing, "
        "as in his simple-examples) with gzip, put them below one folder as "
        f"{', '.join(_FILES.values())}, and set RNNSEARCH_DATA_DIR to that folder"
    )


PTB = Dataset(
    name="PTB",
    files=tuple(
        DataFile(path, sha256, digest=digest_of_text)
        for path, sha256 in zip(
            _FILES.values(),
            (
                "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
                "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
                "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
            ),
            strict=True,
        )
    ),
    terms=TERMS,
    homepage="https://catalog.ldc.upenn.edu/LDC99T42",
    downloader=_refuse_download,
)


def find_corpus() -> Location:
    """Locate and verify the three files.

    Raises:
        MissingDataError: a file is missing; says which one, and where to put it.
        DataError: a file is corrupt or cannot be read.
    """
    try:
        return locate(PTB)
    except MissingDataError as error:
        looked = [line for line in error.looked if not line.startswith("download:")]
        msg = "\n".join(
            [
                "PTB (Penn Treebank) was not found. Looked in:",
                *(f"  {line}" for line in looked),
                f"It is licensed (LDC99T42, {PTB.homepage}) and never downloaded: "
                f"{_where_to_put_it()}. `rnnsearch data verify PTB` checks them.",
            ]
        )
        raise MissingDataError(msg, PTB.name, tuple(looked)) from error


def read_lines(folder: Path, split: Split) -> list[str]:
    """Read the sentences of one split, one per line: words with a space before, between and after.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = folder / _FILES[split]
    try:
        with gzip.open(path, "rt", encoding="ascii", newline="\n") as file:
            return file.read().splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise DataError(msg) from error
