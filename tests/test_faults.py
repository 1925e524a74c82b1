"""Kills, lost connections and full disks cost a study no trial: none is lost, repeated or stuck.

`pytest -m faults --dist load` runs all of these tests.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from . import faulty_cells
from .life import Life, kill_one_worker, kill_part_of_ray
from .loopback import free_port, ray_node, wait_for_port

pytestmark = [
    pytest.mark.faults,
    pytest.mark.usefixtures("no_driver_is_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def test_workers_that_are_killed_cost_no_trial_and_no_result(undisturbed: Life, life: Life) -> None:
    driver, killed = life.start(), 0
    for ended in (1, 5, 7):
        life.wait_for(ended, driver)
        time.sleep(0.7)
        found = kill_one_worker(driver)
        while found is None and driver.poll() is None:
            time.sleep(0.05)
            found = kill_one_worker(driver)
        killed += found is not None
    assert driver.wait(timeout=300) == 0, life.stderr
    assert killed >= 2, "the last one may come when all trials have ended"
    life.assert_as(undisturbed)
    assert len(list(life.store.records(interrupted=True))) > life.wanted


_EARLY_STOPPING: dict[str, Any] = {
    "trials": 5,
    "training": {
        "epochs": 24,
        "batch_size": 8,
        "learning_rate": {"low": 1e-3, "high": 3e-2},
    },
    "search": {
        "trials": 5,
        "sampler": "tpe",
        "scheduler": "asha",
        "grace_epochs": 1,
        "reduction_factor": 2,
    },
}


@pytest.fixture(scope="module")
def undisturbed_stopping_early(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """An undisturbed study with TPE and ASHA."""
    return Life(tmp_path_factory.mktemp("stopping_early"), **_EARLY_STOPPING).complete()


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["driver", "worker", "gcs_server", "raylet", "SIGTERM"])
def test_early_stopping_decides_as_if_nothing_had_been_killed(
    killed: str, undisturbed_stopping_early: Life, tmp_path: Path
) -> None:
    """Each row's first trial, which runs to its end, past its second checkpoint or a later one.

    Without its raylet, Ray may finish the search before it notices, so one kill is enough.
    """
    states = {r.state for r in undisturbed_stopping_early.store.records()}
    assert states == {"COMPLETE", "PRUNED"}
    life = Life(tmp_path, **_EARLY_STOPPING)
    checkpoints = life.store.folder / "checkpoints"
    driver = life.start()
    for row in ("lstm",) if killed == "raylet" else ("lstm", "elman"):
        kept = f"search-{row}-*.[2-9]*.pt"
        life.wait_until(lambda kept=kept: list(checkpoints.glob(kept)), driver)
        if killed == "worker":
            assert kill_one_worker(driver) is not None
            continue
        if killed == "driver":
            driver.kill()
        elif killed == "SIGTERM":
            driver.terminate()
        else:
            kill_part_of_ray(driver, killed)
        driver.wait(timeout=120)
        driver = life.begin("study", "resume", "life")
    assert driver.wait(timeout=300) == 0, life.stderr
    life.assert_as(undisturbed_stopping_early)


@pytest.mark.slow
def test_trials_that_hang_diverge_or_end_their_worker_are_held_against_nobody_else(
    tmp_path: Path,
) -> None:
    """A trial that hangs once is run by another worker; one that kills three workers fails."""
    life = Life(
        tmp_path,
        environment=faulty_cells.install(tmp_path / "plugin"),
        architectures=["exits", "hangs", "diverges", "elman"],
        engine="eager",
        training={"epochs": 2, "batch_size": 64, "learning_rate": 1e-3},
        search={"trials": 1, "scheduler": "none"},
        confirmation={"seeds": 1},
        resources={"workers": 1, "epoch_minutes": 0.25},
    )
    driver = life.start()
    assert driver.wait(timeout=300) == 4, life.stderr
    found = {r.label: r for r in life.store.records() if r.phase == "search"}
    assert found["exits"].state == "FAIL"
    assert found["exits"].reason.startswith("it lost 3 workers: ")
    assert found["diverges"].state == "FAIL"
    assert found["diverges"].reason.startswith("DivergedError: ")
    assert (found["hangs"].state, found["elman"].state) == ("COMPLETE", "COMPLETE")
    assert (tmp_path / "hung").exists()
    life.assert_mlflow_agrees()


@pytest.mark.slow
def test_a_checkpoint_that_was_damaged_costs_what_the_trial_had_trained_and_no_more(
    undisturbed: Life, life: Life
) -> None:
    driver = life.start()
    checkpoints = life.store.folder / "checkpoints"
    life.wait_until(lambda: list(checkpoints.glob("*.pt")), driver)
    driver.kill()
    driver.wait()
    (kept,) = checkpoints.glob("*.pt")
    damaged = bytearray(kept.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    kept.write_bytes(damaged)
    life.resume()
    life.assert_as(undisturbed)


@pytest.mark.slow
def test_a_driver_killed_twenty_times_loses_and_repeats_nothing(
    undisturbed: Life, life: Life
) -> None:
    """Ten times at any point, mostly during the start; ten times during training."""
    chance = random.Random(0)
    driver = life.start()
    for kill in range(20):
        if kill % 2 and life.ended >= 0:
            life.wait_for_an_epoch(driver)
            time.sleep(chance.uniform(0, 0.5))
        else:
            time.sleep(chance.uniform(0, 7))
        assert driver.poll() is None, f"it ended before kill {kill + 1}: {life.stderr}"
        driver.kill()
        driver.wait()
        # Before there is a study to resume, it must be started.
        driver = life.begin("study", "resume", "life") if life.ended >= 0 else life.start()
    assert driver.wait(timeout=600) == 0, life.stderr
    life.assert_as(undisturbed)


@pytest.mark.slow
def test_twenty_workers_killed_lose_and_repeat_nothing(tmp_path: Path) -> None:
    """Once per trial, or twice by chance: a third kill would fail the trial."""
    (tmp_path / "undisturbed").mkdir()
    (tmp_path / "killed").mkdir()
    undisturbed = Life(tmp_path / "undisturbed", trials=10, seeds=6).complete()
    life, chance = Life(tmp_path / "killed", trials=10, seeds=6), random.Random(0)
    driver = life.start()
    killed: set[str] = set()
    while driver.poll() is None and len(killed) < 20:
        time.sleep(chance.uniform(0.1, 0.6))
        if life.ended < 0:
            continue
        for record in [r for r in life.store.records() if r.state == "RUNNING"]:
            if record.spec is None:  # drawn, but not started yet
                continue
            trial = f"{record.phase}/{record.label}/{record.spec.seed}"
            if trial not in killed and kill_one_worker(driver):
                killed.add(trial)
    assert driver.wait(timeout=600) == 0, life.stderr
    assert len(killed) == 20
    life.assert_as(undisturbed)


@contextmanager
def _mlflow_server(folder: Path, port: int) -> Iterator[None]:
    """A real server on 127.0.0.1, with its database in a folder."""
    with (folder / "server.log").open("a") as log:
        server = subprocess.Popen(
            [
                sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
                "--port", str(port), "--workers", "1",
                "--backend-store-uri", f"sqlite:///{folder / 'server.db'}",
                "--artifacts-destination", str(folder / "artifacts"),
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )  # fmt: skip
    try:
        wait_for_port(port)
        yield
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.slow
def test_a_tracking_server_that_is_gone_for_half_a_minute_misses_nothing(
    undisturbed: Life, tmp_path: Path
) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    life = Life(tmp_path, tracking={"uri": uri})
    with _mlflow_server(tmp_path, port):
        driver = life.start()
        life.wait_for(2, driver)
    time.sleep(30)
    with _mlflow_server(tmp_path, port):
        assert driver.wait(timeout=300) == 0, life.stderr
        assert life.results() == undisturbed.results()
        assert "MLflow (http" in life.stderr
        life.assert_mlflow_agrees(uri)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("cannot mount a file system here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_stops_the_study_with_one_error_and_it_goes_on_from_there(
    undisturbed: Life, small_disk: Path
) -> None:
    life = Life(small_disk)
    driver = life.start()
    life.wait_for(2, driver)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 12))
    assert driver.wait(timeout=300) == 9, life.stderr
    filler.unlink()
    assert "Traceback" not in life.stderr
    assert "No space left on device" in life.stderr or "disk is full" in life.stderr
    assert "rnnsearch study resume life" in life.stderr
    life.resume()
    life.assert_as(undisturbed)


@pytest.mark.slow
def test_a_node_that_vanishes_takes_no_trial_with_it(tmp_path: Path) -> None:
    """Of two nodes with one worker each, one is killed completely; the other finishes the study."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    head = ("--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false")
    life = Life(
        tmp_path,
        environment={"RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled"},
        resources={"workers": 2},
    )
    with ray_node(*head):
        time.sleep(6)
        with ray_node(f"--address={address}", "--num-cpus=1") as second:
            time.sleep(6)
            driver = life.start()
            life.wait_for(1, driver)
            os.killpg(second.pid, signal.SIGKILL)
            second.wait()
        assert driver.wait(timeout=300) == 0, life.stderr
    assert len(life.results()) == life.wanted
    assert {state for state, *_ in life.results().values()} == {"COMPLETE"}
    life.assert_mlflow_agrees()


