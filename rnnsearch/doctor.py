"""The doctor: finds what a crash left behind in a study, and mends it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from rnnsearch.store import STOP_FILE, StudyStore


@dataclass(frozen=True)
class Finding:
    """One thing that a crash left.

    Attributes:
        study: the study.
        what: what was found.
        mended: whether it was mended.
        advice: what to do about it.
    """

    study: str
    what: str
    mended: bool
    advice: str


def examine(store: StudyStore, *, fix: bool = False) -> list[Finding]:
    """Look a study over; one that is running is left alone.

    Args:
        store: the study.
        fix: whether to mend what is found.
    """
    if store.is_running:
        return []
    found: list[Finding] = []

    def note(what: str, advice: str = "mend it with `rnnsearch study doctor --fix`") -> None:
        found.append(Finding(store.name, what, fix, advice))

    running = [r for r in store.records() if r.state == "RUNNING"]
    if running:
        note(f"{len(running)} trials are left running")
        if fix:
            store.end_zombies("its driver died")
    if store.info.state == "running":
        note("it says that it is running, and no process runs it")
        if fix:
            store.write_info(state="interrupted")
    if store.info.run_id and (open_runs := _open_runs(store)):
        note(f"{open_runs} runs are left running in MLflow")
        if fix:
            _close_runs(store)
    for path in store.folder.rglob(".*.partial"):
        note(f"half a file: {path.name}")
        if fix:
            path.unlink(missing_ok=True)
    if (store.folder / STOP_FILE).exists():
        note("a request to stop is left")
        if fix:
            (store.folder / STOP_FILE).unlink(missing_ok=True)
    unfinished = {
        f"{r.phase}-{r.label}-{r.number}"
        for r in store.records(interrupted=True)
        if r.interrupted or r.state == "RUNNING"
    }
    for path in (store.folder / "checkpoints").glob("*.pt"):
        if path.name.rsplit(".", 2)[0] not in unfinished:
            note(f"a checkpoint of a trial that has ended: {path.name}")
            if fix:
                path.unlink(missing_ok=True)
    return found


def _open_runs(store: StudyStore) -> int:
    from rnnsearch.study import stored_config
    from rnnsearch.tracking import open_runs, resolve_uri

    run_id = store.info.run_id
    assert run_id is not None
    return len(open_runs(resolve_uri(stored_config(store)[0].tracking.uri), run_id))


def _close_runs(store: StudyStore) -> None:
    from rnnsearch.study import stored_config
    from rnnsearch.tracking import Tracker, resolve_uri

    info = store.info
    tracker = Tracker(resolve_uri(stored_config(store)[0].tracking.uri), store.name)
    with closing(tracker):
        tracker.connect()
        records = list(store.records(interrupted=True))
        assert info.run_id is not None
        assert info.data is not None
        tracker.resume_study(info.run_id, info.data, records)
        tracker.finish_study("FINISHED" if info.state == "finished" else "KILLED", [])
