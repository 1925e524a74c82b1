"""The public names of `rnnsearch` and the suites of `rnnsearch.testing`, from their docstrings."""

from __future__ import annotations

import mkdocs_gen_files

import rnnsearch
from rnnsearch import testing

# Sections of the page, each with the names that it explains; every public name stands in one.
SECTIONS = {
    "Studies": ("load_study", "Study", "StudyResult", "compare_study"),
    "Cells, sequence models and wrappers": (
        *("RecurrentCell", "State", "SequenceModel", "Batch", "CellWrapper", "Capabilities"),
    ),
    "Heads": ("Head",),
    "Declared options": ("Parameters", "Value", "Choice", "IntRange", "FloatRange", "OutputSize"),
    "Tasks": (
        *("Task", "Examples", "SequenceShape", "Split", "GeneratedTask", "generated_options"),
        *("split_of", "NOT_ASKED"),
    ),
    "Losses and metrics": ("cross_entropy", "binary_cross_entropy", "mean_squared_error",
                           "accuracy"),
    "Data": (
        *("DataSource", "Dataset", "DataFile", "Location", "data_folder", "locate", "sha256_of"),
        "import_torchvision",
    ),
    "Analyses": ("Analysis", "TrainedModel", "Finding"),
    "Budgets and models": (
        *("Budget", "BudgetSolution", "solve", "ModelSpec", "Complexity", "count_parameters"),
        *("measure_complexity", "build_model"),
    ),
    "Plugins": ("hookimpl", "load_registry"),
    "Errors": (
        *("RnnsearchError", "StudyFileError", "CapabilityError", "TrialsFailedError"),
        *("DivergedError", "BudgetError", "PluginError", "DataError", "MissingDataError"),
        *("TrackingError", "StoreError"),
    ),
}  # fmt: skip
# Names for values rather than classes or functions: they have no docstring of their own.
_VALUES = {
    "State": "The state of a cell: a tuple of tensors, each with the batch as its first axis.",
    "Batch": "Inputs, targets and lengths of some samples, as `SequenceModel.fit` is given them.",
    "Parameters": "Declared options by name: a mapping of `Choice`, `IntRange` and `FloatRange`.",
    "Value": "What an option can be: a number, a string or a truth value.",
    "Split": "`train`, `validation` or `test`.",
    "NOT_ASKED": "-100, the class of a target that is not asked: losses and metrics leave it out.",
    "hookimpl": "Marks a function of a plugin as one of its hooks; see "
    "[Write a plugin](../plugins/index.md).",
}

_SUITES = """# Conformance suites

`rnnsearch.testing` has a suite of tests for each kind of plugin. Subclass one under a name that
begins with `Test`, return your class from its fixture, and run `pytest`:

```python
import pytest
from rnnsearch.testing import CellConformance

from rnnsearch_leaky.leaky import LeakyCell


class TestLeakyCell(CellConformance):
    @pytest.fixture
    def cell_class(self):
        return LeakyCell
```

`rnnsearch plugin check` runs the same suites over everything that a plugin registers.

"""


def _entry(name: str) -> str:
    if name in _VALUES:
        return f"### {name}\n\n{_VALUES[name]}\n"
    module = rnnsearch._HOME_OF[name]
    return f"::: rnnsearch.{module}.{name}\n"


def write_pages() -> None:
    """Write the page of the public names and that of the suites."""
    named = [name for names in SECTIONS.values() for name in names]
    if sorted(named) != sorted(rnnsearch.__all__):
        msg = f"docs/generate/python.py: {set(named) ^ set(rnnsearch.__all__)}"
        raise ValueError(msg)
    parts = [
        "# Python\n",
        "Every public name, as in `from rnnsearch import RecurrentCell`. Importing `rnnsearch` "
        "imports neither torch nor any other large library; names load when they are first used. "
        "What is not on this page may change between versions.\n",
    ]
    for title, names in SECTIONS.items():
        parts += [f"## {title}\n", *map(_entry, names)]
    with mkdocs_gen_files.open("reference/python.md", "w") as file:
        file.write("\n".join(parts))
    suites = [getattr(testing, name) for name in testing.__all__]
    with mkdocs_gen_files.open("reference/testing.md", "w") as file:
        file.write(_SUITES + "\n".join(f"::: {s.__module__}.{s.__qualname__}\n" for s in suites))
