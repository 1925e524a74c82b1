"""`rnnsearch study analyse`: analyses the confirmed models of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from rnnsearch.cli.logged import log_to_mlflow
from rnnsearch.cli.output import echo, print_table

if TYPE_CHECKING:
    from rnnsearch.plugin.analysis import Analysis, Finding, TrainedModel

_SIDE_BY_SIDE = 6


@click.command()
@click.argument("name")
@click.option(
    "--analysis", "analyses", multiple=True, help="Which to run; all that apply if absent."
)
@click.option("--row", "rows", multiple=True, help="Label of a row; all confirmed ones if absent.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Validation samples to use.",
)
def analyse(name: str, analyses: tuple[str, ...], rows: tuple[str, ...], samples: int) -> None:
    """Analyse a study's confirmed models; writes figures and numbers, and logs them.

    Of each row, the model analysed is the configuration that was best in the search, trained with
    its first seed. It sees only samples of the validation split, never of the test split.
    """
    from rnnsearch.errors import BrokenPluginError, RnnsearchError
    from rnnsearch.plugin.registry import load_registry
    from rnnsearch.records.store import StudyStore
    from rnnsearch.report.findings import FOLDER, folder_of, write_findings, write_model
    from rnnsearch.study.trained import load_trained

    registry = load_registry()
    failed: list[str] = []
    chosen: dict[str, Analysis] = {}
    for key in analyses or registry.names("analysis"):
        try:
            with registry.blaming("analysis", key):
                chosen[key] = registry.analysis(key)()
        except BrokenPluginError as error:
            if analyses:
                raise
            failed.append(str(error))
    if not chosen and not failed:
        msg = "no installed plugin has an analysis. Install one, such as `rnnsearch-analyses`"
        raise RnnsearchError(msg)
    store = StudyStore.open(name)
    table: dict[tuple[str, str, str], dict[str, str]] = {}
    labels: list[str] = []
    left_out: list[str] = []
    for trained in load_trained(store, rows, samples):
        echo(_which(trained))
        labels.append(trained.label)
        folder = folder_of(store.folder, trained.label)
        write_model(folder, trained)
        for key, analysis in chosen.items():
            try:
                reason, findings = _analyse(analysis, trained)
                if reason is not None:
                    left_out.append(f"{key} of {trained.label}: {reason}")
                    continue
                write_findings(folder / key, findings)
            except RnnsearchError:
                raise
            except Exception as error:
                # One plugin's mistake does not cost the others' results.
                failed.append(f"{key} of {trained.label} ({registry.explain(error)})")
                continue
            for finding in findings:
                for number, value in finding.numbers.items():
                    row = table.setdefault((key, finding.name, number), {})
                    row[trained.label] = f"{value:.4g}"
    _print_numbers(table, labels)
    for text in left_out:
        echo(f"left out  {text}")
    echo(f"written   {store.folder / FOLDER}")
    log_to_mlflow(store, [store.folder / FOLDER])
    if failed:
        msg = f"not every analysis succeeded: {'; '.join(failed)}"
        raise RnnsearchError(msg)


def _analyse(analysis: Analysis, trained: TrainedModel) -> tuple[str | None, list[Finding]]:
    """Why an analysis refuses a model, or what it finds in it."""
    reason = analysis.refusal(trained)
    return reason, [] if reason is not None else analysis.analyse(trained)


def _print_numbers(table: Mapping[tuple[str, str, str], dict[str, str]], labels: list[str]) -> None:
    """Print every number, with as many rows of the study side by side as fit."""
    left = dict.fromkeys(("analysis", "finding", "number"), "left")
    for first in range(0, len(labels), _SIDE_BY_SIDE):
        some = labels[first : first + _SIDE_BY_SIDE]
        lines = [
            [*name, *(values.get(label, "") for label in some)]
            for name, values in sorted(table.items(), key=lambda item: item[0][:2])
            if any(label in values for label in some)
        ]
        if lines:
            echo("")
            print_table({**left, **dict.fromkeys(some, "right")}, lines)
    echo("")


def _which(trained: TrainedModel) -> str:
    spec, count = trained.spec, len(trained.examples)
    seen = ", which it was trained on" if "validation" in spec.training.train_on else ""
    return (
        f"{spec.label}: configuration {spec.rank + 1} of the search, seed {spec.seed}, on "
        f"{count} validation sample{'s' if count != 1 else ''}{seen}"
    )
