"""The study's configuration: what may stand in a study file, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from rnnsearch.config.secrets import has_password, hide, hide_password
from rnnsearch.config.study_file import (
    KeyPath,
    StudyFile,
    as_fraction,
    as_number,
    number_meant,
    read_study_file,
    shortened,
)
from rnnsearch.errors import did_you_mean
from rnnsearch.spec.parameters import (
    Choice,
    FloatRange,
    IntRange,
    Parameter,
    Value,
    as_ruled,
    values_of,
)

SCHEMA_VERSION = 1


class _Strict(BaseModel):
    # Strict: `epochs: yes` is not one epoch.
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, strict=True, allow_inf_nan=False
    )


def _problem(text: str) -> PydanticCustomError:
    return PydanticCustomError("setting", "{text}", {"text": text})


def _numbers(raw: Any) -> Any:
    """Options of a plugin with what is meant as numbers as numbers, however deep they stand."""
    if isinstance(raw, dict):
        return {key: _numbers(value) for key, value in raw.items()}
    return [_numbers(value) for value in raw] if isinstance(raw, list) else as_number(raw)


def _setting(raw: Any) -> Value | Parameter:
    """A scalar is fixed, a list is a choice, `{low, high, log}` is searched."""
    if isinstance(raw, Choice | IntRange | FloatRange):
        return raw
    if isinstance(raw, list):
        options = tuple(as_number(option) for option in raw)
        if not options or not all(isinstance(o, bool | int | float | str) for o in options):
            raise _problem("expected a list of plain values to choose from")
        if len(set(map(str, options))) < len(options):
            raise _problem("expected a list without repetitions")
        return Choice(options, default=options[0])
    if isinstance(raw, Mapping):
        unknown = set(raw) - {"low", "high", "log"}
        if unknown or not {"low", "high"} <= set(raw):
            raise _problem(
                f"expected a range {{low, high, log}}, found {{{', '.join(map(str, raw))}}}"
            )
        low, high, log = as_number(raw["low"]), as_number(raw["high"]), raw.get("log", False)
        if not isinstance(log, bool):
            raise _problem(f"expected `log` to be true or false, found {log!r}")
        numbers = (int, float)
        if (
            isinstance(low, bool)
            or isinstance(high, bool)
            or not (isinstance(low, numbers) and isinstance(high, numbers))
        ):
            raise _problem(f"expected numbers for `low` and `high`, found {low!r} and {high!r}")
        if not low < high or (log and low <= 0):
            rule = "0 < low < high" if log else "low < high"
            raise _problem(f"expected {rule}, found low {low} and high {high}")
        if isinstance(low, int) and isinstance(high, int):
            return IntRange(low, high, default=low, log=log)
        return FloatRange(float(low), float(high), default=float(low), log=log)
    value = as_number(raw)
    if not isinstance(value, bool | int | float | str):
        raise _problem(f"expected a value, a list or a range {{low, high}}, found {raw!r}")
    return value


def _checked(rule: Parameter) -> BeforeValidator:
    def check(raw: Any) -> Any:
        setting = _setting(raw)
        for value in values_of(setting):
            if problem := rule.problem_with(value):
                raise _problem(problem)
        return as_ruled(setting, rule)

    return BeforeValidator(check)


def _schema(scalar: str, **limits: Any) -> WithJsonSchema:
    one = {"type": scalar, **limits}
    bound = {"type": scalar if scalar == "integer" else "number"}
    ranged = {
        "type": "object",
        "properties": {"low": bound, "high": bound, "log": {"type": "boolean"}},
        "required": ["low", "high"],
        "additionalProperties": False,
    }
    many = {"type": "array", "items": one, "minItems": 1}
    forms = [one, many, *([ranged] if scalar in ("integer", "number") else [])]
    return WithJsonSchema({"anyOf": forms})


_BIG = 1 << 30
_LONGEST_PROBLEM = 300
_MOST_MINUTES = 100_000_000  # 190 years; what measures time has no room for much more
Setting: TypeAlias = Any  # a Value, or a Parameter to be searched; checked by its validator
IntSetting = Annotated[Setting, _checked(IntRange(1, _BIG, 1)), _schema("integer", minimum=1)]
RateSetting = Annotated[
    Setting, _checked(FloatRange(1e-12, 1e6, 1.0)), _schema("number", exclusiveMinimum=0)
]
AmountSetting = Annotated[
    Setting, _checked(FloatRange(0.0, 1e6, 0.0)), _schema("number", minimum=0)
]
BoolSetting = Annotated[Setting, _checked(Choice((True, False), False)), _schema("boolean")]
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
OptimizerSetting = Annotated[
    Setting, _checked(Choice(OPTIMIZERS, "adam")), _schema("string", enum=list(OPTIMIZERS))
]
OptionSetting = Annotated[
    Setting,
    BeforeValidator(_setting),
    WithJsonSchema({"type": ["boolean", "number", "string", "array", "object"]}),
]


def _fraction(raw: Any) -> Any:
    value = as_fraction(raw)
    if isinstance(value, str) and value.strip().endswith("%"):
        raise _problem(f"expected a fraction or a percentage such as 2%, found {raw!r}")
    return value


def _named(raw: Any) -> Any:
    return {"name": raw} if isinstance(raw, str) else raw


def _as_tuple(raw: Any) -> Any:
    return tuple(raw) if isinstance(raw, list) else raw


Options = Annotated[dict[str, Any], BeforeValidator(_numbers)]


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
        default=None, ge=1, le=_BIG, description="Hidden width; free if absent."
    )
    options: Options = Field(default={}, description="Options of the head.")


NamedHead = Annotated[HeadConfig, BeforeValidator(_named)]
_head_json = WithJsonSchema({"anyOf": [{"type": "string"}, HeadConfig.model_json_schema()]})
Head = Annotated[NamedHead, _head_json]


class WrapperConfig(_Strict):
    """A wrapper of cells, by name."""

    name: str = Field(description="Registered name; `rnnsearch plugin list` shows them.")
    options: Options = Field(default={}, description="Options of the wrapper.")


_wrapper_json = WithJsonSchema({"anyOf": [{"type": "string"}, WrapperConfig.model_json_schema()]})
Wrapper = Annotated[WrapperConfig, BeforeValidator(_named), _wrapper_json]
Wrappers = Annotated[tuple[Wrapper, ...], BeforeValidator(_as_tuple)]


class ModelSettings(_Strict):
    """What surrounds the cell."""

    num_layers: IntSetting = Field(default=1, description="Stacked layers.")
    bidirectional: BoolSetting = Field(
        default=False, description="Run each layer in both directions."
    )
    learned_initial_state: BoolSetting = Field(
        default=False, description="Train the initial state."
    )
    head: Head | None = Field(
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
        default=None, ge=1, le=_BIG, description="Fix the width instead of solving for it."
    )
    num_layers: IntSetting | None = None
    bidirectional: BoolSetting | None = None
    learned_initial_state: BoolSetting | None = None
    head: Head | None = None
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
        BeforeValidator(_fraction),
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
        description="Optuna's sampler. Of an architecture's first 20 trials, tpe draws the first "
        "two of every four at random, to have results to learn from; random draws all so.",
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
        default=1, ge=1, le=_BIG, description="Epochs before a trial may be stopped."
    )
    reduction_factor: int = Field(
        default=3, ge=2, le=_BIG, description="ASHA keeps the best one of this many."
    )


class ConfirmationConfig(_Strict):
    """The confirmation on fresh seeds and on the test split."""

    seeds: int = Field(default=5, ge=1, le=10_000, description="Fresh seeds per configuration.")
    best: int = Field(
        default=1, ge=1, le=1_000_000, description="Configurations confirmed per architecture."
    )
    epochs: int | None = Field(
        default=None, ge=1, le=100_000, description="Epochs; as in training if absent."
    )
    train_on: Literal["train", "train+validation"] = Field(
        default="train", description="Splits to train on once nothing is left to choose."
    )


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
        BeforeValidator(_named),
        WithJsonSchema({"anyOf": [{"type": "string"}, TaskConfig.model_json_schema()]}),
    ]
    architectures: list[Annotated[ArchitectureConfig, BeforeValidator(_named)]] = Field(
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


def load_config(path: str) -> tuple[StudyConfig, StudyFile]:
    """Read and check a study file.

    Raises:
        StudyFileError: with the line of the first thing that is wrong.
    """
    file = read_study_file(path)
    config = check_config(file)
    if config.tracking.uri is not None and has_password(config.tracking.uri):
        problem = (
            f"{hide_password(config.tracking.uri)} holds a password or a token, and copies of a "
            "study file go to MLflow, into reports and archives. Leave `tracking.uri` out and set "
            "MLFLOW_TRACKING_URI to the address; or leave the password out of it, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
        raise file.error(("tracking", "uri"), problem)
    return config, file


def check_config(file: StudyFile) -> StudyConfig:
    """Turn a parsed study file into a configuration; raises as `load_config` does.

    One that was started before passwords were refused in it is taken.
    """
    version = file.data.get("schema_version")
    if "schema_version" in file.data and (type(version) is not int or version != SCHEMA_VERSION):
        problem = (
            f"expected {SCHEMA_VERSION} (the only version this rnnsearch reads), found {version!r}"
        )
        raise file.error(("schema_version",), problem)
    try:
        config = StudyConfig.model_validate(file.data)
    except ValidationError as error:
        raise _explain(file, error) from None
    labels: set[str] = set()
    for i, architecture in enumerate(config.architectures):
        label = architecture.label or architecture.name
        if label in labels:
            problem = f"`{label}` stands here a second time; give one a `label` of its own"
            raise file.error(("architectures", i), problem)
        labels.add(label)
        if not architecture.matched and architecture.hidden_size is None:
            problem = "`matched: false` needs a fixed `hidden_size`"
            raise file.error(("architectures", i, "matched"), problem)
        _check_published(config, i, file)
    schedule, confirmed_on = config.training.schedule, config.confirmation.train_on
    if schedule and schedule.kind == "plateau" and confirmed_on != "train":
        problem = (
            f"a plateau shows on the validation split, and `confirmation.train_on: {confirmed_on}` "
            "trains on it; expected `kind: step`, or `train_on: train`"
        )
        raise file.error(("training", "schedule", "kind"), problem)
    return config


def _check_published(config: StudyConfig, i: int, file: StudyFile) -> None:
    """Refuse published figures that say nothing, or that nobody could look up."""
    figures, key = config.architectures[i].published, ("architectures", i, "published")
    if figures is None:
        return
    if config.published is None:
        problem = (
            "figures need their source: say at the top of the study whose they are, such as "
            "`published: {source: Authors, title, venue, where: Table 1}`"
        )
        raise file.error(key, problem)
    if figures.parameters is None and figures.value is None and not figures.note:
        raise file.error(key, "expected `parameters`, `value` or a `note`")
    if figures.interval is not None and figures.value is None:
        raise file.error((*key, "interval"), "an interval needs the `value` that it is around")


def _explain(file: StudyFile, error: ValidationError) -> Exception:
    # Unknown keys first: a misspelt key is often the cause of a missing one.
    errors = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    first = errors[0]
    key = _key_path(file, first["loc"])
    if first["type"] == "extra_forbidden":
        known = _known_keys(key[:-1])
        misspelt = did_you_mean(str(key[-1]), known)
        problem = f"unknown key.{misspelt} Known: {', '.join(known)}."
    elif first["type"] == "missing":
        *parent, name = first["loc"]
        return file.error(tuple(parent), f"key `{name}` is missing")
    elif first["type"] == "setting":
        problem = shortened(first["msg"], _LONGEST_PROBLEM)
    elif first["type"] == "model_type":
        problem = f"expected a mapping of keys to values, found {_shown(first['input'])}"
    else:
        problem = f"{first['msg'][0].lower()}{first['msg'][1:]}, found {_shown(first['input'])}"
        problem += _as_meant(first["type"], first["input"])
    return file.error(key, problem)


def _shown(value: Any) -> str:
    return shortened(hide(repr(value)))


def _as_meant(expected: str, found: Any) -> str:
    """How to write what somebody seems to mean, where YAML reads it as something else."""
    if expected == "string_type" and isinstance(found, bool):
        return "; yes, no, on and off are true and false unless they stand in quotes"
    if expected == "string_type" and isinstance(found, int | float):
        return "; put it in quotes"
    if expected.startswith("int_") and isinstance(found, float) and found.is_integer():
        return f"; write {found:.0f}"
    meant = number_meant(found) if isinstance(found, str) else None
    return f"; write {meant}" if meant else ""


def _key_path(file: StudyFile, location: tuple[str | int, ...]) -> KeyPath:
    # A list item given as a bare name is validated as a mapping: `architectures[0].name`.
    key: KeyPath = tuple(location)
    while len(key) > 1 and key[-1] == "name" and key not in file.lines and key[:-1] in file.lines:
        key = key[:-1]
    return key


def _known_keys(parent: KeyPath) -> list[str]:
    model: Any = StudyConfig
    for part in parent:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        model = _model_in(field.annotation if field else None)
        if model is None:
            return []
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := _model_in(argument):
            return found
    return None


def json_schema() -> dict[str, Any]:
    """JSON Schema of a study file, for editors that check YAML while it is written."""
    schema = StudyConfig.model_json_schema()
    item = schema["properties"]["architectures"]["items"]
    schema["properties"]["architectures"]["items"] = {"anyOf": [{"type": "string"}, item]}
    rate = schema["$defs"]["TrainingSettings"]["properties"]["learning_rate"]
    rate["default"] = {key: rate["default"][key] for key in ("low", "high", "log")}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
