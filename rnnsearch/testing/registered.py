"""The conformance suites over what plugins register; `rnnsearch plugin check` runs this file.

The environment variable `RNNSEARCH_CHECK` says what to check, as `kind:name` separated by blanks;
everything that is registered, where it is not set.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from typing_extensions import override

from rnnsearch.plugin.cell import RecurrentCell
from rnnsearch.plugin.generated_task import GeneratedTask
from rnnsearch.plugin.registry import load_registry
from rnnsearch.plugin.sequence_model import SequenceModel
from rnnsearch.testing import (
    AnalysisConformance,
    CellConformance,
    GeneratedTaskConformance,
    HeadConformance,
    SequenceModelConformance,
    TaskConformance,
    WrapperConformance,
)

VARIABLE = "RNNSEARCH_CHECK"


def _names(kind: str, base: type = object, but: tuple[type, ...] = ()) -> list[str]:
    asked = os.environ.get(VARIABLE)
    registry = load_registry()
    names = registry.names(kind)
    if asked is not None:
        wanted = [pair.partition(":") for pair in asked.split()]
        names = [name for of, _, name in wanted if of == kind]
    found = {name: registry.find(kind, name) for name in names}
    return [n for n, one in found.items() if issubclass(one, base) and not issubclass(one, but)]


def _found(kind: str, request: pytest.FixtureRequest) -> Any:
    return load_registry().find(kind, request.param)


class TestCells(CellConformance):
    @pytest.fixture(params=_names("architecture", RecurrentCell))
    @override
    def cell_class(self, request: pytest.FixtureRequest) -> Any:
        return _found("architecture", request)


class TestSequenceModels(SequenceModelConformance):
    @pytest.fixture(params=_names("architecture", SequenceModel))
    @override
    def model_class(self, request: pytest.FixtureRequest) -> Any:
        return _found("architecture", request)


class TestWrappers(WrapperConformance):
    @pytest.fixture(params=_names("wrapper"))
    @override
    def wrapper_class(self, request: pytest.FixtureRequest) -> Any:
        return _found("wrapper", request)


class TestHeads(HeadConformance):
    @pytest.fixture(params=_names("head"))
    @override
    def head_class(self, request: pytest.FixtureRequest) -> Any:
        return _found("head", request)


class TestTasks(TaskConformance):
    @pytest.fixture(params=_names("task", but=(GeneratedTask,)))
    @override
    def task(self, request: pytest.FixtureRequest) -> Any:
        return _found("task", request)()


class TestGeneratedTasks(GeneratedTaskConformance):
    @pytest.fixture(params=_names("task", GeneratedTask))
    @override
    def task(self, request: pytest.FixtureRequest) -> Any:
        return _found("task", request)()


class TestAnalyses(AnalysisConformance):
    @pytest.fixture(params=_names("analysis"))
    @override
    def analysis_class(self, request: pytest.FixtureRequest) -> Any:
        return _found("analysis", request)
