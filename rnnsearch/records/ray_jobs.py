"""Ray's jobs: a study's driver on a cluster, where it outlives the machine that asked for it.

Apart from `tuning`, which imports Ray with torch and Tune: asking a server needs neither.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnsearch.config import settings
from rnnsearch.config.secrets import hide, hide_password
from rnnsearch.errors import RnnsearchError

# As `ray job submit` reads it: where a cluster takes jobs.
SERVER = "RAY_API_SERVER_ADDRESS"
# What a driver that is a job calls itself.
JOB = "RNNSEARCH_JOB"

_STUDY_FILE = "study.yaml"
_ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
_LOOK_S = 0.5


def job_server() -> str | None:
    """The address of the server that is to run a study's driver, if one is named."""
    return settings.text(SERVER)


def own_job() -> str | None:
    """The job that this process is, if it is one."""
    return os.environ.get(JOB) or None


def submit(name: str, arguments: list[str], file: Path | None) -> str:
    """Let a cluster run a command of rnnsearch.

    The job sees the variables `RNNSEARCH_*` and MLFLOW_TRACKING_URI of this process where they hold
    no password, because anyone who reaches the cluster can read them. All others are the node's.

    Args:
        name: of the study.
        arguments: of the command; `{file}` stands for the study file.
        file: the study file, which goes with it.

    Returns:
        The job.

    Raises:
        RnnsearchError: the server does not answer, or refuses.
    """
    job = f"{name}-{secrets.token_hex(4)}"
    given = {
        name: value
        for name, value in os.environ.items()
        if (name.startswith("RNNSEARCH_") or name == "MLFLOW_TRACKING_URI")
        and value
        and hide(value) == value
    }
    environment: dict[str, Any] = {"env_vars": {**given, JOB: job}}
    words = [_STUDY_FILE if word == "{file}" else word for word in arguments]
    with tempfile.TemporaryDirectory() as folder:
        if file is not None:
            shutil.copyfile(file, Path(folder) / _STUDY_FILE)
            environment["working_dir"] = folder
        _ask(
            lambda client: client.submit_job(
                entrypoint=shlex.join(["python3", "-m", "rnnsearch", *words]),
                submission_id=job,
                runtime_env=environment,
            )
        )
    return job


def exit_code(job: str) -> int | None:
    """How a job ended, or None while it has not."""
    found = _ask(lambda client: client.get_job_info(job))
    if found.status not in _ENDED:
        return None
    if found.driver_exit_code is not None:
        return int(found.driver_exit_code)
    return 0 if found.status == "SUCCEEDED" else 1


def output(job: str) -> str:
    """What a job has printed."""
    return str(_ask(lambda client: client.get_job_logs(job)))


def stop(job: str, timeout_s: float) -> bool:
    """Interrupt a job; False if it has not ended in time."""
    if exit_code(job) is None:
        _ask(lambda client: client.stop_job(job))
    deadline = time.monotonic() + timeout_s
    while exit_code(job) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def _ask(question: Callable[[Any], Any]) -> Any:
    """Ask the server.

    Raises:
        RnnsearchError: it does not answer, or refuses.
    """
    from ray.job_submission import JobSubmissionClient

    address = os.environ[SERVER]
    try:
        return question(JobSubmissionClient(address))
    except (OSError, RuntimeError, ValueError) as error:
        reason = hide((str(error).strip() or type(error).__name__).splitlines()[0])
        raise RnnsearchError(
            f"the cluster at {SERVER}={hide_password(address)} does not take the job: {reason}. "
            "Start its head with a dashboard (`pip install 'ray[default]'`), correct the address, "
            f"or unset {SERVER} to run the study from this machine"
        ) from error
