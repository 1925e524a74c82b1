"""The values of a study file: fixed ones, choices and ranges, and what is allowed of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from rnnsearch.config.study_file import (
    as_fraction,
    as_number,
)
from rnnsearch.spec.margin import Margin
from rnnsearch.spec.parameters import (
    Choice,
    FloatRange,
    IntRange,
    Parameter,
    Value,
    as_ruled,
    values_of,
)
from rnnsearch.spec.trial import OPTIMIZERS


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


BIG = 1 << 30
Setting: TypeAlias = Any  # a Value, or a Parameter to be searched; checked by its validator
IntSetting = Annotated[Setting, _checked(IntRange(1, BIG, 1)), _schema("integer", minimum=1)]
RateSetting = Annotated[
    Setting, _checked(FloatRange(1e-12, 1e6, 1.0)), _schema("number", exclusiveMinimum=0)
]
AmountSetting = Annotated[
    Setting, _checked(FloatRange(0.0, 1e6, 0.0)), _schema("number", minimum=0)
]
BoolSetting = Annotated[Setting, _checked(Choice((True, False), False)), _schema("boolean")]
OptimizerSetting = Annotated[
    Setting,
    _checked(Choice(tuple(sorted(OPTIMIZERS)), "adam")),
    _schema("string", enum=sorted(OPTIMIZERS)),
]
OptionSetting = Annotated[
    Setting,
    BeforeValidator(_setting),
    WithJsonSchema({"type": ["boolean", "number", "string", "array", "object"]}),
]


def fraction(raw: Any) -> Any:
    value = as_fraction(raw)
    if isinstance(value, str) and value.strip().endswith("%"):
        raise _problem(f"expected a fraction or a percentage such as 2%, found {raw!r}")
    return value


def _margin(raw: Any) -> Any:
    if isinstance(raw, Margin):
        return raw
    is_share = isinstance(raw, str) and raw.strip().endswith("%")
    amount = as_fraction(raw) if is_share else as_number(raw)
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
    if not is_number or not 0 <= amount < math.inf:
        raise _problem(f"expected a number from 0 on or a percentage such as 0.5%, found {raw!r}")
    return Margin(float(amount), is_share)


MarginSetting = Annotated[
    Margin,
    BeforeValidator(_margin),
    PlainSerializer(lambda margin: str(margin) if margin.is_share else margin.amount),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": r"^\s*[0-9.]+\s*%\s*$"},
            ]
        }
    ),
]


def named(raw: Any) -> Any:
    return {"name": raw} if isinstance(raw, str) else raw


def as_tuple(raw: Any) -> Any:
    return tuple(raw) if isinstance(raw, list) else raw


Options = Annotated[dict[str, Any], BeforeValidator(_numbers)]
