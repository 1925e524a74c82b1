"""rnnsearch: at the same number of parameters, which recurrent cell is best on a task?

The public names, for users (`load_study`) and for authors of plugins (`RecurrentCell`,
`SequenceModel`, `Task`, `hookimpl`, ...). Importing this package imports neither torch nor any
other large library: names load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnsearch.budget.budget import Budget, BudgetSolution, solve
    from rnnsearch.budget.complexity import measure_complexity
    from rnnsearch.budget.model import build_model, count_parameters
    from rnnsearch.errors import (
        BudgetError,
        CapabilityError,
        DataError,
        DivergedError,
        MissingDataError,
        PluginError,
        RnnsearchError,
        StoreError,
        StudyFileError,
        TrackingError,
        TrialsFailedError,
    )
    from rnnsearch.plugin.analysis import Analysis, Finding, TrainedModel
    from rnnsearch.plugin.capabilities import Capabilities
    from rnnsearch.plugin.cell import RecurrentCell, State
    from rnnsearch.plugin.data import (
        DataFile,
        Dataset,
        Location,
        data_folder,
        locate,
        sha256_of,
    )
    from rnnsearch.plugin.generated_task import GeneratedTask, generated_options, split_of
    from rnnsearch.plugin.head import Head
    from rnnsearch.plugin.hookspecs import hookimpl
    from rnnsearch.plugin.losses import (
        NOT_ASKED,
        accuracy,
        binary_cross_entropy,
        cross_entropy,
        mean_squared_error,
    )
    from rnnsearch.plugin.registry import load_registry
    from rnnsearch.plugin.sequence_model import Batch, SequenceModel
    from rnnsearch.plugin.task import Examples, Task
    from rnnsearch.plugin.vision import import_torchvision
    from rnnsearch.plugin.wrapper import CellWrapper
    from rnnsearch.spec.model import Complexity, ModelSpec
    from rnnsearch.spec.parameters import (
        Choice,
        FloatRange,
        IntRange,
        OutputSize,
        Parameters,
        Value,
    )
    from rnnsearch.spec.shape import DataSource, SequenceShape, Split
    from rnnsearch.study.run import Study, StudyResult, load_study
    from rnnsearch.study.stored import compare_study

__version__ = "0.1.0"

_NAMES = {
    "plugin.analysis": ("Analysis", "Finding", "TrainedModel"),
    "budget.budget": ("Budget", "BudgetSolution", "solve"),
    "plugin.capabilities": ("Capabilities",),
    "plugin.cell": ("RecurrentCell", "State"),
    "plugin.data": (
        "DataFile",
        "Dataset",
        "Location",
        "data_folder",
        "locate",
        "sha256_of",
    ),
    "errors": (
        "BudgetError",
        "CapabilityError",
        "DataError",
        "DivergedError",
        "MissingDataError",
        "PluginError",
        "RnnsearchError",
        "StoreError",
        "StudyFileError",
        "TrackingError",
        "TrialsFailedError",
    ),
    "plugin.generated_task": ("GeneratedTask", "generated_options", "split_of"),
    "plugin.head": ("Head",),
    "plugin.hookspecs": ("hookimpl",),
    "plugin.losses": (
        "NOT_ASKED",
        "accuracy",
        "binary_cross_entropy",
        "cross_entropy",
        "mean_squared_error",
    ),
    "budget.complexity": ("measure_complexity",),
    "budget.model": ("build_model", "count_parameters"),
    "spec.parameters": ("Choice", "FloatRange", "IntRange", "OutputSize", "Parameters", "Value"),
    "plugin.registry": ("load_registry",),
    "plugin.sequence_model": ("Batch", "SequenceModel"),
    "spec.model": ("Complexity", "ModelSpec"),
    "spec.shape": ("DataSource", "SequenceShape", "Split"),
    "study.run": ("Study", "StudyResult", "load_study"),
    "study.stored": ("compare_study",),
    "plugin.task": ("Examples", "Task"),
    "plugin.vision": ("import_torchvision",),
    "plugin.wrapper": ("CellWrapper",),
}
_HOME_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "Analysis",
    "Batch",
    "Budget",
    "BudgetError",
    "BudgetSolution",
    "Capabilities",
    "CapabilityError",
    "CellWrapper",
    "Choice",
    "Complexity",
    "DataError",
    "DataFile",
    "DataSource",
    "Dataset",
    "DivergedError",
    "Examples",
    "Finding",
    "FloatRange",
    "GeneratedTask",
    "Head",
    "IntRange",
    "Location",
    "MissingDataError",
    "ModelSpec",
    "NOT_ASKED",
    "OutputSize",
    "Parameters",
    "PluginError",
    "RecurrentCell",
    "RnnsearchError",
    "SequenceModel",
    "SequenceShape",
    "Split",
    "State",
    "StoreError",
    "Study",
    "StudyFileError",
    "StudyResult",
    "Task",
    "TrackingError",
    "TrainedModel",
    "TrialsFailedError",
    "Value",
    "accuracy",
    "binary_cross_entropy",
    "build_model",
    "compare_study",
    "count_parameters",
    "cross_entropy",
    "data_folder",
    "generated_options",
    "hookimpl",
    "import_torchvision",
    "load_registry",
    "load_study",
    "locate",
    "mean_squared_error",
    "measure_complexity",
    "sha256_of",
    "solve",
    "split_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        msg = f"module 'rnnsearch' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"rnnsearch.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
