"""Every registered architecture keeps the promises of its contract."""

from __future__ import annotations

import pytest

from rnnsearch import RecurrentCell, SequenceModel, load_registry
from rnnsearch.model import Architecture
from rnnsearch.testing import CellConformance, SequenceModelConformance

OURS = {
    "elman",
    "ff_nn",
    "gru",
    "lstm",
    "mcrm",
    "mike_rnn",
    "nlstm",
    "nlstm_concat",
    "prelu_rnn",
    "sm_rnn",
    "snn",
}


def _registered(kind: type) -> list[str]:
    registry = load_registry()
    return [n for n in registry.architectures if issubclass(registry.architecture(n), kind)]


def test_our_architectures_are_registered() -> None:
    assert set(load_registry().architectures) >= OURS


class TestCells(CellConformance):
    @pytest.fixture(params=_registered(RecurrentCell))
    def cell_class(self, request: pytest.FixtureRequest) -> Architecture:
        return load_registry().architecture(request.param)


class TestSequenceModels(SequenceModelConformance):
    @pytest.fixture(params=_registered(SequenceModel))
    def model_class(self, request: pytest.FixtureRequest) -> Architecture:
        return load_registry().architecture(request.param)
