"""`rnnsearch study analyse`: looks at the confirmed models of a study."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnnsearch.cli.logged import log_to_mlflow
from rnnsearch.cli.output import echo, print_table

if TYPE_CHECKING:
    from rnnsearch.plugin.analysis import Analysis, Finding, TrainedModel

FOLDER, FINDINGS = "analyses", "findings.json"
_SIDE_BY_SIDE = 6


@click.command()
@click.argument("name")
@click.option("--analysis", "analyses", multiple=True, help="What to do; all that apply if unset.")
@click.option("--row", "rows", multiple=True, help="Label of a row; all confirmed if unset.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Validation samples to look at.",
)
def analyse(name: str, analyses: tuple[str, ...], rows: tuple[str, ...], samples: int) -> None:
    """Look at a study's confirmed models; writes figures and numbers, and logs them.

    Of each row it is the configuration that was best in the search, trained with its first seed.
    Only samples of the validation split are looked at, never of the test split.
    """
    from rnnsearch.errors import BrokenPluginError, RnnsearchError
    from rnnsearch.plugin.registry import load_registry
    from rnnsearch.records.store import StudyStore
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
        msg = "no plugin brings an analysis. Install one, such as `rnnsearch-analyses`"
        raise RnnsearchError(msg)
    store = StudyStore.open(name)
    table: dict[tuple[str, str, str], dict[str, str]] = {}
    labels: list[str] = []
    left_out: list[str] = []
    for trained in load_trained(store, rows, samples):
        echo(_which(trained))
        labels.append(trained.label)
        folder = store.folder / FOLDER / _file_name(trained.label)
        _write_model(folder, trained)
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
        msg = f"not every analysis came through: {'; '.join(failed)}"
        raise RnnsearchError(msg)


def _analyse(analysis: Analysis, trained: TrainedModel) -> tuple[str | None, list[Finding]]:
    """Why a model is refused, or what is found in it."""
    reason = analysis.refusal(trained)
    return reason, [] if reason is not None else analysis.analyse(trained)


def _print_numbers(table: Mapping[tuple[str, str, str], dict[str, str]], labels: list[str]) -> None:
    """Print every number, the rows of the study side by side, as many as fit."""
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


def _file_name(label: str) -> str:
    return label.replace("/", "-")


def _write_model(folder: Path, trained: TrainedModel) -> None:
    """Write down which model was looked at."""
    from rnnsearch.config.home import write_whole
    from rnnsearch.errors import StoreError

    spec = trained.spec
    content = {
        "label": spec.label,
        "architecture": spec.model.architecture,
        "rank": spec.rank,
        "configuration": spec.configuration,
        "seed": spec.seed,
        "split": "validation",
        "trained_on": spec.training.train_on,
        "samples": len(trained.examples),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot write {folder}: {error.strerror or error}"
        raise StoreError(msg) from None
    write_whole(folder / "model.json", json.dumps(content, indent=2) + "\n")


def write_findings(folder: Path, findings: Sequence[Finding]) -> list[Path]:
    """Write figures as `.svg` and `.png`, and `findings.json`, in place of what a folder holds.

    Raises:
        StoreError: a file cannot be written.
    """
    import io
    import shutil

    from matplotlib import rc_context

    from rnnsearch.config.home import write_whole

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    written, content = [], []
    for finding in findings:
        described: dict[str, Any] = {
            "name": finding.name,
            "caption": finding.caption,
            "figure": None,
            "numbers": {
                number: float(value) if math.isfinite(value) else None
                for number, value in finding.numbers.items()
            },
        }
        if finding.figure is not None:
            for kind in ("png", "svg"):
                file = io.BytesIO()
                undated = {"Date": None} if kind == "svg" else None
                # The same findings give the same files.
                with rc_context({"svg.hashsalt": "rnnsearch"}):
                    finding.figure.savefig(file, format=kind, dpi=150, metadata=undated)
                written.append(folder / f"{finding.name}.{kind}")
                write_whole(written[-1], file.getvalue())
            described["figure"] = f"{finding.name}.svg"
        content.append(described)
    written.append(folder / FINDINGS)
    write_whole(written[-1], json.dumps(content, indent=2, allow_nan=False) + "\n")
    return written
