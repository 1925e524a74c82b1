"""Ray is told where to listen and where to store its files, and an invalid variable is named."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rnnsearch.errors import RnnsearchError, SettingError
from rnnsearch.search import ray_environment
from rnnsearch.search.ray_environment import RayAddress, ray_address, session_folder


@pytest.mark.parametrize("value", [None, "", "  ", "local", " local "])
def test_without_an_address_a_study_runs_a_cluster_of_its_own(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("RAY_ADDRESS", value)
    assert ray_address() is None


@pytest.mark.parametrize(
    ("value", "host", "port", "is_loopback"),
    [
        ("10.0.0.5:6379", "10.0.0.5", 6379, False),
        (" head:6379 ", "head", 6379, False),
        ("ray://head.example.org:10001", "head.example.org", 10001, False),
        ("127.0.0.1:1", "127.0.0.1", 1, True),
        ("127.8.8.8:65535", "127.8.8.8", 65535, True),
        ("localhost:6379", "localhost", 6379, True),
        ("ray://LOCALHOST:10001", "LOCALHOST", 10001, True),
        ("[::1]:6379", "::1", 6379, True),
        ("[fd00::17]:6379", "fd00::17", 6379, False),
    ],
)
def test_an_address_is_a_host_and_a_port(
    value: str, host: str, port: int, is_loopback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", value)
    address = ray_address()
    assert address is not None
    assert (address.text, address.host, address.port) == (value.strip(), host, port)
    assert address.is_loopback == is_loopback


@pytest.mark.parametrize(
    "value",
    [
        "head", "head:", ":6379", "head:port", "head:6379:6380", "head:0", "head:65536", "head:-1",
        "::1:6379", "[::1]", "ray://", "ray://head", "http://head:8265", "https://head:443/ray",
        "user@head:6379", "head:6379/x", "AUTO", "none", "two words:6379", "10.0.0.5:٣",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_the_forms_that_are(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", value)
    with pytest.raises(SettingError) as caught:
        ray_address()
    said = str(caught.value)
    assert said.startswith(f"RAY_ADDRESS={value}: expected `HOST:PORT` such as 10.0.0.5:6379")
    assert ("RAY_API_SERVER_ADDRESS" in said) == value.startswith("http")
    assert caught.value.exit_code == 2


def test_auto_is_the_cluster_that_was_started_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(SettingError, match=r"RAY_ADDRESS=auto: no cluster was started here"):
        ray_address()
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:35503\n")
    address = ray_address()
    assert address is not None
    assert (address.host, address.port) == ("127.0.0.1", 35503)
    (tmp_path / "ray" / "ray_current_cluster").write_text("")
    with pytest.raises(SettingError, match="expected `HOST:PORT`"):
        ray_address()


@pytest.fixture
def listening() -> Iterator[Callable[[bytes], int]]:
    """Listens on a loopback port and sends the given bytes to every connection."""
    servers = []

    def listen(answer: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve() -> None:
            there, _ = server.accept()
            with there:
                there.recv(100)
                there.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return int(server.getsockname()[1])

    yield listen
    for server in servers:
        server.close()


def _at(port: int) -> RayAddress:
    return RayAddress("", "127.0.0.1", port, f"RAY_ADDRESS=127.0.0.1:{port}")


def test_what_answers_as_ray_does_is_reached(listening: Callable[[bytes], int]) -> None:
    _at(listening(b"\0\0\x12\4\0\0\0\0\0" + bytes(18))).reach()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0", b""], ids=repr
)
def test_what_is_not_ray_is_refused(answer: bytes, listening: Callable[[bytes], int]) -> None:
    with pytest.raises(RnnsearchError, match=r"no Ray cluster answers at RAY_ADDRESS=127.*else"):
        _at(listening(answer)).reach()


def test_a_port_where_nothing_listens_is_refused(listening: Callable[[bytes], int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    with pytest.raises(RnnsearchError, match=rf"RAY_ADDRESS=127.0.0.1:{port}: Connection refused"):
        _at(port).reach()


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_sockets_of_the_longest_names_fit_into_what_is_taken_for_short(
    temporary: pytest.MonkeyPatch,
) -> None:
    longest = session_folder().parent / ("x" * 200)
    taken = str(longest)[: ray_environment._LONGEST_FOLDER]
    name = f"{taken}/session_2026-12-01_05-00-00_123456_4194304/sockets/plasma_store.1"
    assert len(name) == 103


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_ray_keeps_its_files_where_the_environment_says(
    name: str, temporary: pytest.MonkeyPatch
) -> None:
    temporary.setenv(name, "/dev/shm")
    assert session_folder() == Path("/dev/shm/ray")


@pytest.mark.parametrize("kind", ["long", "gone", "a file", "blank"])
def test_a_folder_for_temporary_files_that_will_not_do_gives_way_to_another(
    kind: str, tmp_path: Path, temporary: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    long = tmp_path / "jobs-of-the-batch-system" / "0001355700"
    long.mkdir(parents=True)
    values = {"long": str(long), "gone": "/gone", "a file": str(tmp_path / "file"), "blank": " "}
    temporary.setenv("TMPDIR", values[kind])
    assert session_folder() == Path("/tmp/ray")


@pytest.mark.parametrize(
    ("kind", "said"),
    [("long", r"too long for sockets; expected at most \d+ bytes"), ("file", "cannot be written")],
)
def test_a_folder_named_for_ray_alone_is_refused_if_it_will_not_do(
    kind: str, said: str, tmp_path: Path, temporary: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    value = "/tmp/" + "é" * 30 if kind == "long" else "/dev/null"
    temporary.setenv("RAY_TMPDIR", value)
    temporary.setattr(Path, "mkdir", lambda *_, **__: None)
    with pytest.raises(SettingError, match=f"RAY_TMPDIR={value}: .*{said}"):
        session_folder()


def test_where_no_folder_will_do_it_is_said_which_were_tried(
    temporary: pytest.MonkeyPatch,
) -> None:
    temporary.setattr(ray_environment, "_problem_with", lambda _: "cannot be written (Read-only)")
    with pytest.raises(RnnsearchError, match=r"/tmp: cannot be written.*/var/tmp: .*RAY_TMPDIR"):
        session_folder()


def test_a_cluster_elsewhere_is_joined_as_ray_does_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for value, kept in (("", "0"), ("127.0.0.1:6379", "0"), ("head:6379", "as it was")):
        monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "as it was")
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_ADDRESS", value)
        ray_environment.prepare()
        assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == kept
        assert os.environ["RAY_AUTH_MODE"] == "token"
