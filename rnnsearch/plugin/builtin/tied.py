"""The head whose weight is the embedding of the tokens, too."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from rnnsearch.plugin.head import Head
from rnnsearch.spec.parameters import Value

_BOUND = 0.1


class TiedHead(Head):
    """One affine map; a task of tokens that ties its embedding embeds with the same weight.

        logits = E h + b,    x_t = E[token_t]

    The weight belongs to this head and is counted here, once; the embedding has none of its own.
    A model gets this head from its task, not from the study. As in the published code of MCRM (see
    `char_ptb`), the weight begins uniform in [-0.1, 0.1) and the bias at zero.

    Source: Press and Wolf, "Using the output embedding to improve language models", EACL 2017,
    arXiv:1608.05859; Inan, Khosravi and Socher, "Tying word vectors and word classifiers", ICLR
    2017, arXiv:1611.01462.

    Shapes:
        features: `(..., features)`
        output: `(..., output_size)`; the weight E is `(output_size, features)`
    """

    def __init__(self, features: int, output_size: int, hidden_size: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(output_size, features).uniform_(-_BOUND, _BOUND))
        self.bias = nn.Parameter(torch.zeros(output_size))

    @classmethod
    @override
    def parameter_count(
        cls, features: int, output_size: int, hidden_size: int, **options: Value
    ) -> int:
        return (features + 1) * output_size

    @override
    def forward(self, features: Tensor) -> Tensor:
        return functional.linear(features, self.weight, self.bias)
