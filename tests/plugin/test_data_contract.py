"""Data that break the contract are refused before anything runs, equally by every engine."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnsearch import (
    NOT_ASKED,
    DataError,
    DataSource,
    Examples,
    GeneratedTask,
    ModelSpec,
    SequenceShape,
    Split,
    Task,
    accuracy,
    binary_cross_entropy,
    cross_entropy,
    generated_options,
    load_registry,
    load_study,
    mean_squared_error,
)
from rnnsearch.plugin.data_contract import SPLITS, Contract, check, find_and_check, join
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import TrainingConfig, TrialSpec
from rnnsearch.training.batches import Batches
from rnnsearch.training.closed_form import ClosedFormUpdates
from rnnsearch.training.engines import prepare
from rnnsearch.training.population import PopulationRun
from rnnsearch.training.run import TrainingRun

CPU = torch.device("cpu")
SAMPLES, STEPS, FEATURES, OUTPUTS = 21, 5, 2, 3
CLASSES = SequenceShape(FEATURES, OUTPUTS, STEPS, "last_step")
VARYING = replace(CLASSES, length=None, readout="masked_step")
TAGS = replace(CLASSES, length=None, readout="every_step")
TOKENS = SequenceShape(1, OUTPUTS, STEPS, "last_step", vocabulary=7, embedding="separate")
CONFIG = TrainingConfig(epochs=1, batch_size=8, learning_rate=0.01)


class Objective(Task):
    """A shape with a loss and a score; the tests supply the data."""

    metric, direction, no_skill = "metric", "minimize", 1.0

    def __init__(self, shape: SequenceShape, loss: Any, score: Any = None) -> None:
        super().__init__()
        self._shape, self._loss, self._score = shape, loss, score or loss

    @property
    def shape(self) -> SequenceShape:
        return self._shape

    def find(self) -> DataSource:
        return DataSource("noise", "here", "", "0" * 64, dict.fromkeys(SPLITS, SAMPLES))

    def load(self, source: DataSource, split: Split) -> Examples:
        return good(self)

    @property
    def loss(self) -> Any:  # type: ignore[override]
        return self._loss

    @property
    def score(self) -> Any:  # type: ignore[override]
        return self._score


def good(task: Objective, seed: int = 0) -> Examples:
    """Noise that satisfies the contract."""
    shape, source = task.shape, np.random.default_rng(seed)
    inputs: np.ndarray = source.standard_normal(
        (SAMPLES, STEPS, shape.input_size), dtype=np.float32
    )
    if shape.vocabulary:
        inputs = source.integers(0, shape.vocabulary, (SAMPLES, STEPS, 1))
    where = (SAMPLES, STEPS) if shape.readout == "every_step" else (SAMPLES,)
    targets: np.ndarray = source.random((*where, shape.output_size), dtype=np.float32)
    if task.loss is cross_entropy:
        targets = source.integers(0, OUTPUTS, where)
    lengths = source.integers(1, STEPS + 1, SAMPLES) if shape.length is None else None
    return Examples(inputs, targets, lengths)


@dataclass(frozen=True)
class Fault:
    """A way to break the contract, and the expected message."""

    shape: SequenceShape
    loss: Any
    breaks: Callable[[Examples], Any]
    said: str

    @property
    def task(self) -> Objective:
        return Objective(self.shape, self.loss)

    @property
    def bad(self) -> Any:
        return self.breaks(good(self.task))


def put(name: str, index: Any, value: float) -> Callable[[Examples], Examples]:
    """Write a value into an array."""

    def breaks(examples: Examples) -> Examples:
        getattr(examples, name)[index] = value
        return examples

    return breaks


def made(name: str, make: Callable[[np.ndarray], Any]) -> Callable[[Examples], Examples]:
    """Convert an array."""
    return lambda examples: replace(examples, **{name: make(getattr(examples, name))})


VALUES = replace(CLASSES, output_size=1)
FAULTS = {
    "one feature more": Fault(
        CLASSES,
        cross_entropy,
        made("inputs", lambda x: np.pad(x, ((0, 0), (0, 0), (0, 1)))),
        r"^inputs: expected 2 features, found 3\. Correct `input_size`",
    ),
    "inputs without a feature axis": Fault(
        replace(CLASSES, input_size=1),
        cross_entropy,
        made("inputs", lambda x: x[:, :, 0]),
        r"inputs: expected the shape \(samples, time, 1\), found \(21, 5\)\. Write `inputs\[:",
    ),
    "no steps": Fault(
        VARYING, cross_entropy, made("inputs", lambda x: x[:, :0]), "expected at least one step"
    ),
    "no samples": Fault(
        CLASSES,
        cross_entropy,
        lambda e: Examples(e.inputs[:0], e.targets[:0]),
        "samples: expected at least one, found none",
    ),
    "a target less": Fault(
        CLASSES,
        cross_entropy,
        made("targets", lambda y: y[:-1]),
        "targets: expected as many as inputs, 21, found 20",
    ),
    "a length less": Fault(
        VARYING,
        cross_entropy,
        made("lengths", lambda n: n[:-1]),
        "lengths: expected as many as inputs, 21, found 20",
    ),
    "a length of 0": Fault(
        VARYING,
        cross_entropy,
        put("lengths", 11, 0),
        r"lengths: expected 1 to 5, found 0 \(sample 11\)",
    ),
    "a length past the end": Fault(
        VARYING,
        cross_entropy,
        put("lengths", 4, 70),
        r"lengths: expected 1 to 5, found 70 \(sample 4\)",
    ),
    "lengths that are floats": Fault(
        VARYING,
        cross_entropy,
        made("lengths", lambda n: n.astype(float)),
        "lengths: expected a NumPy array of integers, found one of float64",
    ),
    "lengths in a column": Fault(
        VARYING,
        cross_entropy,
        made("lengths", lambda n: n[:, None]),
        r"lengths: expected the shape \(samples,\), found \(21, 1\)",
    ),
    "an input that is NaN": Fault(
        CLASSES,
        cross_entropy,
        put("inputs", (13, 2, 1), math.nan),
        r"inputs: expected finite numbers .*, found nan at step 2, feature 1 \(sample 13\)",
    ),
    "an input that is infinite": Fault(
        CLASSES, cross_entropy, put("inputs", (0, 0, 0), math.inf), r"found inf at .*\(sample 0\)"
    ),
    "an input beyond float32": Fault(
        CLASSES,
        cross_entropy,
        lambda e: put("inputs", 9, 1e300)(replace(e, inputs=e.inputs.astype(np.float64))),
        r"found 1e\+300 at step 0, feature 0 \(sample 9\)",
    ),
    "a token too many": Fault(
        TOKENS,
        cross_entropy,
        put("inputs", (3, 4, 0), 7),
        r"inputs: expected tokens 0 to 6, found 7 \(sample 3\)",
    ),
    "a token below 0": Fault(
        TOKENS, cross_entropy, put("inputs", (3, 4, 0), -1), r"found -1 \(sample 3\)"
    ),
    "tokens that are floats": Fault(
        TOKENS,
        cross_entropy,
        made("inputs", lambda x: x.astype(np.float32)),
        "inputs: expected tokens, as integers, found float32",
    ),
    "classes from 1": Fault(
        CLASSES,
        cross_entropy,
        made("targets", lambda y: np.sort(y) + 1),
        r"classes 0 to 2 .*, found 3; those of the split are 1 to 3 \(sample \d+\)",
    ),
    "a class below 0": Fault(
        CLASSES, cross_entropy, put("targets", 6, -1), r"found -1; those .* \(sample 6\)"
    ),
    "classes in a column": Fault(
        CLASSES,
        cross_entropy,
        made("targets", lambda y: y[:, None]),
        r"expected the shape \(samples,\), found \(21, 1\)\. Write `targets\[\.\.\., 0\]`",
    ),
    "classes as floats": Fault(
        CLASSES,
        cross_entropy,
        made("targets", lambda y: y.astype(np.float32)),
        r"targets: expected classes, as integers, found float32\. Write `targets\.astype",
    ),
    "classes in a one-hot code": Fault(
        CLASSES,
        cross_entropy,
        made("targets", lambda y: np.eye(OUTPUTS, dtype=np.int64)[y]),
        r"found \(21, 3\)\. Write `targets\.argmax\(-1\)`",
    ),
    "one class for all steps": Fault(
        TAGS,
        cross_entropy,
        made("targets", lambda y: y[:, 0]),
        r"targets: expected the shape \(samples, 5\), found \(21,\)",
    ),
    "a step of targets less": Fault(
        TAGS,
        cross_entropy,
        made("targets", lambda y: y[:, 1:]),
        r"targets: expected the shape \(samples, 5\), found \(21, 4\)",
    ),
    "a sample of which nothing is asked": Fault(
        TAGS,
        cross_entropy,
        put("targets", 8, NOT_ASKED),
        r"something that is asked, found nothing \(sample 8\)",
    ),
    "values in a row": Fault(
        VALUES,
        mean_squared_error,
        made("targets", lambda y: y[:, 0]),
        r"the shape \(samples, 1\), found \(21,\)\. Write `targets\[\.\.\., None\]`",
    ),
    "a value too few": Fault(
        CLASSES,
        mean_squared_error,
        made("targets", lambda y: y[:, :2]),
        r"the shape \(samples, 3\), found \(21, 2\)",
    ),
    "values that are integers": Fault(
        VALUES,
        mean_squared_error,
        made("targets", lambda y: y.astype(int)),
        "targets: expected values, as floats, found int64",
    ),
    "a value that is infinite": Fault(
        CLASSES,
        mean_squared_error,
        put("targets", (5, 1), math.inf),
        r"targets: expected finite numbers .*, found inf \(sample 5\)",
    ),
    "a bit of 2": Fault(
        CLASSES,
        binary_cross_entropy,
        put("targets", (5, 1), 2),
        r"targets: expected values from 0 to 1, found 2\.0 \(sample 5\)",
    ),
    "lists": Fault(
        CLASSES,
        cross_entropy,
        made("targets", lambda y: y.tolist()),
        r"targets: expected a NumPy array of numbers, found a list\. Write `np\.asarray",
    ),
    "objects": Fault(
        CLASSES,
        cross_entropy,
        made("inputs", lambda x: x.astype(object)),
        "inputs: expected a NumPy array of numbers, found one of object",
    ),
    "strings": Fault(
        CLASSES,
        cross_entropy,
        made("targets", lambda y: y.astype(str)),
        r"targets: expected a NumPy array of numbers, found one of <U\d+",
    ),
    "complex numbers": Fault(
        CLASSES, cross_entropy, made("inputs", lambda x: x + 1j), "found one of complex"
    ),
    "a masked array": Fault(
        CLASSES,
        cross_entropy,
        made("inputs", lambda x: np.ma.masked_greater(x, 1)),
        "found a MaskedArray. Fill what is masked",
    ),
    "a pair": Fault(
        CLASSES,
        cross_entropy,
        lambda e: (e.inputs, e.targets),
        "examples: expected an `rnnsearch.Examples`, found a tuple",
    ),
}


@pytest.fixture(autouse=True, scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One folder of compiled kernels for all tests here."""
    folder = tmp_path_factory.mktemp("kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnsearch.engine.cpp_compiler.cache_folder", lambda: folder)
        yield


