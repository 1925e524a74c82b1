"""The study's configuration: what may stand in a study file, and what it means."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from rnnsearch.config.study_file import (
    as_number,
)
from rnnsearch.config.values import (
    BIG,
    AmountSetting,
    BoolSetting,
    IntSetting,
    MarginSetting,
    OptimizerSetting,
    Options,
    OptionSetting,
    RateSetting,
    as_tuple,
    fraction,
    named,
)
from rnnsearch.spec.margin import DEFAULT_MARGIN
from rnnsearch.spec.parameters import (
    FloatRange,
)

SCHEMA_VERSION = 1
_MOST_SEEDS = 200
_MOST_MINUTES = 100_000_000  # 190 years; what measures time has no room for much more


class _Strict(BaseModel):
    # Strict: `epochs: yes` is not one epoch.
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, strict=True, allow_inf_nan=False
    )


class TaskConfig(_Strict):
    """The task, by name, with its options."""

    name: str = Field(description="Registered name; `rnnsearch task list` shows them.")
    options: Options = Field(
        default={}, description="Options of the task; `rnnsearch task show NAME` shows them."
    )


class HeadConfig(_Strict):
    """The head, by name."""

    name: str = Field(description="Registered name; `rnnsearch plugin list` shows them.")
    hidden_size: int | None = Field(
        default=None, ge=1, le=BIG, description="Hidden width; free if absent."
    )
    options: Options = Field(default={}, description="Options of the head.")


NamedHead = Annotated[HeadConfig, BeforeValidator(named)]
_head_json = WithJsonSchema({"anyOf": [{"type": "string"}, HeadConfig.model_json_schema()]})
HeadSetting = Annotated[NamedHead, _head_json]


class WrapperConfig(_Strict):
    """A wrapper of cells, by name."""

    name: str = Field(description="Registered name; `rnnsearch plugin list` shows them.")
    options: Options = Field(default={}, description="Options of the wrapper.")


_wrapper_json = WithJsonSchema({"anyOf": [{"type": "string"}, WrapperConfig.model_json_schema()]})
Wrapper = Annotated[WrapperConfig, BeforeValidator(named), _wrapper_json]
Wrappers = Annotated[tuple[Wrapper, ...], BeforeValidator(as_tuple)]


class ModelSettings(_Strict):
    """What surrounds the cell."""

    num_layers: IntSetting = Field(default=1, description="Stacked layers.")
    bidirectional: BoolSetting = Field(
        default=False, description="Run each layer in both directions."
    )
    learned_initial_state: BoolSetting = Field(
        default=False, description="Train the initial state."
    )
    head: HeadSetting | None = Field(
        default=None,
        description="The same head for every architecture; each brings its own if absent.",
    )
    wrappers: Wrappers = Field(
        default=(), description="Wrappers around the cell of every layer, the innermost first."
    )


class ScheduleConfig(_Strict):
    """How the learning rate falls from epoch to epoch."""

    kind: Literal["step", "plateau"] = Field(
        description="step: at this interval of epochs; plateau: after an epoch whose validation "
        "loss is not below the largest of this many before it."
    )
    epochs: int = Field(ge=1, le=100_000, description="Number of epochs.")
    factor: Annotated[float, BeforeValidator(as_number)] = Field(
        gt=0, lt=1, description="What the rate is multiplied by."
    )


class TrainingSettings(_Strict):
    """How every model is trained."""

    epochs: int = Field(ge=1, le=100_000, description="Passes over the training split.")
    batch_size: IntSetting = Field(default=64, description="Samples per update.")
    learning_rate: RateSetting = Field(
        default=FloatRange(1e-4, 3e-2, default=1e-3, log=True),
        description="Step size; searched if absent.",
    )
    optimizer: OptimizerSetting = Field(default="adam", description="adam, adamw, rmsprop or sgd.")
    weight_decay: AmountSetting = Field(default=0.0, description="The optimizer's weight decay.")
    gradient_clip: AmountSetting = Field(
        default=0.0, description="Largest norm of the gradient; 0 for none."
    )
    schedule: ScheduleConfig | None = Field(
        default=None, description="How the learning rate falls; it stays as it is if absent."
    )


class TrainingOverrides(_Strict):
    """Training settings of one architecture; what is absent is as for all."""

    epochs: int | None = Field(default=None, ge=1, le=100_000)
    batch_size: IntSetting | None = None
    learning_rate: RateSetting | None = None
    optimizer: OptimizerSetting | None = None
    weight_decay: AmountSetting | None = None
    gradient_clip: AmountSetting | None = None


class PublishedSource(_Strict):
    """The publication whose figures stand beside ours, for a study that runs it again."""

    source: str = Field(min_length=1, description="Authors, title, venue and year.")
    where: str = Field(default="", description="Table or page in it.")
    url: str = Field(
        default="", pattern=r"^(https?://\S+)?$", description="Address, http:// or https://."
    )
    note: str = Field(
        default="",
        description="What a reader of the figures must know, such as that they are of the "
        "validation split; the report shows it among its caveats.",
    )


class PublishedFigures(_Strict):
    """What a publication reports of one architecture.

    `value` and `interval` are in the unit of the task's metric: an accuracy of 96.5 ± 0.5 % is
    `{value: 0.965, interval: 0.005}`. `study plan` shows `parameters` beside the true counts, the
    report all of them beside what was measured; nothing is trained or ranked by them.
    """

    parameters: Annotated[int | None, BeforeValidator(as_number)] = Field(
        default=None, ge=1, le=10**12, description="Parameters as printed."
    )
    value: Annotated[float | None, BeforeValidator(as_number)] = Field(
        default=None, description="The metric as printed, in the unit of the task's metric."
    )
    interval: Annotated[float | None, BeforeValidator(as_number)] = Field(
        default=None, ge=0, description="Half the width of the printed interval around `value`."
    )
    note: str = Field(default="", description="What is odd about the printed figures.")


class ArchitectureConfig(_Strict):
    """An architecture, by name, with what this study fixes or searches in it."""

    name: str = Field(description="Registered name; `rnnsearch architecture list` shows them.")
    label: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$",
        description="Name of its row, if the architecture stands in the study more than once.",
    )
    options: dict[str, OptionSetting] = Field(
        default={}, description="Its structure and hyperparameters."
    )
    hidden_size: int | None = Field(
        default=None, ge=1, le=BIG, description="Fix the width instead of solving for it."
    )
    num_layers: IntSetting | None = None
    bidirectional: BoolSetting | None = None
    learned_initial_state: BoolSetting | None = None
    head: HeadSetting | None = None
    wrappers: Wrappers | None = None
    training: TrainingOverrides = TrainingOverrides()
    matched: bool = Field(
        default=True,
        description="false shows a model with a fixed width that is not held to the budget.",
    )
    published: PublishedFigures | None = Field(
        default=None, description="What a publication reports of it, to be shown beside ours."
    )


class BudgetConfig(_Strict):
    """The parameter budget."""

    parameters: int = Field(ge=1, le=10**12, description="Parameters of the whole model.")
    tolerance: Annotated[
        float,
        BeforeValidator(fraction),
        Field(gt=0, lt=1),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                    {"type": "string", "pattern": r"^\s*[0-9.]+\s*%\s*$"},
                ]
            }
        ),
    ] = Field(default=0.02, description="Largest relative residual, such as 2%.")
    counting: Literal["trainable", "one_bias"] = Field(
        default="trainable",
        description="trainable: every scalar that training changes; one_bias: as papers count.",
    )


class SearchConfig(_Strict):
    """The search, the same effort for every architecture."""

    trials: int = Field(
        default=8, ge=0, le=1_000_000, description="Trials per architecture; 0 for none."
    )
    minutes: Annotated[float | None, BeforeValidator(as_number)] = Field(
        default=None,
        gt=0,
        le=_MOST_MINUTES,
        description="Start no search trial after this many minutes.",
    )
    sampler: Literal["tpe", "random"] = Field(
        default="tpe",
        description="Optuna's sampler. random draws every trial at random; tpe only two of every "
        "four among an architecture's first 20 trials, to have results to learn from.",
    )
    scheduler: Literal["asha", "none"] = Field(
        default="asha", description="Stop weak trials early (per architecture), or never."
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Epochs of a search trial; as in training if absent.",
    )
    grace_epochs: int = Field(
        default=1, ge=1, le=BIG, description="Epochs before a trial may be stopped."
    )
    reduction_factor: int = Field(
        default=3, ge=2, le=BIG, description="ASHA keeps the best one of this many."
    )


class ConfirmationConfig(_Strict):
    """The confirmation on fresh seeds and on the test split."""

    seeds: int = Field(
        default=6,
        ge=1,
        le=10_000,
        description="Fresh seeds per configuration; until decided, the first ones.",
    )
    until: Literal["decided"] | None = Field(
        default=None,
        description="decided: more seeds for every row that is not told apart yet, until all are.",
    )
    most_seeds: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Until decided: seeds after which an undecided row is given up; 200 if absent.",
    )
    minutes: Annotated[float | None, BeforeValidator(as_number)] = Field(
        default=None,
        gt=0,
        le=_MOST_MINUTES,
        description="Start no confirmation after this many minutes.",
    )
    margin: MarginSetting = Field(
        default=DEFAULT_MARGIN,
        description="Rows that differ by no more are as good: a number in the unit of the metric, "
        "or a percentage of its range (where it has none, of the best row's median).",
    )
    against: str | None = Field(
        default=None,
        description="Label of a row that all others are compared with; the best one if absent.",
    )
    best: int = Field(
        default=1, ge=1, le=1_000_000, description="Configurations confirmed per architecture."
    )
    epochs: int | None = Field(
        default=None, ge=1, le=100_000, description="Epochs; as in training if absent."
    )
    train_on: Literal["train", "train+validation"] = Field(
        default="train", description="Splits to train on once nothing is left to choose."
    )

    @property
    def at_most(self) -> int:
        """Seeds of a configuration at most."""
        if self.until is None:
            return self.seeds
        return max(self.seeds, _MOST_SEEDS if self.most_seeds is None else self.most_seeds)


class ResourcesConfig(_Strict):
    """What Ray may use."""

    workers: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Trials at a time; as many as the cluster holds if absent.",
    )
    cpus_per_trial: Annotated[float, BeforeValidator(as_number)] = Field(
        default=1.0, ge=0.0001, le=100_000
    )
    gpus_per_trial: Annotated[float, BeforeValidator(as_number)] = Field(
        default=0.0, ge=0, le=100_000
    )
    epoch_minutes: Annotated[float, BeforeValidator(as_number)] = Field(
        default=60.0,
        gt=0,
        le=_MOST_MINUTES,
        description="An epoch that takes longer hangs: another worker takes its trial.",
    )


class TrackingConfig(_Strict):
    """Where MLflow's runs go."""

    uri: str | None = Field(
        default=None, description="MLflow server; MLFLOW_TRACKING_URI or a local file if absent."
    )


