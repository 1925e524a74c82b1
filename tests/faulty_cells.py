"""Cells that fail only inside a worker; a plugin for the tests of faults."""

from __future__ import annotations

import os
import time
from pathlib import Path

from torch import Tensor

from rnnsearch import hookimpl
from rnnsearch.plugin.cell import State
from rnnsearch_baselines.elman import ElmanCell


def _in_worker() -> bool:
    return Path("/proc/self/cmdline").read_bytes().startswith(b"ray::")


class Hangs(ElmanCell):
    """The first step in the first worker never ends; steps in later workers do."""

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        if _in_worker():
            try:
                Path(os.environ["RNNSEARCH_HOME"], "hung").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                time.sleep(3600)
        return super().forward(inputs, state)


class Diverges(ElmanCell):
    """Its steps in a worker give NaN."""

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, after = super().forward(inputs, state)
        return (output * float("nan"), after) if _in_worker() else (output, after)


class Exits(ElmanCell):
    """Its steps in a worker end the process, like the out-of-memory killer."""

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        if _in_worker():
            os._exit(1)
        return super().forward(inputs, state)


@hookimpl
def rnnsearch_architectures() -> dict[str, str]:
    return {name.lower(): f"{__name__}:{name}" for name in ("Hangs", "Diverges", "Exits")}


def install(folder: Path) -> dict[str, str]:
    """Install the cells for processes with the returned environment."""
    info = folder / "faulty_cells-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-cells\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[rnnsearch]\nfaulty = {__name__}\n")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parents[1]}"}