def spec_of(shape: SequenceShape, engine: str, architecture: str = "elman") -> TrialSpec:
    head = "" if architecture == "esn" else "linear"
    model = ModelSpec(architecture, shape, 4, head=head)
    return TrialSpec("search", model, CONFIG, 3, "", {}, 0, 0.0, engine=engine)


WAYS = (*Engine.PROGRAM.fallbacks, "vmapped", "closed form")


def begin(way: str, task: Objective, train: Batches) -> TrainingRun | PopulationRun:
    """A run on an engine, set up as in a worker."""
    architecture = "esn" if way == "closed form" else "elman"
    spec = spec_of(task.shape, "torch" if way == "closed form" else way, architecture)
    cls = load_registry().architecture(architecture)
    if way == "vmapped":
        return PopulationRun(cls, [spec, replace(spec, seed=4)], task, train, None)
    return TrainingRun(cls, spec, task, train, None)


@cache
def begun(way: str, shape: SequenceShape, loss: Any) -> TrainingRun | PopulationRun:
    """A run on valid data."""
    task = Objective(shape, loss)
    return begin(way, task, Batches(good(task), CPU))


def refused(function: Callable[[], Any]) -> str:
    with pytest.raises(DataError) as caught:
        function()
    return str(caught.value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FAULTS)
