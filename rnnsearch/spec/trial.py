"""A trial: what one training run is asked to do, and what is remembered of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

from typing_extensions import override

from rnnsearch.spec.engine import Engine
from rnnsearch.spec.model import Complexity, ModelSpec
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.schedule import CONSTANT, Schedule
from rnnsearch.spec.shape import SequenceShape

Phase: TypeAlias = Literal["search", "confirmation"]
TrialState: TypeAlias = Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL"]

# In the order in which the engine counts them (`engine/native/optimizers.h`).
OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Attributes:
        epochs: passes over the training split.
        batch_size: samples per update.
        learning_rate: step size of the optimizer.
        optimizer: one of `OPTIMIZERS`, with torch's defaults.
        weight_decay: the optimizer's weight decay.
        gradient_clip: largest norm of the gradient, clipped after the backward pass; 0 for none.
        train_on: the split to train on; `train+validation` only without a search, or to confirm.
        schedule: how the learning rate falls from epoch to epoch.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str = "adam"
    weight_decay: float = 0.0
    gradient_clip: float = 0.0
    train_on: str = "train"
    schedule: Schedule = CONSTANT


@dataclass(frozen=True)
class TrialSpec:
    """One training run in names and numbers: it pickles, logs and replays.

    Attributes:
        phase: `search` (scored on validation) or `confirmation` (scored once on test).
        model: the model, every width filled in.
        training: how to train it.
        seed: fixes the initial weights and the order of the batches.
        task: registered name of the task.
        task_options: the task's options.
        rank: for a confirmation, which of the architecture's best configurations this is, from 0.
        parameters: trainable scalars by the budget's counting rule.
        residual: `parameters / budget - 1`.
        closed_by: second size that met the budget, or an empty string.
        matched: false for a model that is shown without being held to the budget.
        label: name of the row in the comparison; the architecture unless the study renames it.
        metric: name of the task's metric.
        engine: what is to run it.
        engine_speedup: how many times faster that was than torch when the study started, on a
            typical model; 0 where it was not measured.
        values: what was drawn for it, by name. Trials of a row with equal ones are of one
            configuration; they differ in their seeds.
    """

    phase: Phase
    model: ModelSpec
    training: TrainingConfig
    seed: int
    task: str
    task_options: Mapping[str, Value]
    parameters: int
    residual: float
    closed_by: str = ""
    matched: bool = True
    rank: int = 0
    label: str = ""
    metric: str = ""
    engine: Engine = Engine.TORCH
    engine_speedup: float = 0.0
    values: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "engine", Engine(self.engine))  # of a record, a plain word

    @property
    def configuration(self) -> str:
        """Which of its row's configurations it is of: see `configuration_of`."""
        return configuration_of(self.values)

    def to_json(self) -> str:
        """Return the specification as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TrialSpec:
        """Rebuild a specification from `to_json`."""
        fields = json.loads(text)
        model = fields.pop("model")
        model["shape"] = SequenceShape(**model["shape"])
        model["wrappers"] = tuple((name, options) for name, options in model.get("wrappers", ()))
        training = fields.pop("training")
        training["schedule"] = Schedule(**training.get("schedule", {}))
        training = TrainingConfig(**training)
        return cls(model=ModelSpec(**model), training=training, **fields)


def configuration_of(values: Mapping[str, Value]) -> str:
    """What tells a row's configurations apart: the drawn values, as one line of JSON."""
    return json.dumps(dict(values), sort_keys=True)


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch measured.

    Attributes:
        epoch: from 1.
        train_loss: mean over the epoch's updates.
        train_metric: mean over the epoch's updates.
        validation_loss: after the epoch; NaN where no validation split was kept.
        validation_metric: after the epoch; NaN where no validation split was kept.
        gradient_norm: mean norm of the gradient before clipping.
        step_ms: mean wall time of one update, in milliseconds.
        updates: updates so far.
        seconds: wall time of the trial so far, training and evaluation.
    """

    epoch: int
    train_loss: float
    train_metric: float
    validation_loss: float
    validation_metric: float
    gradient_norm: float
    step_ms: float
    updates: int
    seconds: float


@dataclass(frozen=True)
class TrialKey:
    """What names a trial in its study, such as `search/gru/3`.

    Attributes:
        phase: `search` or `confirmation`.
        label: name of the row in the comparison; may hold any character.
        number: from 0, within its phase and label.
    """

    phase: Phase
    label: str
    number: int

    @override
    def __str__(self) -> str:
        return f"{self.phase}/{self.label}/{self.number}"

    @property
    def file_name(self) -> str:
        """What its files are called, without a suffix."""
        return file_name(str(self))

    @classmethod
    def parse(cls, text: str) -> TrialKey:
        """Read what `str` gives.

        Raises:
            ValueError: it is no trial's key.
        """
        phase, _, rest = text.partition("/")
        label, _, number = rest.rpartition("/")
        if phase not in ("search", "confirmation") or not label or not number.isdecimal():
            msg = f"expected PHASE/ROW/NUMBER, such as `search/gru/3`, found `{text}`"
            raise ValueError(msg)
        return cls(phase, label, int(number))  # type: ignore[arg-type]


def file_name(key: str) -> str:
    """What the files of a trial with a key are called, without a suffix."""
    return key.replace("/", "-")


@dataclass(frozen=True)
class TrialRecord:
    """What is remembered of a trial, whatever became of it.

    Attributes:
        number: from 0, within its phase and label.
        spec: what it was asked to do; None if it failed before that was known.
        state: `RUNNING`, `COMPLETE`, `PRUNED` (stopped early, at `epochs[-1]`) or `FAIL`.
        reason: why it was pruned or failed, or an empty string.
        epochs: every epoch it finished.
        test_loss: loss on the test split, for a completed confirmation.
        test_metric: metric on the test split, for a completed confirmation.
        complexity: parameters by both rules, state and FLOPs.
        engine: what ran the model, such as `eager` or `compiled program`.
        engine_reason: why that and not a faster one, or an empty string.
        phase: `search` or `confirmation`.
        label: name of the row in the comparison.
        interrupted: whether a stop or a crash ended it; it is then run again, as another trial.
        begun_as: the number under which it was first started, if it is run again.
        stands: false for a confirmation that counts in nothing, because its row is ranked by other
            configurations now (see `rnnsearch.compare.configurations`).
    """

    phase: Phase
    label: str
    number: int
    spec: TrialSpec | None
    state: TrialState
    reason: str = ""
    epochs: tuple[EpochMetrics, ...] = ()
    test_loss: float | None = None
    test_metric: float | None = None
    complexity: Complexity | None = None
    engine: str = ""
    engine_reason: str = ""
    interrupted: bool = False
    begun_as: int | None = None
    stands: bool = True

    @property
    def key(self) -> TrialKey:
        """What names it in its study."""
        return TrialKey(self.phase, self.label, self.number)

    @property
    def first_number(self) -> int:
        """The number under which it was first begun: the same however often it is interrupted."""
        return self.number if self.begun_as is None else self.begun_as

    @property
    def is_superseded(self) -> bool:
        """Whether it ended and no longer counts."""
        return not self.stands and self.state != "RUNNING"


@dataclass(frozen=True)
class Outcome:
    """What a trial that ran to its last epoch hands back.

    Attributes:
        engine: what ran the model.
        engine_reason: why not what the trial asked for, or an empty string.
        test_loss: loss on the test split, for a confirmation.
        test_metric: metric on the test split, for a confirmation.
        weights: path of the trained weights, for a confirmation.
    """

    engine: str
    engine_reason: str = ""
    test_loss: float | None = None
    test_metric: float | None = None
    weights: str = ""
