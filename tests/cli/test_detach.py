"""A detached study continues, or is refused where it could not; its name stays in the home."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rnnsearch.cli import detach

from ..command import run_here, write_study


@pytest.mark.parametrize("name", ["../../x", "..", "/tmp/x", "a/b", "none"])
@pytest.mark.parametrize("command", [("resume",), ("extend", "--seeds", "3")], ids=lambda c: c[0])
def test_a_name_that_is_no_study_writes_nothing(
    name: str, command: tuple[str, ...], own_home: Path
) -> None:
    own_home.mkdir()
    before = sorted(own_home.parent.rglob("*"))
    refused = run_here("study", command[0], name, *command[1:], "--detach")
    assert refused.returncode == 9
    assert f"no study named `{name}`" in refused.stderr
    assert sorted(own_home.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("pid", "parent", "first", "ends"),
    [
        (1, 0, "rnnsearch", True),
        (7, 1, "docker-init", True),
        (7, 1, "tini", True),
        (7, 1, "systemd", False),
        (7, 1, "sh", False),
        (7, 0, "tini", False),  # docker exec
        (7, 5, "tini", False),
    ],
)
def test_it_is_known_when_a_container_ends_with_the_command(
    pid: int, parent: int, first: str, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: pid)
    monkeypatch.setattr(os, "getppid", lambda: parent)
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: f"{first}\n")
    assert detach._ends_the_container() is ends


def test_where_the_container_would_end_a_study_is_not_detached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    monkeypatch.setattr(detach, "_ends_the_container", lambda: True)
    refused = run_here("study", "start", write_study(tmp_path), "--detach")
    assert refused.returncode == 1
    assert "`docker run --detach ...`" in refused.stderr
    assert not own_home.exists()
