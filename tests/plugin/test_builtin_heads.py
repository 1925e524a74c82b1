"""Heads count the parameters they build and compute their equations."""

from __future__ import annotations

import pytest
import torch

from rnnsearch import Choice, Head, Value, load_registry
from rnnsearch.plugin.builtin.identity import IdentityHead
from rnnsearch.plugin.builtin.linear import LinearHead
from rnnsearch.plugin.builtin.mlp import MLPHead
from rnnsearch.plugin.builtin.tied import TiedHead
from rnnsearch.testing import HeadConformance

HEADS: dict[str, type[Head]] = {"linear": LinearHead, "mlp": MLPHead}

SETTINGS: list[tuple[str, int, dict[str, Value]]] = [
    ("linear", 0, {}),
    ("linear", 0, {"output": "sigmoid"}),
    ("mlp", 4, {}),
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


class TestHeads(HeadConformance):
    @pytest.fixture(params=[IdentityHead, LinearHead, MLPHead, TiedHead])
    def head_class(self, request: pytest.FixtureRequest) -> type[Head]:
        return request.param


def test_the_identity_hands_on_what_it_is_given_and_refuses_other_widths() -> None:
    features = torch.randn(3, 2)
    assert torch.equal(IdentityHead(2, 2)(features), features)
    assert IdentityHead.refusal(3, 2) == (
        "it maps 3 features to as many outputs, and the task has 2"
    )


def test_the_tied_head_begins_as_published() -> None:
    head = TiedHead(40, 50)
    assert 0.09 < head.weight.abs().max() <= 0.1
    assert not head.bias.any()


def test_they_are_registered_as_those_of_a_plugin_are() -> None:
    registry = load_registry()
    names = {"identity": IdentityHead, "linear": LinearHead, "mlp": MLPHead, "tied": TiedHead}
    assert {name: registry.head(name) for name in names} == names
    assert {registry.plugin_of("head", name).name for name in names} == {"core"}