class StudyConfig(_Strict):
    """A study: which recurrent architecture is best on a task at one parameter budget?"""

    schema_version: Literal[1] = Field(description="Version of this format.")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        description="Names the study's folder and its MLflow experiment.",
    )
    question: str = Field(default="", description="What the study is to find out.")
    published: PublishedSource | None = Field(
        default=None,
        description="Where the figures that architectures have under `published` come from.",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**31, description="Fixes everything that is drawn at random."
    )
    task: Annotated[
        TaskConfig,
        BeforeValidator(named),
        WithJsonSchema({"anyOf": [{"type": "string"}, TaskConfig.model_json_schema()]}),
    ]
    architectures: list[Annotated[ArchitectureConfig, BeforeValidator(named)]] = Field(
        min_length=1, description="What to compare."
    )
    budget: BudgetConfig
    model: ModelSettings = ModelSettings()
    training: TrainingSettings
    search: SearchConfig = SearchConfig()
    confirmation: ConfirmationConfig = ConfirmationConfig()
    engine: Literal["auto", "program", "layers", "vmapped", "graphed", "torch", "eager"] = Field(
        default="auto",
        description="What trains the models; auto takes the fastest that is verified.",
    )
    resources: ResourcesConfig = ResourcesConfig()
    tracking: TrackingConfig = TrackingConfig()

    @property
    def published_figures(self) -> dict[str, PublishedFigures]:
        """What was published of the rows, by label; rows without figures are left out."""
        return {
            entry.label or entry.name: entry.published
            for entry in self.architectures
            if entry.published is not None
        }


def json_schema() -> dict[str, Any]:
    """JSON Schema of a study file, for editors that check YAML while it is written."""
    schema = StudyConfig.model_json_schema()
    item = schema["properties"]["architectures"]["items"]
    schema["properties"]["architectures"]["items"] = {"anyOf": [{"type": "string"}, item]}
    rate = schema["$defs"]["TrainingSettings"]["properties"]["learning_rate"]
    rate["default"] = {key: rate["default"][key] for key in ("low", "high", "log")}
    margin = schema["$defs"]["ConfirmationConfig"]["properties"]["margin"]
    margin["default"] = str(DEFAULT_MARGIN)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
