"""Each family registers through the hooks, with exactly its known names."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rnnsearch import (
    Analysis,
    CellWrapper,
    Head,
    RecurrentCell,
    SequenceModel,
    Task,
    load_registry,
)

BASES: Mapping[str, tuple[type, ...]] = {
    "rnnsearch_architectures": (RecurrentCell, SequenceModel),
    "rnnsearch_wrappers": (CellWrapper,),
    "rnnsearch_heads": (Head,),
    "rnnsearch_tasks": (Task,),
    "rnnsearch_analyses": (Analysis,),
}
# Names that studies use must not change. For torchrecurrent's cells, see that family's own test.
NAMES: Mapping[str, Mapping[str, str]] = {
    "analyses": {
        "rnnsearch_analyses": "gate_saturation gradient_flow memory_heat_map neurons_of_interest "
        "stigmergy_traces time_constants"
    },
    "baselines": {"rnnsearch_architectures": "elman ff_nn mike_rnn prelu_rnn"},
    "classic": {"rnnsearch_architectures": "ctrnn jordan mtrnn narx rmlp second_order"},
    "feedforward": {"rnnsearch_architectures": "fsmn fsmn_bidirectional highway tcn"},
    "gated": {"rnnsearch_architectures": "gru lstm"},
    "gru_variants": {"rnnsearch_architectures": "gated_feedback gru_reset_before gru_slim mgu"},
    "heads": {"rnnsearch_heads": "prelu"},
    "languages": {"rnnsearch_tasks": "anbn anbncn dyck embedded_reber palindrome tomita"},
    "lstm_variants": {
        "rnnsearch_architectures": "conv_lstm depth_gated_lstm differential_lstm lstm_peephole "
        "lstm_projection lstm_variant mult_lstm"
    },
    "mnist": {"rnnsearch_tasks": "digits sequential_mnist spatial_mnist temporal_mnist"},
    "nested": {"rnnsearch_architectures": "mcrm nlstm nlstm_concat"},
    "ptb": {"rnnsearch_tasks": "char_ptb word_ptb"},
    "reservoir": {"rnnsearch_architectures": "esn"},
    "stigmergic": {"rnnsearch_architectures": "sm_rnn snn"},
    "structured": {"rnnsearch_architectures": "clockwork indrnn irnn scrn urnn"},
    "synthetic": {
        "rnnsearch_tasks": "adding copy_memory mackey_glass memory_capacity narma10 noisy_lag "
        "precise_timing temporal_order"
    },
    "torchrecurrent": {},
    "wrappers": {"rnnsearch_wrappers": "dropout residual slow_layers zoneout"},
}
FAMILIES = sorted(path.name for path in Path(__file__).parent.glob("rnnsearch-*"))
LARGE = "torch numpy scipy pandas matplotlib torchvision sklearn mlxtend torchrecurrent"


def _registered(family: str) -> Iterator[tuple[str, str, str]]:
    """Each hook that a family implements, with every name and target."""
    hooks = importlib.import_module(f"rnnsearch_{family}.hooks")
    for hook in BASES:
        if hasattr(hooks, hook):
            for name, target in getattr(hooks, hook)().items():
                yield hook, name, target


def test_every_family_is_tried() -> None:
    assert [f"rnnsearch-{family}".replace("_", "-") for family in sorted(NAMES)] == FAMILIES


@pytest.mark.parametrize("family", sorted(NAMES.keys() - {"torchrecurrent"}))
def test_a_family_registers_the_names_that_it_is_known_by_and_no_others(family: str) -> None:
    found: dict[str, list[str]] = {}
    for hook, name, _ in _registered(family):
        found.setdefault(hook, []).append(name)
    assert {hook: sorted(names) for hook, names in found.items()} == {
        hook: names.split() for hook, names in NAMES[family].items()
    }


@pytest.mark.parametrize(
    ("hook", "name", "target"),
    [pytest.param(*one, id=one[1]) for family in sorted(NAMES) for one in _registered(family)],
)
def test_each_name_leads_to_a_class_of_its_kind(hook: str, name: str, target: str) -> None:
    module, _, attribute = target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert issubclass(found, BASES[hook])
    kind = {"rnnsearch_analyses": "analysis"}.get(hook, hook.removeprefix("rnnsearch_")[:-1])
    assert load_registry().find(kind, name) is found


@pytest.fixture(scope="module")
def loaded() -> Mapping[str, list[str]]:
    """Large libraries imported by the hooks of each family, each in a separate process."""
    program = (
        "import json, os, sys\n"
        "large, found = set(sys.argv[1].split()), {}\n"
        "for family in sys.argv[2:]:\n"
        "    reading, writing = os.pipe()\n"
        "    if not os.fork():\n"
        "        __import__(f'rnnsearch_{family}.hooks')\n"
        "        os.write(writing, json.dumps(sorted(large & set(sys.modules))).encode())\n"
        "        os._exit(0)\n"
        "    os.close(writing)\n"
        "    found[family] = json.loads(os.fdopen(reading).read() or '[\"it fails\"]')\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, LARGE, *NAMES],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("family", sorted(NAMES))
def test_importing_the_hooks_imports_no_large_library(
    family: str, loaded: Mapping[str, list[str]]
) -> None:
    assert loaded[family] == []
