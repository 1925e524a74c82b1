"""Data folders that no test shares with another test or with the user."""

from __future__ import annotations

import functools
import gzip
import http.server
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from rnnsearch import Dataset

GIVEN = os.environ.get("RNNSEARCH_DATA_DIR", "")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no data dir, and no download."""
    monkeypatch.delenv("RNNSEARCH_DATA_DIR", raising=False)
    monkeypatch.setenv("RNNSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RNNSEARCH_OFFLINE", "1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "home"


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[Dataset], Path]:
    """Give the tested code the real data set, or skip."""

    def give(dataset: Dataset) -> Path:
        if not GIVEN:
            pytest.skip(f"RNNSEARCH_DATA_DIR is not set, so there is no full {dataset.name}")
        missing = [f.path for f in dataset.files if not (Path(GIVEN) / f.path).exists()]
        if missing:
            pytest.skip(f"RNNSEARCH_DATA_DIR has no {missing[0]}")
        monkeypatch.setenv("RNNSEARCH_DATA_DIR", GIVEN)
        return Path(GIVEN)

    return give


@pytest.fixture(scope="session")
def numbered_mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of MNIST's shape in which the first four pixels of an image hold its index."""
    folder = tmp_path_factory.mktemp("numbered")
    for name, count in (("train", 60_000), ("t10k", 10_000)):
        images = np.zeros((count, 28 * 28), np.uint8)
        images[:, :4] = np.arange(count, dtype=">i4")[:, None].view(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, header, array in (("images-idx3", 16, images), ("labels-idx1", 8, labels)):
            with gzip.open(folder / f"{name}-{kind}-ubyte.gz", "wb", compresslevel=1) as file:
                file.write(bytes(header) + array.tobytes())
    return folder


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(timeout=10)


@pytest.fixture
def serving() -> Callable[[Path], AbstractContextManager[str]]:
    """Serve a folder over HTTP on this machine and return its address."""
    return _serving
