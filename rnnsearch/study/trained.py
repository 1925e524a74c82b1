"""The confirmed models of a study, back from its folder, each with samples to look at."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import torch

from rnnsearch.budget.model import build_model
from rnnsearch.compare.configurations import settled_records
from rnnsearch.errors import StoreError, did_you_mean
from rnnsearch.plugin.analysis import TrainedModel
from rnnsearch.plugin.data_contract import plain
from rnnsearch.plugin.registry import load_registry
from rnnsearch.plugin.task import Examples, Task
from rnnsearch.records.store import StudyStore
from rnnsearch.spec.trial import TrialRecord, TrialSpec


def load_trained(
    store: StudyStore, labels: Collection[str] = (), samples: int = 64
) -> Iterator[TrainedModel]:
    """Load one confirmed model of each row, with samples of the validation split.

    Of a row's configurations it is the one that was best in the search, on validation, and of its
    seeds the first that was confirmed: neither is picked by its score on the test split, which is
    not loaded here. The weights are those in the study's folder.

    Args:
        store: the study.
        labels: rows to load; all that are confirmed where there are none.
        samples: samples of each, at most.

    Raises:
        StoreError: a row is unknown or has no confirmed model, or its weights are not to be had.
        DataError: the data is not what the study had.
        PluginError: its task or an architecture is missing or broken.
    """
    chosen = _choose(store, labels)
    task, examples = _look_at(store, next(iter(chosen.values()))[1], samples)
    for record, spec in chosen.values():
        yield _load(store, record, spec, task, examples)


def weights_path(store: StudyStore, record: TrialRecord) -> Path:
    """Where a study keeps the weights of a confirmation."""
    return store.folder / "weights" / f"{record.key.file_name}.pt"


def _choose(store: StudyStore, labels: Collection[str]) -> dict[str, tuple[TrialRecord, TrialSpec]]:
    """One complete confirmation of each row."""
    found: dict[str, tuple[TrialRecord, TrialSpec]] = {}
    known: dict[str, None] = {}
    for record in settled_records(store):
        known[record.label] = None
        spec = record.spec
        if record.phase != "confirmation" or record.state != "COMPLETE" or spec is None:
            continue
        if not record.stands:
            continue
        best = found.get(record.label)
        if best is None or (spec.rank, record.number) < (best[1].rank, best[0].number):
            found[record.label] = record, spec
    if not found:
        msg = (
            f"study `{store.name}` has no confirmed model: {_state(store)}. `rnnsearch study show "
            f"{store.name}` shows what became of its trials"
        )
        raise StoreError(msg)
    for label in labels:
        if label in found:
            continue
        if label in known:
            msg = f"row `{label}` of study `{store.name}` has no confirmed model."
        else:
            msg = f"study `{store.name}` has no row `{label}`.{did_you_mean(label, known)}"
        raise StoreError(f"{msg} Confirmed: {', '.join(found)}")
    return {label: found[label] for label in labels or found}


def _state(store: StudyStore) -> str:
    state = store.state
    return f"it is {state}" if state else "it never started"


def _look_at(store: StudyStore, spec: TrialSpec, samples: int) -> tuple[Task, Examples]:
    """A study's task, and samples of its validation split."""
    task = load_registry().task(spec.task)(**spec.task_options)
    source = task.find()
    # Other data has other splits: its validation samples may have been trained on.
    store.info.require_data(store.name, source)
    every = plain(task.load(source, "validation"), "validation")
    lengths = None if every.lengths is None else every.lengths[:samples]
    return task, Examples(every.inputs[:samples], every.targets[:samples], lengths)


def _load(
    store: StudyStore, record: TrialRecord, spec: TrialSpec, task: Task, examples: Examples
) -> TrainedModel:
    path = weights_path(store, record)
    if not path.is_file():
        msg = (
            f"the weights of {record.key} of study "
            f"`{store.name}` are not in {path}. Start the study again, under another `--name`"
        )
        raise StoreError(msg)
    model = build_model(load_registry().architecture(spec.model.architecture), spec.model)
    try:
        weights = torch.load(path, weights_only=True, map_location="cpu")["model"]
        model.load_state_dict(weights)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        plugin = load_registry().plugin_of("architecture", spec.model.architecture)
        msg = (
            f"the weights in {path} do not load into `{spec.model.architecture}` as plugin "
            f"{plugin} builds it now: {reason}. Install the version that the study had, or start "
            f"it again"
        )
        raise StoreError(msg) from error
    return TrainedModel(spec, task, model.eval(), examples)
