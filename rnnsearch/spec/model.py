"""A model in names and numbers: what it is made of, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rnnsearch.errors import CapabilityError
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.shape import SequenceShape

# The head whose weight is the embedding of the tokens, too.
TIED_HEAD = "tied"


@dataclass(frozen=True)
class ModelSpec:
    """Everything that fixes a model's structure, in names and numbers: it pickles and logs.

    Attributes:
        architecture: registered name.
        shape: the task's sequences.
        hidden_size: the width.
        last_hidden_size: width of the last of several layers, where it differs; 0 where not.
        num_layers: stacked layers.
        bidirectional: whether each layer runs in both directions.
        learned_initial_state: whether the initial states are trained.
        head: name of the head; empty for a `SequenceModel`, which brings its own. Where the task
            ties the output weight to its embedding, it is `tied`, whatever is asked for.
        head_hidden_size: hidden width of the head, 0 where it has none.
        head_options: the head's declared options.
        options: the architecture's structure and hyperparameters.
        wrappers: wrappers around each cell, the innermost first, each with its options.

    Raises:
        CapabilityError: the task's sequences cannot be taken so.
    """

    architecture: str
    shape: SequenceShape
    hidden_size: int
    last_hidden_size: int = 0
    num_layers: int = 1
    bidirectional: bool = False
    learned_initial_state: bool = False
    head: str = "linear"
    head_hidden_size: int = 0
    head_options: Mapping[str, Value] = field(default_factory=dict)
    options: Mapping[str, Value] = field(default_factory=dict)
    wrappers: tuple[tuple[str, Mapping[str, Value]], ...] = ()

    def __post_init__(self) -> None:
        tied = self.shape.embedding == "tied"
        if tied and self.head:
            for name, value in (("head", TIED_HEAD), ("head_hidden_size", 0), ("head_options", {})):
                object.__setattr__(self, name, value)
        elif self.head == TIED_HEAD and not tied:
            msg = f"head `{TIED_HEAD}` needs a task of tokens that ties its embedding"
            raise CapabilityError(msg)
        if self.shape.stride and self.bidirectional:
            msg = (
                "with `bidirectional` no state can be carried from window to window, as the task "
                "asks. Remove `bidirectional`"
            )
            raise CapabilityError(msg)

    @property
    def widths(self) -> list[int]:
        """Width of each layer, first to last."""
        last = self.last_hidden_size or self.hidden_size
        return [self.hidden_size] * (self.num_layers - 1) + [last]


@dataclass(frozen=True)
class Complexity:
    """What a model costs.

    Attributes:
        trainable: scalars that training changes, each counted once; `torch` counts these.
        one_bias: the same with one bias per affine map, as papers count.
        frozen: scalars kept but not trained.
        state_size: scalars of recurrent state per sample; a complex number is two.
        flops_per_step: floating-point operations of one time step of one sample in evaluation,
            counted as `rnnsearch.budget.flops` says. What depends on parameters alone is left out,
            as it is the same for all samples. A head that is read once counts a `length`-th of its
            own, and nothing if the length varies.
        flops_counted: `all`; or `products`, for a trial of a version that counted the products of
            matrices alone.
    """

    trainable: int
    one_bias: int
    frozen: int
    state_size: int
    flops_per_step: float
    flops_counted: str = "all"
