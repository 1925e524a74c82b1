"""Conformance suites for plugin authors: subclass one, name your class, and pytest does the rest.

    class TestMyCell(CellConformance):
        @pytest.fixture
        def cell_class(self):
            return MyCell

Needs pytest, which rnnsearch itself does not install.
"""

from __future__ import annotations

import pytest

# Without this, an author whose cell fails sees a bare AssertionError.
pytest.register_assert_rewrite(
    "rnnsearch.testing.probes",
    "rnnsearch.testing.cells",
    "rnnsearch.testing.sequence_models",
)

from rnnsearch.testing.cells import CellConformance  # noqa: E402
from rnnsearch.testing.sequence_models import SequenceModelConformance  # noqa: E402

__all__ = ["CellConformance", "SequenceModelConformance"]
