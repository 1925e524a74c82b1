"""A study that is killed, stopped, interrupted or extended ends as an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import socket

import pytest

from ..life import Life

ROWS, SEEDS = 2, 2


def test_a_detached_driver_that_is_killed_in_the_middle_of_a_trial_goes_on_to_the_same_results(
    undisturbed: Life, life: Life
) -> None:
    started = life.run("study", "start", str(life.write()), "--detach")
    assert started.returncode == 0, started.stderr
    driver = life.store.info.pid
    assert f"study life runs as process {driver}" in started.stdout
    assert os.getsid(driver) == driver
    life.wait_for(1)
    os.kill(driver, signal.SIGSTOP)
    refused = life.run_here("study", "resume", "life")
    assert refused.returncode == 9
    assert f"is running: process {driver}" in refused.stderr
    refused = life.run("study", "start", str(life.write()), "--detach")
    assert refused.returncode == 9
    assert "exists already" in refused.stderr
    os.kill(driver, signal.SIGKILL)
    life.wait_until(lambda: not life.store.is_running)
    assert life.status()["state"] == "its driver died; `rnnsearch study resume life` continues it"
    found = life.run_here("study", "doctor").stdout
    assert "it says that it is running, and no process runs it" in found
    assert "left running in MLflow" in found
    assert "fixed" in life.run_here("study", "doctor", "life", "--fix").stdout
    assert life.run_here("study", "doctor").stdout == "no problems found\n"
    life.assert_mlflow_agrees()
    life.resume()
    life.assert_as(undisturbed)
    assert life.run_here("study", "doctor", "life").stdout == "no problems found\n"


def test_a_study_that_is_stopped_ends_its_trials_and_killed_leaves_them_and_goes_on_from_both(
    undisturbed: Life, life: Life
) -> None:
    driver = life.start()
    life.wait_for(1, driver)
    stopped = life.run_here("study", "stop", "life")
    assert stopped.returncode == 0, stopped.stderr
    assert driver.wait(timeout=300) == 130
    assert life.store.info.state == "stopped"
    ended = life.ended
    assert all(r.state == "COMPLETE" for r in life.store.records(interrupted=True))
    refused = life.run_here("study", "stop", "life")
    assert refused.returncode == 9
    assert "is not running: stopped; `rnnsearch study resume life` continues it" in refused.stderr
    driver = life.begin("study", "resume", "life")
    life.wait_for(ended + 1, driver)
    killed = life.run_here("study", "kill", "life")
    assert killed.returncode == 0, killed.stderr
    assert driver.wait(timeout=60) == 130
    assert life.store.info.state == "interrupted"
    assert "Traceback" not in life.stderr
    assert all(r.state != "RUNNING" for r in life.store.records(interrupted=True))
    life.assert_mlflow_agrees()
    text = (life.store.folder / "log.jsonl").read_text()
    log = [json.loads(line) for line in text.splitlines()]
    assert log[0]["event"] == "phase"
    assert log[-1]["event"] in ("phase", "trial_finished")
    life.resume()
    life.assert_as(undisturbed)


@pytest.mark.slow
def test_a_finished_study_is_extended_by_seeds_and_keeps_what_it_has(life: Life) -> None:
    before = life.complete().results()
    more = life.run("study", "extend", "life", "--seeds", str(SEEDS + 1))
    assert more.returncode == 0, more.stderr
    after = life.results()
    assert before.items() <= after.items()
    assert len(after) == len(before) + ROWS
    less = life.run("study", "extend", "life", "--seeds", "1")
    assert less.returncode == 9
    assert "it cannot shrink to 1" in less.stderr


def test_of_two_that_are_started_at_once_one_runs_and_what_a_killed_start_left_is_removed(
    life: Life,
) -> None:
    file = str(life.write())
    drivers = [life.begin("study", "start", file) for _ in range(2)]
    life.wait_until(lambda: any(driver.poll() is not None for driver in drivers))
    (loser,) = (driver for driver in drivers if driver.poll() is not None)
    (winner,) = (driver for driver in drivers if driver is not loser)
    assert loser.returncode == 9
    said = [line for line in life.stderr.splitlines() if line.startswith("error: ")]
    assert said == [
        f"error: a study named `life` exists already: process {winner.pid} on "
        f"{socket.gethostname()} is making it. Take another `--name`"
    ]
    assert winner.poll() is None
    winner.kill()
    winner.wait()
    left = [path.name for path in life.store.folder.parent.iterdir()]
    assert ".life.lease" in left
    assert "life: what somebody who was killed left: .life.lease (fixed)" in (
        life.run_here("study", "doctor", "--fix").stdout
    )
    assert not [p for p in life.store.folder.parent.iterdir() if p.name.startswith(".")]
