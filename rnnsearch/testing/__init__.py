"""Conformance suites for plugin authors: subclass one, name your class, and pytest does the rest.

    class TestMyCell(CellConformance):
        @pytest.fixture
        def cell_class(self):
            return MyCell

`rnnsearch plugin check` runs them over what a plugin registers.
"""

from __future__ import annotations

import pytest

# Without this, an author whose cell fails sees a bare AssertionError.
pytest.register_assert_rewrite(
    "rnnsearch.testing.probes",
    "rnnsearch.testing.cells",
    "rnnsearch.testing.sequence_models",
    "rnnsearch.testing.wrappers",
    "rnnsearch.testing.heads",
    "rnnsearch.testing.tasks",
    "rnnsearch.testing.generated_tasks",
    "rnnsearch.testing.analyses",
)

from rnnsearch.plugin.layers import run_eagerly  # noqa: E402
from rnnsearch.testing.analyses import AnalysisConformance, example_model  # noqa: E402
from rnnsearch.testing.cells import CellConformance  # noqa: E402
from rnnsearch.testing.generated_tasks import GeneratedTaskConformance  # noqa: E402
from rnnsearch.testing.heads import HeadConformance  # noqa: E402
from rnnsearch.testing.sequence_models import SequenceModelConformance  # noqa: E402
from rnnsearch.testing.tasks import TaskConformance  # noqa: E402
from rnnsearch.testing.wrappers import WrapperConformance  # noqa: E402

__all__ = [
    "AnalysisConformance",
    "CellConformance",
    "GeneratedTaskConformance",
    "HeadConformance",
    "SequenceModelConformance",
    "TaskConformance",
    "WrapperConformance",
    "example_model",
    "run_eagerly",
]