def test_the_same_wrong_input_gets_the_same_refusal_from_every_engine(name: str, way: str) -> None:
    fault = FAULTS[name]
    if way == "closed form" and fault.shape.vocabulary:
        pytest.skip("it takes no tokens")
    task = fault.task
    expected = refused(lambda: check(fault.bad, Contract.of(task.shape, task)))
    assert re.search(fault.said, expected)
    assert refused(lambda: begin(way, task, Batches(fault.bad, CPU))) == expected
    run = begun(way, fault.shape, fault.loss)
    assert refused(lambda: run.evaluate(Batches(fault.bad, CPU))) == expected


@pytest.mark.parametrize("engine", Engine.PROGRAM.fallbacks)
@pytest.mark.parametrize("name", ["one feature more", "a length past the end"])
def test_an_engine_that_is_set_up_by_hand_trusts_no_data_either(name: str, engine: str) -> None:
    fault, task = FAULTS[name], FAULTS[name].task
    model = begin("eager", task, Batches(good(task), CPU)).model  # type: ignore[union-attr]
    bad, fine = Batches(fault.bad, CPU), Batches(good(task), CPU)
    expected = refused(lambda: prepare(Engine(engine), model, CONFIG, task, bad))
    updates, _ = prepare(Engine(engine), model, CONFIG, task, fine)
    assert refused(lambda: updates.train(bad, torch.arange(3))) == expected
    assert refused(lambda: updates.measure(bad)) == expected


