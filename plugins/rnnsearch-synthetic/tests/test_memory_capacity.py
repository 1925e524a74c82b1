"""Memory capacity."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rnnsearch_synthetic.memory_capacity import MemoryCapacity

SHA256 = "5b010bf050fd17b00984142eeb8deca001ec19c766a2158c97fd828c5d90ac46"
SIZES = {"train_size": 2, "validation_size": 2, "test_size": 400}


def test_the_default_data_stay_what_they_are() -> None:
    assert MemoryCapacity().find().sha256 == SHA256


def test_output_k_is_to_be_the_input_of_k_steps_ago() -> None:
    task = MemoryCapacity(delays=4, length=9, **SIZES)
    found = task.load(task.find(), "test")
    for step in range(9):
        for delay in range(1, 5):
            target = found.targets[:, step, delay - 1]
            if step < delay:
                assert np.isnan(target).all()
            else:
                assert np.array_equal(target, found.inputs[:, step - delay, 0])


def test_inputs_are_uniform_with_variance_1() -> None:
    task = MemoryCapacity(length=100, **SIZES)
    inputs = task.load(task.find(), "test").inputs
    assert inputs.var() == pytest.approx(1, abs=0.02)
    assert (inputs**4).mean() == pytest.approx(9 / 5, abs=0.05)  # kurtosis of a uniform number


@pytest.mark.parametrize("taps", [0, 3, 6])
def test_a_shift_register_of_so_many_taps_has_that_capacity(taps: int) -> None:
    delays, length = 6, 200
    task = MemoryCapacity(delays=delays, length=length, **SIZES)
    found = task.load(task.find(), "test")
    outputs = np.nan_to_num(found.targets) * (np.arange(delays) < taps)
    score = task.score(
        torch.from_numpy(outputs).float().transpose(0, 1), torch.from_numpy(found.targets)
    ).item()
    # Its outputs are least-squares fits: correlation 1 up to its last tap, 0 beyond.
    assert delays * (1 - score) == pytest.approx(taps, abs=0.05)


def test_delays_beyond_the_sequence_never_count() -> None:
    task = MemoryCapacity(delays=20, length=5, **SIZES)
    targets = task.load(task.find(), "test").targets
    assert np.isnan(targets[:, :, 4:]).all()
    assert not np.isnan(targets[:, -1, :4]).any()
