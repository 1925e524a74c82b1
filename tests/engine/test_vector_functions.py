"""The vector functions agree with numpy in double precision, over all of single precision."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch

from rnnsearch.engine import cpp_compiler

pytestmark = pytest.mark.usefixtures("compiler")

Array = np.ndarray
Function = Callable[[Array], Array]

# Largest error in units in the last place (ULP) of the result, where that is a normal number.
ERRORS: dict[str, tuple[Function, float]] = {
    "exponential": (np.exp, 2.0),
    "exponential_minus_one": (np.expm1, 3.0),
    "logarithm": (np.log, 2.0),
    "logarithm_plus_one": (np.log1p, 4.0),
    "logistic": (lambda x: 1 / (1 + np.exp(-x)), 3.0),
    "hyperbolic_tangent": (np.tanh, 4.0),
    "square_root": (np.sqrt, 0.5),
    "absolute": (np.abs, 0.0),
    "sine": (np.sin, 1.0),
    "cosine": (np.cos, 1.0),
    "arctangent": (np.arctan, 2.0),
    "hyperbolic_sine": (np.sinh, 2.0),
    "hyperbolic_cosine": (np.cosh, 2.0),
    "round_down": (np.floor, 0.0),
}
PAIRS: dict[str, Callable[[Array, Array], Array]] = {
    "larger": np.maximum,
    "smaller": np.minimum,
}
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)

_SOURCE = """
#include "vectors.h"
extern "C" {
#define MAP(name) \\
  void lanes_##name(const float* x, float* y, long n) { \\
    using namespace lanes; \\
    for (long i = 0; i < n; i += W) store(y + i, name(load(x + i))); \\
  } \\
  void scalar_##name(const float* x, float* y, long n) { \\
    using namespace scalar; \\
    for (long i = 0; i < n; i++) y[i] = name(x[i]); \\
  }
#define MAP_PAIR(name) \\
  void lanes_##name(const float* x, const float* z, float* y, long n) { \\
    using namespace lanes; \\
    for (long i = 0; i < n; i += W) store(y + i, name(load(x + i), load(z + i))); \\
  } \\
  void scalar_##name(const float* x, const float* z, float* y, long n) { \\
    using namespace scalar; \\
    for (long i = 0; i < n; i++) y[i] = name(x[i], z[i]); \\
  }
