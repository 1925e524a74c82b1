"""Any contents of a study file, a name or a plugin give one clear error or none.

`pytest -m faults tests/test_fuzzing.py` tries ten thousand examples of each.
"""

from __future__ import annotations

import os
import sys
import types
from contextlib import suppress
from copy import deepcopy
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnnsearch import hookimpl
from rnnsearch.budget.row import build_spaces
from rnnsearch.config.check import check_config
from rnnsearch.config.study_file import parse_study
from rnnsearch.errors import PluginError, RnnsearchError, StoreError
from rnnsearch.plugin.registry import build_registry, load_registry
from rnnsearch.records.store import StudyStore, studies_folder
from rnnsearch.study.plan import make_task

from .command import study_content

_MANY = 10_000
_FEW = 200
_LENIENT = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


def _some(many: int) -> settings:
    return settings(max_examples=many, deadline=None, database=None, suppress_health_check=_LENIENT)


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["lstm", "digits", "1e-3", "2%", "auto", "../x", "nan", "!!python/none"])
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["low", "high", "log", "name", "options"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@st.composite
def _studies(draw: st.DrawFn) -> str:
    """A study file with parts replaced, added or removed, or with changed characters."""
    content = deepcopy(study_content())
    for _ in range(draw(st.integers(1, 3))):
        place: Any = content
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and draw(st.booleans()):
                place = place[key]
                continue
            change = draw(st.sampled_from(["replace", "remove", "add"]))
            if change == "replace":
                place[key] = draw(_VALUES)
            elif change == "remove":
                del place[key]
            elif isinstance(place, dict):
                place[draw(st.text(max_size=8))] = draw(_VALUES)
            else:
                place.append(draw(_VALUES))
            break
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.text(max_size=3)) + text[at + draw(st.integers(0, 3)) :]
    return text


def _read(text: str) -> None:
    try:
        file = parse_study(text, "fuzzed.yaml")
        config = check_config(file)
        if any((a.num_layers or 0) > 8 or (a.hidden_size or 0) > 999 for a in config.architectures):
            return  # it would be built, which takes too long
        registry = load_registry()
        build_spaces(config, file, registry, make_task(config, file, registry))
    except RnnsearchError as error:
        said = str(error)
    else:
        return
    assert said
    assert "\n" not in said


@_some(_FEW)
@given(_studies())
def test_a_study_file_is_read_or_refused_in_one_line(text: str) -> None:
    _read(text)


@pytest.mark.slow
@pytest.mark.faults
@_some(_MANY)
@given(_studies())
def test_ten_thousand_study_files_are_read_or_refused_in_one_line(text: str) -> None:
    _read(text)


_NAMES = st.text(max_size=80) | st.lists(
    st.sampled_from(["..", "/", "a", "\\", "\0", "~", ".", "-", "%2e", os.sep]), max_size=8
).map("".join)


def _name(name: str) -> None:
    for make in (StudyStore.require_new, lambda n: StudyStore.open(n).folder):
        try:
            folder = make(name)
        except StoreError:
            continue
        assert folder.parent == studies_folder()
        assert folder.resolve().parent == studies_folder().resolve()


@_some(_FEW)
@given(_NAMES)
def test_no_name_of_a_study_leads_out_of_the_store(name: str) -> None:
    _name(name)


@pytest.mark.slow
@pytest.mark.faults
@_some(_MANY)
@given(_NAMES)
def test_ten_thousand_names_do_not_lead_out_of_the_store(name: str) -> None:
    _name(name)


def _plugin(what: Any) -> None:
    """A hook with any return value breaks only its own plugin."""
    module = types.ModuleType("fuzzed_plugin")

    @hookimpl
    def rnnsearch_architectures() -> Any:
        return what

    module.rnnsearch_architectures = rnnsearch_architectures  # type: ignore[attr-defined]
    sys.modules["fuzzed_plugin"] = module
    fuzzed = EntryPoint("fuzzed", "fuzzed_plugin", "rnnsearch")
    ours = EntryPoint("ours", "rnnsearch_baselines.hooks", "rnnsearch")
    try:
        registry = build_registry([fuzzed, ours])
        assert "elman" in registry.names("architecture")
        (plugin,) = (p for p in registry.check() if p.name == "fuzzed")
        for name in plugin.architectures:
            with suppress(PluginError):
                registry.architecture(name)
    finally:
        del sys.modules["fuzzed_plugin"]


_HOOKS = _VALUES | st.dictionaries(
    st.text(max_size=8) | st.integers(),
    _VALUES | st.sampled_from(["os:path", "os:nothing", "no_module:X", ":", "os", "builtins:int"]),
    max_size=3,
)


@_some(_FEW)
@given(_HOOKS)
def test_a_plugin_that_gives_anything_is_taken_or_refused(what: Any) -> None:
    _plugin(what)


@pytest.mark.slow
@pytest.mark.faults
@_some(_MANY)
@given(_HOOKS)
def test_ten_thousand_plugins_are_taken_or_refused(what: Any) -> None:
    _plugin(what)
