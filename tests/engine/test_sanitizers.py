"""Machine code stays within its memory for all shapes, as checked by ASan and UBSan."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("sanitized.py")
FLAGS = "-march=native -fsanitize=address,undefined -fno-sanitize-recover=all"


def _runtimes() -> str:
    """The sanitizers' libraries, which must be loaded before Python."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    found = []
    for name in ("libasan.so", "libubsan.so"):
        asked = [compiler, f"-print-file-name={name}"]
        path = Path(subprocess.run(asked, capture_output=True, text=True).stdout.strip())
        if not path.is_absolute():
            pytest.skip(f"g++ has no {name}")
        found.append(str(path.resolve()))
    return " ".join(found)


def _run(what: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "RNNSEARCH_HOME": str(home),
        "CXX": "g++",
        "RNNSEARCH_CXXFLAGS": FLAGS,
        "LD_PRELOAD": _runtimes(),
        # Python itself does not free all memory at exit.
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(SCRIPT), what]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_no_cell_or_engine_leaves_its_memory_over_odd_shapes(build_cache: Path) -> None:
    done = _run("cells", build_cache)
    assert done.returncode == 0, done.stderr[-4000:]
    for report in ("AddressSanitizer", "runtime error"):
        assert report not in done.stderr, done.stderr[-4000:]
    assert done.stdout.count("compiled") == 36


@pytest.mark.slow
def test_an_overrun_would_be_reported(build_cache: Path) -> None:
    done = _run("overrun", build_cache)
    assert done.returncode != 0
    assert "AddressSanitizer: " in done.stderr
