"""`--detach`: a study's driver in the background, where closing the terminal does not reach it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click

from rnnsearch.ray_jobs import SERVER, exit_code, job_server, output, submit

detach_option = click.option(
    "--detach",
    is_flag=True,
    help=f"Run in the background; the terminal may be closed. With {SERVER}: as a Ray job.",
)

_LOOK_S = 0.2


def run_detached(name: str, *arguments: str, file: str | None = None) -> None:
    """Start a command of rnnsearch that runs the study `name`, and return when it has begun.

    What would stop it at once (a bad study file, a name that is taken, no data) is shown here, with
    its exit code.

    Args:
        name: of the study.
        arguments: of the command; `{file}` stands for the study file.
        file: the study file, if there is one.
    """
    if job_server():
        _run_as_job(name, list(arguments), file)
    else:
        _run_here(name, [file if a == "{file}" and file else a for a in arguments])


def _run_here(name: str, arguments: list[str]) -> None:
    from rnnsearch.home import home
    from rnnsearch.store import StudyStore, studies_folder

    folder = home() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    # Behind what is there: a study of this name may be running, and writing to it.
    with log.open("a", encoding="utf-8") as output_file:
        before = output_file.tell()
        driver = subprocess.Popen(
            [sys.executable, "-m", "rnnsearch", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output_file,
            stderr=output_file,
            start_new_session=True,
        )
    click.echo(f"starting study {name} in the background ...", err=True)
    store = StudyStore(studies_folder() / name)
    while driver.poll() is None:
        if store.info.pid == driver.pid:
            _say_begun(name, f"process {driver.pid}; its output is in {log}")
            # Its own session: it is not this process's to wait for.
            driver.returncode = 0
            return
        time.sleep(_LOOK_S)
    click.echo(log.read_bytes()[before:].decode(), err=True, nl=False)
    raise click.exceptions.Exit(driver.returncode)


def _run_as_job(name: str, arguments: list[str], file: str | None) -> None:
    from rnnsearch.store import StudyStore, studies_folder

    job = submit(name, arguments, Path(file) if file else None)
    click.echo(f"starting study {name} on the cluster at {job_server()} ...", err=True)
    store = StudyStore(studies_folder() / name)
    while (code := exit_code(job)) is None:
        if store.info.job == job:
            _say_begun(name, f"Ray job {job}; `ray job logs --follow {job}` shows its output")
            return
        time.sleep(_LOOK_S)
    click.echo(output(job), err=True, nl=False)
    raise click.exceptions.Exit(code)


def _say_begun(name: str, where: str) -> None:
    click.echo(f"study {name} runs as {where}\nnext      rnnsearch study status {name} --watch")
