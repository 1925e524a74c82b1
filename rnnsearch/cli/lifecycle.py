"""`rnnsearch study resume`, `stop`, `kill`, `extend`, `status`, `doctor`: a study's life."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import click

from rnnsearch.cli.detach import detach_option, run_detached
from rnnsearch.cli.output import echo, json_option, print_json, print_table, stderr
from rnnsearch.cli.watch import name_study, watch

if TYPE_CHECKING:
    from rnnsearch.records.store import StudyStore

_KILL_WAIT_S = 60


@click.command()
@click.argument("name")
@detach_option
@click.option("-q", "--quiet", is_flag=True, help="Print the result only.")
def resume(name: str, detach: bool, quiet: bool) -> None:
    """Go on with a study that was stopped, interrupted or killed."""
    go_on(name, detach, quiet)


@click.command()
@click.argument("name")
@click.option("--trials", type=click.IntRange(1), help="Search trials for each row, in all.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    help="Seeds for each confirmation, in all; until decided, at most.",
)
@click.option(
    "--until",
    type=click.Choice(["decided"]),
    help="decided: more seeds wherever rows are not told apart yet.",
)
@detach_option
@click.option("-q", "--quiet", is_flag=True, help="Print the result only.")
def extend(
    name: str,
    trials: int | None,
    seeds: int | None,
    until: Literal["decided"] | None,
    detach: bool,
    quiet: bool,
) -> None:
    """Give a study more trials or more seeds, and run them."""
    if (trials, seeds, until) == (None, None, None):
        raise click.UsageError("say what is to grow: --trials, --seeds or --until decided")
    go_on(name, detach, quiet, trials=trials, seeds=seeds, until=until)


def go_on(name: str, detach: bool, quiet: bool, **more: Any) -> None:
    """Resume a study, here or in the background, and print its result."""
    if detach:
        from rnnsearch.records.store import StudyStore

        StudyStore.open(name)  # before anything is written by its name
        grown = [word for k, v in more.items() if v is not None for word in (f"--{k}", str(v))]
        run_detached(name, "study", "extend" if more else "resume", name, *grown)
        return
    watch(click.get_current_context())
    name_study(name)
    from rnnsearch.cli.show_comparison import print_result
    from rnnsearch.cli.terminal import study_view
    from rnnsearch.study.run import resume_study

    with study_view(stderr(), quiet=quiet) as views:
        result = resume_study(name, views, **more)
    print_result(result, name)


@click.command()
@click.argument("name")
def stop(name: str) -> None:
    """Stop once the running trials have ended; `resume` continues."""
    from rnnsearch.records.store import STOP_FILE, StudyStore

    store = StudyStore.open(name)
    _require_running(store)
    (store.folder / STOP_FILE).touch()
    echo(f"study {name} stops once its running trials have ended")


@click.command()
@click.argument("name")
def kill(name: str) -> None:
    """Stop a study at once; `resume` continues from the last checkpoints."""
    from rnnsearch.errors import StoreError
    from rnnsearch.records.store import StudyStore

    store = StudyStore.open(name)
    _require_running(store)
    if not _interrupt(store):
        waited = f"has not ended within {_KILL_WAIT_S} s"
        raise StoreError(f"study `{name}` {waited}: {store.last_driver}")
    echo(f"study {name} was interrupted; `rnnsearch study resume {name}` continues it")


def _interrupt(store: StudyStore) -> bool:
    """Interrupt a study's driver wherever it runs; False if it has not ended in time."""
    from rnnsearch.errors import StoreError
    from rnnsearch.records import ray_jobs

    driver = store.holder
    if driver is None:
        return True
    if driver.interrupt():
        deadline = time.monotonic() + _KILL_WAIT_S
        while (is_running := store.is_running) and time.monotonic() < deadline:
            time.sleep(0.1)
        return not is_running
    where = f"study `{store.name}` runs as {driver}"
    if not driver.job:
        raise StoreError(
            f"{where}: kill it there, or ask it from here with `rnnsearch study stop {store.name}`"
        )
    if not ray_jobs.job_server():
        raise StoreError(f"{where}: set {ray_jobs.SERVER} to its cluster's, or kill it there")
    return ray_jobs.stop(driver.job, _KILL_WAIT_S)


def _require_running(store: StudyStore) -> None:
    from rnnsearch.errors import StoreError

    if not store.is_running:
        state = describe_state(store)
        raise StoreError(f"study `{store.name}` is not running: {state}")


