"""The contract of every task of this plugin, on small data."""

from __future__ import annotations

from importlib import import_module

import pytest

from rnnsearch import GeneratedTask, Value
from rnnsearch.testing import GeneratedTaskConformance
from rnnsearch_languages.hooks import rnnsearch_tasks

Case = tuple[str, dict[str, Value]]

SIZES: dict[str, Value] = {"train_size": 400, "validation_size": 200, "test_size": 400}
CASES: list[Case] = [
    ("anbn", {"train_max": 4, "validation_max": 6, "test_max": 9, "train_size": 20}),
    ("anbncn", {"train_max": 4, "validation_max": 6, "test_max": 9, "train_size": 20}),
    ("dyck", {"train_max": 10, "test_max": 14, **SIZES}),
    ("dyck", {"kinds": 1, "train_max": 10, "test_max": 14, **SIZES}),
    ("palindrome", {"longest": 5, **SIZES}),
    ("palindrome", {"symbols": 3, "longest": 4, **SIZES}),
    *[
        ("tomita", {"grammar": n, "train_max": 8, "validation_max": 11, "test_max": 14, **SIZES})
        for n in range(1, 8)
    ],
    ("embedded_reber", {"longest": 30, **SIZES}),
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
