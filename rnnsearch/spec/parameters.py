"""The ranges in which an architecture, a task or a study declares what may vary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from rnnsearch.errors import StudyFileError, did_you_mean

Value: TypeAlias = bool | int | float | str


@dataclass(frozen=True)
class IntRange:
    """Integers from `low` to `high`, both included.

    Args:
        low: smallest value.
        high: largest value.
        default: the value taken where the study says nothing and `searched` is false.
        log: sample uniformly in the logarithm.
        searched: whether Optuna samples it where the study says nothing.
    """

    low: int
    high: int
    default: int
    log: bool = False
    searched: bool = True

    def problem_with(self, value: Value) -> str | None:
        """Say what is wrong with `value`, or return None."""
        if isinstance(value, bool) or not isinstance(value, int):
            return f"expected an integer, got {value!r}"
        if not self.low <= value <= self.high:
            return f"expected {self.low} to {self.high}, got {value}"
        return None


@dataclass(frozen=True)
class FloatRange:
    """Real numbers from `low` to `high`; the arguments are those of `IntRange`."""

    low: float
    high: float
    default: float
    log: bool = False
    searched: bool = True

    def problem_with(self, value: Value) -> str | None:
        """Say what is wrong with `value`, or return None."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"expected a number, got {value!r}"
        if not self.low <= value <= self.high or abs(value) == math.inf:
            return f"expected {self.low:g} to {self.high:g}, got {value}"
        return None


@dataclass(frozen=True)
class Choice:
    """One of a few values.

    Args:
        options: the values, all of one type.
        default: the value taken where the study says nothing and `searched` is false.
        searched: whether Optuna samples it where the study says nothing.
    """

    options: tuple[Value, ...]
    default: Value
    searched: bool = True

    def problem_with(self, value: Value) -> str | None:
        """Say what is wrong with `value`, or return None."""
        # `True == 1` in Python: compare the types too.
        if not any(
            value == o and isinstance(value, bool) == isinstance(o, bool) for o in self.options
        ):
            return f"expected one of {', '.join(map(str, self.options))}, got {value!r}"
        return None


@dataclass(frozen=True)
class OutputSize:
    """The task's number of outputs, for a cell that has to know it: one that feeds outputs back.

    The library fills it in; a study cannot set it.

    Args:
        default: the value outside a study, as in a test.
    """

    default: int = 2
    searched: bool = False

    def problem_with(self, value: Value) -> str | None:
        """Say what is wrong with `value`, or return None."""
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            return f"expected a positive integer, got {value!r}"
        return None


Parameter: TypeAlias = IntRange | FloatRange | Choice
Parameters: TypeAlias = Mapping[str, Parameter | OutputSize]


def defaults(parameters: Parameters, output_size: int | None = None) -> dict[str, Value]:
    """Return the default of every parameter.

    Args:
        parameters: what is declared.
        output_size: the task's number of outputs, if there is a task.
    """
    values: dict[str, Value] = {}
    for name, parameter in parameters.items():
        fills = isinstance(parameter, OutputSize) and output_size is not None
        values[name] = output_size if fills and output_size else parameter.default
    return values


def values_of(setting: Value | Parameter) -> tuple[Value, ...]:
    """What a rule has to allow of a setting: the value, each option, or both ends of a range."""
    if isinstance(setting, Choice):
        return setting.options
    if isinstance(setting, IntRange | FloatRange):
        return (setting.low, setting.high)
    return (setting,)


def as_ruled(setting: Value | Parameter, rule: Parameter) -> Value | Parameter:
    """A setting as its rule has it: a range of integers of a real number is one of reals."""
    if isinstance(rule, FloatRange) and isinstance(setting, IntRange):
        return FloatRange(setting.low, setting.high, default=setting.low, log=setting.log)
    return setting


def chosen(declared: Parameters, options: Mapping[str, Value]) -> dict[str, Value]:
    """The value of every declared option: the given one, or its default.

    Raises:
        StudyFileError: an option is not declared, or its value is not allowed.
    """
    require_declared(declared, options)
    return {**defaults(declared), **options}


def require_declared(declared: Parameters, options: Mapping[str, Value]) -> None:
    """Require that options are declared and have allowed values; raises as `chosen` does."""
    for name, value in options.items():
        if name not in declared:
            known = ", ".join(declared) or "none"
            msg = f"unknown option `{name}`.{did_you_mean(name, declared)} Known: {known}."
            raise StudyFileError(msg, key=name)
        if problem := declared[name].problem_with(value):
            raise StudyFileError(problem, key=name)
