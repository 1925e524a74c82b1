"""A whole model, from names and numbers: what it is made of, what it counts, how it is built."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch.errors import CapabilityError
from rnnsearch.plugin.architecture import Architecture
from rnnsearch.plugin.cell import RecurrentCell, State
from rnnsearch.plugin.layers import Bidirectional, Stacked, Unrolled
from rnnsearch.plugin.noise import layer_keys
from rnnsearch.plugin.registry import load_registry
from rnnsearch.plugin.sequence_model import SequenceModel
from rnnsearch.plugin.wrapper import CellWrapper
from rnnsearch.spec.model import ModelSpec
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.shape import SequenceShape

# Bound of the uniform distribution of an embedding's first values.
_EMBEDDING_BOUND = 0.1


def split_options(
    architecture: Architecture, options: Mapping[str, Value]
) -> tuple[dict[str, Value], dict[str, Value]]:
    """Split options into those that change the count and those that do not."""
    structure = {k: v for k, v in options.items() if k in architecture.structure}
    return structure, {k: v for k, v in options.items() if k not in structure}


def count_parameters(architecture: Architecture, spec: ModelSpec) -> tuple[int, int, int]:
    """Trainable, redundant-bias and frozen scalars of a model, by formula.

    Nothing is built, but where initial states are learned: how much of a state can be trained, a
    cell without storage tells.
    """
    structure, _ = split_options(architecture, spec.options)
    if issubclass(architecture, SequenceModel):
        shape, width = spec.shape, spec.hidden_size
        return (
            architecture.parameter_count(shape, width, **structure),
            architecture.redundant_biases(shape, width, **structure),
            architecture.frozen_count(shape, width, **structure),
        )
    directions = 2 if spec.bidirectional else 1
    trainable = redundant = frozen = 0
    features = first_features(architecture, spec)
    if spec.shape.embedding == "separate":
        trainable += spec.shape.vocabulary * features
    for layer, width in enumerate(spec.widths):
        counts = [
            architecture.parameter_count(features, width, **structure),
            architecture.redundant_biases(features, width, **structure),
            architecture.frozen_count(features, width, **structure),
        ]
        if spec.learned_initial_state:
            with torch.device("meta"):
                start = _make_layer(architecture, spec, features, width, layer).initial_offsets
            counts[0] += sum(offset.numel() for offset in start)
        output = architecture.output_size(features, width, **structure)
        for wrapper, options in _wrappers(spec):
            counts[0] += wrapper.parameter_count(features, output, layer=layer, **options)
            output = wrapper.output_size(features, output, **options)
        trainable += directions * counts[0]
        redundant += directions * counts[1]
        frozen += directions * counts[2]
        features = directions * output
    trainable += (
        load_registry()
        .head(spec.head)
        .parameter_count(
            head_features(architecture, spec),
            spec.shape.output_size,
            spec.head_hidden_size,
            **spec.head_options,
        )
    )
    return trainable, redundant, frozen


def _wrappers(spec: ModelSpec) -> list[tuple[type[CellWrapper], Mapping[str, Value]]]:
    return [(load_registry().wrapper(name), options) for name, options in spec.wrappers]


def _layer_output_size(
    architecture: type[RecurrentCell], spec: ModelSpec, features: int, width: int
) -> int:
    structure, _ = split_options(architecture, spec.options)
    output = architecture.output_size(features, width, **structure)
    for wrapper, options in _wrappers(spec):
        output = wrapper.output_size(features, output, **options)
    return (2 if spec.bidirectional else 1) * output


def first_features(architecture: type[RecurrentCell], spec: ModelSpec) -> int:
    """Width of what the first layer is given: of the inputs, or of the embedding of tokens.

    Raises:
        CapabilityError: no embedding is as wide as the last layer's output.
    """
    if not spec.shape.vocabulary:
        return spec.shape.input_size

    def after(features: int) -> int:
        for width in spec.widths:
            features = _layer_output_size(architecture, spec, features, width)
        return features

    features = after(1)
    if after(features) != features:
        msg = (
            f"architecture `{spec.architecture}` cannot take tokens: the width of its output "
            f"depends on that of its input, so the embedding cannot be as wide as the output"
        )
        raise CapabilityError(msg)
    return features


def layer_inputs(architecture: type[RecurrentCell], spec: ModelSpec) -> list[int]:
    """Width of what each layer of a model is given, and last of what stands on them."""
    features = [first_features(architecture, spec)]
    for width in spec.widths:
        features.append(_layer_output_size(architecture, spec, features[-1], width))
    return features


def head_features(architecture: type[RecurrentCell], spec: ModelSpec) -> int:
    """Width of what the head of a model sees."""
    features = layer_inputs(architecture, spec)[-1]
    if architecture.readout == "all_steps":
        assert spec.shape.length is not None, "refused by `refusal`"
        return features * spec.shape.length
    return features


def default_head_hidden_size(head: str, width: int) -> int:
    """Hidden width of a head that the study does not fix, 0 for one without a hidden layer."""
    ratio = load_registry().head(head).hidden_ratio
    return 0 if ratio is None else max(1, math.floor(ratio * width + 0.5))


def width_multiple(architecture: Architecture, spec: ModelSpec) -> int:
    """What the widths of a model have to be multiples of, for the architecture and its wrappers."""
    structure, _ = split_options(architecture, spec.options)
    wrapped = [wrapper.width_multiple(**options) for wrapper, options in _wrappers(spec)]
    return math.lcm(architecture.width_multiple(**structure), *wrapped)


def idle_wrapper(architecture: type[RecurrentCell], spec: ModelSpec) -> tuple[int, str] | None:
    """A wrapper that changes nothing in any layer of a model, by its index, and why; or None."""
    structure, _ = split_options(architecture, spec.options)
    reasons: list[list[str | None]] = [[] for _ in spec.wrappers]
    for layer, (features, width) in enumerate(
        zip(layer_inputs(architecture, spec), spec.widths, strict=False)
    ):
        output = architecture.output_size(features, width, **structure)
        for i, (wrapper, options) in enumerate(_wrappers(spec)):
            reasons[i].append(wrapper.idle(features, output, layer=layer, **options))
            output = wrapper.output_size(features, output, **options)
    for i, why in enumerate(reasons):
        if all(why):
            return i, why[-1] or ""
    return None


def refusal(architecture: Architecture, shape: SequenceShape) -> str | None:
    """Say why an architecture cannot take a task's sequences, or return None."""
    if issubclass(architecture, SequenceModel):
        if shape.vocabulary:
            return "it has no embedding, and the task's inputs are tokens"
        if shape.stride:
            return "it has no state to carry from window to window, as the task asks"
        return architecture.refusal(shape)
    if architecture.readout == "all_steps":
        if shape.length is None:
            return "it reads all steps at once, so every sequence must have the same length"
        if shape.readout == "every_step":
            return "it reads all steps at once and cannot give an output at every step"
    return None


