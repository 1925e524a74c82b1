"""A study detached to a Ray cluster is a Ray job, and outlives the command that submitted it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rnnsearch import RnnsearchError
from rnnsearch.records import ray_jobs

from ..command import run, write_study
from ..life import Life
from ..loopback import free_port, ray_node, wait_for_port


class _Server:
    """Accepts jobs like Ray's client, and runs none."""

    jobs: list[dict[str, Any]]
    files: list[str]
    found = SimpleNamespace(status="RUNNING", driver_exit_code=None)

    def __init__(self, address: str) -> None:
        assert address == "http://127.0.0.1:8265"

    def submit_job(self, **job: Any) -> None:
        self.jobs.append(job)
        folder = job["runtime_env"].get("working_dir")
        if folder:
            self.files.append((Path(folder) / "study.yaml").read_text())

    def get_job_info(self, job: str) -> Any:
        return self.found

    def stop_job(self, job: str) -> None:
        type(self).found = SimpleNamespace(status="STOPPED", driver_exit_code=None)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> type[_Server]:
    """A job server that records its jobs."""
    made = type("Server", (_Server,), {"jobs": [], "files": []})
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", made)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265")
    return made


def test_a_job_gets_the_study_file_and_our_variables_and_no_secret(
    server: type[_Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: a b")
    monkeypatch.setenv("RNNSEARCH_OFFLINE", "1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://me:secret@host/db")
    job = ray_jobs.submit("a", ["study", "start", "{file}", "--name", "a b"], file)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    ray_jobs.submit("a", ["study", "resume", "a"], None)
    first, second = server.jobs
    assert first["submission_id"] == job != second["submission_id"]
    assert first["entrypoint"] == "python3 -m rnnsearch study start study.yaml --name 'a b'"
    assert server.files == ["name: a b"]
    variables = first["runtime_env"]["env_vars"]
    assert variables["RNNSEARCH_OFFLINE"] == "1"
    assert variables["RNNSEARCH_JOB"] == job
    assert "secret" not in str(first)
    assert second["runtime_env"]["env_vars"]["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"
    assert "working_dir" not in second["runtime_env"]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("PENDING", None, None),
        ("RUNNING", None, None),
        ("SUCCEEDED", 0, 0),
        ("FAILED", 9, 9),
        ("FAILED", None, 1),  # its node has vanished
        ("STOPPED", None, 1),
    ],
)
def test_a_job_ends_with_the_code_of_its_driver(
    server: type[_Server], status: str, code: int | None, expected: int | None
) -> None:
    server.found = SimpleNamespace(status=status, driver_exit_code=code)
    assert ray_jobs.exit_code("a") == expected


def test_a_job_that_is_stopped_is_waited_for(server: type[_Server]) -> None:
    assert ray_jobs.stop("a", timeout_s=5)
    server.stop_job = lambda self, job: None  # type: ignore[method-assign]
    server.found = _Server.found
    assert not ray_jobs.stop("a", timeout_s=0)


def test_a_server_that_does_not_answer_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(
        "study", "start", write_study(tmp_path), "--detach",
        RNNSEARCH_HOME=str(tmp_path), RAY_API_SERVER_ADDRESS="http://127.0.0.1:9",
    )  # fmt: skip
    assert done.returncode == RnnsearchError.exit_code, done.stderr
    assert "the cluster at RAY_API_SERVER_ADDRESS=http://127.0.0.1:9 does not" in done.stderr
    assert "ray[default]" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "studies" / "small").exists()


@pytest.fixture
def job_server() -> Iterator[str]:
    """A Ray cluster on 127.0.0.1 that accepts jobs."""
    if find_spec("opencensus") is None:
        pytest.skip("the head of a cluster takes jobs only with ray[default]")
    jobs = free_port()
    head = ("--head", f"--port={free_port()}", "--num-cpus=2")
    server = ("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={jobs}")
    with ray_node(*head, *server):
        wait_for_port(jobs)
        yield f"http://127.0.0.1:{jobs}"


@pytest.mark.slow
def test_a_study_detached_to_a_cluster_ends_as_any_other_and_can_be_killed_from_elsewhere(
    undisturbed: Life, tmp_path: Path, job_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", job_server)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    life = Life(tmp_path, resources={"workers": 1})
    file = str(life.write())
    started = life.run("study", "start", file, "--detach")
    assert started.returncode == 0, started.stderr
    first = life.store.info.job
    assert f"study life runs as Ray job {first}" in started.stdout
    refused = life.run("study", "start", file, "--detach")
    assert refused.returncode == 9
    assert "exists already" in refused.stderr
    life.wait_for(1)
    life.store.write_info(host="elsewhere")
    killed = life.run("study", "kill", "life")
    assert killed.returncode == 0, killed.stderr
    assert life.store.info.state == "interrupted"
    resumed = life.run("study", "resume", "life", "--detach")
    assert resumed.returncode == 0, resumed.stderr
    second = life.store.info.job
    assert first != second
    life.wait_until(lambda: ray_jobs.exit_code(second) is not None)
    assert ray_jobs.exit_code(second) == 0, ray_jobs.output(second)
    life.assert_as(undisturbed)
