"""The plugin as rnnsearch meets it."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from rnnsearch import Task
from rnnsearch_synthetic.hooks import rnnsearch_tasks

TASKS = rnnsearch_tasks()


@pytest.mark.parametrize("name", TASKS)
def test_every_registered_name_leads_to_a_task(name: str) -> None:
    module, _, attribute = TASKS[name].partition(":")
    assert module == f"rnnsearch_synthetic.{name}"
    assert isinstance(getattr(import_module(module), attribute)(), Task)


def test_nothing_but_the_generated_tasks_is_registered() -> None:
    assert set(TASKS) == {
        "adding",
        "copy_memory",
        "mackey_glass",
        "memory_capacity",
        "narma10",
        "noisy_lag",
        "precise_timing",
        "temporal_order",
    }


@pytest.mark.parametrize("name", TASKS)
def test_tasks_whose_answers_must_not_see_later_inputs_say_so(name: str) -> None:
    module, _, attribute = TASKS[name].partition(":")
    task = getattr(import_module(module), attribute)
    assert task.needs_causal == (task().shape.readout == "every_step")


def test_importing_the_hooks_imports_no_large_library() -> None:
    code = (
        "import sys, rnnsearch_synthetic.hooks\n"
        "large = {'torch', 'numpy'} & set(sys.modules)\n"
        "assert not large, large"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
