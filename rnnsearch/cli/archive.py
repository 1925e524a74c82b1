"""`rnnsearch study export`, `import` and `delete`: pass studies on, read them back, remove them."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rnnsearch.cli.output import echo

if TYPE_CHECKING:
    from rnnsearch.records.store import StudyStore

_SHOWN = 10


@click.command()
@click.argument("name")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
def export(name: str, file: Path | None) -> None:
    """Write the study NAME into one archive, FILE or NAME.zip, to pass it on; - is stdout.

    In it: the study file, what it ran on, every trial, comparison, analyses, report and confirmed
    weights. Not in it: passwords and tokens in addresses, environment variables, uncommitted
    changes of your code, MLflow's runs.
    """
    from rnnsearch.records.archive import export_study
    from rnnsearch.records.store import StudyStore

    store, to_stdout = StudyStore.open(name), str(file) == "-"
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "archive" if to_stdout else file or Path(f"{name}.zip")
        done = export_study(store, path)
        if to_stdout:
            with path.open("rb") as archive:
                shutil.copyfileobj(archive, sys.stdout.buffer)
    where = "to stdout" if to_stdout else done.path
    lines = [f"written   {where} ({len(done.members)} files, {done.size:,} bytes)"]
    lines += [f"left out  {path}" for path in done.left_out[:_SHOWN]]
    if len(done.left_out) > _SHOWN:
        lines.append(f"left out  {len(done.left_out) - _SHOWN} more")
    lines.append(f"next      rnnsearch study import {'FILE' if to_stdout else done.path}")
    echo("\n".join(lines), err=to_stdout)


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Import it under another name.")
def import_(file: Path, name: str | None) -> None:
    """Read the archive FILE, written by `study export`, back as a study.

    Paths, sizes, checksums and content are checked first; of an archive that is refused nothing is
    left. No code in it is run. Its report is a page by the archive's author: `study report`
    writes your own.
    """
    from rnnsearch.records.archive import import_study

    store = import_study(file, name)
    echo(f"imported  {store.name}, to {store.folder}")
    echo(f"next      rnnsearch study compare {store.name}")


@click.command()
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--tracking", is_flag=True, help="Delete its MLflow experiment as well.")
@click.option("--force", is_flag=True, help="Even if it was last seen running on another machine.")
def delete(name: str, yes: bool, tracking: bool, force: bool) -> None:
    """Delete the study NAME: its folder, with trials, weights and all results.

    Its runs in MLflow are kept, unless `--tracking` is given; MLflow can restore an experiment that
    was deleted.
    """
    from rnnsearch.records.delete import delete_study
    from rnnsearch.records.store import StudyStore

    store = StudyStore.open(name)
    if not yes and not click.confirm(f"Delete {store.folder} with everything in it?", err=True):
        echo("nothing was deleted", err=True)
        raise click.exceptions.Exit(1)
    with store.held("deleting", force=force) as held:
        # First what can be refused, and undone.
        said = _delete_runs(held) if tracking else "its runs in MLflow are kept"
        delete_study(held)
    echo(f"deleted   {store.folder}")
    echo(f"MLflow    {said}")


def _delete_runs(store: StudyStore) -> str:
    """Delete a study's experiment; returns the outcome."""
    info = store.info
    if info.experiment_id is None or info.tracking_uri is None:
        return "the study has no experiment there"
    from rnnsearch.config.secrets import hide_password
    from rnnsearch.records.mlflow_queries import delete_experiment
    from rnnsearch.study.stored import tracking_uri

    uri = tracking_uri(store)
    shown = f"experiment {info.experiment_id} of {hide_password(uri)}"
    if delete_experiment(uri, info.experiment_id):
        return f"deleted {shown}; `mlflow experiments restore` brings it back"
    return f"{shown} was deleted before"
