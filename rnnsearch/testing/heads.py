"""The conformance suite of heads: the promises of `Head` as tests."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor

from rnnsearch.plugin.head import Head
from rnnsearch.plugin.registry import load_registry
from rnnsearch.spec.parameters import Value
from rnnsearch.testing.probes import (
    first_difference,
    noise,
    seeded,
    settings,
    trained_scalars,
    what_changes,
)

_SIZES = ((1, 1), (3, 3), (7, 3), (4, 10))


class HeadConformance:
    """Every check that a head has to pass.

    Subclass it under a name that starts with `Test` and return the class from `head_class`. Each
    check runs over the defaults and every declared option in turn, at every pair of features and
    outputs that the head does not refuse.
    """

    @pytest.fixture
    def head_class(self) -> type[Head]:
        """The class under test."""
        raise NotImplementedError

    def _cases(self, head_class: type[Head]) -> Iterator[tuple[int, int, int, Mapping[str, Value]]]:
        widths = (0,) if head_class.hidden_ratio is None else (1, 4)
        for features, outputs in _SIZES:
            if head_class.refusal(features, outputs) is None:
                for hidden in widths:
                    for options in settings(head_class.options):
                        yield features, outputs, hidden, options

    def _build(
        self, head_class: type[Head], case: tuple[int, int, int, Mapping[str, Value]], seed: int = 0
    ) -> Head:
        features, outputs, hidden, options = case
        head: Head = seeded(seed, lambda: head_class(features, outputs, hidden, **options))
        return head.double()

    def test_takes_at_least_one_size_and_refuses_the_others_in_words(
        self, head_class: type[Head]
    ) -> None:
        reasons = [head_class.refusal(features, outputs) for features, outputs in _SIZES]
        assert None in reasons, f"it refuses every size that is tried: {reasons[0]}"
        assert all(reason is None or reason.strip() for reason in reasons), "a reason is empty"

    def test_declared_options_have_valid_defaults_that_are_the_constructors(
        self, head_class: type[Head]
    ) -> None:
        arguments = inspect.signature(head_class).parameters
        for name, parameter in head_class.options.items():
            problem = parameter.problem_with(parameter.default)
            assert problem is None, f"default of `{name}`: {problem}"
            assert name in arguments, f"the constructor does not take `{name}`"
            assert arguments[name].default == parameter.default, (
                f"`{name}` is {arguments[name].default!r} by default in the constructor, and "
                f"{parameter.default!r} where it is declared"
            )

    def test_it_grows_into_a_head_with_a_hidden_layer(self, head_class: type[Head]) -> None:
        if head_class.grows_into:
            assert load_registry().head(head_class.grows_into).hidden_ratio is not None

    def test_parameter_count_equals_the_parameters_built(self, head_class: type[Head]) -> None:
        for case in self._cases(head_class):
            features, outputs, hidden, options = case
            counted = head_class.parameter_count(features, outputs, hidden, **options)
            found = trained_scalars(self._build(head_class, case))
            assert counted == found, f"{counted} were declared, {found} were built ({case})"

    def test_parameter_count_grows_strictly_with_the_hidden_width(
        self, head_class: type[Head]
    ) -> None:
        if head_class.hidden_ratio is None:
            pytest.skip("the head has no hidden layer")
        for options in settings(head_class.options):
            counts = [head_class.parameter_count(5, 3, h, **options) for h in range(1, 40)]
            grows = counts == sorted(set(counts))
            assert grows, f"`parameter_count` does not grow with every unit: {counts} ({options})"

    def test_output_has_the_tasks_width_at_one_step_as_at_many(
        self, head_class: type[Head]
    ) -> None:
        for case in self._cases(head_class):
            head = self._build(head_class, case)
            features = noise(4, 3, case[0])
            outputs = head(features)
            expected = (4, 3, case[1])
            found = tuple(outputs.shape)
            assert found == expected, f"outputs: expected {expected}, found {found} ({case})"
            alone = torch.stack([head(step) for step in features])
            torch.testing.assert_close(outputs, alone, msg=str(case))

    def test_a_sample_gives_the_same_result_alone_as_in_a_batch(
        self, head_class: type[Head]
    ) -> None:
        for case in self._cases(head_class):
            head = self._build(head_class, case)
            features = noise(3, case[0])
            alone = torch.cat([head(sample) for sample in features.split(1)])
            torch.testing.assert_close(head(features), alone, msg=str(case))

    def test_a_run_leaves_nothing_on_the_module(self, head_class: type[Head]) -> None:
        for case in self._cases(head_class):
            head = self._build(head_class, case)

            def run(head: Head = head, case: tuple[int, ...] = case[:1]) -> Tensor:
                outputs: Tensor = head(noise(3, case[0]))
                return outputs

            changed = what_changes(head, run)
            assert changed is None, f"a run changed {changed} ({case})"

    def test_gradient_reaches_every_parameter(self, head_class: type[Head]) -> None:
        for case in self._cases(head_class):
            missed: set[str] | None = None
            for seed in range(5):  # a rectifier may be off for one draw
                head = self._build(head_class, case, seed)
                outputs = head(noise(8, case[0], seed=seed))
                if trained_scalars(head):
                    (outputs * noise(*outputs.shape, seed=5)).sum().backward()
                now = {n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()}
                missed = now if missed is None else missed & now
            assert not missed, f"no gradient reaches {sorted(missed or ())} ({case})"

    def test_gradients_equal_finite_differences(self, head_class: type[Head]) -> None:
        for case in self._cases(head_class):
            head = self._build(head_class, case)
            features = noise(3, case[0], seed=1).requires_grad_()
            assert torch.autograd.gradcheck(head, (features,), fast_mode=True), case

    def test_the_same_seed_gives_the_same_weights(self, head_class: type[Head]) -> None:
        for case in self._cases(head_class):
            one, two = (self._build(head_class, case, seed=7) for _ in range(2))
            difference = first_difference(dict(one.state_dict()), dict(two.state_dict()))
            assert difference is None, f"{case}: not drawn from torch's generator: {difference}"
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(8)
                head_class(*case[:3], **case[3])
                assert torch.initial_seed() == 8, f"{case}: the constructor seeds torch"

    def test_builds_and_runs_without_storage(self, head_class: type[Head]) -> None:
        """On device `meta`, where FLOPs are counted and a branch on a value cannot be taken."""
        for case in self._cases(head_class):
            with torch.device("meta"):
                head, features = head_class(*case[:3], **case[3]), torch.empty(3, case[0])
            device = head(features).device.type
            assert device == "meta", f"a tensor made in the head ignores the device ({case})"

    def test_a_loaded_state_dict_brings_the_whole_head(self, head_class: type[Head]) -> None:
        for case in self._cases(head_class):
            one, two = (self._build(head_class, case, seed) for seed in (0, 1))
            two.load_state_dict(one.state_dict(), strict=True)
            features = noise(3, case[0])
            torch.testing.assert_close(two(features), one(features), msg=str(case))
