"""The search space of one architecture: what is fixed, what is searched, what the budget solves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from rnnsearch.budget.budget import Budget, BudgetSolution, count, percent_of, solve
from rnnsearch.budget.model import (
    default_head_hidden_size,
)
from rnnsearch.config.schema import HeadConfig, StudyConfig
from rnnsearch.errors import BudgetError
from rnnsearch.plugin.architecture import Architecture
from rnnsearch.plugin.sequence_model import SequenceModel
from rnnsearch.spec.model import ModelSpec
from rnnsearch.spec.parameters import (
    Choice,
    IntRange,
    Parameter,
    Value,
)
from rnnsearch.spec.schedule import CONSTANT, Schedule
from rnnsearch.spec.seed import derive_seed
from rnnsearch.spec.shape import SequenceShape
from rnnsearch.spec.trial import Phase, TrainingConfig, TrialSpec

SURROUNDINGS = ("num_layers", "bidirectional", "learned_initial_state")
TRAINING = ("batch_size", "learning_rate", "optimizer", "weight_decay", "gradient_clip")
OPTION = "options."  # what the names of an architecture's own options begin with
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

    def solve(self, values: Mapping[str, Value]) -> BudgetSolution:
        """Fill in the widths for sampled values.

        Raises:
            BudgetError: nothing meets the budget.
        """
        settings = {**self.fixed, **values}
        options = {
            key.removeprefix(OPTION): value
            for key, value in settings.items()
            if key.startswith(OPTION)
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
            advice = "`matched: false` to show it unmatched"
            if abs(residual) < 1:
                advice += f", or a tolerance of {percent_of(abs(residual))}"
            with suppress(BudgetError):
                replace(self, hidden_size=None).solve(values)
                advice = f"no `hidden_size`, so that it is solved, {advice}"
            raise BudgetError(
                f"architecture `{self.name}` has {parameters} parameters at hidden_size "
                f"{self.hidden_size}, {100 * residual:+.1f}% off the budget of "
                f"{self.budget.parameters} (tolerance {100 * self.budget.tolerance:g}%)",
                architecture=self.name,
                budget=self.budget.parameters,
                tolerance=self.budget.tolerance,
                nearest=(parameters,),
                advice=advice,
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
        """Describe one training run for sampled values, by the plain engine."""
        solution = self.solve(values)
        settings: dict[str, Any] = {**self.fixed, **values}
        stage = config.search if phase == "search" else config.confirmation
        falls = config.training.schedule
        training = TrainingConfig(
            epochs=stage.epochs or self.epochs,
            schedule=Schedule(**falls.model_dump()) if falls else CONSTANT,
            train_on="train" if phase == "search" else config.confirmation.train_on,
            **{key: settings[key] for key in TRAINING},
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
            values=dict(values),
        )

    def default_values(self) -> dict[str, Value]:
        """The middle of every range and the first of every choice."""
        return {name: middle(parameter) for name, parameter in self.free.items()}

    @property
    def changing(self) -> list[str]:
        """What is searched and changes the parameter count."""
        structure = self.architecture.structure
        return [
            name
            for name in self.free
            if name in SURROUNDINGS or name.removeprefix(OPTION) in structure
        ]

    def structures(self) -> Iterator[dict[str, Value]]:
        """Values that cover the free choices which change the parameter count.

        Every option of a choice and evenly spaced points of a range, in all combinations (the
        first 1,000 of them).
        """
        changing = {name: samples(self.free[name]) for name in self.changing}
        rest = self.default_values()
        for combination in itertools.islice(itertools.product(*changing.values()), 1000):
            yield {**rest, **dict(zip(changing, combination, strict=True))}


def middle(parameter: Parameter) -> Value:
    """The middle of a range, or the first of a choice."""
    if isinstance(parameter, Choice):
        return parameter.default
    low, high = parameter.low, parameter.high
    middle = (low * high) ** 0.5 if parameter.log else (low + high) / 2
    return round(middle) if isinstance(parameter, IntRange) else middle


def samples(parameter: Parameter) -> list[Value]:
    """Values of a parameter at which the budget is tried; of a range, both ends are among them."""
    if isinstance(parameter, Choice):
        return list(parameter.options)
    if isinstance(parameter, IntRange) and parameter.high - parameter.low < _SAMPLES:
        return list(range(parameter.low, parameter.high + 1))
    step = (parameter.high - parameter.low) / (_SAMPLES - 1)
    values = [parameter.low + i * step for i in range(_SAMPLES)]
    if isinstance(parameter, IntRange):
        return [round(value) for value in values]
    return [*values[:-1], parameter.high]
