"""The plugin as rnnsearch meets it."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from rnnsearch import Task
from rnnsearch_languages.hooks import rnnsearch_tasks

TASKS = rnnsearch_tasks()


@pytest.mark.parametrize("name", TASKS)
def test_every_registered_name_leads_to_a_task(name: str) -> None:
    module, _, attribute = TASKS[name].partition(":")
    assert module == f"rnnsearch_languages.{name}"
    assert isinstance(getattr(import_module(module), attribute)(), Task)


def test_nothing_but_the_languages_is_registered() -> None:
    assert set(TASKS) == {"anbn", "anbncn", "dyck", "embedded_reber", "palindrome", "tomita"}


@pytest.mark.parametrize("name", TASKS)
def test_tasks_whose_answers_must_not_see_later_inputs_say_so(name: str) -> None:
    module, _, attribute = TASKS[name].partition(":")
    task = getattr(import_module(module), attribute)
    assert task.needs_causal == (task().shape.readout == "every_step")


def test_importing_the_hooks_imports_no_large_library() -> None:
    code = (
        "import sys, rnnsearch_languages.hooks\n"
        "large = {'torch', 'numpy'} & set(sys.modules)\n"
        "assert not large, large"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
