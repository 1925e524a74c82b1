"""Verifies a study: trains a confirmed seed again and compares it with the record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch

from rnnsearch.compare.configurations import settled_records
from rnnsearch.config.schema import StudyConfig
from rnnsearch.engine.capture import Unsupported
from rnnsearch.errors import DivergedError, RnnsearchError, StoreError, did_you_mean
from rnnsearch.plugin.data_contract import join
from rnnsearch.plugin.registry import load_registry
from rnnsearch.plugin.task import Task
from rnnsearch.records.environment import describe_environment
from rnnsearch.records.store import StudyStore
from rnnsearch.spec.shape import DataSource
from rnnsearch.spec.trial import EpochMetrics, TrialRecord, TrialSpec
from rnnsearch.study.stored import compare_study
from rnnsearch.training.batches import Batches
from rnnsearch.training.population import PopulationRun
from rnnsearch.training.run import TrainingRun

TOLERANCE = 1e-3
# Numbers smaller than this are compared as if they were this large: of an error rate of 0.0001,
# one more sample would be twice as much.
_SCALE = 0.01
_COMPARED = (
    "train_loss",
    "train_metric",
    "validation_loss",
    "validation_metric",
    "gradient_norm",
    "updates",
)


@dataclass(frozen=True)
class Difference:
    """A number that came out otherwise.

    Attributes:
        what: the number, such as `train loss of epoch 3`.
        recorded: what was written down.
        replayed: what came out now.
    """

    what: str
    recorded: float
    replayed: float

    @property
    def size(self) -> float:
        """Relative to the larger of the two; numbers below 0.01 count as 0.01."""
        scale = max(abs(self.recorded), abs(self.replayed), _SCALE)
        size = abs(self.recorded - self.replayed) / scale
        return size if math.isfinite(size) else math.inf


@dataclass(frozen=True)
class Replay:
    """A seed that was trained again.

    Attributes:
        key: the trial, such as `confirmation/lstm/0`.
        spec: what it was asked to do.
        test_loss: loss on the test split, now.
        test_metric: metric on the test split, now.
        numbers: how many numbers were compared.
        worst: the largest difference, or None if all are identical.
        recorded_engine: what ran it then.
        engine: what ran it now.
        changes: what of the environment is not as it was, one line each.
    """

    key: str
    spec: TrialSpec
    test_loss: float
    test_metric: float
    numbers: int
    worst: Difference | None
    recorded_engine: str
    engine: str
    changes: tuple[str, ...]


OnEpoch: TypeAlias = Callable[[TrialSpec, EpochMetrics, "Difference | None"], None]


def replay(
    store: StudyStore,
    label: str | None = None,
    seed: int | None = None,
    on_epoch: OnEpoch = lambda spec, metrics, worst: None,
) -> Replay:
    """Train a confirmed seed again, in this process, and compare every number.

    The test split is scored once, in the final evaluation, as in the confirmation.

    Args:
        store: the study.
        label: row of the comparison; the best one if None.
        seed: seed of a complete confirmation of it; the first one if None.
        on_epoch: called after every epoch, with the largest difference in it.

    Raises:
        StoreError: nothing is confirmed, or not that row or seed.
        DataError: the data is not what the study had.
        RnnsearchError: it does not come to its end this time.
    """
    record, spec = _choose(store, label, seed)
    config = store.config
    registry = load_registry()
    task = registry.task(spec.task)(**spec.task_options)
    source = _find_data(store, task)
    key = str(record.key)
    found: list[Difference] = []
    numbers = 0
    with _as_a_worker(config) as device:
        run = _Run(record, spec, task, _load(task, source, spec, device))
        for before in record.epochs:
            now = run.epoch()
            compared = list(_differences(before, now))
            numbers += len(compared)
            found += compared
            on_epoch(spec, now, _worst(compared))
        test_loss, test_metric = run.test(Batches(task.load(source, "test"), device))
    for name, then, value in (
        ("test loss", record.test_loss, test_loss),
        (f"test {task.metric}", record.test_metric, test_metric),
    ):
        if then is not None:
            numbers += 1
            found.append(Difference(name, then, value))
    return Replay(
        key=key,
        spec=spec,
        test_loss=test_loss,
        test_metric=test_metric,
        numbers=numbers,
        worst=_worst(found),
        recorded_engine=record.engine,
        engine=run.engine,
        changes=tuple(_changes(store.info.environment, describe_environment(registry))),
    )


def _choose(
    store: StudyStore, label: str | None, seed: int | None
) -> tuple[TrialRecord, TrialSpec]:
    """A complete confirmation of a row."""
    complete = [
        (record, record.spec)
        for record in settled_records(store)
        if record.stands
        and record.phase == "confirmation"
        and record.state == "COMPLETE"
        and record.spec
    ]
    labels = list(dict.fromkeys(record.label for record, _ in complete))
    if not labels:
        msg = (
            f"study `{store.name}` has no confirmed seed. `rnnsearch study show {store.name}` "
            f"shows what became of its trials"
        )
        raise StoreError(msg)
    if label is None:
        best = compare_study(store).ranked[0]
        complete = [(r, s) for r, s in complete if (r.label, s.rank) == (best.label, best.rank)]
        label = best.label
    elif label not in labels:
        msg = f"study `{store.name}` has no confirmed seed of a row `{label}`."
        raise StoreError(f"{msg}{did_you_mean(label, labels)} Confirmed: {', '.join(labels)}")
    else:
        complete = [(r, s) for r, s in complete if r.label == label]
    complete.sort(key=lambda trial: (trial[1].rank, trial[0].number))
    chosen = next(((r, s) for r, s in complete if seed is None or s.seed == seed), None)
    if chosen is None:
        known = ", ".join(str(spec.seed) for _, spec in complete)
        msg = f"row `{label}` of study `{store.name}` has no confirmed seed {seed}. Known: {known}"
        raise StoreError(msg)
    return chosen


def _find_data(store: StudyStore, task: Task) -> DataSource:
    source = task.find()
    store.info.require_data(store.name, source)
    return source


def _load(
    task: Task, source: DataSource, spec: TrialSpec, device: torch.device
) -> tuple[Batches, Batches | None]:
    """What a trial trains on, and what it watches."""
    train, validation = task.load(source, "train"), task.load(source, "validation")
    if spec.training.train_on == "train+validation":
        return Batches(join(train, validation), device), None
    return Batches(train, device), Batches(validation, device)


@contextmanager
def _as_a_worker(config: StudyConfig) -> Iterator[torch.device]:
    """The threads and the device that the study gave a trial, where this machine has them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(config.resources.cpus_per_trial)))
    on_gpu = config.resources.gpus_per_trial > 0 and torch.cuda.is_available()
    try:
        with torch.random.fork_rng():
            yield torch.device("cuda" if on_gpu else "cpu")
    finally:
        torch.set_num_threads(threads)


