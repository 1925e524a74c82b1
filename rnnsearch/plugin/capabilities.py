"""What an architecture can take and how it is trained: who meets which task."""

from __future__ import annotations

from dataclasses import dataclass

# What a task can hand over (see `Examples`); a word for more would promise what nobody honours.
DATA = ("sequence",)
TRAINED_BY = ("gradient", "closed_form")


@dataclass(frozen=True)
class Capabilities:
    """What an architecture declares about itself; a study refuses what does not fit.

    Attributes:
        data: structures of data that it reads, of `DATA`: sequences, as there are no others.
        causal: whether an output at a step depends on no later input. A task that predicts what
            comes next takes only causal models: another would read the answer.
        differentiable: whether gradients of outputs by inputs exist; some analyses need them.
        trained_by: how it may be trained, of `TRAINED_BY`, the usual way first. One that is
            trained in `closed_form` has a method `fit` (see `SequenceModel`).
    """

    data: frozenset[str] = frozenset({"sequence"})
    causal: bool = True
    differentiable: bool = True
    trained_by: tuple[str, ...] = ("gradient",)

    def __post_init__(self) -> None:
        if not self.data or not self.data <= set(DATA):
            msg = f"data: expected some of {', '.join(DATA)}, got {sorted(self.data)}"
            raise ValueError(msg)
        if not self.trained_by or not set(self.trained_by) <= set(TRAINED_BY):
            msg = f"trained_by: expected some of {', '.join(TRAINED_BY)}, got {self.trained_by}"
            raise ValueError(msg)

    def refusal(self, data: str, *, needs_causal: bool) -> str | None:
        """Say why this cannot take data of a kind, or return None.

        Args:
            data: the kind, one of `DATA`.
            needs_causal: whether an output must not depend on later inputs.
        """
        if data not in self.data:
            reads = " or ".join(kind for kind in DATA if kind in self.data)
            return f"it reads {reads} data, and the task's are {data} data"
        if needs_causal and not self.causal:
            return "its outputs depend on later inputs, which hold what the task asks for"
        return None
