"""How many trials fit on a cluster: by what they ask for, and by the memory that they need."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from rnnsearch.config import machine
from rnnsearch.config.schema import ResourcesConfig
from rnnsearch.errors import RnnsearchError

_ROUNDING = 1e-9  # ten tenths of a GPU are a GPU
# Bytes of memory, measured on a study of one small row: what the driver, Ray and its store of
# objects take beside the workers, and the least that a worker takes.
_BESIDE_WORKERS = 900 << 20
_LEAST_WORKER = 340 << 20


@dataclass(frozen=True)
class Footprint:
    """The most memory that one worker was seen to hold.

    Attributes:
        bytes: of its machine's memory.
        gpu_share: of a GPU's memory, as a part of it; what torch took, without the driver's own.
    """

    bytes: int = 0
    gpu_share: float = 0.0

    @classmethod
    def of_this_process(cls) -> Footprint:
        """What this process has held at most."""
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        share = 0.0
        if torch.cuda.is_initialized():
            total = torch.cuda.get_device_properties().total_memory
            share = torch.cuda.max_memory_reserved() / total
        return cls(held if sys.platform == "darwin" else held << 10, share)

    def __or__(self, other: Footprint) -> Footprint:
        """The larger of each."""
        return Footprint(max(self.bytes, other.bytes), max(self.gpu_share, other.gpu_share))


NOTHING_SEEN = Footprint()


def this_machine() -> dict[str, float]:
    """CPUs and GPUs here, of which Ray may be given a part."""
    return {"CPU": float(machine.cpus()), "GPU": float(torch.cuda.device_count())}


def memory_for_workers(store: int) -> int:
    """Bytes of this machine's memory that are left for workers beside a store of objects."""
    return max(_LEAST_WORKER, machine.memory() - _BESIDE_WORKERS - store)


def require_memory(granted: int) -> None:
    """Refuse a machine, or a container, in which Ray would kill every worker.

    Args:
        granted: bytes that a study may use here.

    Raises:
        RnnsearchError: it is too little.
    """
    needed = _BESIDE_WORKERS + _LEAST_WORKER
    if granted < needed:
        msg = (
            f"this machine, or the container's limit, gives {granted / 1e9:.2g} GB of memory, and "
            f"a study needs {needed / 1e9:.2g} GB or more: raise the limit, or set RAY_ADDRESS to "
            "a cluster"
        )
        raise RnnsearchError(msg)


def trials_at_a_time(
    resources: ResourcesConfig,
    nodes: Sequence[Mapping[str, float]],
    seen: Footprint = NOTHING_SEEN,
    *,
    may_grow: bool = False,
) -> int:
    """How many trials the study asks for, or the nodes hold; at least one.

    Args:
        resources: what the study says.
        nodes: `CPU`, `GPU` and `memory` (in bytes) of each, as Ray counts them.
        seen: the most that a worker needed. A number of workers that was asked for stands.
        may_grow: whether nodes may still join.

    Raises:
        RnnsearchError: there is no room for even one, and there never will be.
    """
    cpus, gpus = resources.cpus_per_trial, resources.gpus_per_trial
    fits = [_fits(node, cpus, gpus) for node in nodes]
    if not any(fits) and not may_grow:
        have = {
            kind: max((n.get(kind, 0.0) for n in nodes), default=0.0) for kind in ("CPU", "GPU")
        }
        msg = (
            f"no node can hold a trial of {cpus:g} CPUs and {gpus:g} GPUs: this machine has "
            f"{have['CPU']:g} CPUs and {have['GPU']:g} GPUs. Lower `resources`, or set RAY_ADDRESS "
            f"to a cluster"
        )
        raise RnnsearchError(msg)
    if resources.workers:
        return resources.workers
    for place, node in enumerate(nodes):
        if "memory" in node:
            each = max(seen.bytes, _LEAST_WORKER)
            fits[place] = min(fits[place], math.floor(node["memory"] / each))
        if gpus and seen.gpu_share:
            fits[place] = min(fits[place], _fits(node, cpus, max(gpus, seen.gpu_share)))
    return max(1, sum(fits))


def _fits(node: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Trials that a node holds."""
    fits = node.get("CPU", 0.0) / cpus
    if 0 < gpus < 1:  # none is spread over two GPUs
        fits = min(fits, node.get("GPU", 0.0) * math.floor(1 / gpus + _ROUNDING))
    elif gpus:
        fits = min(fits, node.get("GPU", 0.0) / gpus)
    return math.floor(fits + _ROUNDING)
