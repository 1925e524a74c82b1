"""How far back in time the gradient reaches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from rnnsearch import Analysis, Finding, IntRange, RecurrentCell, State, TrainedModel
from rnnsearch_analyses.drawing import COLOURS, figure_of, named, samples_in_words, who
from rnnsearch_analyses.recording import Step, layer_keys, no_layers, valid_steps, watched

_VISITED = 8
_LARGEST_STATE = 600
_DECADES = 3.0
_BOUND = 1.0


class GradientFlow(Analysis):
    """Norm of the gradient of the loss with respect to past states, and of the state Jacobian.

    Let `s_k` be the state before step `k`: all its parts side by side, a complex number as two
    reals, integers left out. Each `s_k` counts as a separate input:

        |dL / ds_k|  over the lag to the step that is read,
        J_k = ds_{k+1} / ds_k,   rho(J_k), sigma_max(J_k)  at states that are visited.

    Where `sigma_max(J_k) <= b < 1` at every step, gradients shrink at least as fast as `b^lag`:
    they vanish. To explode, they need steps with `sigma_max(J_k) > 1`. For `s' = phi(W s + ...)`
    with `|phi'| <= gamma`, the source has `sigma_max(W) < 1 / gamma`, where `gamma` is 1 for tanh
    and 1/4 for the sigmoid. As the derivative is part of `J`, the bound for `J` is 1 for every
    cell. The Jacobian is computed at eight steps, spread over time and samples. Where every step is
    read, only the loss at the last step that counts is followed. The gradient of a stacked layer
    includes the path through the layers above. Where lengths differ, the median at a lag is over
    the sequences that are long enough.

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
    ICML 2013, arXiv:1211.5063, section 2.1; Bengio, Simard and Frasconi, "Learning long-term
    dependencies with gradient descent is difficult", IEEE Transactions on Neural Networks 5, 1994.

    Numbers, for each layer: `growth_per_step`, the factor by which the median norm changes from
    one step back to the next (a line fitted to its logarithm); `decades`, the logarithm to base 10
    of the ratio of the norm at the largest lag to that at lag 1 (at least -30, which also stands
    for zero); `verdict`, -1 where `decades` is below -3 (vanishing), 1 where it is above 3
    (exploding), else 0; `spectral_radius` and `singular_value`, means over the visited states,
    `largest_singular_value`, and `bound`. Without a gradient at any lag, there are only the numbers
    of the Jacobian, and a `norm_at_lag_1` of zero. The Jacobian is left out where the state has
    more than 600 scalars.

    Args:
        samples: maximum number of samples to average over.
    """

    options = {"samples": IntRange(1, 1024, default=16, searched=False)}

    @override
    def refusal(self, trained: TrainedModel) -> str | None:
        if reason := no_layers(trained):
            return reason
        for module in trained.model.modules():
            if isinstance(module, RecurrentCell) and not module.capabilities.differentiable:
                return "no gradients pass through it"
        if not all(any(map(has_gradient, layer.initial_state(1))) for layer in trained.layers):
            return "its state is made of integers, which have no gradients"
        return None

    @override
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        samples = min(int(self.chosen["samples"]), len(trained.examples))
        entered: list[list[State]] = [[] for _ in trained.layers]
        given: list[list[Tensor]] = [[] for _ in trained.layers]

        def follow(index: int) -> Step:
            def step(cell: RecurrentCell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
                # Copies, so that the gradient with respect to one part of a state does not include
                # the path through another part or through the output of the step before.
                state = tuple(
                    part.clone().requires_grad_()
                    if has_gradient(part) and not part.requires_grad
                    else part.clone()
                    for part in state
                )
                entered[index].append(state)
                given[index].append(inputs.detach())
                output, after = cell(inputs, state)
                return output, after

            return step

        twin = watched(trained, follow)
        twin.model.double()
        inputs, lengths = twin.inputs(0, samples)
        with torch.enable_grad():
            outputs = twin.model(inputs.double(), lengths)
            targets = torch.as_tensor(trained.examples.targets[:samples])
            targets = targets.double() if targets.is_floating_point() else targets.long()
            seed = _last_read(outputs, twin.task.loss(outputs, targets))
            every = [
                part
                for states in entered
                for state in states
                for part in filter(has_gradient, state)
            ]
            gradients = iter(torch.autograd.grad(outputs, every, seed, allow_unused=True))
        valid = valid_steps(inputs, lengths)
        findings = []
        keys = layer_keys(twin.model, [*twin.layers])
        for key, layer, states, step_inputs in zip(keys, twin.layers, entered, given, strict=True):
            norms = torch.stack([_norm(state, gradients, samples) for state in states])
            by_lag = _by_lag(norms * samples)
            numbers = _describe(by_lag)
            steps = _some_steps(valid)
            jacobians = _jacobians(layer.cell, states, step_inputs, steps)
            if jacobians is not None:
                numbers |= _describe_jacobians(jacobians)
            title = who(trained, key.replace("_", " "))
            findings.append(
                Finding(
                    named("gradients", key),
                    f"Norm of the gradient of the loss by the state of {title} over the steps "
                    f"between that state and the reading, median and quartiles of "
                    f"{samples_in_words(samples)}: {_in_words(numbers)}."
                    + (_jacobian_in_words(numbers) if jacobians is not None else ""),
                    _draw(by_lag, jacobians, title) if by_lag.size else None,
                    numbers,
                )
            )
        return findings


def _last_read(outputs: Tensor, loss: Tensor) -> Tensor:
    """Gradient of the loss for the outputs; if every step is read, only at the last that counts."""
    (seed,) = torch.autograd.grad(loss, outputs, retain_graph=True)
    if seed.dim() < 3:
        return seed
    counts = (seed != 0).any(dim=-1)
    steps = torch.arange(len(seed)).unsqueeze(1)
    last = torch.where(counts, steps, -1).amax(dim=0)
    return torch.where((steps == last).unsqueeze(-1), seed, 0.0)


def _norm(state: State, gradients: Any, samples: int) -> Tensor:
    """Norm of the gradient for a state, `(batch,)`, from one gradient for each of its parts."""
    total = torch.zeros(samples, dtype=torch.float64)
    for _ in filter(has_gradient, state):
        gradient = next(gradients)
        if gradient is not None:
            total = total + gradient.flatten(1).abs().square().sum(dim=1)
    return total.sqrt()


def _by_lag(norms: Tensor) -> np.ndarray:
    """Norms `(lag, batch)` from norms by step; NaN before a sequence begins.

    The lag is 1 for the last state that the loss depends on.
    """
    steps = torch.arange(len(norms)).unsqueeze(1)
    last = torch.where(norms > 0, steps, -1).amax(dim=0)
    longest = int(last.max()) + 1
    found = np.full((longest, norms.shape[1]), np.nan)
    for sample, end in enumerate(last.tolist()):
        found[: end + 1, sample] = norms[: end + 1, sample].flip(0).numpy()
    return found[:, [end >= 0 for end in last.tolist()]]


def _describe(by_lag: np.ndarray) -> dict[str, float]:
    if not by_lag.size:
        return {"norm_at_lag_1": 0.0}
    median = np.nanmedian(by_lag, axis=1)
    floor = 1e-30 * median[0]
    logs = np.log10(np.maximum(median, max(floor, 1e-300)))
    decades = float(logs[-1] - logs[0])
    numbers = {"norm_at_lag_1": float(median[0]), "lags": float(len(median)), "decades": decades}
    if len(median) > 1:
        slope = np.polyfit(np.arange(len(logs)), logs, 1)[0]
        numbers["growth_per_step"] = float(10**slope)
    numbers["verdict"] = float(np.sign(decades)) if abs(decades) > _DECADES else 0.0
    return numbers


def _in_words(numbers: dict[str, float]) -> str:
    if "verdict" not in numbers:
        return "there is none, as what reads the layer passes none back"
    verdict = {-1.0: "it vanishes", 0.0: "it neither vanishes nor explodes", 1.0: "it explodes"}
    said = verdict[numbers["verdict"]]
    if "growth_per_step" in numbers:
        said += f", by a factor of {numbers['growth_per_step']:.3g} for each step back"
    return said


def _some_steps(valid: Tensor) -> list[tuple[int, int]]:
    """Pairs of step and sample, spread over time and samples."""
    found = []
    for place in range(_VISITED):
        sample = place % valid.shape[1]
        length = int(valid[:, sample].sum())
        found.append((min(length - 1, (2 * place + 1) * length // (2 * _VISITED)), sample))
    return sorted(set(found))


def _jacobians(
    cell: RecurrentCell, states: list[State], inputs: list[Tensor], where: list[tuple[int, int]]
) -> list[Tensor] | None:
    """Jacobians of the step at visited states, or None if they are too large."""
    if sum(_reals(part)[0].numel() for part in filter(has_gradient, states[0])) > _LARGEST_STATE:
        return None
    return [
        state_jacobian(
            cell,
            inputs[step][sample : sample + 1],
            tuple(part[sample : sample + 1] for part in states[step]),
        )
        for step, sample in where
    ]


def state_jacobian(cell: RecurrentCell, inputs: Tensor, state: State) -> Tensor:
    """Jacobian of the next state with respect to the state, all parts joined, `(size, size)`.

    Samples of a batch are independent, so a batch of copies gives one row per copy in one pass.
    Complex parts stand for two reals each; integer parts stay unchanged and have no row.

    Shapes:
        inputs: `(1, input_size)`
        state: a tuple of tensors `(1, ...)`
    """
    followed = [part for part in state if has_gradient(part)]
    size = sum(_reals(part).numel() for part in followed)
    with torch.enable_grad():
        copies = [
            _reals(part.detach()).expand(size, *_reals(part).shape[1:]).clone().requires_grad_()
            for part in followed
        ]
        moved = iter(copies)
        entered = tuple(
            _as_it_was(next(moved), part)
            if has_gradient(part)
            else part.detach().expand(size, *part.shape[1:])
            for part in state
        )
        _, after = cell(inputs.detach().expand(size, -1), entered)
        flat = torch.cat([_reals(part).flatten(1) for part in filter(has_gradient, after)], dim=1)
        if not flat.requires_grad:
            return flat.new_zeros(size, size)
        gradients = torch.autograd.grad(flat.diagonal().sum(), copies, allow_unused=True)
    lines = [
        torch.zeros_like(copy) if gradient is None else gradient
        for copy, gradient in zip(copies, gradients, strict=True)
    ]
    return torch.cat([line.flatten(1) for line in lines], dim=1)


def has_gradient(part: Tensor) -> bool:
    """Whether a part of a state has gradients; a step counter, for example, has none."""
    return part.is_floating_point() or part.is_complex()


def _reals(part: Tensor) -> Tensor:
    return torch.view_as_real(part) if part.is_complex() else part


def _as_it_was(reals: Tensor, part: Tensor) -> Tensor:
    return torch.view_as_complex(reals) if part.is_complex() else reals


def _describe_jacobians(jacobians: list[Tensor]) -> dict[str, float]:
    every = torch.stack(jacobians)
    singular = torch.linalg.matrix_norm(every, ord=2)
    return {
        "spectral_radius": float(torch.linalg.eigvals(every).abs().amax(dim=1).mean()),
        "singular_value": float(singular.mean()),
        "largest_singular_value": float(singular.max()),
        "bound": _BOUND,
    }


def _jacobian_in_words(numbers: dict[str, float]) -> str:
    largest = numbers["largest_singular_value"]
    side = "below" if largest < _BOUND else "not below"
    return (
        f" At the states looked at, the Jacobian of the step has a mean spectral radius of "
        f"{numbers['spectral_radius']:.3g} and a largest singular value of {largest:.3g}, {side} "
        f"the bound of 1 under which gradients can only shrink."
    )


def _draw(by_lag: np.ndarray, jacobians: list[Tensor] | None, title: str) -> Any:
    lags = np.arange(1, len(by_lag) + 1)
    panels = 1 if jacobians is None else 2
    with figure_of(1, panels, 5.0 * panels, 3.4) as (figure, axes):
        low, median, high = np.nanpercentile(by_lag, (25, 50, 75), axis=1)
        panel = axes[0, 0]
        # Zero has no logarithm; it is a gap in the line.
        positive = np.where(median > 0, median, math.nan)
        if np.isfinite(positive).any():
            panel.fill_between(
                lags, np.maximum(low, 1e-300), high, color=COLOURS[0], alpha=0.25, linewidth=0
            )
            panel.plot(lags, positive, color=COLOURS[0])
            panel.set_yscale("log")
            smallest, largest = np.nanmin(positive), np.nanmax(positive)
            bottom = max(smallest / 10, largest * 1e-30)
            panel.set_ylim(bottom, max(largest * 10, bottom * 10))
        panel.set_xlabel("steps back")
        panel.set_ylabel("norm of the gradient by the state")
        panel.set_title(f"gradient flow of {title}", loc="left")
        if jacobians is not None:
            values = torch.stack([torch.linalg.svdvals(j) for j in jacobians])
            for line in values.numpy():
                axes[0, 1].plot(range(1, len(line) + 1), line, color=COLOURS[0], alpha=0.5)
            axes[0, 1].axhline(_BOUND, color="#888888", linestyle="--", linewidth=1)
            axes[0, 1].set_xlabel("number, by size; dashed: the bound")
            axes[0, 1].set_ylabel("singular value")
            axes[0, 1].set_title("state Jacobian, one line for each state visited", loc="left")
    return figure
