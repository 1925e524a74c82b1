"""`--detach`: a study's driver in the background, where closing the terminal does not reach it."""

from __future__ import annotations

import subprocess
import sys
import time

import click

detach_option = click.option(
    "--detach", is_flag=True, help="Run in the background; the terminal may be closed."
)

_LOOK_S = 0.2


def run_detached(name: str, *arguments: str) -> None:
    """Start a command of rnnsearch that runs the study `name`, and return when it has begun.

    What would stop it at once (a bad study file, a name that is taken, no data) is shown here, with
    its exit code.
    """
    from rnnsearch.home import home
    from rnnsearch.store import StudyStore, studies_folder

    folder = home() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    # Behind what is there: a study of this name may be running, and writing to it.
    with log.open("a", encoding="utf-8") as file:
        before = file.tell()
        driver = subprocess.Popen(
            [sys.executable, "-m", "rnnsearch", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    click.echo(f"starting study {name} in the background ...", err=True)
    store = StudyStore(studies_folder() / name)
    while driver.poll() is None:
        if store.info.get("pid") == driver.pid:
            click.echo(
                f"study {name} runs as process {driver.pid}; its output is in {log}\n"
                f"next      rnnsearch study status {name} --watch"
            )
            # Its own session: it is not this process's to wait for.
            driver.returncode = 0
            return
        time.sleep(_LOOK_S)
    click.echo(log.read_bytes()[before:].decode(), err=True, nl=False)
    raise click.exceptions.Exit(driver.returncode)
