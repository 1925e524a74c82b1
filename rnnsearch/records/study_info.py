"""What is known of a study beside its file and its trials: `study.json`, as one type."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from rnnsearch.config.secrets import hide_all
from rnnsearch.config.study_file import StudyFile
from rnnsearch.errors import DataError, StoreError, visible
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.shape import DataSource
from rnnsearch.spec.trial import Phase

StudyState: TypeAlias = Literal["running", "finished", "stopped", "interrupted", "failed"]

_MOST_SAMPLES = 10**15
_MOST_SHOWN = 80
_Word = Annotated[str, Field(max_length=1_000)]
_Seconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class _Part(BaseModel):
    # Strict, and nothing unknown: whatever reads a study relies on what was checked here.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PhaseSpent(_Part):
    """What a phase took so far.

    Attributes:
        seconds: wall time of all of its drivers together.
        workers: trials at a time, when it ended last.
    """

    seconds: _Seconds
    workers: int = Field(ge=0, le=1_000_000)


class Extension(_Part):
    """What a study was extended to, in all; the study file has what is None.

    Attributes:
        trials: search trials for each row.
        seeds: seeds for each confirmation.
        until: `decided` for more seeds wherever rows are not told apart yet.
        most_seeds: seeds after which an undecided row is given up.
    """

    trials: int | None = None
    seeds: int | None = None
    until: Literal["decided"] | None = None
    most_seeds: int | None = None

    def applied_to(self, file: StudyFile) -> StudyFile:
        """The study file as if it said so; checking the file then checks this too."""
        data = {**file.data}
        for part, key, value in (
            ("search", "trials", self.trials),
            ("confirmation", "seeds", self.seeds),
            ("confirmation", "until", self.until),
            ("confirmation", "most_seeds", self.most_seeds),
        ):
            if value is not None:
                data[part] = {**(data.get(part) or {}), key: value}
        return replace(file, data=data)


class EngineUsed(_Part):
    """The engine that a row began with; see `rnnsearch.training.engine_choice.EngineChoice`."""

    engine: Annotated[Engine, Field(strict=False)]
    name: _Word
    step_ms: float
    reason: str = ""
    speedup: float | None = None
    error: float | None = None
    failed: bool = False


class Origin(_Part):
    """Where an imported study is from.

    Attributes:
        file: name of the archive.
        name: what the study was called there.
        on: when it was imported.
        tracking_uri, experiment_id, run_id: its runs, in an MLflow store that need not be here.
    """

    file: _Word
    name: _Word
    on: _Word
    tracking_uri: str | None = None
    experiment_id: _Word | None = None
    run_id: _Word | None = None


class StudyInfo(_Part):
    """What was found when a study started, and what has become of it since.

    Attributes:
        name: what it was started as.
        state: how its last driver ended, `running` until it has, or None before the first trial.
        started, resumed: when, in ISO 8601.
        seconds: wall time of its trials.
        data: what it is trained on.
        environment: versions and machine, by name.
        engines: the engine of each row, by label.
        git: commit, branch, dirty and diff of the code beside the study file.
        tracking_uri, experiment_id, run_id: the study's own run in MLflow; the URI has no password.
        pid, host, job: its last driver, for readers; `lease.py` knows whether that is alive.
        phases: what search and confirmation took.
        left_out: why a row could not run and was left out, by label.
        extended: what it was extended to.
        decided: what the last look at the confirmation said of each row, by name.
        imported: where it is from, if it is not from here.
    """

    name: _Word | None = None
    state: StudyState | None = None
    started: _Word | None = None
    resumed: tuple[_Word, ...] = ()
    seconds: _Seconds | None = None
    data: DataSource | None = None
    environment: dict[str, str] = {}
    engines: dict[str, EngineUsed] = {}
    git: dict[str, str] = {}
    tracking_uri: str | None = None
    experiment_id: _Word | None = None
    run_id: _Word | None = None
    pid: int | None = Field(default=None, ge=0)
    host: _Word | None = None
    job: _Word | None = None
    phases: dict[Phase, PhaseSpent] = {}
    left_out: dict[str, str] = {}
    extended: Extension = Extension()
    decided: dict[str, str] = {}
    imported: Origin | None = None

    @field_validator("data")
    @classmethod
    def _data_can_be_shown(cls, data: DataSource | None) -> DataSource | None:
        if data is not None and not all(0 <= n <= _MOST_SAMPLES for n in data.sizes.values()):
            msg = f"sizes between 0 and {_MOST_SAMPLES:,}"
            raise ValueError(msg)
        return data

    def seconds_of(self, phase: Phase) -> float:
        """Wall time of a phase so far."""
        spent = self.phases.get(phase)
        return spent.seconds if spent else 0.0

    def require_data(self, study: str, found: DataSource) -> None:
        """Refuse other data than the study had; raises `DataError`."""
        if self.data is not None and self.data.sha256 == found.sha256:
            return
        had = f"{self.data.dataset} with sha256 {self.data.sha256}" if self.data else "no data yet"
        msg = (
            f"study `{study}` had {had}, but what is found now is {found.dataset} from "
            f"{found.origin} with sha256 {found.sha256}. Make the data of the study available again"
        )
        raise DataError(msg)

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> StudyInfo:
        """Read what `to_json` wrote.

        Args:
            text: the JSON.
            where: the file, for the error.

        Raises:
            StoreError: it is not; says the file, the key, what was expected and what was found.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise StoreError(visible(f"{where}: {first_problem(error)}")) from None

    def with_fields(self, **fields: Any) -> StudyInfo:
        """The same with other fields, checked; None takes one away."""
        content = {k: v for k, v in {**self.content(), **fields}.items() if v is not None}
        plain = json.dumps(content, default=_plain)
        return StudyInfo.parse(plain, "study.json")

    def content(self) -> dict[str, Any]:
        """The fields that are known, as JSON has them."""
        return self.model_dump(mode="json", exclude_none=True, exclude_unset=True)

    def to_json(self) -> str:
        """Its text in `study.json`, without secrets."""
        return json.dumps(hide_all(self.content()), indent=2) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return vars(value)  # a dataclass such as DataSource


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong: its key, what was expected and what was found."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "json_invalid":
        return f"it is not JSON ({first['ctx']['error']})"
    if first["type"] == "extra_forbidden":
        return f"`{key}` is no key of it"
    if first["type"] == "missing":
        return f"`{key}` is missing"
    text = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    found = repr(first["input"])
    found = found if len(found) <= _MOST_SHOWN else found[:_MOST_SHOWN] + "..."
    return (f"`{key}`: " if key else "") + f"expected {text}, found {found}"
