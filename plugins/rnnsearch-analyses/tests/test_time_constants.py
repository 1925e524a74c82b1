"""Autocorrelation times of processes whose times are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from rnnsearch import Analysis
from rnnsearch.testing import AnalysisConformance
from rnnsearch_analyses.autocorrelation import autocorrelation_times, ranges
from rnnsearch_analyses.time_constants import TimeConstants

PHI = torch.tensor([0.5, 0.8, 0.95, 0.0])


class TestTimeConstants(AnalysisConformance):
    @pytest.fixture
    def analysis_class(self) -> type[Analysis]:
        return TimeConstants


def _autoregressive(look_at: Any, cell_of: Any) -> Any:
    """Noise remembered as `phi^lag`, and an idle unit."""
    noise = np.random.default_rng(0).standard_normal((48, 500, 4), dtype=np.float32)
    return look_at(cell_of(4, 4, lambda x, m: PHI * m + x * (PHI > 0)), inputs=noise)


def test_a_unit_that_forgets_by_phi_has_the_time_constant_of_an_autoregressive_process(
    look_at: Any, cell_of: Any
) -> None:
    (finding,) = TimeConstants().analyse(_autoregressive(look_at, cell_of))
    expected = [-1 / math.log(phi) for phi in (0.5, 0.8, 0.95)]
    numbers = finding.numbers
    found = [numbers[f"{which}_steps"] for which in ("shortest", "median", "longest")]
    np.testing.assert_allclose(found, expected, rtol=0.06)
    assert numbers["idle_units"] == 1
    assert numbers["longest_observable_steps"] == 250
    assert numbers["long_share"] == 0


def test_autocorrelation_is_that_of_a_direct_sum_over_pairs_within_sequences() -> None:
    generator = torch.Generator().manual_seed(0)
    memory = torch.randn(12, 3, 1, generator=generator, dtype=torch.float64).cumsum(dim=0)
    lengths = [12, 7, 9]
    valid = torch.arange(12).unsqueeze(1) < torch.tensor(lengths)
    sequences = [memory[:n, b, 0].tolist() for b, n in enumerate(lengths)]
    every = [value for sequence in sequences for value in sequence]
    mean = sum(every) / len(every)
    variance = sum((value - mean) ** 2 for value in every) / len(every)

    def correlation(lag: int) -> float:
        pairs = [
            (s[t] - mean) * (s[t + lag] - mean) for s in sequences for t in range(len(s) - lag)
        ]
        return sum(pairs) / len(pairs) / variance

    lag = next(lag for lag in range(1, 7) if correlation(lag) <= 1 / math.e)
    before, now = correlation(lag - 1), correlation(lag)
    assert now > 0, "the geometric interpolation is what is tested"
    expected = lag - 1 + (math.log(before) + 1) / (math.log(before) - math.log(now))
    times, longest = autocorrelation_times(memory, valid)
    assert longest == 6
    assert times.item() == pytest.approx(expected)


def test_padding_does_not_count() -> None:
    memory = torch.randn(20, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    valid = torch.arange(20).unsqueeze(1) < torch.tensor([20, 11, 20, 4, 9])
    padded = torch.where(valid.unsqueeze(-1), memory, 1e6)
    for one, other in zip(
        (*autocorrelation_times(memory, valid), ranges(memory, valid)),
        (*autocorrelation_times(padded, valid), ranges(padded, valid)),
        strict=True,
    ):
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(other))


def test_a_unit_that_outlasts_half_the_sequence_is_given_that(look_at: Any, cell_of: Any) -> None:
    # Each sequence holds its first input forever.
    first = np.zeros((40, 30, 1), np.float32)
    first[:, 0, 0] = np.random.default_rng(0).standard_normal(40)
    (finding,) = TimeConstants().analyse(look_at(cell_of(1, 1, lambda x, m: m + x), inputs=first))
    assert finding.numbers["longest_steps"] == 15
    assert finding.numbers["long_share"] == 1
