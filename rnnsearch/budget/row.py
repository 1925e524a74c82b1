"""From a row of a study file to its search space, with every reason why it cannot be one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rnnsearch.budget.advice import what_would_fit
from rnnsearch.budget.budget import Budget
from rnnsearch.budget.model import head_features, idle_wrapper, layer_inputs, refusal
from rnnsearch.budget.space import OPTION, SURROUNDINGS, TRAINING, SearchSpace, middle
from rnnsearch.config.schema import ArchitectureConfig, HeadConfig, ModelSettings, StudyConfig
from rnnsearch.config.study_file import KeyPath, StudyFile, dotted
from rnnsearch.errors import BudgetError, CapabilityError, did_you_mean
from rnnsearch.plugin.architecture import Architecture
from rnnsearch.plugin.registry import Registry
from rnnsearch.plugin.sequence_model import SequenceModel
from rnnsearch.plugin.task import Task
from rnnsearch.spec.model import TIED_HEAD
from rnnsearch.spec.parameters import (
    Choice,
    FloatRange,
    IntRange,
    OutputSize,
    Parameter,
    Parameters,
    Value,
    as_ruled,
    defaults,
    values_of,
)

_STACKED: Mapping[str, Value] = {"num_layers": 2, "bidirectional": False}


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
    return [build_space(config, i, file, registry, task) for i in range(len(config.architectures))]


def build_space(
    config: StudyConfig, row: int, file: StudyFile, registry: Registry, task: Task
) -> SearchSpace:
    """Build the space of one row of a study, by its index; raises as `build_spaces` does."""
    entry = config.architectures[row]
    with blaming_row(config, row, file, registry):
        architecture = registry.architecture(entry.name)
        key: KeyPath = ("architectures", row)
        return _Row(config, entry, architecture, key, file, registry, task).space()


@contextmanager
def blaming_row(
    config: StudyConfig, row: int, file: StudyFile, registry: Registry
) -> Iterator[None]:
    """Turn an exception in a plugin's code into an error that names the row and the plugin.

    Raises:
        BrokenPluginError: in place of any other exception than an intended one.
    """
    entry = config.architectures[row]
    label = entry.label or entry.name
    with (
        file.pointing_at(("architectures", row)),
        registry.blaming("architecture", entry.name, f"planning row `{label}`"),
    ):
        yield


@dataclass(frozen=True)
class _Row:
    """A row of a study file, and what it is read with; each method answers one question of it.

    Attributes:
        config: the study.
        entry: the row.
        architecture: the class that it names.
        key: where it is in the file.
        file: the file.
        registry: what is installed.
        task: the study's task.
    """

    config: StudyConfig
    entry: ArchitectureConfig
    architecture: Architecture
    key: KeyPath
    file: StudyFile
    registry: Registry
    task: Task

    def space(self) -> SearchSpace:
        """Its space; raises as `build_spaces` does."""
        self._require_task()
        settings = {**self._options(), **self._surroundings(), **self._training()}
        entry, budget = self.entry, self.config.budget
        space = SearchSpace(
            label=entry.label or entry.name,
            name=entry.name,
            architecture=self.architecture,
            shape=self.task.shape,
            metric=self.task.metric,
            fixed={n: s for n, s in settings.items() if not isinstance(s, Parameter)},
            free={n: s for n, s in settings.items() if isinstance(s, Parameter)},
            head=self._head(),
            wrappers=self._wrappers(),
            hidden_size=entry.hidden_size,
            budget=Budget(budget.parameters, budget.tolerance, budget.counting),
            matched=entry.matched,
            epochs=entry.training.epochs or self.config.training.epochs,
        )
        self._require_width(space)
        self._require_trials(space)
        for values in space.structures():
            try:
                self._require_fit(space, values)
            except BudgetError as error:
                raise self._with_remedies(error, space, values) from None
        return space

    # Does it take the task?

    def _require_task(self) -> None:
        architecture, task = self.architecture, self.task
        reason = (
            architecture.capabilities.refusal(task.data, needs_causal=task.needs_causal)
            or refusal(architecture, task.shape)
            or self._reads_backwards()
        )
        if reason:
            name = self.config.task.name
            raise self._cannot(
                f"architecture `{self.entry.name}` cannot take task `{name}`: {reason}"
            )

    def _reads_backwards(self) -> str | None:
        """Why a task that needs causal models refuses what the study makes of an architecture."""
        bidirectional = self.entry.bidirectional
        if bidirectional is None:
            bidirectional = self.config.model.bidirectional
        may_be = bidirectional is True or isinstance(bidirectional, Choice)
        if self.task.needs_causal and may_be and not issubclass(self.architecture, SequenceModel):
            return (
                "with `bidirectional` its outputs depend on later inputs, which hold what the task "
                "asks for. Remove `bidirectional`"
            )
        return None

    def _cannot(self, problem: str) -> CapabilityError:
        where = self.file.error(self.key, problem)
        return CapabilityError(problem, path=self.file.path, line=where.line, key=where.key)

    # Its settings

    def _options(self) -> dict[str, Any]:
        """The options of the architecture: as the study sets them, else as they are declared."""
        architecture = self.architecture
        settings: dict[str, Any] = {}
        declared = {**architecture.structure, **architecture.hyperparameters}
        for name, setting in self.entry.options.items():
            key = (*self.key, "options", name)
            rule = self._rule(name, declared, f"architecture `{self.entry.name}`", key)
            if isinstance(rule, OutputSize):
                problem = (
                    "this is the task's number of outputs, and not for a study to set; remove it"
                )
                raise self.file.error(key, problem)
            for value in values_of(setting):
                if problem_with := rule.problem_with(value):
                    raise self.file.error(key, problem_with)
            if isinstance(rule, Choice) and isinstance(setting, IntRange | FloatRange):
                known = ", ".join(map(str, rule.options))
                raise self.file.error(key, f"expected one or a list of {known}, not a range")
            settings[OPTION + name] = as_ruled(setting, rule)
        given = defaults(declared, self.task.shape.output_size)
        for name, parameter in declared.items():
            free = parameter.searched and self.config.search.trials > 0
            settings.setdefault(OPTION + name, parameter if free else given[name])
        return settings

    def _surroundings(self) -> dict[str, Any]:
        """How a step cell is stacked; a `SequenceModel` has none of it."""
        entry, model = self.entry, self.config.model
        if not issubclass(self.architecture, SequenceModel):
            own = {name: getattr(entry, name) for name in SURROUNDINGS}
            return {n: getattr(model, n) if value is None else value for n, value in own.items()}
        for name in (*SURROUNDINGS, "head", "wrappers"):
            if getattr(entry, name) is not None:
                problem = f"architecture `{entry.name}` is no step cell: `{name}` does not apply"
                raise self.file.error((*self.key, name), problem)
        for name in (*SURROUNDINGS, "wrappers"):
            if getattr(model, name) != ModelSettings.model_fields[name].default:
                problem = (
                    f"`{entry.name}` ({dotted(self.key)}) is no step cell, so `{name}` would have "
                    f"no effect on it. Give `{name}` to each step cell in `architectures` instead"
                )
                raise self.file.error(("model", name), problem)
        return {}

    def _training(self) -> dict[str, Any]:
        entry, settings = self.entry, {}
        solved = self.architecture.capabilities.trained_by[0] == "closed_form"
        for name in (*TRAINING, "epochs"):
            own = getattr(entry.training, name)
            if solved and own is not None:
                problem = (
                    f"architecture `{entry.name}` is solved in closed form, so `{name}` would have "
                    "no effect; remove it"
                )
                raise self.file.error((*self.key, "training", name), problem)
            if name != "epochs":
                settings[name] = getattr(self.config.training, name) if own is None else own
                if solved and isinstance(settings[name], Parameter):
                    # Nothing to search: every value gives the same model.
                    settings[name] = middle(settings[name])
        return settings

    # What stands around it

    def _wrappers(self) -> tuple[tuple[str, Mapping[str, Value]], ...]:
        wrappers, where = self.entry.wrappers, (*self.key, "wrappers")
        if wrappers is None:
            wrappers, where = self.config.model.wrappers, ("model", "wrappers")
        if issubclass(self.architecture, SequenceModel):
            return ()
        checked: list[tuple[str, Mapping[str, Value]]] = []
        for i, wrapper in enumerate(wrappers):
            with self.file.pointing_at((*where, i)):
                found = self.registry.wrapper(wrapper.name)
            declared = {**found.structure, **found.hyperparameters}
            self._check(wrapper.options, declared, f"wrapper `{wrapper.name}`", (*where, i))
            checked.append((wrapper.name, {**defaults(declared), **wrapper.options}))
        return tuple(checked)

    def _head(self) -> HeadConfig | None:
        head, where = self.entry.head, (*self.key, "head")
        if head is None:
            head, where = self.config.model.head, ("model", "head")
        if head is None:
            return None
        if self.task.shape.embedding == "tied" and head.name != TIED_HEAD:
            problem = "the task ties its output weights to the embedding; remove `head`"
            raise self.file.error(where, problem)
        with self.file.pointing_at(where):
            found = self.registry.head(head.name)
        if head.hidden_size is not None and found.hidden_ratio is None:
            problem = f"head `{head.name}` has no hidden layer"
            raise self.file.error((*where, "hidden_size"), problem)
        if not head.options:
            return head
        self._check(head.options, found.options, f"head `{head.name}`", where)
        return head.model_copy(update={"options": {**defaults(found.options), **head.options}})

    def _check(
        self, options: Mapping[str, Value], declared: Parameters, of: str, key: KeyPath
    ) -> None:
        """Refuse options that are not declared, or whose values are not."""
        for name, value in options.items():
            where = (*key, "options", name)
            if problem := self._rule(name, declared, of, where).problem_with(value):
                raise self.file.error(where, problem)

    def _rule(
        self, name: str, declared: Parameters, of: str, key: KeyPath
    ) -> Parameter | OutputSize:
        """What is declared of an option."""
        if name not in declared:
            known = ", ".join(declared) or "none"
            problem = f"{of} has no such option.{did_you_mean(name, declared)} Known: {known}."
            raise self.file.error(key, problem)
        return declared[name]

    # Does it fit?

    def _require_width(self, space: SearchSpace) -> None:
        """Refuse a fixed width of which the architecture has no multiple."""
        if space.hidden_size is None:
            return
        for values in space.structures():
            settings = {**space.fixed, **values}
            structure = {n: settings[OPTION + n] for n in self.architecture.structure}
            multiple = self.architecture.width_multiple(**structure)
            if space.hidden_size % multiple:
                below = space.hidden_size // multiple * multiple
                near = " or ".join(str(w) for w in (below, below + multiple) if w)
                at = _shown(structure)
                problem = (
                    f"the widths of `{space.name}`{f' with {at}' if at else ''} are multiples of "
                    f"{multiple}: expected {near}, found {space.hidden_size}"
                )
                raise self.file.error((*self.key, "hidden_size"), problem)

    def _require_trials(self, space: SearchSpace) -> None:
        if space.free and self.config.search.trials == 0:
            name = next(iter(space.free))
            problem = (
                f"`{name}` is to be searched, but `search.trials` is 0. Fix its value, or give the "
                f"search some trials"
            )
            raise self.file.error(("search", "trials"), problem)

    def _require_fit(self, space: SearchSpace, values: Mapping[str, Value]) -> None:
        """Solve for some values, and refuse layers and a head that cannot take what they are given.

        Raises:
            BudgetError: no width meets the budget.
            CapabilityError: a layer cannot take its inputs, or the head cannot map the features to
                the task's outputs.
        """
        if issubclass(space.architecture, SequenceModel):
            space.solve(values)
            return
        options = {**space.fixed, **values}
        structure = {n: options[OPTION + n] for n in space.architecture.structure}
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
            if idle := idle_wrapper(space.architecture, spec):
                self._refuse_idle(space, idle, values)
            features = head_features(space.architecture, spec)
            if reason := self.registry.head(spec.head).refusal(features, spec.shape.output_size):
                problem = f"head `{spec.head}` cannot stand on `{space.name}`: {reason}"
        if problem:
            raise self._cannot(problem)

    def _refuse_idle(
        self, space: SearchSpace, idle: tuple[int, str], values: Mapping[str, Value]
    ) -> None:
        """Refuse a wrapper that changes nothing in any layer.

        Raises:
            StudyFileError: at the wrapper.
        """
        i, reason = idle
        settings = {**space.fixed, **values}
        at = _shown({name: settings[name] for name in SURROUNDINGS[:2]})
        where: KeyPath = (*self.key, "wrappers", i)
        if (*self.key, "wrappers") not in self.file.lines:
            where = ("model", "wrappers", i)
        remedy = ""
        for change in ({"num_layers": 2}, {"bidirectional": False}, _STACKED):
            try:
                spec = space.solve({**settings, **change}).spec
            except BudgetError:
                continue
            if not idle_wrapper(space.architecture, spec):  # type: ignore[arg-type]
                asked = ", ".join(f"`{n}: {str(v).lower()}`" for n, v in change.items())
                remedy = f"With {asked} it would change something; or r"
                break
        problem = (
            f"wrapper `{space.wrappers[i][0]}` would change nothing around `{space.label}` with "
            f"{at}: {reason}. {remedy or 'R'}emove the wrapper"
        )
        raise self.file.error(where, problem)

    def _with_remedies(
        self, error: BudgetError, space: SearchSpace, values: Mapping[str, Value]
    ) -> BudgetError:
        """The same error, with its place in the file and what would let the row meet the budget."""
        advice = what_would_fit(space, error)
        if len(self.config.architectures) > 1:
            advice = f"{advice}, or remove `{self.entry.name}` from `architectures`"
        changing = _shown({n: v for n, v in values.items() if n in space.changing})
        where = self.file.error(self.key, "")
        at = f" with {changing}" if changing else ""
        return BudgetError(
            f"{where.path}:{where.line}: {dotted(self.key)}: {error.problem}{at}",
            architecture=error.architecture,
            budget=error.budget,
            tolerance=error.tolerance,
            nearest=error.nearest,
            advice=advice.removeprefix(", or "),
        )


def _shown(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name.removeprefix(OPTION)}={value}" for name, value in values.items())
