"""The search space of one architecture: what is fixed, what is searched, what the budget solves."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rnnsearch.budget import Budget, BudgetSolution, count, solve
from rnnsearch.config import ArchitectureConfig, HeadConfig, StudyConfig
from rnnsearch.errors import BudgetError, CapabilityError, did_you_mean
from rnnsearch.model import (
    Architecture,
    ModelSpec,
    default_head_hidden_size,
    head_features,
    layer_inputs,
    refusal,
)
from rnnsearch.parameters import (
    Choice,
    FloatRange,
    IntRange,
    OutputSize,
    Parameter,
    Parameters,
    Value,
    defaults,
)
from rnnsearch.registry import Registry
from rnnsearch.schedule import CONSTANT, Schedule
from rnnsearch.sequence_model import SequenceModel, SequenceShape
from rnnsearch.study_file import KeyPath, StudyFile, dotted
from rnnsearch.task import Task
from rnnsearch.trial import Phase, TrainingConfig, TrialSpec

_SURROUNDINGS = ("num_layers", "bidirectional", "learned_initial_state")
_TRAINING = ("batch_size", "learning_rate", "optimizer", "weight_decay", "gradient_clip")
_OPTION = "options."
_SAMPLES = 33  # points of a range at which the budget is tried


@dataclass(frozen=True)
class SearchSpace:
    """One row of a study before anything is sampled.

    Attributes:
        label: name of the row.
        name: registered name of the architecture.
        architecture: its class.
        shape: the task's sequences.
        metric: name of the task's metric.
        fixed: settings that do not vary, by name.
        free: settings that Optuna samples; an architecture's own are called `options.NAME`.
        head: the head that the study asks for, or None for the architecture's own.
        wrappers: wrappers around each cell, the innermost first, each with its options.
        hidden_size: the width if the study fixes it, else None: it is solved.
        budget: the budget.
        matched: false if the row is not held to the budget.
        epochs: epochs of a full training run.
        engine: what trains it, one of `engines.ENGINES`; chosen by the plan.
        engine_speedup: how many times faster that was than torch, 0 where it was not measured.
        epoch_seconds: estimated time of one epoch.
    """

    label: str
    name: str
    architecture: Architecture
    shape: SequenceShape
    metric: str
    fixed: Mapping[str, Value]
    free: Mapping[str, Parameter]
    head: HeadConfig | None
    wrappers: tuple[tuple[str, Mapping[str, Value]], ...]
    hidden_size: int | None
    budget: Budget
    matched: bool
    epochs: int
    engine: str = "torch"
    engine_speedup: float = 0.0
    epoch_seconds: float = math.inf

    def solve(self, values: Mapping[str, Value]) -> BudgetSolution:
        """Fill in the widths for sampled values.

        Raises:
            BudgetError: nothing meets the budget.
        """
        settings = {**self.fixed, **values}
        options = {
            key.removeprefix(_OPTION): value
            for key, value in settings.items()
            if key.startswith(_OPTION)
        }
        if issubclass(self.architecture, SequenceModel):
            spec = ModelSpec(self.name, self.shape, self.hidden_size or 1, head="", options=options)
        else:
            head = self.head or HeadConfig.model_validate({"name": self.architecture.head})
            spec = ModelSpec(
                self.name,
                self.shape,
                self.hidden_size or 1,
                num_layers=int(settings["num_layers"]),
                bidirectional=bool(settings["bidirectional"]),
                learned_initial_state=bool(settings["learned_initial_state"]),
                head=head.name,
                head_hidden_size=head.hidden_size or 0,
                head_options=head.options,
                options=options,
                wrappers=self.wrappers,
            )
        if self.hidden_size is None:
            return solve(self.architecture, spec, self.budget, may_add_head=self.head is None)
        if spec.head and not spec.head_hidden_size:
            size = default_head_hidden_size(spec.head, self.hidden_size)
            spec = replace(spec, head_hidden_size=size)
        parameters = count(self.architecture, spec, self.budget.counting)
        residual = parameters / self.budget.parameters - 1
        if self.matched and abs(residual) > self.budget.tolerance:
            msg = (
                f"architecture `{self.name}` has {parameters} parameters at hidden_size "
                f"{self.hidden_size}, {100 * residual:+.1f}% off the budget of "
                f"{self.budget.parameters} (tolerance {100 * self.budget.tolerance:g}%). Remove "
                f"`hidden_size` to have it solved, set `matched: false` to show it unmatched, or "
                f"widen `budget.tolerance`"
            )
            raise BudgetError(
                msg,
                architecture=self.name,
                budget=self.budget.parameters,
                tolerance=self.budget.tolerance,
                nearest=(parameters,),
            )
        return BudgetSolution(spec, parameters, residual)

    def trial(
        self,
        config: StudyConfig,
        values: Mapping[str, Value],
        *,
        phase: Phase,
        number: int,
        rank: int = 0,
    ) -> TrialSpec:
        """Describe one training run for sampled values."""
        solution = self.solve(values)
        settings: dict[str, Any] = {**self.fixed, **values}
        stage = config.search if phase == "search" else config.confirmation
        falls = config.training.schedule
        training = TrainingConfig(
            epochs=stage.epochs or self.epochs,
            schedule=Schedule(**falls.model_dump()) if falls else CONSTANT,
            train_on="train" if phase == "search" else config.confirmation.train_on,
            **{key: settings[key] for key in _TRAINING},
        )
        return TrialSpec(
            phase=phase,
            model=solution.spec,
            training=training,
            seed=derive_seed(config.seed, phase, number),
            task=config.task.name,
            task_options=dict(config.task.options),
            parameters=solution.parameters,
            residual=solution.residual,
            closed_by=solution.closed_by,
            matched=self.matched,
            rank=rank,
            label=self.label,
            metric=self.metric,
            engine=self.engine,
            engine_speedup=self.engine_speedup,
            values=dict(values),
        )

    def default_values(self) -> dict[str, Value]:
        """The middle of every range and the first of every choice."""
        return {name: _middle(parameter) for name, parameter in self.free.items()}

    def structures(self) -> Iterator[dict[str, Value]]:
        """Values that cover the free choices which change the parameter count.

        Every option of a choice and evenly spaced points of a range, in all combinations (the
        first 1,000 of them).
        """
        changing = {
            name: _samples(parameter)
            for name, parameter in self.free.items()
            if name in _SURROUNDINGS or name.removeprefix(_OPTION) in self.architecture.structure
        }
        rest = self.default_values()
        for combination in itertools.islice(itertools.product(*changing.values()), 1000):
            yield {**rest, **dict(zip(changing, combination, strict=True))}


def derive_seed(study_seed: int, phase: str, number: int) -> int:
    """Seed of trial `number`: equal for all architectures, different between the phases.

    A search and a confirmation share no seed by construction: those of a confirmation are odd.
    """
    digest = hashlib.sha256(f"{study_seed}/{phase}/{number}".encode()).digest()
    return 2 * (int.from_bytes(digest[:4], "big") >> 2) + (phase == "confirmation")


def build_spaces(
    config: StudyConfig, file: StudyFile, registry: Registry, task: Task
) -> list[SearchSpace]:
    """Build the space of every architecture and check that the budget can be met all over it.

    Raises:
        PluginError: an architecture is unknown or broken.
        StudyFileError: an option is unknown or out of range.
        CapabilityError: an architecture cannot take the task.
        BudgetError: no width meets the budget.
    """
    return [
        _build_space(config, entry, ("architectures", i), file, registry, task)
        for i, entry in enumerate(config.architectures)
    ]


def _build_space(
    config: StudyConfig,
    entry: ArchitectureConfig,
    key: KeyPath,
    file: StudyFile,
    registry: Registry,
    task: Task,
) -> SearchSpace:
    with file.pointing_at(key):
        architecture = registry.architecture(entry.name)
    bidirectional = (
        entry.bidirectional if entry.bidirectional is not None else (config.model.bidirectional)
    )
    reason = (
        architecture.capabilities.refusal(task.data, needs_causal=task.needs_causal)
        or refusal(architecture, task.shape)
        or _reads_backwards(architecture, bidirectional, task)
    )
    if reason:
        problem = f"architecture `{entry.name}` cannot take task `{config.task.name}`: {reason}"
        where = file.error(key, problem)
        raise CapabilityError(problem, path=file.path, line=where.line, key=where.key)
    settings: dict[str, Any] = {}
    declared = {**architecture.structure, **architecture.hyperparameters}
    for name, setting in entry.options.items():
        if name not in declared:
            known = ", ".join(declared) or "none"
            problem = (
                f"architecture `{entry.name}` has no such option."
                f"{did_you_mean(name, declared)} Known: {known}."
            )
            raise file.error((*key, "options", name), problem)
        rule = declared[name]
        if isinstance(rule, OutputSize):
            problem = "this is the task's number of outputs, and not for a study to set; remove it"
            raise file.error((*key, "options", name), problem)
        for value in _bounds(setting):
            if problem_with := rule.problem_with(value):
                raise file.error((*key, "options", name), problem_with)
        if isinstance(rule, Choice) and isinstance(setting, IntRange | FloatRange):
            problem = f"expected one or a list of {', '.join(map(str, rule.options))}, not a range"
            raise file.error((*key, "options", name), problem)
        if isinstance(rule, FloatRange) and isinstance(setting, IntRange):
            setting = FloatRange(setting.low, setting.high, default=setting.low, log=setting.log)
        settings[_OPTION + name] = setting
    given = defaults(declared, task.shape.output_size)
    for name, parameter in declared.items():
        free = parameter.searched and config.search.trials > 0
        settings.setdefault(_OPTION + name, parameter if free else given[name])
    if issubclass(architecture, SequenceModel):
        for name in (*_SURROUNDINGS, "head", "wrappers"):
            if getattr(entry, name) is not None:
                problem = f"architecture `{entry.name}` is no step cell: `{name}` does not apply"
                raise file.error((*key, name), problem)
    else:
        for name in _SURROUNDINGS:
            own = getattr(entry, name)
            settings[name] = getattr(config.model, name) if own is None else own
    for name in _TRAINING:
        own = getattr(entry.training, name)
        settings[name] = getattr(config.training, name) if own is None else own
    space = SearchSpace(
        label=entry.label or entry.name,
        name=entry.name,
        architecture=architecture,
        shape=task.shape,
        metric=task.metric,
        fixed={n: s for n, s in settings.items() if not isinstance(s, Parameter)},
        free={n: s for n, s in settings.items() if isinstance(s, Parameter)},
        head=_checked_head(entry, key, config, file, registry, task),
        wrappers=_checked_wrappers(architecture, entry, key, config, file, registry),
        hidden_size=entry.hidden_size,
        budget=Budget(config.budget.parameters, config.budget.tolerance, config.budget.counting),
        matched=entry.matched,
        epochs=entry.training.epochs or config.training.epochs,
    )
    if space.free and config.search.trials == 0:
        name = next(iter(space.free))
        problem = (
            f"`{name}` is to be searched, but `search.trials` is 0. Fix its value, or give the "
            f"search some trials"
        )
        raise file.error(("search", "trials"), problem)
    for values in space.structures():
        try:
            _check_fits(space, values, key, file, registry)
        except BudgetError as error:
            where = file.error(key, "")
            structure = {
                n.removeprefix(_OPTION): v for n, v in values.items() if n not in _TRAINING
            }
            at = (
                f" (with {', '.join(f'{n}={v}' for n, v in structure.items())})"
                if structure
                else ""
            )
            raise BudgetError(
                f"{where.path}:{where.line}: {dotted(key)}: {error.problem}{at}",
                architecture=error.architecture,
                budget=error.budget,
                tolerance=error.tolerance,
                nearest=error.nearest,
            ) from None
    return space


def _reads_backwards(
    architecture: Architecture, bidirectional: bool | Parameter, task: Task
) -> str | None:
    """Why a task that needs causal models refuses what the study makes of an architecture."""
    may_be = bidirectional is True or isinstance(bidirectional, Choice)
    if task.needs_causal and may_be and not issubclass(architecture, SequenceModel):
        return (
            "with `bidirectional` its outputs depend on later inputs, which hold what the task "
            "asks for. Remove `bidirectional`"
        )
    return None


def _check_fits(
    space: SearchSpace,
    values: Mapping[str, Value],
    key: KeyPath,
    file: StudyFile,
    registry: Registry,
) -> None:
    """Solve for some values, and refuse layers and a head that cannot take what they are given.

    Raises:
        BudgetError: no width meets the budget.
        CapabilityError: a layer cannot take its inputs, or the head cannot map the features to the
            task's outputs.
    """
    if issubclass(space.architecture, SequenceModel):
        space.solve(values)
        return
    options = {**space.fixed, **values}
    structure = {n: options[_OPTION + n] for n in space.architecture.structure}
    problem = None
    if not space.shape.vocabulary and (
        reason := space.architecture.refusal(space.shape.input_size, **structure)
    ):
        problem = f"architecture `{space.name}` cannot take the task's inputs: {reason}"
    else:
        spec = space.solve(values).spec
        for features in layer_inputs(space.architecture, spec)[1:-1]:
            if reason := space.architecture.refusal(features, **structure):
                problem = f"architecture `{space.name}` cannot be stacked so: {reason}"
        features = head_features(space.architecture, spec)
        if reason := registry.head(spec.head).refusal(features, spec.shape.output_size):
            problem = f"head `{spec.head}` cannot stand on `{space.name}`: {reason}"
    if problem:
        where = file.error(key, problem)
        raise CapabilityError(problem, path=file.path, line=where.line, key=where.key)


def _checked_wrappers(
    architecture: Architecture,
    entry: ArchitectureConfig,
    key: KeyPath,
    config: StudyConfig,
    file: StudyFile,
    registry: Registry,
) -> tuple[tuple[str, Mapping[str, Value]], ...]:
    wrappers, where = entry.wrappers, (*key, "wrappers")
    if wrappers is None:
        wrappers, where = config.model.wrappers, ("model", "wrappers")
    if issubclass(architecture, SequenceModel):
        return ()
    checked: list[tuple[str, Mapping[str, Value]]] = []
    for i, wrapper in enumerate(wrappers):
        with file.pointing_at((*where, i)):
            found = registry.wrapper(wrapper.name)
        declared = {**found.structure, **found.hyperparameters}
        kind = f"wrapper `{wrapper.name}`"
        _check_options(wrapper.options, declared, kind, (*where, i), file)
        checked.append((wrapper.name, {**defaults(declared), **wrapper.options}))
    return tuple(checked)


def _check_options(
    options: Mapping[str, Value], declared: Parameters, of: str, key: KeyPath, file: StudyFile
) -> None:
    for name, value in options.items():
        if name not in declared:
            known = ", ".join(declared) or "none"
            problem = f"{of} has no such option.{did_you_mean(name, declared)} Known: {known}."
            raise file.error((*key, "options", name), problem)
        if found := declared[name].problem_with(value):
            raise file.error((*key, "options", name), found)


def _checked_head(
    entry: ArchitectureConfig,
    key: KeyPath,
    config: StudyConfig,
    file: StudyFile,
    registry: Registry,
    task: Task,
) -> HeadConfig | None:
    head, where = entry.head, (*key, "head")
    if head is None:
        head, where = config.model.head, ("model", "head")
    if head is None:
        return None
    if task.shape.embedding == "tied" and head.name != "tied":
        raise file.error(where, "the task ties its output weights to the embedding; remove `head`")
    with file.pointing_at(where):
        found = registry.head(head.name)
    declared = found.options
    if head.hidden_size is not None and found.hidden_ratio is None:
        raise file.error((*where, "hidden_size"), f"head `{head.name}` has no hidden layer")
    _check_options(head.options, declared, f"head `{head.name}`", where, file)
    return (
        head.model_copy(update={"options": {**defaults(declared), **head.options}})
        if (head.options)
        else head
    )


def _bounds(setting: Value | Parameter) -> tuple[Value, ...]:
    if isinstance(setting, Choice):
        return setting.options
    if isinstance(setting, IntRange | FloatRange):
        return (setting.low, setting.high)
    return (setting,)


def _middle(parameter: Parameter) -> Value:
    if isinstance(parameter, Choice):
        return parameter.default
    low, high = parameter.low, parameter.high
    middle = (low * high) ** 0.5 if parameter.log else (low + high) / 2
    return round(middle) if isinstance(parameter, IntRange) else middle


def _samples(parameter: Parameter) -> list[Value]:
    if isinstance(parameter, Choice):
        return list(parameter.options)
    if isinstance(parameter, IntRange) and parameter.high - parameter.low < _SAMPLES:
        return list(range(parameter.low, parameter.high + 1))
    step = (parameter.high - parameter.low) / (_SAMPLES - 1)
    values = [parameter.low + i * step for i in range(_SAMPLES)]
    if isinstance(parameter, IntRange):
        return [round(value) for value in values]
    return [*values[:-1], parameter.high]
