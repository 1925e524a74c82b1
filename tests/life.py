"""A study in a separate home whose processes a test may kill, and the results it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from rnnsearch.records.store import StudyStore

from .command import run, run_here, write_study

# MLflow's status for each state of a trial.
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}


_drivers: list[subprocess.Popen[str]] = []


def end_drivers() -> None:
    """Kill the drivers that are still running."""
    while _drivers:
        driver = _drivers.pop()
        driver.kill()
        driver.wait()


class Life:
    """The study `life`: two rows, one worker, trials of one or two seconds on digits.

    Args:
        home: home folder of the study.
        trials: search trials of each row.
        seeds: confirmation seeds of each row.
        environment: environment variables for its processes.
        changes: other changes to its study file.
    """

    def __init__(
        self,
        home: Path,
        *,
        trials: int = 3,
        seeds: int = 2,
        environment: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> None:
        self.home, self.wanted = home, 2 * (trials + seeds)
        self.environment = {
            **os.environ,
            "RNNSEARCH_HOME": str(home),
            "RNNSEARCH_CHECKPOINT_S": "0.5",
            **(environment or {}),
        }
        self._changes: dict[str, Any] = {
            "name": "life",
            "architectures": ["lstm", "elman"],
            "engine": "torch",  # independent of the load of the machine
            "training": {
                "epochs": 8,
                "batch_size": 16,
                "learning_rate": {"low": 1e-3, "high": 3e-2},
            },
            "search": {"trials": trials, "scheduler": "none"},
            "confirmation": {"seeds": seeds},
            **changes,
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return run(*arguments, **self.environment)

    def run_here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command that starts no cluster to its end, in this process."""
        return run_here(*arguments, **self.environment)

    def write(self) -> Path:
        """Write the study file."""
        return write_study(self.home, **self._changes)

    def complete(self) -> Life:
        """Run the study to its end without disturbance."""
        done = self.run("study", "start", str(self.write()))
        assert done.returncode == 0, done.stderr
        return self

    def start(self) -> subprocess.Popen[str]:
        """Start the study."""
        return self.begin("study", "start", str(self.write()))

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command in a separate process group, so its signals do not reach the tests."""
        with (self.home / "stderr").open("a") as stderr:
            driver = subprocess.Popen(
                [sys.executable, "-m", "rnnsearch", *arguments],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                text=True,
                env=self.environment,
                start_new_session=True,
            )
        _drivers.append(driver)
        return driver

    def resume(self) -> None:
        """Resume the study and run it to its end."""
        done = self.run("study", "resume", "life")
        assert done.returncode == 0, done.stderr

    @property
    def store(self) -> StudyStore:
        """The study's store."""
        return StudyStore(self.home / "studies" / "life")

    @property
    def stderr(self) -> str:
        """Error output of its drivers."""
        return (self.home / "stderr").read_text()

    @property
    def ended(self) -> int:
        """Number of trials that have ended, or -1 before there is a study."""
        if not (self.store.folder / "study.json").exists():
            return -1
        return sum(r.state != "RUNNING" for r in self.store.records())

    @property
    def epochs_trained(self) -> int:
        """Epochs of all trials, each counted once no matter how often its trial was restarted."""
        records = self.store.records(interrupted=True)
        return len(
            {
                (r.phase, r.label, r.spec.seed, epoch.epoch)
                for r in records
                if r.spec is not None
                for epoch in r.epochs
            }
        )

    def wait_for(self, trials: int, driver: subprocess.Popen[str] | None = None) -> None:
        """Wait until this number of trials have ended."""
        self.wait_until(lambda: self.ended >= trials, driver)

    def wait_for_an_epoch(self, driver: subprocess.Popen[str]) -> None:
        """Wait until one more epoch was trained."""
        before = self.epochs_trained
        self.wait_until(lambda: self.epochs_trained > before, driver)

    def wait_until(
        self, happened: Callable[[], object], driver: subprocess.Popen[str] | None = None
    ) -> None:
        """Wait, while a driver runs, until a condition holds; at most five minutes."""
        deadline = time.monotonic() + 300
        while not happened():
            assert driver is None or driver.poll() is None, self.stderr
            assert time.monotonic() < deadline, self.stderr
            time.sleep(0.1)

    def results(self) -> dict[tuple[str, str, int], Any]:
        """Results of each trial; fails if one ran twice."""
        found: dict[tuple[str, str, int], Any] = {}
        for record in self.store.records():
            assert record.spec is not None
            epochs = [(e.epoch, e.train_loss, e.validation_loss) for e in record.epochs]
            key = (record.phase, record.label, record.spec.seed)
            assert key not in found, f"{key} was run twice"
            found[key] = (record.state, record.test_metric, str(epochs))
        return found

    def assert_as(self, undisturbed: Life) -> None:
        """Check that it ended like the undisturbed study: each trial once, with equal results."""
        assert self.results() == undisturbed.results()
        assert len(self.results()) == self.wanted
        assert self.store.info.state == "finished"
        self.assert_mlflow_agrees()

    def assert_mlflow_agrees(self, uri: str | None = None) -> None:
        """Check that each trial of the store has one run, with its outcome and all its epochs."""
        client = MlflowClient(uri or f"sqlite:///{self.home / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("life")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        assert {run.info.status for run in runs} <= {"FINISHED", "FAILED", "KILLED"}
        tagged = [r for r in runs if "rnnsearch.trial" in r.data.tags]
        shown = {r.data.tags["rnnsearch.trial"]: r for r in tagged}
        assert len(shown) == len(tagged)
        records = list(self.store.records(interrupted=True))
        for record in records:
            key = f"{record.phase}/{record.label}/{record.number}"
            assert shown[key].info.status == _STATUS[record.state], key
            if record.state == "COMPLETE":
                history = client.get_metric_history(shown[key].info.run_id, "train/loss")
                assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == [
                    (e.epoch, e.train_loss) for e in record.epochs
                ]
        assert len(shown) == len(records)

    def status(self) -> dict[str, Any]:
        """Output of `study status`."""
        said: dict[str, Any] = json.loads(self.run_here("study", "status", "life", "--json").stdout)
        return said


# Titles of a worker's process between and during calls.
_WORKERS = (b"ray::_Trial", b"ray::ResourceTrainable")


def below(process: int) -> dict[int, bytes]:
    """Descendants of a process, each with its command line."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended in the meantime
                continue
            children.setdefault(parent, []).append(int(folder.name))
    family, found = [process], {}
    for one in family:
        family += children.get(one, [])
    for one in family[1:]:
        try:
            found[one] = Path(f"/proc/{one}/cmdline").read_bytes()
        except OSError:
            continue
    return found


def workers_of(process: int) -> list[int]:
    """Process numbers of the workers that run trials below a process."""
    return [one for one, line in below(process).items() if line.startswith(_WORKERS)]


def kill_part_of_ray(driver: subprocess.Popen[str], program: str) -> None:
    """Kill the `gcs_server` or the `raylet` of a study's own cluster."""
    (found,) = [
        one
        for one, line in below(driver.pid).items()
        if line.split(b"\0")[0].endswith(f"/{program}".encode())
    ]
    os.kill(found, signal.SIGKILL)


def kill_one_worker(driver: subprocess.Popen[str]) -> int | None:
    """Kill a worker of a study; return its process number, or None if there is none."""
    for worker in workers_of(driver.pid):
        try:
            os.kill(worker, signal.SIGKILL)
        except ProcessLookupError:
            continue
        return worker
    return None
