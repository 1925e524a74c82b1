"""The random numbers that cells ask for."""

from __future__ import annotations

import itertools

import pytest
import torch

from rnnsearch.plugin.noise import layer_keys, sample_keys, uniform


def _mixed(word: int) -> int:
    """The published hash `lowbias32`, with Python integers."""
    word ^= word >> 16
    word = word * 0x7FEB352D % 2**32
    word ^= word >> 15
    word = word * 0x846CA68B % 2**32
    return word ^ word >> 16


def _key(*numbers: int) -> tuple[int, int]:
    first = second = 0
    for number in numbers:
        first = _mixed(first ^ number)
        second = _mixed((second + first) % 2**32)
    return first, second


def test_it_is_the_hash_that_it_says_it_is() -> None:
    seed = 5_000_000_007
    keys = layer_keys(sample_keys(seed, 3, torch.tensor([0, 11])), 1)
    for sample, key in zip((0, 11), keys.tolist(), strict=True):
        assert tuple(key) == _key(seed % 2**32, seed >> 32, 3, sample, 1)
    drawn = uniform(keys, 2, 3, held={1})
    first, second = _key(seed % 2**32, seed >> 32, 3, 11, 1)
    for step, column in itertools.product(range(2), range(3)):
        word = first ^ (column if column == 1 else 3 * step + column)
        word = (word ^ word >> 16) * 0x7FEB352D % 2**32 ^ second
        word = (word ^ word >> 15) * 0x846CA68B % 2**32
        assert float(drawn[step, 1, column]) == ((word ^ word >> 16) // 2**9 + 0.5) / 2**23


def test_numbers_are_uniform_and_leave_both_ends_out() -> None:
    drawn = uniform(sample_keys(0, 0, torch.arange(200)), 100, 50).double()
    assert drawn.min() > 0
    assert drawn.max() < 1
    assert float(drawn.min()) < 1e-4 < 1e-3 < 1 - 1e-4 < float(drawn.max())
    counts = torch.histc(drawn, bins=100, min=0, max=1)
    chi = float((counts - 10_000).square().sum() / 10_000)
    assert 50 < chi < 155  # 99 degrees of freedom: outside with a probability of 1 in 5,000
    assert float(drawn.var()) == pytest.approx(1 / 12, rel=5e-3)


@pytest.mark.parametrize("along", ["step", "column", "sample", "layer", "epoch", "seed"])
def test_neighbours_have_nothing_to_do_with_each_other(along: str) -> None:
    def drawn(seed: int = 0, epoch: int = 0, layer: int = 0) -> torch.Tensor:
        keys = layer_keys(sample_keys(seed, epoch, torch.arange(100)), layer)
        return uniform(keys, 40, 25).double()

    one = drawn()
    if along in ("step", "column", "sample"):
        other = one.roll(1, dims=("step", "sample", "column").index(along))
    else:
        other = drawn(**{along: 1})
    correlation = torch.corrcoef(torch.stack((one.flatten(), other.flatten())))[0, 1]
    assert abs(float(correlation)) < 4 / 100_000**0.5
    both = ((one < 0.1) & (other < 0.1)).double().mean()
    assert float(both) == pytest.approx(0.01, abs=4 * (0.01 / 100_000) ** 0.5)


def test_held_numbers_stay_for_a_sequence_and_differ_between_samples() -> None:
    drawn = uniform(sample_keys(0, 0, torch.arange(4)), 6, 5, held=(1, 2))
    same = (drawn == drawn[:1]).flatten(0, 1).all(dim=0)
    assert same.tolist() == [False, True, True, False, False]
    assert len(drawn[0, :, 1].unique()) == 4


def test_a_sample_is_drawn_the_same_in_whatever_batch_length_and_dtype() -> None:
    keys = sample_keys(7, 2, torch.arange(30))
    whole = uniform(keys, 9, 4)
    index = torch.tensor([17, 3])
    assert torch.equal(uniform(sample_keys(7, 2, index), 5, 4), whole[:5, index])
    assert torch.equal(whole.double().float(), whole)
    members = torch.vmap(lambda own: uniform(own, 9, 4))(torch.stack((keys, keys + 1)))
    assert torch.equal(members[0], whole)
    assert not torch.equal(members[1], whole)
