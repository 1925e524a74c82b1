"""The contract of every task of this plugin, on small data."""

from __future__ import annotations

from importlib import import_module

import pytest

from rnnsearch import GeneratedTask, Value
from rnnsearch.testing import GeneratedTaskConformance
from rnnsearch_synthetic.hooks import rnnsearch_tasks

Case = tuple[str, dict[str, Value]]

SIZES: dict[str, Value] = {"train_size": 1000, "validation_size": 300, "test_size": 2000}
FEWER: dict[str, Value] = {"train_size": 200, "validation_size": 50, "test_size": 200}
CASES: list[Case] = [
    ("adding", {"length": 12, **SIZES}),
    ("adding", {"length": 12, "marks": "halves", **SIZES}),
    ("copy_memory", {"delay": 5, **SIZES}),
    ("copy_memory", {"delay": 1, "encoding": "one_hot", **SIZES}),
    ("noisy_lag", {"length": 20, **SIZES}),
    ("noisy_lag", {"length": 20, "informative": 1, "noisy_signal": True, **SIZES}),
    ("temporal_order", {"length": 20, **SIZES}),
    ("temporal_order", {"length": 20, "markers": 3, **SIZES}),
    ("precise_timing", {"shortest": 5, "intervals": 6, **SIZES}),
    ("precise_timing", {"shortest": 1, "delays": 4, "intervals": 8, **SIZES}),
    ("mackey_glass", {"length": 30, "washout": 10, "horizon": 6, **FEWER}),
    ("narma10", {"length": 40, "washout": 20, **SIZES}),
    ("memory_capacity", {"length": 20, "delays": 5, **SIZES}),
]


def name_of(case: Case) -> str:
    chosen = [f"{k}={v}" for k, v in case[1].items() if not k.endswith("_size")]
    return "-".join([case[0], *chosen])


@pytest.mark.parametrize("case", CASES, ids=name_of)
class TestTask(GeneratedTaskConformance):
    @pytest.fixture
    def task(self, case: Case) -> GeneratedTask:
        name, options = case
        module, _, attribute = rnnsearch_tasks()[name].partition(":")
        task: GeneratedTask = getattr(import_module(module), attribute)(**options)
        return task