class _Run:
    """A trial in training as it was: alone, or as a member of a population."""

    def __init__(
        self,
        record: TrialRecord,
        spec: TrialSpec,
        task: Task,
        splits: tuple[Batches, Batches | None],
    ) -> None:
        architecture = load_registry().architecture(spec.model.architecture)
        train, validation = splits
        self._key = str(record.key)
        self._population: PopulationRun | None = None
        if record.engine == spec.engine.shown_for_several:
            try:
                self._population = PopulationRun(architecture, [spec], task, train, validation)
                self.engine = self._population.engine
                return
            except Unsupported:
                pass  # then alone, as the study does
        self._alone = TrainingRun(architecture, spec, task, train, validation)
        self.engine = self._alone.engine

    def epoch(self) -> EpochMetrics:
        """Train for one epoch."""
        try:
            if self._population is None:
                return self._alone.run_epoch()
            measured = self._population.run_epoch()[0]
        except DivergedError as error:
            measured = error
        if isinstance(measured, DivergedError):
            msg = f"{self._key} came to its end in the study, but not now: {measured}"
            raise RnnsearchError(msg)
        return measured

    def test(self, data: Batches) -> tuple[float, float]:
        """Loss and metric on the test split."""
        if self._population is None:
            return self._alone.evaluate(data)
        return self._population.evaluate(data)[0]


def _differences(then: EpochMetrics, now: EpochMetrics) -> Iterator[Difference]:
    for name in _COMPARED:
        what = f"{name.replace('_', ' ')} of epoch {then.epoch}"
        yield Difference(what, getattr(then, name), getattr(now, name))


def _worst(compared: list[Difference]) -> Difference | None:
    """The largest difference, or None if there is none at all."""
    unequal = [
        d
        for d in compared
        if d.recorded != d.replayed and not (math.isnan(d.recorded) and math.isnan(d.replayed))
    ]
    return max(unequal, key=lambda d: d.size, default=None)


def _changes(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """What of the environment is not as it was."""
    for name in then:
        if then[name] != (found := now.get(name, "not installed")):
            yield f"{name}: {then[name]} then, {found} now"
