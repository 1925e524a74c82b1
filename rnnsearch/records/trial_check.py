"""What is remembered of a trial, checked against its types: for records from elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rnnsearch.records.study_info import first_problem
from rnnsearch.spec.trial import TrialRecord

# Beyond these, what is computed of numbers overflows.
_LARGEST_WHOLE, _LARGEST = 10**15, 1e100

_RECORD = TypeAdapter(TrialRecord)


def check_record(record: TrialRecord) -> None:
    """Refuse a record that no study writes.

    Raises:
        ValueError: says the trial, the key, what was expected and what was found.
    """
    trial = f"trial {record.key}"
    content = asdict(record)
    for key, value in _numbers(content, ()):
        largest = _LARGEST_WHOLE if isinstance(value, int) else _LARGEST
        if largest < abs(value) < math.inf:
            msg = f"{trial}: `{key}`: expected a number up to {largest:g}, found {str(value)[:30]}"
            raise ValueError(msg)
    try:
        _RECORD.validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise ValueError(f"{trial}: {first_problem(error)}") from None
    measured = record.test_metric
    if record.phase == "confirmation" and record.state == "COMPLETE":
        if measured is None or not math.isfinite(measured):
            msg = f"{trial}: `test_metric`: expected a number, found {measured}"
            raise ValueError(msg)
        if record.spec is None:
            msg = f"{trial}: `spec` is missing"
            raise ValueError(msg)


def _numbers(value: Any, key: tuple[str, ...]) -> Iterator[tuple[str, int | float]]:
    """Every number in a record, by its key."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _numbers(below, (*key, str(name)))
    elif isinstance(value, list | tuple):
        for i, below in enumerate(value):
            yield from _numbers(below, (*key, str(i)))
    elif isinstance(value, int | float):
        yield ".".join(key), value
