"""How long units remember: autocorrelation times."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# A unit that moves less than this share of its size is idle: the movement may be rounding error.
_LEAST_RANGE = 1e-6


def ranges(memory: Tensor, valid: Tensor) -> Tensor:
    """Range (maximum minus minimum) of each unit over valid steps; zero for an idle unit.

    Shapes:
        memory: `(time, batch, units)`
        valid: `(time, batch)`
        output: `(units,)`
    """
    some = memory[valid]
    span = some.amax(dim=0) - some.amin(dim=0)
    return torch.where(span > _LEAST_RANGE * some.abs().amax(dim=0), span, 0.0)


def autocorrelation_times(memory: Tensor, valid: Tensor) -> tuple[Tensor, int]:
    """Lag at which the autocorrelation of each unit falls to `1/e`, in steps.

    The autocorrelation at lag `l` is the mean of `z_t z_{t+l}` over all sequences and steps,
    divided by the variance, where `z` is the unit minus its overall mean. It is interpolated
    between lags, geometrically where it is positive, so that `phi^l` gives `-1 / ln phi`.

    Shapes:
        memory: `(time, batch, units)`
        valid: `(time, batch)`
        output: `(units,)`; NaN for an idle unit

    Returns:
        the times, and the longest time that can be measured: half of the longest sequence. A unit
        whose autocorrelation has not fallen to `1/e` by then gets this longest time.
    """
    mask = valid.unsqueeze(-1).to(memory)
    mean = (memory * mask).sum(dim=(0, 1)) / mask.sum()
    deviation = (memory - mean) * mask
    variance = deviation.square().sum(dim=(0, 1)) / mask.sum()
    longest = max(1, int(valid.sum(dim=0).max()) // 2)
    times = torch.full_like(mean, float(longest))
    falling = ranges(memory, valid) > 0
    times[~falling] = math.nan
    before = torch.ones_like(mean)
    for lag in range(1, longest + 1):
        pairs = (mask[lag:] * mask[:-lag]).sum()
        if pairs == 0 or not bool(falling.any()):
            break
        now = (deviation[lag:] * deviation[:-lag]).sum(dim=(0, 1)) / pairs / variance
        crossed = falling & (now <= 1 / math.e)
        times[crossed] = lag - 1 + _crossing(before[crossed], now[crossed])
        falling &= ~crossed
        before = now
    return times, longest


def _crossing(before: Tensor, now: Tensor) -> Tensor:
    """Position between two lags where the autocorrelation is `1/e`."""
    straight = (before - 1 / math.e) / (before - now)
    positive = now.clamp(min=1e-30)
    geometric = (before.log() + 1) / (before.log() - positive.log())
    return torch.where(now > 0, geometric, straight)
