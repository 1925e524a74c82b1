"""A study that was started, read back: its task, its comparison, where its runs are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rnnsearch.compare.comparison import Comparison, compare
from rnnsearch.config.secrets import hide_all, same_address
from rnnsearch.errors import StoreError, StudyFileError, did_you_mean
from rnnsearch.plugin.registry import load_registry
from rnnsearch.plugin.task import Task
from rnnsearch.records.store import StudyStore
from rnnsearch.report.comparison_plot import plot_comparison
from rnnsearch.spec.seed import derive_seed
from rnnsearch.study.plan import make_task


def stored_task(store: StudyStore) -> Task:
    """The task of a study that was started.

    Raises:
        DamagedError: `study.yaml` or `study.json` is missing or cannot be read.
        StudyFileError: the file is no study file, or names no task that is installed.
    """
    return make_task(store.config, store.study_file, load_registry())


def compare_study(study: StudyStore | str, *, against: str | None = None) -> Comparison:
    """Compare what a study, open or by name, has confirmed so far.

    Args:
        study: the study.
        against: label of a control, instead of the one of the study file.

    Raises:
        StudyFileError: no row has that label.
        StoreError: no study has that name, or it never reached its first trial.
    """
    store = StudyStore.open(study) if isinstance(study, str) else study
    config, task = store.config, stored_task(store)
    labels = [entry.label or entry.name for entry in config.architectures]
    if against is not None and against not in labels:
        hint = did_you_mean(against, labels)
        msg = f"study `{store.name}` has no row `{against}`.{hint} Rows: {', '.join(labels)}"
        raise StudyFileError(msg)
    info = store.info
    if info.data is None:
        msg = f"study `{store.name}` has no results: it stopped before its first trial"
        raise StoreError(msg)
    return compare(
        list(store.records()),
        metric=task.metric,
        direction=task.direction,
        no_skill=task.no_skill,
        source=replace(info.data, **hide_all(vars(info.data))),  # of an older study
        budget_parameters=config.budget.parameters,
        budget_tolerance=config.budget.tolerance,
        study=store.name,
        phases={phase: spent.model_dump() for phase, spent in info.phases.items()},
        left_out=info.left_out,
        best=config.confirmation.best,
        limits=task.limits,
        until_decided=config.confirmation.until is not None,
        margin=config.confirmation.margin,
        against=config.confirmation.against if against is None else against,
        order=[
            derive_seed(config.seed, "confirmation", number)
            for number in range(config.confirmation.at_most)
        ],
    )


def tracking_uri(store: StudyStore) -> str:
    """The MLflow store that has a study's runs, as `study.json` names it.

    It has no passwords: they are the study file's or the environment's, where one of them names
    the same store. A study without runs is told where they would go.
    """
    from rnnsearch.records.mlflow_store import is_missing, local_uri, resolve_uri

    recorded = store.info.tracking_uri
    configured = store.config.tracking.uri
    if recorded is None:
        return resolve_uri(configured)
    for uri in (resolve_uri(configured), resolve_uri(None), local_uri()):
        if same_address(uri, recorded):
            return uri
    embedded = local_uri()
    if is_missing(recorded) and not is_missing(embedded):
        return embedded  # the home was moved
    return recorded


def write_comparison(store: StudyStore, comparison: Comparison) -> list[Path]:
    """Write `comparison.csv` and `comparison.png` into the study's folder."""
    table, plot = store.folder / "comparison.csv", store.folder / "comparison.png"
    comparison.write_csv(table)
    plot_comparison(comparison, plot)
    return [table, plot]
