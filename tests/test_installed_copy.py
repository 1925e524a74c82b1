"""The tests refuse to run on a copy of the package that differs from this folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .command import REPOSITORY


def _collect(site: Path) -> subprocess.CompletedProcess[str]:
    """Start the tests of this folder with a copy first on Python's path."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "0",
            "--collect-only",
            "tests/report/test_card.py",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(site)},
    )


@pytest.mark.parametrize("change", ["nothing", "edited", "new", "removed"])
def test_a_copy_is_tested_only_if_it_is_the_same(change: str, tmp_path: Path) -> None:
    copy = tmp_path / "rnnsearch"
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "rnnsearch", copy, ignore=leave)
    native = copy / "engine" / "native" / "training.cpp"
    if change == "edited":
        native.write_text(native.read_text() + "// as it once was\n")
    elif change == "new":
        native.unlink()  # as if it had been added to this folder later
    elif change == "removed":
        (copy / "engine" / "native" / "old.h").touch()
    done = _collect(tmp_path)
    if change == "nothing":
        assert done.returncode == 0, done.stdout + done.stderr
        return
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"ERROR: {copy} is not as it is in this folder (engine/native/")
    assert line.endswith(
        "Type: python -m pip install -c constraints.txt -e '.[testing]' -e ./plugins"
    )
