"""Ray's cluster: starts one on this machine or joins one, and counts what runs on it at a time."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rnnsearch.config import machine
from rnnsearch.search import ray_environment

# Ray reads its environment once, when it is imported: every module of ours that uses Ray imports
# this one first.
_ADDRESS = ray_environment.prepare()

import ray  # noqa: E402

from rnnsearch.config.schema import ResourcesConfig  # noqa: E402
from rnnsearch.errors import RnnsearchError  # noqa: E402
from rnnsearch.search import interrupts  # noqa: E402
from rnnsearch.search.places import (  # noqa: E402
    NOTHING_SEEN,
    Footprint,
    memory_for_workers,
    require_memory,
    this_machine,
    trials_at_a_time,
)


@contextmanager
def cluster(object_bytes: int) -> Iterator[None]:
    """Join the cluster at RAY_ADDRESS, or run one on this machine alone.

    Args:
        object_bytes: bytes of data that the trials will share.

    Raises:
        RnnsearchError: no cluster answers at RAY_ADDRESS, or Ray refuses to start.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if _ADDRESS is not None:
        _ADDRESS.reach()
        _init(address=_ADDRESS.text, **quiet)
    else:
        store = max(256 << 20, 3 * object_bytes)
        if machine.is_limited():  # Ray looks at only some of the limits
            quiet["_memory"] = memory_for_workers(store)
        _init(
            address="local",
            _node_ip_address="127.0.0.1",
            _temp_dir=str(ray_environment.session_folder()),
            include_dashboard=False,
            num_cpus=machine.cpus(),
            object_store_memory=store,
            **quiet,
        )
    # `docker stop` and job schedulers send SIGTERM; Ray would answer with a dump of its stack.
    with suppress(ValueError):  # not in the main thread: then the caller handles signals
        signal.signal(signal.SIGTERM, interrupts.arrive)
    for name in ("ray", "ray.tune", "ray.train"):
        # A trial's error goes to the queue, with its reason; Ray would print its traceback too.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        # Objects in reference cycles release Ray in whichever thread collects them, and Ray ends a
        # process that calls it after its shutdown.
        gc.collect()
        ray.shutdown()


def _init(**arguments: Any) -> None:
    """Start Ray, or join a cluster.

    Raises:
        RnnsearchError: Ray refuses; says which of its variables are set.
    """
    try:
        ray.init(**arguments)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        what = f"{_ADDRESS.named} cannot be joined" if _ADDRESS else "Ray does not start"
        names = {n for n in os.environ if n.startswith("RAY_")} - set(ray_environment.SET_BY_US)
        hint = f" These of its variables are set: {', '.join(sorted(names))}" if names else ""
        raise RnnsearchError(f"{what}: {reason.rstrip('.')}.{hint}") from error


def require_room(resources: ResourcesConfig) -> None:
    """Refuse what cannot run before anything is planned: too little room here, or no cluster.

    Raises:
        RnnsearchError: there is no room for even one trial, or no cluster at RAY_ADDRESS.
    """
    if _ADDRESS is not None:
        _ADDRESS.reach()
    else:
        ray_environment.session_folder()
        require_memory(machine.memory())
        trials_at_a_time(resources, [this_machine()])


def places(resources: ResourcesConfig, seen: Footprint = NOTHING_SEEN) -> int:
    """How many trials run at a time on the cluster as it is now; see `trials_at_a_time`."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return trials_at_a_time(resources, nodes, seen, may_grow=_ADDRESS is not None)
