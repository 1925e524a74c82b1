"""Start every test with a separate home and without the user's servers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from .life import Life

# Tests run in one process per core; additional threads would only slow them down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Cells defined in tests are sent to other processes, which import them by name.
if (_ROOT := str(Path(__file__).parents[1])) not in sys.path:
    sys.path.append(_ROOT)

_HERE = Path(__file__).parent

# Files whose tests run whole studies. They start first; otherwise the last of them would keep one
# core busy while the others are idle.
_LONG = (
    "cli/test_lifecycle.py",
    "test_stranger.py",
    "records/test_tracking.py",
    "test_faults.py",
    "study/test_run.py",
    "study/test_until_decided.py",
    "search/test_ray_tune.py",
    "test_deploy.py",
    "test_readme.py",
    "cli/test_cli.py",
    "budget/test_space.py",
)
# `pytest -m fast`: no study, no compiler, no cluster. These folders, without these files.
_FAST = ("spec", "config", "budget", "compare", "plugin", "records")
_NOT_FAST = (
    *_LONG,
    "budget/test_flops.py",
    "compare/test_comparison.py",
    "compare/test_comparison_output.py",
    "compare/test_decision.py",
    "compare/test_leaderboard.py",
    "plugin/test_data.py",
    "plugin/test_data_contract.py",
    "plugin/test_registry.py",
    "plugin/test_vision.py",
    "records/test_archive.py",
    "records/test_lease.py",
    "records/test_ray_jobs.py",
    "spec/test_schedule.py",
)
# Files that use architectures and tasks of rnnsearch-zoo: skipped if only the core is installed.
_NEED_ZOO = (
    "budget/test_model.py",
    "budget/test_budget.py",
    "budget/test_space.py",
    "cli/test_analyse.py",
    "cli/test_cli.py",
    "cli/test_lifecycle.py",
    "docs",
    "engine/test_capture.py",
    "engine/test_compiled_layer.py",
    "engine/test_cuda.py",
    "engine/test_portability.py",
    "engine/test_program.py",
    "engine/test_triton_kernel.py",
    "engine/test_vmapped.py",
    "plugin/test_data_contract.py",
    "plugin/test_layers.py",
    "plugin/test_registry.py",
    "records/test_archive.py",
    "records/test_tracking.py",
    "report/test_card.py",
    "report/test_report.py",
    "search/test_going_on.py",
    "search/test_queue.py",
    "search/test_ray_tune.py",
    "search/test_until_decided.py",
    "spec/test_schedule.py",
    "study",
    "test_benchmarks.py",
    "test_conformance.py",
    "test_deploy.py",
    "test_faults.py",
    "test_fuzzing.py",
    "test_presets.py",
    "test_readme.py",
    "test_stored.py",
    "test_stranger.py",
    "testing/test_analyses.py",
    "training/test_closed_form.py",
    "training/test_engines.py",
    "training/test_population.py",
    "training/test_run.py",
    "training/test_token_streams.py",
    "training/test_what_counts.py",
    "training/test_worker.py",
)
_HAS_ZOO = find_spec("rnnsearch_gated") is not None
collect_ignore = [] if _HAS_ZOO else list(_NEED_ZOO)


def pytest_report_header() -> list[str]:
    """Report which tests are left out."""
    left_out = f"rnnsearch-zoo is not installed: without the tests of {', '.join(_NEED_ZOO)}"
    return [] if _HAS_ZOO else [left_out]


def _file_of(item: pytest.Item) -> str:
    """The file of a test, relative to this folder; for other tests, the full path."""
    path = item.path
    return path.relative_to(_HERE).as_posix() if path.is_relative_to(_HERE) else path.as_posix()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of long files first, and mark the fast ones."""
    files = {item: _file_of(item) for item in items}
    for item, file in files.items():
        slow = any(item.get_closest_marker(name) for name in ("slow", "faults"))
        if file.partition("/")[0] in _FAST and file not in _NOT_FAST and not slow:
            item.add_marker("fast")
    items.sort(key=lambda item: files[item] not in _LONG)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the studies, caches and runs of a test into a separate folder."""
    monkeypatch.setenv("RNNSEARCH_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        # Set first, so that it is restored: MLflow sets its own when it opens a store.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path / "home"


@pytest.fixture
def no_driver_is_left() -> Iterator[None]:
    """End drivers that a failed test has left running."""
    from .life import end_drivers

    yield
    end_drivers()


@pytest.fixture
def life(tmp_path: Path, no_driver_is_left: None) -> Life:
    """A small study that has not been started yet."""
    from .life import Life

    return Life(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Life:
    """The same study, run undisturbed, once for all test workers."""
    from .life import Life

    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    home = shared / "undisturbed"
    with FileLock(shared / "undisturbed.lock"):
        life = Life(home)
        if not home.exists():
            home.mkdir()
            life.complete()
    return life
