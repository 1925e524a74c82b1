"""Units with known memory, picked by their scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rnnsearch import Analysis
from rnnsearch.testing import AnalysisConformance
from rnnsearch_analyses.neurons_of_interest import NeuronsOfInterest, scores

COUNTER, NOISE, CONSTANT, LEAKY, FLIP = range(5)


class TestNeuronsOfInterest(AnalysisConformance):
    @pytest.fixture
    def analysis_class(self) -> type[Analysis]:
        return NeuronsOfInterest


def _step(x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """Five units: a step counter, a copy of the input, an idle unit, a leaky one, a sign flip."""
    return torch.stack(
        (
            m[:, COUNTER] + 1,
            x[:, 0],
            torch.full_like(x[:, 0], 0.7),
            0.5 * m[:, LEAKY] + x[:, 1],
            1 - 2 * (m[:, FLIP] > 0).to(m),
        ),
        dim=-1,
    )


@pytest.fixture
def numbers(look_at: Any, cell_of: Any) -> Any:
    noise = np.random.default_rng(0).standard_normal((16, 60, 2), dtype=np.float32)
    trained = look_at(cell_of(2, 5, _step), inputs=noise)
    (finding,) = NeuronsOfInterest(units=5).analyse(trained)
    return finding.numbers


def test_a_counter_leads_the_long_term_list(numbers: Any) -> None:
    assert numbers["long_1_unit"] == COUNTER
    assert numbers["long_1_score"] > 5 * numbers["long_2_score"]


def test_units_that_jump_at_every_step_lead_the_short_term_list(numbers: Any) -> None:
    assert [numbers[f"short_{place}_unit"] for place in (1, 2, 3)] == [FLIP, NOISE, LEAKY]


def test_a_unit_that_does_nothing_is_in_neither_list(numbers: Any) -> None:
    picked = {value for name, value in numbers.items() if name.endswith("_unit")}
    assert picked == {COUNTER, NOISE, LEAKY, FLIP}


def test_a_counter_s_moves_are_all_small_and_a_flip_s_all_large() -> None:
    memory = torch.stack((torch.arange(40.0), torch.ones(40).cumprod(0) * -1), dim=-1)
    memory[::2, 1] = 1
    memory = memory.double().unsqueeze(1)
    long, short = scores(memory, torch.ones(40, 1, dtype=torch.bool))
    assert short[0] == 0
    assert long[1] == 0
    assert long[0] > 0
    assert short[1] > 0


def test_sequences_of_one_step_are_refused(look_at: Any, cell_of: Any) -> None:
    trained = look_at(cell_of(2, 5, _step), inputs=np.zeros((3, 1, 2), np.float32))
    assert "single step" in str(NeuronsOfInterest().refusal(trained))
