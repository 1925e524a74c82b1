"""A declared parameter accepts the values of its range, and says what it expected otherwise."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnsearch import Choice, FloatRange, IntRange, Value
from rnnsearch.spec.parameters import Parameter, defaults

UNITS = IntRange(2, 9, default=4)
RATIO = FloatRange(0.5, 2.0, default=1.0)
KIND = Choice(("soft", "hard"), default="soft")
FLAG = Choice((True, False), default=False)
COUNT = Choice((1, 2), default=1)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        (UNITS, 2),
        (UNITS, 9),
        (RATIO, 0.5),
        (RATIO, 2.0),
        (RATIO, 1),
        (KIND, "hard"),
        (FLAG, False),
        (COUNT, 2),
        (COUNT, 2.0),
    ],
)
def test_a_value_of_the_range_is_taken(parameter: Parameter, value: Value) -> None:
    assert parameter.problem_with(value) is None


@pytest.mark.parametrize(
    ("parameter", "value", "problem"),
    [
        (UNITS, 1, "expected 2 to 9, got 1"),
        (UNITS, 10, "expected 2 to 9, got 10"),
        (UNITS, 3.0, "expected an integer, got 3.0"),
        (UNITS, True, "expected an integer, got True"),
        (UNITS, "3", "expected an integer, got '3'"),
        (RATIO, 0.4999, "expected 0.5 to 2, got 0.4999"),
        # Not rounded to `2`, which would contradict itself.
        (RATIO, 2.0000001, "expected 0.5 to 2, got 2.0000001"),
        (RATIO, math.nan, "expected 0.5 to 2, got nan"),
        (RATIO, math.inf, "expected 0.5 to 2, got inf"),
        (RATIO, True, "expected a number, got True"),
        (RATIO, "wide", "expected a number, got 'wide'"),
        (FloatRange(0, math.inf, default=1), math.inf, "expected 0 to inf, got inf"),
        (KIND, "sharp", "expected one of soft, hard, got 'sharp'"),
        (KIND, 1, "expected one of soft, hard, got 1"),
        (FLAG, 1, "expected one of True, False, got 1"),
        (FLAG, 0, "expected one of True, False, got 0"),
        (COUNT, True, "expected one of 1, 2, got True"),
        (COUNT, 3, "expected one of 1, 2, got 3"),
    ],
)
def test_any_other_value_is_refused_in_words(
    parameter: Parameter, value: Value, problem: str
) -> None:
    assert parameter.problem_with(value) == problem


def test_an_integer_beyond_the_reals_is_refused_in_words() -> None:
    huge = 10**400
    assert huge > sys.float_info.max
    assert RATIO.problem_with(huge) == f"expected 0.5 to 2, got {huge}"


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(value=st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=5)))
@pytest.mark.parametrize("parameter", [UNITS, RATIO, KIND, FLAG, COUNT])
def test_only_members_pass(parameter: Parameter, value: Value) -> None:
    if isinstance(parameter, Choice):
        member = (value, isinstance(value, bool)) in [
            (option, isinstance(option, bool)) for option in parameter.options
        ]
    else:
        kinds = (int,) if isinstance(parameter, IntRange) else (int, float)
        number = type(value) in kinds
        member = number and parameter.low <= value <= parameter.high  # type: ignore[operator]
    assert (parameter.problem_with(value) is None) == member


def test_a_parameter_is_searched_and_linear_unless_it_says_otherwise() -> None:
    assert UNITS.searched
    assert RATIO.searched
    assert KIND.searched
    assert not UNITS.log
    assert not RATIO.log


def test_defaults_are_those_declared() -> None:
    declared = {"units": UNITS, "ratio": RATIO, "kind": KIND, "flag": FLAG}
    assert defaults(declared) == {"units": 4, "ratio": 1.0, "kind": "soft", "flag": False}
    assert defaults({}) == {}


def test_parameters_compare_by_value() -> None:
    assert Choice(("soft", "hard"), default="soft") == KIND
    assert FloatRange(0.5, 2.0, default=1.5) != RATIO
