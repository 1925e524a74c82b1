"""The plan of a study: everything that can be known before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rnnsearch.budget.budget import BudgetSolution
from rnnsearch.budget.complexity import advising, measure_complexity, try_one_sample
from rnnsearch.budget.row import blaming_row, build_space
from rnnsearch.budget.space import SearchSpace
from rnnsearch.config import machine
from rnnsearch.config.schema import StudyConfig
from rnnsearch.config.study_file import StudyFile
from rnnsearch.errors import BrokenPluginError, StudyFileError
from rnnsearch.plugin.data_contract import find_and_check
from rnnsearch.plugin.registry import Registry
from rnnsearch.plugin.task import Examples, Task
from rnnsearch.search.search_row import SearchRow
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.model import Complexity
from rnnsearch.spec.shape import DataSource
from rnnsearch.spec.trial import Phase, TrialSpec
from rnnsearch.training.engine_choice import EngineChoice, choose_engine

_PER_UPDATE = 7 / 6  # a sixth for evaluation and everything that is not training


@dataclass(frozen=True)
class PlannedRow:
    """One row of a study, sized.

    Attributes:
        space: what is fixed and what is searched.
        typical: the trial in the middle of the search space.
        complexity: what that model costs.
        widths: smallest and largest solved width over the structures that may be sampled.
        residual: the residual farthest from zero over those structures.
        engine: what trains it, how fast, and why.
        epoch_seconds: estimated time of one epoch.
    """

    space: SearchSpace
    typical: TrialSpec
    complexity: Complexity
    widths: tuple[int, int]
    residual: float
    engine: EngineChoice
    epoch_seconds: float

    def trained_by(self, engine: Engine) -> SearchRow:
        """The row, ready to run on an engine."""
        return SearchRow(self.space, engine, self.typical.engine_speedup, self.epoch_seconds)


@dataclass(frozen=True)
class FailedRow:
    """A row that cannot run, because code of a plugin fails where it is planned.

    Attributes:
        label: name of the row.
        error: why, with the plugin that is at fault.
    """

    label: str
    error: BrokenPluginError


@dataclass(frozen=True)
class StudyPlan:
    """A study before it starts.

    Attributes:
        config: the study file's content.
        task: the task.
        source: where its data comes from.
        rows: the architectures, sized; at least one.
        trials: trials of the search, all rows together.
        confirmations: training runs of the confirmation, at least.
        most_confirmations: the same at most, if rows get more seeds until they are decided.
        workers: trials at a time that the estimate assumes.
        seconds: estimated wall time, at least.
        most_seconds: the same at most.
        failed: rows that cannot run; a study runs without them, and says so.
        splits: the data of the search, as they were checked: `train` and `validation`.
    """

    config: StudyConfig
    task: Task
    source: DataSource
    rows: tuple[PlannedRow, ...]
    trials: int
    confirmations: int
    most_confirmations: int
    workers: int
    seconds: float
    most_seconds: float
    failed: tuple[FailedRow, ...] = ()
    splits: Mapping[str, Examples] = field(default_factory=dict, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The plan in plain values, for JSON."""
        budget, published = self.config.budget, self.config.published_figures
        return {
            "study": self.config.name,
            "task": self.config.task.name,
            "published": self.config.published.model_dump() if self.config.published else None,
            "budget": {
                "parameters": budget.parameters,
                "tolerance": budget.tolerance,
                "counting": budget.counting,
            },
            "data": {
                "dataset": self.source.dataset,
                "origin": self.source.origin,
                "sha256": self.source.sha256,
                "sizes": dict(self.source.sizes),
                "caveat": self.source.caveat,
            },
            "architectures": [
                {
                    "label": row.space.label,
                    "architecture": row.space.name,
                    "hidden_size": row.typical.model.hidden_size,
                    "hidden_size_range": list(row.widths),
                    "head": row.typical.model.head or None,
                    "head_hidden_size": row.typical.model.head_hidden_size or None,
                    "closed_by": row.typical.closed_by or None,
                    "parameters": row.typical.parameters,
                    "trainable": row.complexity.trainable,
                    "one_bias": row.complexity.one_bias,
                    "published": published[row.space.label].model_dump()
                    if row.space.label in published
                    else None,
                    "frozen": row.complexity.frozen,
                    "residual": row.typical.residual,
                    "largest_residual": row.residual,
                    "matched": row.space.matched,
                    "state_size": row.complexity.state_size,
                    "flops_per_step": row.complexity.flops_per_step,
                    "engine": row.engine.name,
                    "engine_reason": row.engine.reason or None,
                    "engine_speedup": row.engine.speedup,
                    "step_ms": row.engine.step_ms,
                    "searched": sorted(row.space.free),
                }
                for row in self.rows
            ],
            "failed": [{"label": row.label, "reason": str(row.error)} for row in self.failed],
            "search_trials": self.trials,
            "confirmation_runs": self.confirmations,
            "most_confirmation_runs": self.most_confirmations,
            "workers": self.workers,
            "estimated_seconds": self.seconds,
            "most_estimated_seconds": self.most_seconds,
        }


def make_task(config: StudyConfig, file: StudyFile, registry: Registry) -> Task:
    """Make the study's task.

    Raises:
        PluginError: it is unknown or broken.
        StudyFileError: an option is unknown or out of range.
    """
    with file.pointing_at(("task",)):
        task_class = registry.task(config.task.name)
        with registry.blaming("task", config.task.name):
            try:
                return task_class(**config.task.options)
            except StudyFileError as error:
                raise file.error(("task", "options", error.key), error.problem) from None


