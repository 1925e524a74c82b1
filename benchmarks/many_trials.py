"""What a study of a thousand trivial trials costs, and what grows with their number."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import yaml

from benchmarks.fresh_process import REPOSITORY, environment
from benchmarks.table import Table, Value

_ROWS = ["lstm", "gru", "elman", "mgu"]
_LOOK_S = 0.2


def run(quick: bool = False) -> list[Table]:
    """Run one study and look at its driver every so many trials."""
    trials, step = (4, 4) if quick else (250, 100)
    content = {
        "schema_version": 1,
        "name": "many",
        "seed": 1,
        "task": "digits",
        "architectures": _ROWS,
        "budget": {"parameters": 500, "tolerance": "10%"},
        "training": {"epochs": 1, "batch_size": 256},
        "search": {"trials": trials, "scheduler": "none"},
        "confirmation": {"seeds": 1},
    }
    with tempfile.TemporaryDirectory() as folder:
        home, file = Path(folder, "home"), Path(folder, "study.yaml")
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        driver = subprocess.Popen(
            [sys.executable, "-m", "rnnsearch", "study", "start", "-q", str(file)],
            cwd=REPOSITORY,
            env=environment(home),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        marks = _watch(driver, home / "studies" / "many" / "log.jsonl", len(_ROWS) * trials, step)
        if driver.wait() != 0:
            raise RuntimeError(f"the study ended with exit code {driver.returncode}")
    rows: list[dict[str, Value]] = [
        {
            "trials": after[0],
            "ms/trial": 1000 * (after[1] - before[1]) / (after[0] - before[0]),
            "driver MiB": after[2],
        }
        for before, after in pairwise(marks)
    ]
    note = (
        f"{len(_ROWS)} rows, TPE, each trial one epoch of 1,077 digits. `ms/trial`: "
        "wall time between two marks over the trials between them, all workers together; `driver "
        "MiB`: resident memory of the driver at the mark."
    )
    return [Table("A thousand trivial trials", rows, [note])]


def _watch(
    driver: subprocess.Popen[bytes], log: Path, trials: int, step: int
) -> list[tuple[int, float, float]]:
    """Trials that have ended, when, and the driver's MiB, at every `step` trials."""
    marks: list[tuple[int, float, float]] = []
    while driver.poll() is None and (not marks or marks[-1][0] < trials):
        time.sleep(_LOOK_S)
        if not log.exists():
            continue
        events = [json.loads(line) for line in log.read_text().splitlines()]
        ended = sum(event["event"] == "trial_finished" for event in events)
        if ended >= (marks[-1][0] + step if marks else 1):
            marks.append((ended, time.perf_counter(), _resident(driver.pid)))
    return marks


def _resident(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