class RecurrentModel(nn.Module):
    """Stacked layers, a readout and a head; `spec` says what it was built from, if that is known.

    Shapes:
        inputs: `(time, batch, input_size)`; numbers of tokens `(time, batch, 1)` for a model with
            an embedding, in any type that holds them
        lengths: `(batch,)`, or None where every sequence fills the time axis
        keys: `(batch, 2)`, for cells that ask for noise (see `rnnsearch.plugin.noise`)
        output: `(batch, output_size)`, or `(time, batch, output_size)` for `every_step`
    """

    def __init__(
        self,
        body: Stacked,
        head: nn.Module,
        readout: str,
        *,
        bidirectional: bool = False,
        embedding: nn.Embedding | None = None,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.body, self.head, self.readout = body, head, readout
        self.bidirectional = bidirectional
        self.spec: ModelSpec | None = None

    @override
    def forward(
        self, inputs: Tensor, lengths: Tensor | None = None, keys: Tensor | None = None
    ) -> Tensor:
        outputs = self.body(self.embedded(inputs), lengths, keys)
        features = read(self.readout, outputs, lengths, bidirectional=self.bidirectional)
        output: Tensor = self.head(features)
        return output

    def initial_states(self, batch_size: int) -> list[State]:
        """State of each layer before the first step."""
        return [layer.initial_state(batch_size) for layer in self._layers()]

    @cached_property
    def asks_for_noise(self) -> bool:
        """Whether a cell of it asks for noise while it is trained."""
        return any(m.cell.noise_size for m in self.modules() if isinstance(m, Unrolled))

    def continued(
        self, inputs: Tensor, states: Sequence[State], stride: int, keys: Tensor | None = None
    ) -> tuple[Tensor, list[State]]:
        """Run on from states, for outputs at every step: truncated backpropagation through time.

        Args:
            inputs: as for `forward`.
            states: state of each layer before the first step.
            stride: steps after which the next inputs begin.
            keys: as for `forward`.

        Returns:
            Outputs, and the state of each layer after `stride` steps (or the last, where there are
            fewer), cut off from the graph.
        """
        sequence, kept = self.embedded(inputs), list[State]()
        for number, (layer, state) in enumerate(zip(self._layers(), states, strict=True)):
            own = None if keys is None else layer_keys(keys, number)
            sequence = layer.with_noise(sequence, own)
            outputs, middle = layer.continued(sequence[:stride], state)
            if stride < len(sequence):
                rest, _ = layer.continued(sequence[stride:], middle)
                outputs = torch.cat((outputs, rest))
            sequence = outputs
            kept.append(tuple(part.detach() for part in middle))
        output: Tensor = self.head(sequence)
        return output, kept

    def _layers(self) -> list[Unrolled]:
        layers = list(self.body.layers)
        assert all(isinstance(layer, Unrolled) for layer in layers), "refused by `ModelSpec`"
        return layers  # type: ignore[return-value]

    def embedded(self, inputs: Tensor) -> Tensor:
        """What the first layer is given: the inputs, or the embedding of tokens."""
        if self.embedding is None:
            return inputs
        vectors: Tensor = self.embedding(inputs.squeeze(-1).long())
        return vectors


def read(
    readout: str, outputs: Tensor, lengths: Tensor | None, *, bidirectional: bool = False
) -> Tensor:
    """Pick from outputs `(time, batch, features)` what the head is to see.

    The half that reads backwards has seen the whole sequence at its first step, not at its last.
    """
    if readout == "every_step":
        return outputs
    if readout == "all_steps":
        return outputs.transpose(0, 1).flatten(1)
    if lengths is None:
        last = outputs[-1]
    else:
        last = outputs[lengths - 1, torch.arange(outputs.shape[1], device=outputs.device)]
    if not bidirectional:
        return last
    half = outputs.shape[-1] // 2
    return torch.cat((last[:, :half], outputs[0, :, half:]), dim=-1)


def build_model(architecture: Architecture, spec: ModelSpec) -> nn.Module:
    """Build the model that a specification describes; seed torch before the call."""
    if issubclass(architecture, SequenceModel):
        return architecture(spec.shape, spec.hidden_size, **spec.options)
    layers: list[Unrolled | Bidirectional] = []
    first = features = first_features(architecture, spec)
    for layer, width in enumerate(spec.widths):
        make = partial(_make_layer, architecture, spec, features, width, layer)
        layers.append(Bidirectional(make) if spec.bidirectional else make())
        features = _layer_output_size(architecture, spec, features, width)
    head = load_registry().head(spec.head)(
        head_features(architecture, spec),
        spec.shape.output_size,
        spec.head_hidden_size,
        **spec.head_options,
    )
    readout = architecture.readout or spec.shape.readout
    model = RecurrentModel(
        Stacked(layers),
        head,
        readout,
        bidirectional=spec.bidirectional,
        embedding=_make_embedding(spec.shape, first, head),
    )
    model.spec = spec
    return model


def _make_layer(
    architecture: type[RecurrentCell], spec: ModelSpec, features: int, width: int, layer: int
) -> Unrolled:
    """One layer in one direction: the cell in its wrappers."""
    structure, _ = split_options(architecture, spec.options)
    cell: RecurrentCell = architecture(features, width, **spec.options)
    output = architecture.output_size(features, width, **structure)
    for wrapper, options in _wrappers(spec):
        cell = wrapper(cell, output, layer, **options)
        output = wrapper.output_size(features, output, **options)
    _require_reals(spec.architecture, cell)
    return Unrolled(cell, learned_initial_state=spec.learned_initial_state)


def _require_reals(name: str, cell: RecurrentCell) -> None:
    """Refuse complex parameters and buffers; optimizers and counts take reals."""
    for kind, held in (("parameter", cell.named_parameters()), ("buffer", cell.named_buffers())):
        for path, value in held:
            if value.is_complex():
                msg = (
                    f"architecture `{name}` keeps its {kind} `{path}` in complex numbers. Keep "
                    f"pairs of reals `(..., 2)`, and compute with `torch.complex(w[..., 0], "
                    f"w[..., 1])`"
                )
                raise CapabilityError(msg)


def _make_embedding(shape: SequenceShape, width: int, head: nn.Module) -> nn.Embedding | None:
    if not shape.vocabulary:
        return None
    if shape.embedding == "tied":
        embedding = nn.Embedding(shape.vocabulary, width, device="meta")
        assert isinstance(head.weight, nn.Parameter), "the contract of the head `tied`"
        embedding.weight = head.weight
        return embedding
    embedding = nn.Embedding(shape.vocabulary, width)
    nn.init.uniform_(embedding.weight, -_EMBEDDING_BOUND, _EMBEDDING_BOUND)
    return embedding