def test_a_closed_form_that_is_set_up_by_hand_trusts_no_data_either() -> None:
    fault = FAULTS["a length past the end"]
    model = begin("closed form", fault.task, Batches(good(fault.task), CPU)).model  # type: ignore[union-attr]
    updates = ClosedFormUpdates(model, CONFIG, fault.task)  # type: ignore[arg-type]
    assert "found 70" in refused(lambda: updates.train(Batches(fault.bad, CPU), torch.arange(3)))


def test_a_loss_and_a_score_of_different_targets_are_refused() -> None:
    task = Objective(CLASSES, mean_squared_error, accuracy)
    said = refused(lambda: begin("eager", task, Batches(good(task), CPU)))
    assert said.startswith("loss and score: the loss `mean_squared_error` takes values and the ")


# Conversions of the data


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.astype(">f4"),
        lambda x: x.astype(np.float64),
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: x.astype(np.longdouble),
    ],
    ids=["big-endian", "float64", "Fortran's order", "strided", "backwards", "longdouble"],
)
@pytest.mark.parametrize("way", WAYS)
def test_other_types_of_the_same_numbers_train_to_the_same(
    way: str, make: Callable[[np.ndarray], np.ndarray]
) -> None:
    task = Objective(CLASSES, cross_entropy)
    measured = []
    for examples in (good(task), replace(good(task), inputs=make(good(task).inputs))):
        run = begin(way, task, Batches(examples, CPU))
        found = run.run_epoch()
        first = found[0] if isinstance(found, dict) else found
        measured.append(first.train_loss)  # type: ignore[union-attr]
    assert measured[0] == measured[1]


