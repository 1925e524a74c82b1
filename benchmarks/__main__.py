"""`python -m benchmarks`: measures, prints Markdown, writes JSON."""

from __future__ import annotations

import argparse
import json
import time
from importlib import import_module
from pathlib import Path

NAMES = (
    "training_step",
    "seeds",
    "growth",
    "build",
    "torchrecurrent_layers",
    "study",
    "trial_overhead",
    "many_trials",
    "decisions",
    "gpu",
)


def main() -> None:
    """Run the benchmarks that the command line names, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"), metavar="PATH")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in this process")
    chosen = parser.parse_args()

    import torch

    from benchmarks.machine import describe_machine

    torch.set_num_threads(chosen.threads)
    machine = describe_machine()
    print("\n".join(f"* {name}: {value}" for name, value in machine.items()), flush=True)
    if torch.cuda.is_available():
        print("* GPU engines are measured by `gpu.py`; all else stays on the processor", flush=True)
    if chosen.quick:
        print("* quick: sizes too small to say anything about speed", flush=True)
    results: dict[str, object] = {}
    for name in chosen.only:
        began = time.perf_counter()
        tables = import_module(f"benchmarks.{name}").run(quick=chosen.quick)
        seconds = time.perf_counter() - began
        print(f"\n## {name}\n", flush=True)
        for table in tables:
            print(table.to_markdown(), flush=True)
        results[name] = {"seconds": seconds, "tables": [table.to_dict() for table in tables]}
        content = {"machine": machine, "quick": chosen.quick, "benchmarks": results}
        chosen.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
