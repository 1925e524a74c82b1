"""Test each family alone against the core, with the other families turned off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rnnsearch import load_registry

# Families that the tests of another family use: the analyses look at cells, the token tasks need
# cells to solve them, and the nets of the SM-RNN paper end in that family's head.
_NEEDED = {
    "analyses": {"baselines", "gated", "nested", "stigmergic"},
    "baselines": {"heads"},
    "ptb": {"baselines", "gated", "nested"},
    "stigmergic": {"heads"},
}


@pytest.fixture(scope="module", autouse=True)
def alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Turn the other families off."""
    folder = Path(request.path).relative_to(Path(__file__).parent).parts[0]
    if not folder.startswith("rnnsearch-"):
        yield
        return
    family = folder.removeprefix("rnnsearch-").replace("-", "_")
    kept = {"core", family, *_NEEDED.get(family, ())}
    others = sorted({plugin.name for plugin in load_registry().plugins} - kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNNSEARCH_PLUGINS_OFF", ",".join(others))
        load_registry.cache_clear()
        yield
    load_registry.cache_clear()
