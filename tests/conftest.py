"""What every test starts from: a home of its own, and no server of the user's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

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
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of long files before the others."""
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in _LONG)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let studies, caches and runs of a test lie in its own folder."""
    monkeypatch.setenv("RNNSEARCH_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"
