"""Pointwise operators as C++ expressions, for a vector of lanes and for a single float alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from rnnsearch.engine.capture import Unsupported
from rnnsearch.engine.roles import name_of

# The functions are those of `native/vectors.h`.
_EXPRESSIONS = {
    "abs": "absolute({0})",
    "acos": "arccosine({0})",
    "asin": "arcsine({0})",
    "atan": "arctangent({0})",
    "bitwise_and": "({0} * {1})",
    "bitwise_not": "(one - {0})",
    "bitwise_or": "larger({0}, {1})",
    "clone": "{0}",
    "cos": "cosine({0})",
    "cosh": "hyperbolic_cosine({0})",
    "div": "({0} / {1})",
    "eq": "flag({0} == {1})",
    "erf": "error_function({0})",
    "exp": "exponential({0})",
    "exp2": "exponential({0} * 0.693147181f)",
    "expand": "{0}",
    "expm1": "exponential_minus_one({0})",
    "fmod": "remainder_towards_zero({0}, {1})",
    "floor": "round_down({0})",
    "ge": "flag({0} >= {1})",
    "gt": "flag({0} > {1})",
    "le": "flag({0} <= {1})",
    "log": "logarithm({0})",
    "log1p": "logarithm_plus_one({0})",
    "log2": "(logarithm({0}) * 1.44269504f)",
    "logical_and": "({0} * {1})",
    "logical_not": "(one - {0})",
    "logical_or": "larger({0}, {1})",
    "lt": "flag({0} < {1})",
    "maximum": "larger({0}, {1})",
    "minimum": "smaller({0}, {1})",
    "mul": "({0} * {1})",
    "ne": "flag({0} != {1})",
    "neg": "-{0}",
    "reciprocal": "(one / {0})",
    "relu": "larger({0}, zero)",
    "rsqrt": "(one / square_root({0}))",
    "sigmoid": "logistic({0})",
    "sign": "(flag({0} > zero) - flag({0} < zero))",
    "sin": "sine({0})",
    "sinh": "hyperbolic_sine({0})",
    "sqrt": "square_root({0})",
    "tan": "(sine({0}) / cosine({0}))",
    "tanh": "hyperbolic_tangent({0})",
    "where": "choose({0}, {1}, {2})",
}
_POWERS = {
    -2.0: "(one / ({0} * {0}))",
    -1.0: "(one / {0})",
    -0.5: "(one / square_root({0}))",
    0.5: "square_root({0})",
    1.0: "{0}",
    1.5: "({0} * square_root({0}))",
    2.0: "({0} * {0})",
    3.0: "({0} * {0} * {0})",
    4.0: "(({0} * {0}) * ({0} * {0}))",
}
_ARITHMETIC = ("add", "sub", "rsub", "clamp", "clamp_min", "clamp_max", "pow", "copy")
_TYPES = ("_to_copy", "to", "convert_element_type")

# What is cheaper to compute again in the backward pass than to keep for it.
CHEAP = frozenset(
    {
        "abs",
        "add",
        "bitwise_and",
        "bitwise_not",
        "bitwise_or",
        "clamp",
        "clamp_max",
        "clamp_min",
        "clone",
        "copy",
        "eq",
        "expand",
        "ge",
        "gt",
        "le",
        "logical_and",
        "logical_not",
        "logical_or",
        "lt",
        "maximum",
        "minimum",
        "mul",
        "ne",
        "neg",
        "relu",
        "rsub",
        "sign",
        "sub",
        "where",
    }
)


def is_pointwise(name: str) -> bool:
    """Whether an operator works on each element by itself."""
    return name in _EXPRESSIONS or name in _ARITHMETIC or name in _TYPES


def operands_of(node: fx.Node) -> list[Any]:
    """Nodes and numbers that the expression of a pointwise operator reads."""
    name = name_of(node)
    if name in ("clamp", "clamp_min", "clamp_max"):
        low = node.args[1] if len(node.args) > 1 else node.kwargs.get("min")
        high = node.args[2] if len(node.args) > 2 else node.kwargs.get("max")
        if name == "clamp_max":
            low, high = None, low
        return [node.args[0], *(bound for bound in (low, high) if bound is not None)]
    if name == "pow" and not isinstance(node.args[1], fx.Node):
        return [node.args[0]]
    if name in (*_TYPES, "expand", "clone", "copy"):
        return [node.args[0]]
    return list(node.args)


def expression(node: fx.Node, operands: Sequence[str], number: Callable[[float], str]) -> str:
    """C++ for a pointwise operator.

    Args:
        node: the operator.
        operands: C++ of each of `operands_of(node)`.
        number: writes a number that belongs to the operator itself.

    Raises:
        Unsupported: there is no expression for it.
    """
    name = name_of(node)
    if name in ("add", "sub", "rsub"):
        left, right = operands if name != "rsub" else operands[::-1]
        alpha = float(node.kwargs.get("alpha", 1))  # type: ignore[arg-type]
        scaled = right if alpha == 1 else f"{number(alpha)} * {right}"
        return f"({left} {'+' if name == 'add' else '-'} {scaled})"
    if name in ("clamp", "clamp_min", "clamp_max"):
        text, bounds = operands[0], list(operands[1:])
        third = node.args[2] if len(node.args) > 2 else node.kwargs.get("max")
        second = node.args[1] if len(node.args) > 1 else node.kwargs.get("min")
        if name != "clamp_max" and second is not None:
            text = f"larger({text}, {bounds.pop(0)})"
        if bounds and (name == "clamp_max" or third is not None):
            text = f"smaller({text}, {bounds.pop(0)})"
        return text
    if name == "pow":
        if len(operands) == 2:
            return f"power({operands[0]}, {operands[1]})"
        exponent = float(node.args[1])  # type: ignore[arg-type]
        if exponent in _POWERS:
            return _POWERS[exponent].format(operands[0])
        return f"power({operands[0]}, {number(exponent)})"
    if name == "div":
        if node.kwargs.get("rounding_mode"):
            raise Unsupported("`div` with rounding has no gradient worth compiling")
        divisor = node.args[1]
        if isinstance(divisor, int | float) and divisor:
            return f"({operands[0]} * {number(1 / float(divisor))})"
    if name in _TYPES:
        return _converted(node, operands[0])
    if name == "copy":
        return operands[0]
    if name not in _EXPRESSIONS:
        raise Unsupported(f"the engine has no `{name}`")
    return _EXPRESSIONS[name].format(*operands)


def _converted(node: fx.Node, operand: str) -> str:
    """C++ of a change of type: flags are floats here, and there are no integers."""
    source = node.args[0]
    before = source.meta["val"].dtype if isinstance(source, fx.Node) else torch.float32
    after = node.meta["val"].dtype
    if before == after or torch.bool in (before, after):
        return f"flag({operand} != zero)" if after == torch.bool else operand
    if after not in (torch.float32, torch.float64):
        raise Unsupported(f"`{name_of(node)}` to {after}: the engine computes in float32")
    return operand


def literal(value: float) -> str | None:
    """C++ of a number that may stand in the source, or None for one that may depend on a size.

    Sizes stay out of the source, so that one binary serves a cell at every width.
    """
    if math.isnan(value):
        return "not_a_number"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    if value in (0.0, 1.0):
        return "zero" if value == 0 else "one"
    if value in (-1.0, 0.5, -0.5, 2.0, -2.0):
        return f"constant({value}f)"
    return None
