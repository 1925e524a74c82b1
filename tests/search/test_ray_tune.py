"""Ray: where a local cluster listens, a study's workers, and joining an existing cluster."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rnnsearch.records.store import StudyStore

from ..command import REPOSITORY, run, write_study
from ..loopback import free_port, ray_node, wait_for_port

_LISTENING = "0A"

# The descendants of a process, from /proc, without external tools.
_FAMILY = """
import os
from pathlib import Path

def family(root):
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = {root}
    while more := {p for p, above in parents.items() if above in found} - found:
        found |= more
    return found
"""

# Starts a cluster as a study does, lists the sockets on which it and its processes listen, and
# prints their addresses.
_LIST_LISTENERS = (
    _FAMILY
    + """
from rnnsearch.search.cluster import cluster

def inodes(process):
    found = set()
    for link in Path(f"/proc/{process}/fd").glob("*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found

with cluster(0):
    ours = set().union(*(inodes(p) for p in family(os.getpid())))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in ours:
                print(table, fields[1].partition(":")[0])
"""
)


def _printed(script: str, *arguments: str) -> str:
    """Output of a script run in a separate process, in which Ray can start."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_local_cluster_listens_on_loopback_alone() -> None:
    listeners = _printed(_LIST_LISTENERS).split("\n")[:-1]
    assert len(listeners) >= 3, "Ray listens on several ports"
    loopback = {
        f"tcp {int.from_bytes(socket.inet_aton('127.0.0.1'), 'little'):08X}",
        "tcp6 00000000000000000000000001000000",
        "tcp6 0000000000000000FFFF00000100007F",
    }
    assert set(listeners) <= loopback


# Two queues of trials for one run.
_TWO_PHASES = (
    _FAMILY
    + """
import json, signal, sys
from dataclasses import replace
from rnnsearch.config.schema import ResourcesConfig
from rnnsearch.search.queue import Live, TrialQueue
from rnnsearch.search.cluster import cluster
from rnnsearch.search.stage import RunningPhase
from rnnsearch.search.ray_tune import run_trials
from tests.training.test_worker import examples, spec

class Trial:
    def __getattr__(self, name):
        return lambda *given, **named: None

class Queue(TrialQueue):
    def __init__(self, phase, groups):
        self.phase, self.groups, self.ended = phase, groups, {}
        self._listeners, self._live, self._handed_back, self._anew = [], {}, [], {}
        self.total = sum(map(len, groups))

    def ask_together(self, workers):
        if self._handed_back:
            return super().ask_together(workers)
        keys = self.groups.pop(0) if self.groups else []
        base = spec("eager", self.phase)
        lasting = {"killed": 100_000}
        given = [
            (key, replace(base, training=replace(base.training, epochs=lasting.get(key, 4))))
            for key in keys
        ]
        self._live.update({key: Live(Trial(), spec) for key, spec in given})
        return given

    def report(self, key, epochs, at_once=False):
        super().report(key, epochs)
        if key == "killed":
            os.kill(self.workers()[0], signal.SIGKILL)

    def lose(self, keys, reason):
        first, *behind = keys
        self.fail(first, reason)
        for key in behind:
            self.hand_back(key)

    def _tell(self, key, spec, state, reason, outcome):
        self.ended[key] = state, reason, bool(outcome and Path(outcome.weights).is_file())

    def workers(self):
        below = {p: Path(f"/proc/{p}/cmdline").read_text() for p in family(os.getpid())}
        titles = ("ray::_Trial", "ray::ResourceTrainable")  # between two calls, during one
        return sorted(p for p, command in below.items() if command.startswith(titles))

def run(search, confirmation, resources):
    # Both phases, and the workers that there are at their ends.
    workers = []

    def phases():
        splits = {"train": examples(20), "validation": examples(10)}
        yield RunningPhase(search, splits)
        workers.append(search.workers())
        yield RunningPhase(confirmation, {**splits, "test": examples(10)})
        workers.append(confirmation.workers())

    with cluster(0):
        run_trials(phases(), resources, "maximize", Path(sys.argv[1]))
    print(json.dumps([search.ended, confirmation.ended, *workers]))
"""
)


def _two_phases(run_them: str, folder: Path) -> list[Any]:
    printed = _printed(_TWO_PHASES + run_them, str(folder)).splitlines()[-1]
    found: list[Any] = json.loads(printed)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_queue_hears_of_a_worker_that_died_and_the_trials_behind_get_another_that_also_confirms(
    tmp_path: Path,
) -> None:
    run_them = """
groups = [["first"], ["killed", "behind"]]
run(Queue("search", groups), Queue("confirmation", [["seed"]]), ResourcesConfig(workers=1))
"""
    search, confirmation, before, after = _two_phases(run_them, tmp_path)
    state, reason, _ = search.pop("killed")
    assert state == "FAIL"
    assert "died" in reason
    assert search == {"first": ["COMPLETE", "", False], "behind": ["COMPLETE", "", False]}
    assert confirmation == {"seed": ["COMPLETE", "", True]}
    assert len(before) == 1
    assert before == after


# Tune keeps one idle worker alive, and no more.
_WAITING = """
import json
from pathlib import Path
from types import SimpleNamespace
from rnnsearch.search import ray_tune as tuning
from rnnsearch.search.stage import Stage
from rnnsearch.search.ray_tune import _EarlyStopping, _QueueSearcher

tuning.places = lambda resources, seen=None: resources  # there is no cluster

class Played(Stage):
    def __init__(self, asked):
        super().__init__(iter(()), Path("unused"), share=id)
        self.asked, self.over = asked, set()
        self.phase = SimpleNamespace(
            queue=SimpleNamespace(unfinished=lambda key: None, pauses=lambda spec: ())
        )

    def ask_together(self, workers):
        return self.asked.pop(0) if self.asked else []

    def is_running(self, key):
        return key not in self.over

spec = SimpleNamespace(label="lstm", to_json=lambda: "{}")
stage = Played([[("a", spec)], [("b", spec)]])
searcher = _QueueSearcher(stage, 4, "max", Path("unused"))
said = [len(searcher.suggest(name)["trials"]) for name in "12"]
said.append(searcher.suggest("3"))  # both workers train
stage.over.add("a")
waits = searcher.suggest("4")
said += [waits["trials"], searcher.suggest("5")]

scheduler = _EarlyStopping(stage)
waiting = SimpleNamespace(config=waits)
for status in ("RUNNING", "PENDING"):
    others = SimpleNamespace(get_trials=lambda: [SimpleNamespace(status=status)])
    said.append(scheduler.on_trial_result(others, waiting, {"epoch": 0}))
searcher.on_trial_complete("4")
said.append(searcher.suggest("6")["trials"])
print(json.dumps(said))
"""


def test_a_worker_without_a_trial_waits_until_there_is_one() -> None:
    printed = _printed(_WAITING)
    assert json.loads(printed) == [1, 1, None, [], None, "CONTINUE", "STOP", []]


def test_what_workers_were_seen_to_need_decides_how_many_more_are_asked_for() -> None:
    script = """
import json
from pathlib import Path
from rnnsearch.search import ray_tune as tuning
from rnnsearch.search.places import NOTHING_SEEN, Footprint
from rnnsearch.search.stage import Stage
from rnnsearch.search.ray_tune import _QueueCallback, _QueueSearcher

heard = []
tuning.places = lambda resources, seen=NOTHING_SEEN: heard.append(seen.bytes) or 1
tuning._BETWEEN_COUNTS_S = -1
stage = Stage(iter(()), Path("unused"), share=id)
searcher = _QueueSearcher(stage, None, "max", Path("unused"))
callback = _QueueCallback(stage, Path("unused"))
for held in (300, 200):
    callback.on_trial_result(1, [], None, {"news": [], "footprint": Footprint(bytes=held)})
    searcher.suggest("1")
print(json.dumps(heard))
"""
    printed = _printed(script)
    assert json.loads(printed) == [0, 300, 300]


def test_a_trial_stops_where_asha_of_ray_tune_stops_it() -> None:
    """Our version stores its state per trial and can be restored; its decisions are the same."""
    script = """
import random
from types import SimpleNamespace
from ray.tune.schedulers import ASHAScheduler
from rnnsearch.config.schema import SearchConfig
from rnnsearch.search.halving import Halving
from tests.trial_records import epoch
from dataclasses import replace

chance, stopped, trials = random.Random(0), 0, 0
for study in range(60):
    direction = chance.choice(["maximize", "minimize"])
    search = SearchConfig(
        grace_epochs=chance.choice([1, 2, 5]), reduction_factor=chance.choice([2, 3, 4])
    )
    epochs = chance.choice([5, 9, 16, 27, 30])
    ours = Halving(search, epochs, direction)
    theirs = ASHAScheduler(
        time_attr="epoch", metric="m", mode=direction[:3], max_t=epochs,
        grace_period=search.grace_epochs, reduction_factor=search.reduction_factor,
    )
    for number in range(20):
        trial, trials = SimpleNamespace(trial_id=str(number)), trials + 1
        theirs.on_trial_add(None, trial)
        for told in range(1, epochs):  # at the last one, Tune stops it without asking
            value = round(chance.random(), 1)
            said = theirs.on_trial_result(None, trial, {"epoch": told, "m": value})
            mine = ours.stops(number, replace(epoch(told), validation_metric=value))
            assert mine == (said == "STOP"), (study, number, told)
            if mine:
                stopped += 1
                break
print(stopped, trials)
"""
    stopped, trials = map(int, _printed(script).split())
    assert 0.3 < stopped / trials < 0.95


def test_a_trial_that_was_to_stop_when_its_driver_died_is_stopped_before_a_worker_gets_it(
    tmp_path: Path,
) -> None:
    script = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from rnnsearch.search import ray_tune as tuning
from rnnsearch.search.checkpoints import Checkpoints
from rnnsearch.search.stage import Stage
from rnnsearch.search.ray_tune import _QueueSearcher

tuning.places = lambda resources, seen=None: 1
folder = Path(sys.argv[1])
for key in ("old", "other"):
    Checkpoints(folder).keep(key, 3, b"learned")
epochs = [SimpleNamespace(epoch=number) for number in (1, 2, 3)]
ended, asked = [], [["stops"], ["goes on"]]

class Queue:
    running = 0

    def ask_together(self, workers):
        return [(key, SimpleNamespace(to_json=lambda: "{}")) for key in asked.pop(0)]

    def unfinished(self, key):
        before = "old" if key == "stops" else "other"
        return SimpleNamespace(key=before, checkpoint=3, epochs=epochs)

    def go_on(self, key, epochs):
        return key == "stops"

    def checkpoint(self, key, epoch): ...

    def pauses(self, spec):
        return (1, 3)

    def finish(self, key, outcome):
        ended.append([key, outcome])

stage = Stage(iter([SimpleNamespace(queue=Queue(), splits={})]), folder, share=id)
given = _QueueSearcher(stage, None, "max", folder).suggest("1")
kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
print(json.dumps([ended, [key for key, _ in given["trials"]], given["pauses"], kept]))
"""
    ended, given, pauses, kept = json.loads(_printed(script, str(tmp_path)))
    assert ended == [["stops", None]]
    assert given == ["goes on"]
    assert pauses == [1, 3]
    assert kept == ["goes on.3.pt"], "what is pruned leaves no checkpoint"


@pytest.fixture
def ray_address() -> Iterator[str]:
    """A Ray head on 127.0.0.1, started manually."""
    port = free_port()
    with ray_node("--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"):
        wait_for_port(port)
        time.sleep(3)  # the head answers before its node is registered
        yield f"127.0.0.1:{port}"


def test_a_study_runs_on_the_cluster_at_ray_address(ray_address: str, tmp_path: Path) -> None:
    path = write_study(tmp_path, search={"trials": 1}, confirmation={"seeds": 1})
    done = run(
        "study", "start", path, "-q",
        RNNSEARCH_HOME=str(tmp_path), RAY_ADDRESS=ray_address, RAY_AUTH_MODE="disabled",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    states = [r.state for r in StudyStore(tmp_path / "studies" / "small").records()]
    assert states == ["COMPLETE"] * 4
