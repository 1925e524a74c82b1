"""Runs a check of a suite at one size: hypothesis would search for the smallest failing one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rnnsearch.testing.probes import Sizes


def check_of(suite: type, name: str) -> Callable[..., Any]:
    """The check `test_NAME` of a suite, to be called with its subject."""
    check = getattr(suite, f"test_{name}")
    if hasattr(check, "hypothesis"):
        check = partial(check.hypothesis.inner_test, sizes=Sizes(3, 5, 3, 4))
    return partial(check, suite())