def make_plan(config: StudyConfig, file: StudyFile, registry: Registry) -> StudyPlan:
    """Resolve names, solve widths, check the data and time one update of each architecture.

    A row for which code of a plugin fails is left out, as long as another one remains.

    Raises:
        RnnsearchError: whatever would stop the study, before it starts.
    """
    task = make_task(config, file, registry)
    spaces: dict[int, SearchSpace] = {}
    failed: dict[int, BrokenPluginError] = {}
    for i in range(len(config.architectures)):
        try:
            spaces[i] = build_space(config, i, file, registry, task)
        except BrokenPluginError as error:
            failed[i] = error
    name = config.task.name
    with file.pointing_at(("task",)), registry.blaming("task", name, "finding data"):
        source, splits = find_and_check(task, _named(name, registry))
    planned = list[PlannedRow]()
    for i, space in spaces.items():
        try:
            typical = space.solve(space.default_values()).spec
            with (
                blaming_row(config, i, file, registry),
                advising(space.architecture, typical),
            ):
                planned.append(_plan_row(space, config, task, source.sizes["train"]))
        except BrokenPluginError as error:
            failed[i] = error
    if not planned:
        raise failed[min(failed)]
    rows = tuple(planned)
    resources = config.resources
    workers = resources.workers or max(1, math.floor(machine.cpus() / resources.cpus_per_trial))
    confirmation, configurations = config.confirmation, len(rows)
    if config.search.trials:
        configurations *= confirmation.best
    least, most = (
        sum(estimate_seconds(row, config, source.sizes["train"], seeds) for row in rows) / workers
        for seeds in (confirmation.seeds, confirmation.at_most)
    )
    if confirmation.minutes is not None:
        most = max(least, min(most, least + 60 * confirmation.minutes))
    return StudyPlan(
        config=config,
        task=task,
        source=source,
        rows=rows,
        trials=config.search.trials * len(rows),
        confirmations=confirmation.seeds * configurations,
        most_confirmations=confirmation.at_most * configurations,
        workers=workers,
        seconds=least,
        most_seconds=most,
        splits=splits,
        failed=tuple(
            FailedRow(entry.label or entry.name, failed[i])
            for i, entry in enumerate(config.architectures)
            if i in failed
        ),
    )


def _named(task: str, registry: Registry) -> str:
    """A task with the distribution that it comes from."""
    return f"`{task}` of {registry.plugin_of('task', task)}"


def _plan_row(space: SearchSpace, config: StudyConfig, task: Task, samples: int) -> PlannedRow:
    phase: Phase = "search" if config.search.trials else "confirmation"
    typical = space.trial(config, space.default_values(), phase=phase, number=0)
    solutions: list[BudgetSolution] = [space.solve(values) for values in space.structures()]
    widths = [solution.spec.hidden_size for solution in solutions]
    try_one_sample(space.architecture, typical.model)
    engine = choose_engine(
        space.architecture,
        typical,
        task,
        requested=config.engine,
        updates=_updates(space, typical, config, samples, config.confirmation.seeds),
        on_gpu=config.resources.gpus_per_trial > 0,
    )
    updates_per_epoch = math.ceil(samples / typical.training.batch_size)
    speedup = round(engine.speedup or 0.0, 2)
    return PlannedRow(
        space=space,
        typical=replace(typical, engine=engine.engine, engine_speedup=speedup),
        complexity=measure_complexity(space.architecture, typical.model),
        widths=(min(widths), max(widths)),
        residual=max((solution.residual for solution in solutions), key=abs),
        engine=engine,
        epoch_seconds=_PER_UPDATE * engine.step_ms / 1000 * updates_per_epoch,
    )


def estimate_seconds(row: PlannedRow, config: StudyConfig, samples: int, seeds: int) -> float:
    """Estimate the processor time of a row's search and confirmation, in seconds."""
    updates = _updates(row.space, row.typical, config, samples, seeds)
    return _PER_UPDATE * updates * row.engine.step_ms / 1000


def _updates(
    space: SearchSpace, typical: TrialSpec, config: StudyConfig, samples: int, seeds: int
) -> float:
    """Updates of a row's search and confirmation."""
    per_epoch = math.ceil(samples / typical.training.batch_size)
    epochs = config.search.epochs or space.epochs
    search = config.search.trials * _epochs_of_a_search_trial(config, epochs)
    best = config.confirmation.best if config.search.trials else 1
    confirmation = seeds * best * (config.confirmation.epochs or space.epochs)
    return per_epoch * (search + confirmation)


def _epochs_of_a_search_trial(config: StudyConfig, epochs: int) -> float:
    """Mean epochs of a trial if ASHA keeps the best `1 / reduction_factor` at every rung."""
    search = config.search
    if search.scheduler == "none" or not search.trials:
        return epochs
    done, rung, kept = 0.0, min(search.grace_epochs, epochs), float(search.trials)
    reached = 0
    while kept >= 1 and reached < epochs:
        done += kept * (rung - reached)
        reached, rung = rung, min(rung * search.reduction_factor, epochs)
        kept = max(1.0, kept / search.reduction_factor)
    return done / search.trials
