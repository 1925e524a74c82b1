"""The number of parallel trials is limited by the CPUs, GPUs and memory of the nodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rnnsearch.config.schema import ResourcesConfig
from rnnsearch.errors import RnnsearchError
from rnnsearch.search.places import Footprint, trials_at_a_time

_GB = 1 << 30


@pytest.mark.parametrize(
    ("resources", "nodes", "expected"),
    [
        ({}, [{"CPU": 8}], 8),
        ({"cpus_per_trial": 0.5}, [{"CPU": 2}], 4),
        ({"cpus_per_trial": 0.1}, [{"CPU": 1}], 10),
        # A trial is not spread over several nodes or GPUs.
        ({"cpus_per_trial": 2}, [{"CPU": 3}, {"CPU": 3}], 2),
        ({"gpus_per_trial": 0.4}, [{"CPU": 16, "GPU": 2}], 4),
        ({"gpus_per_trial": 0.1}, [{"CPU": 16, "GPU": 1}], 10),
        ({"gpus_per_trial": 2}, [{"CPU": 16, "GPU": 3}, {"CPU": 16}], 1),
        ({"gpus_per_trial": 0.25}, [{"CPU": 2, "GPU": 1}], 2),
        ({"workers": 3}, [{"CPU": 8}], 3),
        ({"workers": 9}, [{"CPU": 8}], 9),
    ],
)
def test_places_are_what_each_node_holds(
    resources: dict[str, float], nodes: list[dict[str, float]], expected: int
) -> None:
    assert trials_at_a_time(ResourcesConfig(**resources), nodes) == expected


def test_memory_that_a_worker_was_seen_to_use_bounds_how_many_run_beside_it() -> None:
    nodes = [{"CPU": 8, "memory": 10 * _GB}, {"CPU": 8, "memory": 3 * _GB}]
    seen = Footprint(bytes=2 * _GB)
    assert trials_at_a_time(ResourcesConfig(), nodes) == 16
    assert trials_at_a_time(ResourcesConfig(), nodes, seen) == 5 + 1
    assert trials_at_a_time(ResourcesConfig(workers=7), nodes, seen) == 7, "it was asked for"
    assert trials_at_a_time(ResourcesConfig(), nodes, Footprint(bytes=99 * _GB)) == 1


def test_a_gpu_is_shared_by_no_more_trials_than_its_memory_holds() -> None:
    nodes, tenth = [{"CPU": 64, "GPU": 2}], ResourcesConfig(gpus_per_trial=0.1)
    assert trials_at_a_time(tenth, nodes) == 20
    assert trials_at_a_time(tenth, nodes, Footprint(gpu_share=0.3)) == 6
    assert trials_at_a_time(tenth, nodes, Footprint(gpu_share=0.05)) == 20


def test_where_not_even_one_fits_it_is_said_unless_nodes_may_still_join() -> None:
    large = ResourcesConfig(cpus_per_trial=4)
    with pytest.raises(RnnsearchError, match="no node can hold a trial of 4 CPUs and 0 GPUs"):
        trials_at_a_time(large, [{"CPU": 2}, {"CPU": 3}])
    assert trials_at_a_time(large, [], may_grow=True) == 1


def test_a_process_s_footprint_is_the_most_it_held() -> None:
    before = Footprint.of_this_process()
    block = np.ones(before.bytes + (64 << 20), np.uint8)
    held = Footprint.of_this_process()
    assert held.bytes > before.bytes + (32 << 20)
    del block
    assert Footprint.of_this_process().bytes >= held.bytes
    assert held.gpu_share == 0.0 or torch.cuda.is_available()
    assert (Footprint(1, 0.5) | Footprint(2, 0.25)) == Footprint(2, 0.5)