@pytest.mark.parametrize("dtype", [np.bool_, np.uint16, np.float16, np.int64])
@pytest.mark.parametrize("way", WAYS)
def test_whole_numbers_train_alike_in_any_type(way: str, dtype: type) -> None:
    task = Objective(CLASSES, cross_entropy)
    whole = (good(task).inputs > 0).astype(np.float32)
    measured = []
    for inputs in (whole, whole.astype(dtype)):
        run = begin(way, task, Batches(replace(good(task), inputs=inputs), CPU))
        found = run.run_epoch()
        first = found[0] if isinstance(found, dict) else found
        measured.append(first.train_loss)  # type: ignore[union-attr]
    assert measured[0] == pytest.approx(measured[1], rel=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loss", [cross_entropy, mean_squared_error])
def test_what_follows_the_end_of_a_sequence_counts_for_nothing(way: str, loss: Any) -> None:
    task = Objective(TAGS, loss)
    measured = []
    for inputs, targets in ((0.0, 0), (math.nan, 1), (-7.0, 2)):
        examples = good(task)
        assert examples.lengths is not None
        after = np.arange(STEPS) >= examples.lengths[:, None]
        examples.inputs[after], examples.targets[after] = inputs, targets
        run = begin(way, task, Batches(examples, CPU))
        found = run.run_epoch()
        first = found[0] if isinstance(found, dict) else found
        tested = run.evaluate(Batches(examples, CPU))
        last = tested[0] if isinstance(tested, dict) else tested
        measured.append((first.train_loss, first.train_metric, *last))  # type: ignore[union-attr]
    assert measured[0] == measured[1] == measured[2]


def test_splits_of_other_lengths_are_joined_with_all_that_they_hold() -> None:
    task = Objective(TAGS, cross_entropy)
    first = good(task)
    second = Examples(first.inputs[:3, :2], first.targets[:3, :2])
    for one, other in ((first, second), (second, first)):
        joined = Batches(join(one, other), CPU)
        joined.meet(Contract.of(TAGS, task))
        asked = joined.targets != NOT_ASKED
        assert first.lengths is not None
        assert int(asked.sum()) == first.lengths.sum() + 6
        assert joined.inputs.shape == (SAMPLES + 3, STEPS, FEATURES)
    assert join(second, second).lengths is None


# Before a study starts


class Broken(Objective):
    """Breaks the contract only in its last split."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.shape, fault.loss)
        self._fault = fault

    def load(self, source: DataSource, split: Split) -> Examples:
        return self._fault.bad if split == "test" else good(self)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_test_split_alone_is_found_at_the_start(name: str) -> None:
    fault = FAULTS[name]
    said = refused(lambda: find_and_check(Broken(fault), "`toy` of `toys` 1.0"))
    assert said.startswith("task `toy` of `toys` 1.0: ")
    assert "test)" in said


def test_a_task_that_keeps_the_contract_is_let_through() -> None:
    for fault in FAULTS.values():
        find_and_check(fault.task, "`toy`")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"sizes": {**dict.fromkeys(SPLITS, SAMPLES), "test": 22}},
            r"22 as declared, found 21 \(t",
        ),
        ({"sizes": {"train": SAMPLES}}, r"some number as declared, found 21 \(validation\)"),
    ],
)
def test_sizes_that_are_not_those_of_the_splits_are_refused(
    change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = replace(FAULTS["lists"].task.find(), **change)
    monkeypatch.setattr(Objective, "find", lambda self: source)
    with pytest.raises(DataError, match=said):
        find_and_check(Objective(CLASSES, cross_entropy), "`toy`")


@pytest.mark.parametrize(("name", "said"), [("find", "find the data"), ("load", "load train")])
def test_an_error_of_a_task_names_the_task(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> None:
        raise FileNotFoundError("no such\nfile")

    monkeypatch.setattr(Objective, name, fails)
    with pytest.raises(DataError) as caught:
        find_and_check(Objective(CLASSES, cross_entropy), "`toy`")
    assert str(caught.value) == f"task `toy`: cannot {said}: FileNotFoundError: no such file"


def _pick(outputs: Tensor, targets: Tensor) -> Tensor:
    """A user-defined loss that takes unconverted classes."""
    return -outputs.log_softmax(dim=-1).gather(1, targets[:, None]).mean()


@pytest.mark.parametrize(
    ("loss", "break_", "said"),
    [
        (_pick, put("targets", 5, 3), "the task's own loss fails on samples 0 to 20 of train: "),
        (lambda o, y: o.square().mean(dim=0), made("targets", lambda y: y), "for a batch"),
        # Each of these would broadcast to all pairs of samples.
        (lambda o, y: (o[:, 0] - y).square().mean(), made("targets", lambda y: y[:, None]), "0]`"),
        (
            lambda o, y: (o - y).square().mean(),
            made("targets", lambda y: y.astype(np.float32)),
            "None]`",
        ),
    ],
)
def test_a_loss_of_ones_own_is_tried_before_the_start(loss: Any, break_: Any, said: str) -> None:
    class Own(Objective):
        def load(self, source: DataSource, split: Split) -> Examples:
            found: Examples = break_(good(Objective(CLASSES, cross_entropy)))
            return found

    with pytest.raises(DataError) as caught:
        find_and_check(Own(CLASSES, loss), "`toy`")
    assert said in str(caught.value)


def test_a_loss_of_ones_own_that_cannot_take_shorter_outputs_is_found_before_the_start() -> None:
    def same_steps(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(outputs.permute(1, 2, 0), targets)

    class Own(Objective):
        def load(self, source: DataSource, split: Split) -> Examples:
            return good(Objective(TAGS, cross_entropy))

    said = refused(lambda: find_and_check(Own(TAGS, same_steps), "`toy`"))
    assert re.search(
        r"own loss fails on samples (\d+) to \1 of train, whose outputs end after", said
    )
    find_and_check(Own(TAGS, lambda o, y: same_steps(o, y[:, : len(o)])), "`toy`")


class Listed(GeneratedTask):
    """Generates lists, which have no digest."""

    options = generated_options(SAMPLES, SAMPLES, SAMPLES)
    metric, no_skill = "accuracy", 1 / 3
    direction: Direction = "maximize"  # type: ignore[misc]
    loss = cross_entropy
    score = accuracy

    @property
    def shape(self) -> SequenceShape:
        return CLASSES

    def generate(self, split: Split) -> Examples:
        made = good(Objective(CLASSES, cross_entropy))
        return Examples(made.inputs.tolist(), made.targets)  # type: ignore[arg-type]


def test_a_generated_task_that_makes_lists_is_refused_in_words() -> None:
    said = refused(lambda: find_and_check(Listed(), "`toy`"))
    assert said.startswith("task `toy`: inputs: expected a NumPy array of numbers, found a list (t")


def test_a_study_on_broken_data_stops_before_ray_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rnnsearch_mnist.digits import Digits

    whole = Digits.load

    def load(self: Digits, source: DataSource, split: Split) -> Examples:
        found = whole(self, source, split)
        if split == "test":
            found.inputs[17, 3, 0] = np.nan
        return found

    monkeypatch.setattr(Digits, "load", load)
    monkeypatch.setattr(
        "rnnsearch.search.cluster.cluster", lambda *given: pytest.fail("Ray was started")
    )
    file = tmp_path / "study.yaml"
    file.write_text(
        "schema_version: 1\nname: broken\ntask: {name: digits}\narchitectures: [elman, gru]\n"
        "budget: {parameters: 500, tolerance: 10%}\n"
        "training: {epochs: 1, batch_size: 32, learning_rate: 0.01}\n"
    )
    study = load_study(file)
    for start in (study.plan, study.run):
        with pytest.raises(DataError) as caught:
            start()
        assert "task `digits` of `rnnsearch-zoo` " in str(caught.value)
        assert "found nan at step 3, feature 0 (sample 17 of test)" in str(caught.value)
    home = Path(os.environ["RNNSEARCH_HOME"])
    assert not (home / "studies" / "broken").exists()
