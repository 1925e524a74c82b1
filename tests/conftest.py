"""What every test starts from: a home of its own, and no server of the user's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from .life import Life

# As many processes run tests as there are cores; threads beside them would only be in their way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Other processes are sent cells that are defined in tests, and import them by name.
if (_ROOT := str(Path(__file__).parents[1])) not in sys.path:
    sys.path.append(_ROOT)

# Files whose tests run whole studies. They begin first: the last of them would otherwise keep one
# core busy while the others have nothing left.
_LONG = (
    "lifecycle",
    "faults",
    "study",
    "stranger",
    "tuning",
    "tracking",
    "deploy",
    "readme",
    "cli",
    "commands",
    "site",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of long files before the others."""
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in _LONG)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let studies, caches and runs of a test lie in its own folder."""
    monkeypatch.setenv("RNNSEARCH_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        # Set first, so that it is put back: MLflow sets its own when it is told of a store.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path / "home"


@pytest.fixture
def no_driver_is_left() -> Iterator[None]:
    """End what a test that failed has left running."""
    from .life import end_drivers

    yield
    end_drivers()


@pytest.fixture
def life(tmp_path: Path, no_driver_is_left: None) -> Life:
    """A small study that is yet to be started."""
    from .life import Life

    return Life(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Life:
    """The same study, to which nothing happened; run once for all workers of the tests."""
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
