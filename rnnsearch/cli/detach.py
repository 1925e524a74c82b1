"""`--detach`: a study's driver in the background, where closing the terminal does not reach it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rnnsearch.cli.output import browse, echo
from rnnsearch.errors import RnnsearchError, StoreError
from rnnsearch.records.ray_jobs import SERVER, exit_code, job_server, output, submit

if TYPE_CHECKING:
    from rnnsearch.records.store import StudyStore

detach_option = click.option(
    "--detach",
    is_flag=True,
    help=f"Run in the background; the terminal may be closed. With {SERVER}: as a Ray job.",
)

_LOOK_S = 0.2
# What collects processes as number 1 of a container, and ends when the one that it began does.
_INITS = ("docker-init", "tini", "dumb-init", "catatonit")


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
    elif _ends_the_container():
        msg = (
            "in a container whose first process this is, nothing keeps running in the background: "
            "the container ends with this command. Leave out --detach, and start the container "
            "itself in the background: `docker run --detach ...`"
        )
        raise RnnsearchError(msg)
    else:
        _run_here(name, [file if a == "{file}" and file else a for a in arguments])


def _run_here(name: str, arguments: list[str]) -> None:
    from rnnsearch.config.home import home, private_file, private_folder
    from rnnsearch.records.store import StudyStore, studies_folder

    log = private_folder(home() / "logs") / f"{name}.log"
    # Behind what is there: a study of this name may be running, and writing to it.
    with open(log, "a", encoding="utf-8", opener=private_file) as output_file:
        before = output_file.tell()
        driver = subprocess.Popen(
            [sys.executable, "-m", "rnnsearch", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output_file,
            stderr=output_file,
            start_new_session=True,
        )
    echo(f"starting study {name} in the background ...", err=True)
    store = StudyStore(studies_folder() / name)
    while driver.poll() is None:
        if (pid := _driver_in(store, driver.pid)) is not None:
            _say_begun(name, f"process {pid}; its output is in {log}")
            # Its own session: it is not this process's to wait for.
            driver.returncode = 0
            return
        time.sleep(_LOOK_S)
    echo(log.read_bytes()[before:].decode(), err=True, end="")
    raise click.exceptions.Exit(driver.returncode)


def _ends_the_container() -> bool:
    """Whether the container, if this is one, ends when this process does."""
    if os.getpid() == 1:
        return True
    try:
        first = Path("/proc/1/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return False
    return os.getppid() == 1 and first in _INITS


def _driver_in(store: StudyStore, session: int) -> int | None:
    """The process that says that it runs a study, if it is one of a session."""
    try:
        pid = store.info.pid
        return pid if pid and os.getsid(pid) == session else None
    except (StoreError, ProcessLookupError, PermissionError):
        return None


def _run_as_job(name: str, arguments: list[str], file: str | None) -> None:
    from rnnsearch.records.store import StudyStore, studies_folder

    job = submit(name, arguments, Path(file) if file else None)
    echo(f"starting study {name} on the cluster at {job_server()} ...", err=True)
    store = StudyStore(studies_folder() / name)
    while (code := exit_code(job)) is None:
        if store.info.job == job:
            _say_begun(name, f"Ray job {job}; `ray job logs --follow {job}` shows its output")
            return
        time.sleep(_LOOK_S)
    echo(output(job), err=True, end="")
    raise click.exceptions.Exit(code)


def _say_begun(name: str, where: str) -> None:
    from rnnsearch.records.store import StudyStore, studies_folder

    info = StudyStore(studies_folder() / name).info
    trials = browse(name, info.tracking_uri, info.experiment_id)
    echo(f"study {name} runs as {where}\ntrials    {trials}")
    echo(f"next      rnnsearch study status {name} --watch")
