"""Everything that we register satisfies its contract.

Each plugin's own tests run the suites on its classes; this file checks that none is missing.
"""

from __future__ import annotations

import re
from functools import partial

import pytest

from rnnsearch import CellWrapper, RecurrentCell, load_registry
from rnnsearch.plugin.check import check, subjects_of
from rnnsearch.plugin.registry import KINDS
from rnnsearch.testing.cells import use
from rnnsearch.testing.probes import uncalled_methods
from rnnsearch.testing.wrappers import around_a_plain_cell

from .command import REPOSITORY

SUITES = {
    "architecture": "(CellConformance|SequenceModelConformance)",
    "wrapper": "WrapperConformance",
    "head": "HeadConformance",
    "task": "(Generated)?TaskConformance",
    "analysis": "AnalysisConformance",
}
OURS = ("rnnsearch", "rnnsearch-zoo")
# Its cells are generated from the list in its hooks, and its tests run over that list.
LISTED = "torchrecurrent"


@pytest.mark.parametrize("kind", KINDS)
def test_everything_of_ours_stands_under_its_suite_in_the_tests_of_its_plugin(kind: str) -> None:
    registry = load_registry()
    for plugin in registry.plugins:
        if plugin.distribution not in OURS or plugin.name == LISTED:
            continue
        folder = REPOSITORY / "plugins" / f"rnnsearch-{plugin.name.replace('_', '-')}" / "tests"
        if plugin.name == "core":
            folder = REPOSITORY / "tests" / "plugin"
        tests = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
        for name in plugin.brings()[kind]:
            found = registry.find(kind, name).__name__
            assert re.search(rf"class Test\w*\({SUITES[kind]}", tests), (plugin.name, kind)
            assert found in tests, f"{folder} does not name {found}"


def test_no_architecture_of_ours_has_a_known_failure_without_a_reason() -> None:
    registry = load_registry()
    for name in registry.architectures:
        for promise, reason in registry.architecture(name).known_failures.items():
            assert promise.startswith("test_"), name
            assert len(reason) > 20, (name, promise)


def test_no_cell_or_wrapper_of_ours_has_a_public_method_that_nobody_calls() -> None:
    """Such a method is a misnamed override, or should be private."""
    registry = load_registry()
    for name in registry.architectures:
        cell = registry.architecture(name)
        if issubclass(cell, RecurrentCell):
            assert uncalled_methods(cell, RecurrentCell, partial(use, cell)) == [], name
    for name in registry.names("wrapper"):
        wrapper = registry.wrapper(name)
        used = partial(use, around_a_plain_cell(wrapper, 1))
        assert uncalled_methods(wrapper, CellWrapper, used) == [], name


def test_every_check_is_of_what_it_was_asked_for() -> None:
    """Including the second check in the same process."""
    for name in ("linear", "mlp"):
        assert {verdict.name for verdict in check([("head", name)])} == {name}


@pytest.mark.slow
@pytest.mark.parametrize("name", [p.name for p in load_registry().plugins])
def test_plugin_check_passes(name: str) -> None:
    subjects = subjects_of(name)
    verdicts = check(subjects)
    assert {verdict.name for verdict in verdicts} == {subject for _, subject in subjects}
    assert not [v for v in verdicts if v.result == "failed"]
