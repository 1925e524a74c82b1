"""The search space of one architecture: what is fixed, what is searched, what the budget solves."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from rnnsearch.budget.model import (
    default_head_hidden_size,
    head_features,
    idle_wrapper,
    layer_inputs,
    refusal,
)
from rnnsearch.budget.solve import Budget, BudgetSolution, count, percent_of, solve
from rnnsearch.config.schema import ArchitectureConfig, HeadConfig, ModelSettings, StudyConfig
from rnnsearch.config.study_file import KeyPath, StudyFile, dotted
from rnnsearch.errors import BudgetError, CapabilityError, did_you_mean
from rnnsearch.plugin.architecture import Architecture
from rnnsearch.plugin.registry import Registry
from rnnsearch.plugin.sequence_model import SequenceModel
from rnnsearch.plugin.task import Task
from rnnsearch.spec.model import ModelSpec
from rnnsearch.spec.parameters import (
    Choice,
    FloatRange,
    IntRange,
    OutputSize,
    Parameter,
    Parameters,
    Value,
    defaults,
)
from rnnsearch.spec.schedule import CONSTANT, Schedule
from rnnsearch.spec.shape import SequenceShape
from rnnsearch.spec.trial import Phase, TrainingConfig, TrialSpec

_SURROUNDINGS = ("num_layers", "bidirectional", "learned_initial_state")
_STACKED: Mapping[str, Value] = {"num_layers": 2, "bidirectional": False}
_TRAINING = ("batch_size", "learning_rate", "optimizer", "weight_decay", "gradient_clip")
_OPTION = "options."
_SAMPLES = 33  # points of a range at which the budget is tried
# What is tried to find a remedy for a budget that is not met.
_FEW, _MOST_TRIED, _LARGEST_TOLERANCE = 9, 150, 0.5


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

    @property
    def changing(self) -> list[str]:
        """What is searched and changes the parameter count."""
        structure = self.architecture.structure
        return [
            name
            for name in self.free
            if name in _SURROUNDINGS or name.removeprefix(_OPTION) in structure
        ]

    def structures(self) -> Iterator[dict[str, Value]]:
        """Values that cover the free choices which change the parameter count.

        Every option of a choice and evenly spaced points of a range, in all combinations (the
        first 1,000 of them).
        """
        changing = {name: _samples(self.free[name]) for name in self.changing}
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
    return [build_space(config, i, file, registry, task) for i in range(len(config.architectures))]


def build_space(
    config: StudyConfig, row: int, file: StudyFile, registry: Registry, task: Task
) -> SearchSpace:
    """Build the space of one row of a study, by its index; raises as `build_spaces` does."""
    entry = config.architectures[row]
    with blaming_row(config, row, file, registry):
        return _build_space(config, entry, ("architectures", row), file, registry, task)


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


def _build_space(
    config: StudyConfig,
    entry: ArchitectureConfig,
    key: KeyPath,
    file: StudyFile,
    registry: Registry,
    task: Task,
) -> SearchSpace:
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
        for name in (*_SURROUNDINGS, "wrappers"):
            if getattr(config.model, name) != ModelSettings.model_fields[name].default:
                problem = (
                    f"`{entry.name}` ({dotted(key)}) is no step cell, so `{name}` would have no "
                    f"effect on it. Give `{name}` to each step cell in `architectures` instead"
                )
                raise file.error(("model", name), problem)
    else:
        for name in _SURROUNDINGS:
            own = getattr(entry, name)
            settings[name] = getattr(config.model, name) if own is None else own
    solved = architecture.capabilities.trained_by[0] == "closed_form"
    for name in (*_TRAINING, "epochs"):
        own = getattr(entry.training, name)
        if solved and own is not None:
            problem = (
                f"architecture `{entry.name}` is solved in closed form, so `{name}` would have no "
                "effect; remove it"
            )
            raise file.error((*key, "training", name), problem)
        if name != "epochs":
            settings[name] = getattr(config.training, name) if own is None else own
            if solved and isinstance(settings[name], Parameter):
                # Nothing to search: every value gives the same model.
                settings[name] = _middle(settings[name])
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
    _check_width(space, key, file)
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
            advice = what_would_fit(space, error)
            if len(config.architectures) > 1:
                advice = f"{advice}, or remove `{entry.name}` from `architectures`"
            changing = _shown({n: v for n, v in values.items() if n in space.changing})
            where = file.error(key, "")
            at = f" with {changing}" if changing else ""
            raise BudgetError(
                f"{where.path}:{where.line}: {dotted(key)}: {error.problem}{at}",
                architecture=error.architecture,
                budget=error.budget,
                tolerance=error.tolerance,
                nearest=error.nearest,
                advice=advice.removeprefix(", or "),
            ) from None
    return space


def what_would_fit(space: SearchSpace, error: BudgetError) -> str:
    """What would let a row meet the budget; each remedy was tried.

    Args:
        space: the row.
        error: why one of its structures cannot.
    """
    if not space.changing or space.hidden_size is not None:
        return error.advice
    remedies = []
    if narrowed := narrower(space):
        remedies.append(f"`{_as_yaml(narrowed)}` for this row")
    loose = replace(space, budget=replace(space.budget, tolerance=math.inf))
    found = [loose.solve(values) for values in space.structures()]
    largest = max(s.parameters for s in found)
    for factor in (1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0):
        budget = round(factor * largest)
        if _all_fit(replace(space, budget=replace(space.budget, parameters=budget))):
            remedies.append(f"a budget of {budget}")
            break
    needed = max(abs(s.residual) for s in found)
    if needed < _LARGEST_TOLERANCE:
        remedies.append(f"a tolerance of {percent_of(needed)}")
    return ", or ".join(remedies)


def narrower(space: SearchSpace) -> dict[str, Value | Parameter] | None:
    """Narrower settings of what changes the count, all of which meet the budget, or None.

    A box in the space of structures, grown as long as it fits from one that fits.
    """
    axes = {name: _few(_samples(space.free[name])) for name in space.changing}
    known: dict[tuple[int, ...], bool] = {}

    def fits(at: tuple[int, ...]) -> bool:
        if at not in known:
            if len(known) >= _MOST_TRIED:
                return False
            values = {n: axis[i] for (n, axis), i in zip(axes.items(), at, strict=True)}
            known[at] = _all_fit(space, [{**space.default_values(), **values}])
        return known[at]

    every = list(itertools.product(*(range(len(axis)) for axis in axes.values())))
    tried = every[:: math.ceil(len(every) / 50)]
    seeds = [at for at in tried if fits(at)]
    lengths = [len(axis) for axis in axes.values()]
    spans = [not isinstance(space.free[name], Choice) for name in axes]
    boxes = [_grown(at, lengths, spans, fits) for at in seeds[:: math.ceil(len(seeds) / 3) or 1]]
    for box in sorted(boxes, key=lambda b: math.prod(map(len, b)), reverse=True):
        # What fits at some values of a range need not fit between them: then less of it.
        lines = [[s if i == k else s[:1] for i, s in enumerate(box)] for k in range(len(box))]
        for chosen in (box, *lines, [side[:1] for side in box]):
            narrowed = {
                name: setting
                for (name, axis), side in zip(axes.items(), chosen, strict=True)
                if len(side) < len(axis)
                for setting in [_setting_of(space.free[name], [axis[i] for i in sorted(side)])]
            }
            if _all_fit(_with_settings(space, narrowed)):
                return narrowed
    return None


def _grown(
    seed: tuple[int, ...],
    lengths: list[int],
    spans: list[bool],
    fits: Callable[[tuple[int, ...]], bool],
) -> list[list[int]]:
    """The indices along each axis, the seed's first, of a box all of which fits.

    Args:
        seed: where it begins.
        lengths: of the axes.
        spans: whether the indices of an axis have to follow each other.
        fits: whether a point fits.
    """
    box = [[i] for i in seed]
    grows = True
    while grows:
        grows = False
        for axis, side in enumerate(box):
            near = (min(side) - 1, max(side) + 1) if spans[axis] else range(lengths[axis])
            for i in set(near) - set(side):
                layer = [*box[:axis], [i], *box[axis + 1 :]]
                if 0 <= i < lengths[axis] and all(map(fits, itertools.product(*layer))):
                    side.append(i)
                    grows = True
    return box


def _all_fit(space: SearchSpace, structures: Iterable[Mapping[str, Value]] | None = None) -> bool:
    try:
        for values in space.structures() if structures is None else structures:
            space.solve(values)
    except (BudgetError, CapabilityError):
        return False
    return True


def _with_settings(space: SearchSpace, settings: Mapping[str, Value | Parameter]) -> SearchSpace:
    free = {n: p for n, p in space.free.items() if n not in settings}
    free |= {n: s for n, s in settings.items() if isinstance(s, Parameter)}
    fixed = {n: s for n, s in settings.items() if not isinstance(s, Parameter)}
    return replace(space, free=free, fixed={**space.fixed, **fixed})


def _setting_of(parameter: Parameter, values: list[Value]) -> Value | Parameter:
    """A setting for some of the values of another."""
    if isinstance(parameter, Choice):
        return values[0] if len(values) == 1 else Choice(tuple(values), default=values[0])
    ends = (parameter.low, parameter.high)
    low, high = (
        float(f"{v:.3g}") if isinstance(v, float) and v not in ends else v
        for v in (values[0], values[-1])
    )
    if low == high:
        return low
    return replace(parameter, low=low, high=high, default=low)  # type: ignore[arg-type]


def _as_yaml(settings: Mapping[str, Value | Parameter]) -> str:
    def shown(setting: Value | Parameter) -> str:
        if isinstance(setting, Choice):
            return f"[{', '.join(map(shown, setting.options))}]"
        if isinstance(setting, IntRange | FloatRange):
            log = ", log: true" if setting.log else ""
            return f"{{low: {setting.low:g}, high: {setting.high:g}{log}}}"
        return str(setting).lower() if isinstance(setting, bool) else str(setting)

    options = [
        f"{n.removeprefix(_OPTION)}: {shown(s)}"
        for n, s in settings.items()
        if n.startswith(_OPTION)
    ]
    others = [f"{n}: {shown(s)}" for n, s in settings.items() if not n.startswith(_OPTION)]
    return ", ".join([*others, *([f"options: {{{', '.join(options)}}}"] if options else [])])


def _few(samples: list[Value]) -> list[Value]:
    """Some of the values of a range, both ends among them."""
    step = math.ceil((len(samples) - 1) / (_FEW - 1)) or 1
    return [*samples[:-1:step], samples[-1]]


def _check_width(space: SearchSpace, key: KeyPath, file: StudyFile) -> None:
    """Refuse a fixed width of which the architecture has no multiple."""
    if space.hidden_size is None:
        return
    for values in space.structures():
        settings = {**space.fixed, **values}
        structure = {n: settings[_OPTION + n] for n in space.architecture.structure}
        multiple = space.architecture.width_multiple(**structure)
        if space.hidden_size % multiple:
            below = space.hidden_size // multiple * multiple
            near = " or ".join(str(w) for w in (below, below + multiple) if w)
            at = _shown(structure)
            problem = (
                f"the widths of `{space.name}`{f' with {at}' if at else ''} are multiples of "
                f"{multiple}: expected {near}, found {space.hidden_size}"
            )
            raise file.error((*key, "hidden_size"), problem)


def _shown(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name.removeprefix(_OPTION)}={value}" for name, value in values.items())


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
        if idle := idle_wrapper(space.architecture, spec):
            _refuse_idle(space, idle, values, key, file)
        features = head_features(space.architecture, spec)
        if reason := registry.head(spec.head).refusal(features, spec.shape.output_size):
            problem = f"head `{spec.head}` cannot stand on `{space.name}`: {reason}"
    if problem:
        where = file.error(key, problem)
        raise CapabilityError(problem, path=file.path, line=where.line, key=where.key)


def _refuse_idle(
    space: SearchSpace,
    idle: tuple[int, str],
    values: Mapping[str, Value],
    key: KeyPath,
    file: StudyFile,
) -> None:
    """Refuse a wrapper that changes nothing in any layer.

    Raises:
        StudyFileError: at the wrapper.
    """
    i, reason = idle
    settings = {**space.fixed, **values}
    at = _shown({name: settings[name] for name in _SURROUNDINGS[:2]})
    where: KeyPath = (*key, "wrappers", i)
    if (*key, "wrappers") not in file.lines:
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
        f"wrapper `{space.wrappers[i][0]}` would change nothing around `{space.label}` with {at}: "
        f"{reason}. {remedy or 'R'}emove the wrapper"
    )
    raise file.error(where, problem)


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
