"""Noise: the random numbers that cells ask for, each a function of what it is drawn for.

No generator with a state is kept. What a step is given follows from the trial's seed, the epoch,
the number of the sample in its split, the layer, the step and the column, by a hash. So the draws
are the same in every engine, on every device and in every dtype, however samples are put into
batches and trials into populations, and after a resume.

Keys carry all of that but the step and the column: two words of 32 bits for each sample.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_BITS = 23  # with the half that is added, as many as a float32 holds
# Multipliers of the hash `lowbias32` (Wellons, "Prospecting for hash functions", 2018). The second
# is less 2^32: so no product of a word leaves 64 bits.
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B - 2**32


def sample_keys(seed: int, epoch: int, samples: Tensor) -> Tensor:
    """Keys of samples in one epoch of a trial.

    Shapes:
        samples: `(...)`, numbers of the samples in their split
        output: `(..., 2)`

    Args:
        seed: the trial's.
        epoch: epochs that were finished before.
        samples: which samples.
    """
    keys = torch.zeros(*samples.shape, 2, dtype=torch.int64, device=samples.device)
    for number in (seed & _WORD, seed >> 32 & _WORD, epoch & _WORD):
        keys = _absorbed(keys, torch.full_like(samples, number, dtype=torch.int64))
    return _absorbed(keys, samples.long() & _WORD)


def fresh_keys(samples: int, device: torch.device) -> Tensor:
    """Keys `(samples, 2)` from torch's global generator, for callers that give none."""
    return torch.randint(_WORD + 1, (samples, 2)).to(device)


def layer_keys(keys: Tensor, layer: int) -> Tensor:
    """Keys of one of the parts that share a model's keys; of the same shape."""
    return _absorbed(keys, torch.full_like(keys[..., 0], layer))


def uniform(keys: Tensor, steps: int, size: int, held: Collection[int] = ()) -> Tensor:
    """Numbers between 0 and 1, both left out, in float32.

    Each is an odd multiple of 2^-24, so that every wider dtype holds the same number.

    Shapes:
        keys: `(batch, 2)`
        output: `(steps, batch, size)`

    Args:
        keys: of the samples.
        steps: time steps.
        size: numbers for each step of each sample.
        held: which of them are drawn once for a sequence and stay the same at all its steps.
    """
    time = torch.arange(steps, device=keys.device).view(-1, 1, 1)
    column = torch.arange(size, device=keys.device)
    if held:
        # Not by a list of them: a CUDA graph cannot hold a copy from the host.
        runs = groupby(range(size), lambda number: number not in held)
        time = time * torch.cat([torch.full_like(column[: len([*run])], on) for on, run in runs])
    first, second = keys[:, :1], keys[:, 1:]
    word = first ^ (time * size + column)
    word = word ^ (word >> 16)
    word = ((word * _FIRST) & _WORD) ^ second
    word = word ^ (word >> 15)
    word = (word * _SECOND) & _WORD
    word = word ^ (word >> 16)
    return ((word >> 32 - _BITS).float() + 0.5) * 2.0**-_BITS


def _absorbed(keys: Tensor, number: Tensor) -> Tensor:
    """Keys that depend on a number, too; other numbers give other keys."""
    first = _mixed(keys[..., 0] ^ number)
    return torch.stack((first, _mixed((keys[..., 1] + first) & _WORD)), dim=-1)


def _mixed(word: Tensor) -> Tensor:
    word = word ^ (word >> 16)
    word = (word * _FIRST) & _WORD
    word = word ^ (word >> 15)
    word = (word * _SECOND) & _WORD
    return word ^ (word >> 16)
