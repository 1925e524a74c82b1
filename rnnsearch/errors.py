"""Every error that rnnsearch raises on purpose, with the exit code the command line gives it.

    RnnsearchError            1   something went wrong; the message says what
    ├── SettingError          2   an environment variable holds what cannot be used
    ├── StudyFileError        3   the study file cannot be used
    │   └── CapabilityError   3   an architecture cannot take the task
    ├── TrialsFailedError     4   the study ran, but trials it needed failed
    ├── DivergedError         4   one training run diverged (seen inside a trial)
    ├── BudgetError           5   no width meets the parameter budget
    ├── PluginError           6   a plugin is missing, broken, or clashes with another
    │   └── BrokenPluginError 6   code of a plugin raised what it should not have
    ├── DataError             7   data is missing, unreadable or corrupt
    │   └── MissingDataError  7   a data set is nowhere to be had
    ├── TrackingError         8   the MLflow server does not answer or refuses
    └── StoreError            9   a study exists already, does not exist, or cannot be written
        └── DamagedError      9   a file of a study is missing or damaged

0 is success, 2 also a usage error (unknown option), 130 an interrupt (Ctrl-C).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from typing_extensions import override


class RnnsearchError(Exception):
    """Root of every intended error; `exit_code` is what the command line returns."""

    exit_code = 1


class SettingError(RnnsearchError):
    """An environment variable holds what cannot be used."""

    exit_code = 2


class StudyFileError(RnnsearchError):
    """A study file cannot be used.

    Attributes:
        path: the file.
        line: line number in it, from 1, or None when the file as a whole is at fault.
        key: dotted path of the offending key, such as `training.epochs`.
        problem: what was expected and what was found.
    """

    exit_code = 3

    def __init__(
        self, problem: str, *, path: str = "", line: int | None = None, key: str = ""
    ) -> None:
        self.path, self.line, self.key, self.problem = path, line, key, problem
        where = [path + (f":{line}" if line is not None else "")] if path else []
        super().__init__(visible(": ".join([*where, *([key] if key else []), problem])))

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), path=self.path, line=self.line, key=self.key), (self.problem,)


class CapabilityError(StudyFileError):
    """An architecture cannot take a task, for a reason that training would not cure."""


class TrialsFailedError(RnnsearchError):
    """A study ended without the trials it needs."""

    exit_code = 4


class DivergedError(RnnsearchError):
    """Training left the finite numbers."""

    exit_code = 4


class StoppedError(RnnsearchError):
    """A study was asked to stop, and did once its running trials had ended."""

    exit_code = 130


class BudgetError(RnnsearchError):
    """No width of an architecture meets the parameter budget within its tolerance.

    Attributes:
        architecture: registered name.
        budget: parameters asked for.
        tolerance: largest relative residual allowed.
        nearest: parameter counts just below and just above the budget.
        problem: what cannot be.
        advice: what would fit, or an empty string.
    """

    exit_code = 5

    def __init__(
        self,
        problem: str,
        *,
        architecture: str,
        budget: int,
        tolerance: float,
        nearest: tuple[int, ...],
        advice: str = "",
    ) -> None:
        self.architecture, self.budget = architecture, budget
        self.tolerance, self.nearest = tolerance, nearest
        self.problem, self.advice = problem, advice
        super().__init__(f"{problem}. What would fit: {advice}" if advice else problem)

    @override
    def __reduce__(self) -> tuple[object, ...]:
        rebuild = partial(
            type(self),
            architecture=self.architecture,
            budget=self.budget,
            tolerance=self.tolerance,
            nearest=self.nearest,
            advice=self.advice,
        )
        return rebuild, (self.problem,)


class PluginError(RnnsearchError):
    """A plugin is missing, broken, or clashes with another."""

    exit_code = 6


class BrokenPluginError(PluginError):
    """Code of a plugin does not import, or raised what it should not have."""


class DataError(RnnsearchError):
    """Data is missing, unreadable or corrupt."""

    exit_code = 7


class MissingDataError(DataError):
    """A data set is in none of the places; a task with a substitute may catch this.

    Attributes:
        dataset: name of the data set.
        looked: one line for each place that was tried, with what was wrong there.
    """

    def __init__(self, problem: str, dataset: str = "", looked: tuple[str, ...] = ()) -> None:
        super().__init__(problem, dataset, looked)  # all three, so that it pickles
        self.dataset, self.looked = dataset, looked

    @override
    def __str__(self) -> str:
        return str(self.args[0])


class TrackingError(RnnsearchError):
    """The MLflow server does not answer or refuses."""

    exit_code = 8


class StoreError(RnnsearchError):
    """A study exists already, does not exist, or cannot be written."""

    exit_code = 9


class DamagedError(StoreError):
    """A file of a study is missing, cannot be read, or holds something else.

    Attributes:
        study: name of the study.
        path: the file.
        problem: what is wrong with it, in a sentence that names the file.
    """

    def __init__(self, *, study: str, path: Path, problem: str) -> None:
        self.study, self.path, self.problem = study, path, problem
        super().__init__(
            f"{problem}. `rnnsearch study doctor {study}` says more; with `--fix` it mends what it "
            "can"
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean `x`?` for the nearest known name, or an empty string."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean `{close[0]}`?" if close else ""


def visible(text: str) -> str:
    """Text on one line, in which what a terminal or a reader would obey is written out.

    Control characters (escape sequences begin with one), marks that turn the direction of text,
    line breaks and everything else that prints nothing become `\\x1b`, `\\u202e` or `\\n`.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
