"""Every cell of torchrecurrent keeps the contract of a step cell."""

from __future__ import annotations

import importlib

import pytest

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance
from rnnsearch_torchrecurrent import hooks

pytest.importorskip("torchrecurrent")
ARCHITECTURES = hooks.rnnsearch_architectures()

# A build takes seconds. These are the cells to which the adapter adds something; all others are
# compiled together in the tests of the engine.
COMPILED = {"IntersectionRNNCell", "TGRUCell", "TLSTMCell", "tauGRUCell"}


def _class_of(target: str) -> type[RecurrentCell]:
    module, _, attribute = target.partition(":")
    found: type[RecurrentCell] = getattr(importlib.import_module(module), attribute)
    return found


class TestTorchrecurrentCells(CellConformance):
    @pytest.fixture(params=ARCHITECTURES)
    def cell_class(self, request: pytest.FixtureRequest) -> type[RecurrentCell]:
        return _class_of(ARCHITECTURES[request.param])

    def test_compiled_layers_compute_what_the_steps_compute(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        if cell_class.__name__ not in COMPILED:
            pytest.skip("compiled in tests/engine/test_torchrecurrent.py")
        super().test_compiled_layers_compute_what_the_steps_compute(cell_class)