%s
void lanes_rectifier(const float* x, float* y, long n) {
  using namespace lanes;
  for (long i = 0; i < n; i += W) store(y + i, larger(load(x + i), zero));
}
void lanes_choice(const float* x, float* y, long n) {
  using namespace lanes;
  for (long i = 0; i < n; i += W)
    store(y + i, choose(flag(load(x + i) > zero), load(x + i), constant(-7.f)));
}
void lanes_total(const float* x, float* y, long n) {
  for (long i = 0; i < n; i += W) y[i / W] = total(load(x + i));
}
}
"""


@cache
def _library(width: int) -> ctypes.CDLL:
    maps = [f"MAP({name})" for name in ERRORS] + [f"MAP_PAIR({name})" for name in PAIRS]
    source = _SOURCE % "\n".join(maps)
    return cpp_compiler.load(
        cpp_compiler.build(source, {"RNN_LANES": 2 * width, "RNN_WIDTH": width})
    )


@pytest.fixture(params=[4, 8, 16])
def width(request: pytest.FixtureRequest) -> int:
    """Floats per vector; compilers split vectors that do not fit a register."""
    return int(request.param)


def _apply(library: ctypes.CDLL, name: str, *operands: Array) -> Array:
    """Run a function over arrays whose length is a multiple of the vector; torch aligns them."""
    given = [torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).clone() for x in operands]
    assert len(given[0]) % 16 == 0
    result = torch.empty_like(given[0])
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (*given, result)]
    getattr(library, name)(*pointers, ctypes.c_long(len(result)))
    return result.numpy()


def _padded(values: Array) -> Array:
    return np.resize(values.astype(np.float32), -(-len(values) // 16) * 16)


@cache
def _wide() -> Array:
    """Finite numbers of every exponent and both signs, and values near turning points."""
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 0x7F800000, 40_000, dtype=np.uint32)  # uniform over all floats
    everywhere = bits.view(np.float32)
    usual = np.linspace(-30, 30, 20_001, dtype=np.float32)
    bounded = np.linspace(-110, 110, 20_001, dtype=np.float32)
    halves = (np.arange(-250, 250) * 0.5 * np.log(2)).astype(np.float32)
    near = np.concatenate([np.nextafter(halves, s, dtype=np.float32) for s in (-np.inf, np.inf)])
    ones = 1 + np.arange(-500, 500, dtype=np.float32) * np.float32(2**-23)
    positive = np.concatenate([everywhere, ones])
    return _padded(np.concatenate([positive, -positive, usual, bounded, halves, near]))


SPECIAL = _padded(
    np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-39, 3.4e38, -3.4e38, 1.0, -1.0])
)


def _units(found: Array, expected: Array) -> Array:
    """Error in units in the last place (ULP) of the exact result."""
    unit = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    return np.abs(found.astype(np.float64) - expected) / unit


def _exact(function: Function, values: Array) -> Array:
    with np.errstate(all="ignore"):
        return function(values.astype(np.float64))


@pytest.mark.parametrize("name", ERRORS)
def test_errors_stay_within_a_few_units_of_the_last_place(name: str, width: int) -> None:
    function, bound = ERRORS[name]
    values = _wide()
    if name in ("sine", "cosine", "hyperbolic_sine", "hyperbolic_cosine"):
        values = _padded(values[np.abs(values) < 80])
    expected = _exact(function, values)
    found = _apply(_library(width), f"lanes_{name}", values)
    largest = float(np.finfo(np.float32).max)
    size = np.abs(expected)
    normal = (size >= SMALLEST_NORMAL) & (size <= largest)
    if name == "logistic":  # below -87 it may stop at its smallest nonzero value
        normal &= values > -87
    assert normal.any()
    errors = _units(found[normal], expected[normal])
    worst = int(errors.argmax())
    assert errors[worst] <= bound, (values[normal][worst], found[normal][worst])
    # Outside: only zeros and subnormal numbers below, infinities above.
    assert (np.abs(found[size < SMALLEST_NORMAL]) <= 2 * SMALLEST_NORMAL).all()
    assert np.isinf(found[size > 1.001 * largest]).all()
    assert np.isnan(found[np.isnan(expected)]).all()


@pytest.mark.parametrize("name", ERRORS)
def test_zeros_infinities_and_not_a_numbers_give_what_they_do_in_numpy(
    name: str, width: int
) -> None:
    values = SPECIAL
    if name in ("sine", "cosine"):
        values = _padded(values[~(np.abs(values) > 1)])
    expected = _exact(ERRORS[name][0], values)
    found = _apply(_library(width), f"lanes_{name}", values).astype(np.float64)
    with np.errstate(over="ignore"):
        rounded = expected.astype(np.float32)
    np.testing.assert_allclose(found, rounded, rtol=3e-7, atol=2 * SMALLEST_NORMAL)
    assert np.isnan(found[np.isnan(values)]).all()


@pytest.mark.parametrize("name", ERRORS)
def test_single_floats_get_what_lanes_get_but_for_rounding(name: str) -> None:
    values = _wide()
    values = _padded(values[np.abs(values) < 80])
    library = _library(4)
    scalar, lanes = (_apply(library, f"{kind}_{name}", values) for kind in ("scalar", "lanes"))
    np.testing.assert_allclose(scalar, lanes, rtol=6e-7, atol=2 * SMALLEST_NORMAL)


@pytest.mark.parametrize("kind", ["lanes", "scalar"])
@pytest.mark.parametrize("name", PAIRS)
def test_the_larger_and_the_smaller_of_two_are_numpys_and_not_a_number_stays(
    name: str, kind: str, width: int
) -> None:
    values = np.array([-np.inf, -2.0, -1e-45, 0.0, 3.0, np.inf, np.nan, 1.0], dtype=np.float32)
    left, right = (_padded(v.ravel()) for v in np.meshgrid(values, values))
    found = _apply(_library(width), f"{kind}_{name}", left, right)
    np.testing.assert_array_equal(found, PAIRS[name](left, right))


def test_the_rectifier_of_not_a_number_is_not_a_number_as_in_torch(width: int) -> None:
    found = _apply(_library(width), "lanes_rectifier", SPECIAL)
    np.testing.assert_array_equal(found, torch.from_numpy(SPECIAL).relu().numpy())


def test_a_flag_chooses_and_not_a_number_is_not_larger_than_zero(width: int) -> None:
    found = _apply(_library(width), "lanes_choice", SPECIAL)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(found, np.where(SPECIAL > 0, SPECIAL, np.float32(-7)))


def test_the_total_of_a_vector_is_the_sum_of_its_lanes(width: int) -> None:
    values = np.random.default_rng(1).integers(-1000, 1000, 1600).astype(np.float32)
    found = _apply(_library(width), "lanes_total", values)[: 1600 // width]
    np.testing.assert_array_equal(found, values.reshape(-1, width).sum(axis=1))


@pytest.mark.parametrize("name", ["hyperbolic_tangent", "logistic", "exponential"])
def test_functions_that_saturate_stay_within_their_range_and_never_fall(name: str) -> None:
    values = _padded(np.sort(np.concatenate([_wide(), np.float32([np.inf, -np.inf])])))
    values = np.sort(values)
    found = _apply(_library(16), f"lanes_{name}", values)
    low, high = {"hyperbolic_tangent": (-1, 1), "logistic": (0, 1)}.get(name, (0, np.inf))
    assert (found >= low).all()
    assert (found <= high).all()
    assert found[-1] == high
    with np.errstate(invalid="ignore"):  # from infinity to infinity
        falls = found[:-1].astype(np.float64) - found[1:]
        allowed = 3 * np.spacing(np.abs(found[1:]))
    finite = np.isfinite(falls)
    assert (falls[finite] <= allowed[finite]).all()
