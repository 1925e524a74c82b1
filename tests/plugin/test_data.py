"""The search for data sets, and the errors if something is wrong."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from rnnsearch.errors import DataError, MissingDataError
from rnnsearch.plugin.data import (
    DataFile,
    Dataset,
    Location,
    data_folder,
    fetch,
    locate,
    sha256_of,
    verify,
)

CONTENTS = {"toy/a.bin": b"first file\n", "toy/b.bin": b"second\n" * 1000}


def toy(base_url: str = "") -> Dataset:
    files = tuple(
        DataFile(
            path,
            hashlib.sha256(content).hexdigest(),
            len(content),
            url=base_url and f"{base_url}/{path}",
        )
        for path, content in CONTENTS.items()
    )
    return Dataset("Toy", files, terms="none", homepage="https://example.org/toy")


def put(folder: Path, *paths: str, content: bytes | None = None) -> None:
    for path in paths or CONTENTS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(CONTENTS[path] if content is None else content)


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RNNSEARCH_DATA_DIR", raising=False)
    monkeypatch.delenv("RNNSEARCH_OFFLINE", raising=False)
    monkeypatch.setenv("RNNSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "home" / "data"


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "given"
    folder.mkdir()
    monkeypatch.setenv("RNNSEARCH_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNSEARCH_OFFLINE", "1")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    return folder


@pytest.fixture
def base_url(served: Path) -> Iterator[str]:
    handler = functools.partial(QuietHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(timeout=10)


def test_the_data_dir_is_preferred_to_the_cache(given: Path, cache: Path) -> None:
    put(given)
    put(cache)
    assert locate(toy()) == Location("RNNSEARCH_DATA_DIR", given)


def test_the_cache_is_used_where_the_data_dir_lacks_a_file(given: Path, cache: Path) -> None:
    put(given, "toy/a.bin")
    put(cache)
    assert locate(toy()) == Location("cache", cache)


def test_a_download_fills_the_cache_and_is_not_repeated(
    given: Path, cache: Path, served: Path, base_url: str
) -> None:
    put(served)
    assert locate(toy(base_url)) == Location("download", cache)
    assert files_below(cache) == set(CONTENTS)
    assert not any(given.iterdir())
    (served / "toy/a.bin").unlink()
    assert locate(toy(base_url)) == Location("cache", cache)


def test_a_read_only_data_dir_is_enough(given: Path, offline: None) -> None:
    put(given)
    before = {path: path.stat().st_mtime_ns for path in given.rglob("*")}
    folders = [given / "toy", given]
    try:
        for folder in folders:
            folder.chmod(0o555)
        assert locate(toy()).folder == given
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in given.rglob("*")} == before


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_offline_forbids_the_download(
    value: str, served: Path, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(served)
    monkeypatch.setenv("RNNSEARCH_OFFLINE", value)
    with pytest.raises(MissingDataError, match="not tried, because RNNSEARCH_OFFLINE is set"):
        fetch(toy(base_url))


@pytest.mark.parametrize("value", ["", "0", "false", "No"])
def test_a_false_offline_allows_the_download(
    value: str, served: Path, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(served)
    monkeypatch.setenv("RNNSEARCH_OFFLINE", value)
    assert locate(toy(base_url)).origin == "download"


def test_what_is_nowhere_is_reported_with_every_place_and_what_to_do(
    given: Path, cache: Path, offline: None
) -> None:
    put(given, "toy/b.bin")
    with pytest.raises(MissingDataError) as caught:
        locate(toy())
    assert str(caught.value).splitlines() == [
        "Toy was not found. Looked in:",
        f"  RNNSEARCH_DATA_DIR ({given}): toy/a.bin is missing",
        f"  cache ({cache}, a folder that does not exist): toy/a.bin is missing, and 1 more",
        "  download: not tried, because RNNSEARCH_OFFLINE is set",
        "Run once where there is internet access, or put these files below one folder and set "
        "RNNSEARCH_DATA_DIR to that folder:",
        "  toy/a.bin",
        "  toy/b.bin",
        "Toy is published at https://example.org/toy.",
    ]
    assert caught.value.dataset == "Toy"
    assert len(caught.value.looked) == 3


def test_an_unset_data_dir_is_named_among_the_places(offline: None) -> None:
    with pytest.raises(MissingDataError, match="  RNNSEARCH_DATA_DIR: not set\n  cache "):
        locate(toy())


def test_the_error_survives_the_way_back_from_another_process() -> None:
    error = MissingDataError("what\nwhere", "Toy", ("here", "there"))
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.dataset, copy.looked, copy.exit_code) == (
        "what\nwhere",
        "Toy",
        ("here", "there"),
        7,
    )


def test_a_corrupt_file_in_the_data_dir_stops_the_search(
    given: Path, cache: Path, served: Path, base_url: str
) -> None:
    put(given)
    put(given, "toy/b.bin", content=b"damaged")
    put(cache)
    put(served)
    expected = toy().files[1].sha256
    found = hashlib.sha256(b"damaged").hexdigest()
    with pytest.raises(DataError) as caught:
        fetch(toy(base_url))
    assert not isinstance(caught.value, MissingDataError)
    assert str(caught.value).splitlines() == [
        f"{given}/toy/b.bin (Toy) is corrupt: expected sha256 {expected}, found {found} "
        "(7 bytes instead of 7,000).",
        "Put the original there (https://example.org/toy), or unset RNNSEARCH_DATA_DIR: the cache "
        "and a download are then tried.",
    ]


def test_a_corrupt_file_in_the_cache_is_an_error_until_it_is_fetched_anew(
    cache: Path, served: Path, base_url: str
) -> None:
    put(cache)
    put(cache, "toy/a.bin", content=b"FIRST file\n")
    put(served)
    with pytest.raises(DataError, match="Delete it and run again: it is then downloaded"):
        locate(toy(base_url))
    assert fetch(toy(base_url)) == Location("download", cache)
    assert locate(toy(base_url)) == Location("cache", cache)


def test_a_file_that_cannot_be_read_is_no_missing_file(given: Path) -> None:
    (given / "toy/a.bin").mkdir(parents=True)
    with pytest.raises(DataError, match=r"toy/a\.bin \(Toy\) is unreadable: .*[Dd]irectory"):
        locate(toy())


def test_a_download_with_another_checksum_leaves_nothing_behind(
    cache: Path, served: Path, base_url: str
) -> None:
    put(served)
    put(served, "toy/b.bin", content=b"x" * 7000)
    with pytest.raises(MissingDataError, match=r"toy/b\.bin: not the expected file, expected sha"):
        locate(toy(base_url))
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(None, "HTTP Error 404: File not found", id="not there"),
        pytest.param(b"x" * 8000, "sends more than the expected 7,000 bytes", id="too long"),
        pytest.param(b"second\n", "7 bytes instead of 7,000", id="too short"),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing_behind(
    content: bytes | None, reason: str, cache: Path, served: Path, base_url: str
) -> None:
    put(served, "toy/a.bin")
    if content is not None:
        put(served, "toy/b.bin", content=content)
    with pytest.raises(MissingDataError, match=reason) as caught:
        locate(toy(base_url))
    assert caught.value.looked[-1].startswith(f"download: failed: {base_url}/toy/b.bin: ")
    assert list(cache.iterdir()) == []


def test_an_unreachable_server_is_named() -> None:
    with pytest.raises(
        MissingDataError, match=r"failed: http://127\.0\.0\.1:1/toy/a\.bin: .*refus"
    ):
        locate(toy("http://127.0.0.1:1"))


def test_an_interrupted_download_leaves_nothing_behind(cache: Path) -> None:
    def interrupted(folder: Path) -> None:
        put(folder, "toy/a.bin")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        locate(replace(toy(), downloader=interrupted))
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_failed_download(cache: Path, base_url: str) -> None:
    cache.parent.mkdir()
    cache.write_bytes(b"a file where the folder should be")
    with pytest.raises(MissingDataError, match=r"download: failed: .*exists"):
        locate(toy(base_url))


def test_two_downloads_at_once_both_succeed(cache: Path, served: Path, base_url: str) -> None:
    put(served)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(locate, [toy(base_url)] * 2))
    assert {location.folder for location in found} == {cache}
    assert files_below(cache) == set(CONTENTS)


def test_only_files_of_the_data_set_are_kept_from_its_own_downloader(cache: Path) -> None:
    def downloader(folder: Path) -> None:
        put(folder)
        put(folder, "toy/unpacked.bin", content=b"by-product")

    assert locate(replace(toy(), downloader=downloader)).origin == "download"
    assert files_below(cache) == set(CONTENTS)


def test_a_downloader_that_forgets_a_file_has_failed(cache: Path) -> None:
    dataset = replace(toy(), downloader=lambda folder: put(folder, "toy/a.bin"))
    with pytest.raises(MissingDataError, match=r"got toy/b\.bin, but it is missing"):
        locate(dataset)
    assert list(cache.iterdir()) == []


def test_without_an_address_a_download_is_refused() -> None:
    with pytest.raises(MissingDataError, match=r"toy/a\.bin cannot be downloaded: no address"):
        locate(toy())


def test_a_digest_of_the_content_accepts_the_same_content_in_other_bytes(given: Path) -> None:
    def digest(path: Path) -> str:
        text = path.read_text()
        if not text.strip():
            msg = "it is empty"
            raise ValueError(msg)
        return text.strip().lower()

    file = DataFile("word.txt", "hello", digest=digest)
    dataset = Dataset("Word", (file,), terms="none", homepage="https://example.org")
    for text in ("hello\n", "  HELLO"):
        (given / "word.txt").write_text(text)
        assert locate(dataset).folder == given
    (given / "word.txt").write_text(" ")
    with pytest.raises(DataError, match=r"word\.txt \(Word\) is corrupt: it is empty\."):
        locate(dataset)


def test_verify_describes_the_place_where_the_search_stops(given: Path, cache: Path) -> None:
    def states() -> list[tuple[str, str]]:
        return [(status.place, status.state) for status in verify(toy())]

    assert {state for _, state in states()} == {"missing"}
    put(cache, "toy/a.bin")
    assert states() == [("cache", "ok"), ("cache", "missing")]
    put(cache)
    assert states() == [("cache", "ok"), ("cache", "ok")]
    put(given, "toy/a.bin")
    assert states() == [("cache", "ok"), ("cache", "ok")]
    put(given, "toy/b.bin", content=b"damaged")
    assert states() == [("RNNSEARCH_DATA_DIR", "ok"), ("RNNSEARCH_DATA_DIR", "corrupt")]
    put(given)
    assert states() == [("RNNSEARCH_DATA_DIR", "ok"), ("RNNSEARCH_DATA_DIR", "ok")]


def test_verify_names_the_file_and_downloads_nothing(
    cache: Path, served: Path, base_url: str
) -> None:
    put(served)
    status = verify(toy(base_url))[1]
    assert (status.file.path, status.path) == ("toy/b.bin", cache / "toy/b.bin")
    assert not cache.exists()


def test_the_digest_of_one_file_is_its_own_and_of_several_that_of_their_listing() -> None:
    first, second = toy().files
    assert replace(toy(), files=(first,)).sha256 == first.sha256
    listing = f"{first.sha256}  toy/a.bin\n{second.sha256}  toy/b.bin\n"
    assert toy().sha256 == hashlib.sha256(listing.encode()).hexdigest()


def test_sha256_of_a_file_is_the_published_value_for_abc(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_the_cache_lies_in_the_home_folder_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_folder() == tmp_path / "home" / "data"
    monkeypatch.delenv("RNNSEARCH_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folder() == tmp_path / ".rnnsearch" / "data"
    monkeypatch.setenv("RNNSEARCH_HOME", "relative")
    assert data_folder() == Path.cwd() / "relative" / "data"


def test_importing_the_module_does_not_import_torch() -> None:
    code = "import sys, rnnsearch.plugin.data; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
