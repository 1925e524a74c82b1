"""Heads count what they build and compute what they say."""

from __future__ import annotations

import pytest
import torch

from rnnsearch import Choice, Head, Value
from rnnsearch.testing import HeadConformance
from rnnsearch_heads.identity import IdentityHead
from rnnsearch_heads.linear import LinearHead
from rnnsearch_heads.mlp import MLPHead
from rnnsearch_heads.prelu import PReLUHead

HEADS = {"linear": LinearHead, "mlp": MLPHead, "prelu": PReLUHead}

SETTINGS: list[tuple[str, int, dict[str, Value]]] = [
    ("linear", 0, {}),
    ("linear", 0, {"output": "sigmoid"}),
    ("mlp", 4, {}),
    ("prelu", 4, {}),
    ("prelu", 4, {"slopes": "shared"}),
]


def _ids(value: object) -> str | None:
    return ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None


@pytest.mark.parametrize(("name", "hidden_size", "options"), SETTINGS, ids=_ids)
@pytest.mark.parametrize(("features", "output_size"), [(1, 1), (7, 3), (30, 10)])
def test_parameter_count_equals_the_parameters_built(
    name: str, hidden_size: int, options: dict[str, Value], features: int, output_size: int
) -> None:
    head = HEADS[name](features, output_size, hidden_size, **options)
    built = sum(p.numel() for p in head.parameters())
    counted = HEADS[name].parameter_count(features, output_size, hidden_size, **options)
    assert counted == built


@pytest.mark.parametrize("name", HEADS)
def test_every_declared_option_is_one_that_the_settings_above_cover(name: str) -> None:
    for option, parameter in HEADS[name].options.items():
        assert isinstance(parameter, Choice)
        covered = {o.get(option, parameter.default) for n, _, o in SETTINGS if n == name}
        assert covered == set(parameter.options)


@pytest.mark.parametrize(("name", "hidden_size", "options"), SETTINGS, ids=_ids)
def test_every_step_gets_what_it_would_get_alone(
    name: str, hidden_size: int, options: dict[str, Value]
) -> None:
    head = HEADS[name](6, 3, hidden_size, **options).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    features = torch.randn(5, 2, 6, dtype=torch.float64)
    together = head(features)
    assert together.shape == (5, 2, 3)
    torch.testing.assert_close(together, torch.stack([head(step) for step in features]))


def test_linear_head_is_one_affine_map_and_sigmoid_squashes_it() -> None:
    head = LinearHead(6, 3)
    squashed = LinearHead(6, 3, output="sigmoid")
    squashed.load_state_dict(head.state_dict())
    features = torch.randn(4, 6)
    expected = features @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(features), expected)
    torch.testing.assert_close(squashed(features), torch.sigmoid(expected))


def test_sigmoid_output_keeps_the_cross_entropy_of_ten_classes_above_1_46() -> None:
    head = LinearHead(10, 10, output="sigmoid")
    with torch.no_grad():
        head.linear.weight.copy_(200 * torch.eye(10) - 100)
        head.linear.bias.zero_()
    loss = torch.nn.functional.cross_entropy(head(torch.eye(10)), torch.arange(10))
    assert loss.item() == pytest.approx(1.4612, abs=1e-4)


def test_mlp_head_is_affine_relu_affine() -> None:
    head = MLPHead(6, 3, 4)
    features = torch.randn(4, 6)
    hidden = torch.relu(features @ head.hidden.weight.T + head.hidden.bias)
    torch.testing.assert_close(head(features), hidden @ head.output.weight.T + head.output.bias)


@pytest.mark.parametrize("slopes", ["per_unit", "shared"])
def test_prelu_head_scales_negative_values_by_the_slope_of_their_unit(slopes: str) -> None:
    head = PReLUHead(6, 3, 4, slopes=slopes).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    features = torch.randn(5, 2, 6, dtype=torch.float64)
    hidden = features @ head.hidden.weight.T + head.hidden.bias
    hidden = torch.where(hidden > 0, hidden, head.hidden_slope.weight * hidden)
    output = hidden @ head.output.weight.T + head.output.bias
    output = torch.where(output > 0, output, head.output_slope.weight * output)
    torch.testing.assert_close(head(features), output)
    assert head.hidden_slope.weight.numel() == (4 if slopes == "per_unit" else 1)
    assert head.output_slope.weight.numel() == (3 if slopes == "per_unit" else 1)


@pytest.mark.parametrize(
    ("features", "hidden_size", "expected"),
    # Sums of the paper: 160 + 10 + 110, to which it does not add the 10 slopes of the output, and
    # 620 + 20 + 210 + 10, to which it does.
    [(15, 10, 280 + 10), (30, 20, 860)],
)
def test_prelu_head_counts_as_the_sm_rnn_paper_does(
    features: int, hidden_size: int, expected: int
) -> None:
    assert PReLUHead.parameter_count(features, 10, hidden_size) == expected


class TestHeads(HeadConformance):
    @pytest.fixture(params=[IdentityHead, LinearHead, MLPHead, PReLUHead])
    def head_class(self, request: pytest.FixtureRequest) -> type[Head]:
        return request.param


def test_the_identity_hands_on_what_it_is_given_and_refuses_other_widths() -> None:
    features = torch.randn(3, 2)
    assert torch.equal(IdentityHead(2, 2)(features), features)
    assert IdentityHead.refusal(3, 2) == (
        "it maps 3 features to as many outputs, and the task has 2"
    )