def _assert_nothing_is_lost(life: Life, uri: str | None = None) -> None:
    driver = life.start()
    assert driver.wait(timeout=580) == 0, life.stderr
    assert len(life.results()) == life.wanted
    assert {state for state, *_ in life.results().values()} == {"COMPLETE"}
    assert "locked" not in life.stderr
    life.assert_mlflow_agrees(uri)


@pytest.mark.slow
def test_eight_workers_side_by_side_lose_no_metric_in_one_file(tmp_path: Path) -> None:
    eight = {"workers": 8, "cpus_per_trial": 0.25 * min(1, (os.cpu_count() or 1) / 2)}
    _assert_nothing_is_lost(Life(tmp_path, trials=8, seeds=4, resources=eight))


@pytest.fixture
def postgres() -> Iterator[str]:
    """The address of a real PostgreSQL on 127.0.0.1."""
    if not all(map(shutil.which, ("initdb", "postgres"))) or find_spec("psycopg2") is None:
        pytest.skip("no PostgreSQL server is installed (initdb and postgres on PATH, psycopg2)")
    port = free_port()
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp())
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    subprocess.run(
        ["initdb", "-U", "mlflow", "-A", "trust", "--no-sync", "-D", data],
        check=True, capture_output=True, user=user, cwd="/",
    )  # fmt: skip
    server = subprocess.Popen(
        [
            "postgres", "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1",
            "-c", f"unix_socket_directories={folder}", "-c", "fsync=off",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd="/",
    )  # fmt: skip
    try:
        wait_for_port(port)
        yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)
        shutil.rmtree(folder)


@pytest.mark.slow
def test_thirty_two_workers_side_by_side_lose_no_metric_in_postgresql(
    postgres: str, tmp_path: Path
) -> None:
    many = {"workers": 32, "cpus_per_trial": (os.cpu_count() or 1) / 32}
    life = Life(tmp_path, trials=16, seeds=16, resources=many, tracking={"uri": postgres})
    _assert_nothing_is_lost(life, postgres)
