"""The engines that can train a model, by name."""

from __future__ import annotations

from enum import StrEnum


class Engine(StrEnum):
    """What trains a model; each member is the word for it in study files and records.

    The first four, the fastest first, train one trial and fall back to the next where a model is
    not one that they take; the eager loop takes every model. The last two train several trials
    that share a shape, in torch.
    """

    PROGRAM = "program"
    LAYERS = "layers"
    TORCH = "torch"
    EAGER = "eager"
    VMAPPED = "vmapped"
    GRAPHED = "graphed"

    @property
    def takes_several(self) -> bool:
        """Whether it trains several trials that share a shape; one alone then runs in torch."""
        return self in (Engine.VMAPPED, Engine.GRAPHED)

    @property
    def shown_for_several(self) -> str:
        """What is shown as the engine of trials that it trained together."""
        return f"{self} seeds"

    @property
    def fallbacks(self) -> tuple[Engine, ...]:
        """It and the slower engines, in the order in which they are tried for one trial."""
        engine = Engine.TORCH if self.takes_several else self
        order = (Engine.PROGRAM, Engine.LAYERS, Engine.TORCH, Engine.EAGER)
        return order[order.index(engine) :]