def describe_state(store: StudyStore) -> str:
    """The state of a study in words, and what to type next."""
    if store.is_running:
        return "running"
    state = store.info.state or "never started"
    if state == "running":
        return f"its driver died; `rnnsearch study resume {store.name}` continues it"
    if state in ("stopped", "interrupted", "failed"):
        return f"{state}; `rnnsearch study resume {store.name}` continues it"
    return str(state)


@click.command()
@click.argument("name")
@click.option("--watch", is_flag=True, help="Show it again every two seconds until it ends.")
@json_option
def status(name: str, watch: bool, as_json: bool) -> None:
    """Show how far a study is: its trials, its pace, its failures, its room on disk."""
    from rnnsearch.records.store import StudyStore

    store = StudyStore.open(name)
    while True:
        found = _status(store)
        if as_json:
            print_json(found)
        else:
            if watch:
                click.clear()
            _print_status(found)
        if not watch or not store.is_running:
            return
        time.sleep(2)


def _status(store: StudyStore) -> dict[str, Any]:
    import shutil

    from rnnsearch.compare.configurations import settled_records

    config = store.config
    records = settled_records(store, interrupted=True)
    superseded = sum(record.is_superseded for record in records)
    records = [record for record in records if not record.is_superseded]
    rows = len(config.architectures)
    best = config.confirmation.best if config.search.trials else 1
    wanted = {
        "search": config.search.trials * rows,
        "confirmation": config.confirmation.seeds * rows * best,
    }
    if config.confirmation.until is not None:
        begun = sum(record.phase == "confirmation" for record in records)
        wanted["confirmation"] = max(begun, wanted["confirmation"])
    phases = {}
    for phase, total in wanted.items():
        states = Counter(
            "interrupted" if r.interrupted else r.state for r in records if r.phase == phase
        )
        phases[phase] = {"wanted": total, **states}
    ended = [r for r in records if r.state != "RUNNING" and not r.interrupted]
    seconds = sum(spent.seconds for spent in store.info.phases.values())
    left = sum(wanted.values()) - len(ended)
    reasons = Counter(r.reason for r in ended if r.state == "FAIL")
    return {
        "study": store.name,
        "state": describe_state(store),
        "decided": store.info.decided,
        "where": store.last_driver if store.is_running else None,
        "phases": phases,
        "trials_left": max(0, left),
        "seconds": seconds,
        "trials_per_minute": round(60 * len(ended) / seconds, 2) if seconds else None,
        "superseded": superseded,
        "failures": dict(reasons),
        "bytes": sum(p.stat().st_size for p in store.folder.rglob("*") if p.is_file()),
        "bytes_free": shutil.disk_usage(store.folder).free,
    }


def _print_status(found: dict[str, Any]) -> None:
    where = f" ({found['where']})" if found["where"] else ""
    echo(f"Study {found['study']}: {found['state']}{where}")
    headings = ("wanted", "COMPLETE", "PRUNED", "FAIL", "RUNNING", "interrupted")
    rows = [
        [phase, *(str(counts.get(h, 0)) for h in headings)]
        for phase, counts in found["phases"].items()
    ]
    print_table({"phase": "left", **dict.fromkeys(headings, "right")}, rows)
    pace = found["trials_per_minute"]
    echo(
        f"left {found['trials_left']} trials"
        + (f", {pace:g} a minute so far" if pace else "")
        + f"; {found['bytes'] / 1e6:.1f} MB here, {found['bytes_free'] / 1e9:.1f} GB free"
    )
    for row, verdict in found["decided"].items():
        echo(f"decided so far  {row}: {verdict}")
    if found["superseded"]:
        echo(f"superseded by a better configuration: {found['superseded']} confirmations")
    for reason, count in found["failures"].items():
        echo(f"failed {count} times: {reason}")


@click.command()
@click.argument("name", required=False)
@click.option("--fix", is_flag=True, help="Fix what is found.")
@json_option
def doctor(name: str | None, fix: bool, as_json: bool) -> None:
    """Find what a crash left behind: trials and runs that seem to run, files half written."""
    from rnnsearch.errors import StoreError
    from rnnsearch.records.store import StudyStore, list_stores
    from rnnsearch.study.doctor import examine, examine_leftovers

    if name:
        found = examine(StudyStore.open(name), fix=fix)
    else:
        found = []
        for store in list_stores():
            try:
                found += examine(store, fix=fix)
            except StoreError as error:  # it is running, and fine
                echo(f"left alone: {error}", err=True)
        found += examine_leftovers(fix=fix)
    if as_json:
        print_json([asdict(finding) for finding in found])
        return
    for finding in found:
        end = "fixed" if finding.fixed else finding.advice
        echo(f"{finding.study}: {finding.what} ({end})")
    if not found:
        echo("no problems found")
