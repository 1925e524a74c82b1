"""The plugin as registered with rnnsearch."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from rnnsearch import Task
from rnnsearch_mnist.hooks import rnnsearch_tasks

TASKS = rnnsearch_tasks()


@pytest.mark.parametrize("name", TASKS)
def test_every_registered_name_leads_to_a_task(name: str) -> None:
    module, _, attribute = TASKS[name].partition(":")
    task = getattr(import_module(module), attribute)()
    assert isinstance(task, Task)
    assert (task.metric, task.direction, task.shape.output_size) == ("accuracy", "maximize", 10)
    assert 0.1 <= task.no_skill < 0.12


@pytest.mark.parametrize("name", TASKS)
def test_a_task_imports_neither_scikit_learn_nor_torchvision_before_it_needs_them(
    name: str,
) -> None:
    module = TASKS[name].partition(":")[0]
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        f"import {module}\n"
        "assert not {'torchvision', 'sklearn', 'mlxtend'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
