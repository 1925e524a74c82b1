"""A compiled step: one time step of a cell or a head as machine code, ready to run."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn
from typing_extensions import override

from rnnsearch.engine import cpp_compiler
from rnnsearch.engine.capture import capture
from rnnsearch.engine.source import StepTables, write_source

# Blocks of up to this many vectors: more accumulators than registers would be needed beyond.
_MOST_VECTORS = 4


class StepSpec(ctypes.Structure):
    """Mirror of `StepSpec` in native/runner.h."""

    _fields_ = [
        ("derive", ctypes.c_void_p),
        ("forward", ctypes.c_void_p),
        ("backward", ctypes.c_void_p),
        ("finish", ctypes.c_void_p),
        ("lanes", ctypes.c_long),
        ("sizes", ctypes.POINTER(ctypes.c_long)),
        ("constants", ctypes.POINTER(ctypes.c_float)),
        *((name, ctypes.c_long) for name in ("names", "input_rows", "output_rows")),
        *((name, ctypes.c_long) for name in ("states", "kept", "recent", "scratch")),
        *(
            (name, ctypes.POINTER(ctypes.c_long))
            for name in ("state_rows", "kept_rows", "recent_rows", "scratch_rows")
        ),
        *((name, ctypes.c_long) for name in ("summed_rows", "total_size", "derived_size")),
    ]


def longs(values: Sequence[int]) -> ctypes.Array[ctypes.c_long]:
    """A C array of sizes, of at least one element."""
    return (ctypes.c_long * max(1, len(values)))(*values)


@dataclass(frozen=True)
class CompiledStep:
    """A step in machine code: it pickles, and builds nothing where the library is at hand.

    Attributes:
        source: the C++ that was written for it.
        tables: its sizes.
        lanes: samples in a block.
        library: file name of the built library.
        folded: constants that the step computes from nothing, by name.
    """

    source: str
    tables: StepTables
    lanes: int
    library: str
    folded: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def spec(self) -> StepSpec:
        """What the native runner needs; loads the library, and builds it if it is not there."""
        cpp_compiler.finish(self.library)
        path = cpp_compiler.cache_folder() / self.library
        if not path.exists():
            path = cpp_compiler.build(self.source, self._defines)
        code = cpp_compiler.load(Path(path))
        t = self.tables
        return StepSpec(
            *(
                ctypes.cast(getattr(code, f"rnn_{name}"), ctypes.c_void_p).value
                for name in ("derive", "forward", "backward", "finish")
            ),
            self.lanes,
            longs(t.sizes),
            (ctypes.c_float * max(1, len(t.constants)))(*t.constants),
            len(t.names),
            t.input_size,
            t.output_size,
            len(t.state_sizes),
            len(t.kept_rows),
            len(t.recent_rows),
            len(t.scratch_rows),
            longs(t.state_sizes),
            longs(t.kept_rows),
            longs(t.recent_rows),
            longs(t.scratch_rows),
            t.summed_rows,
            t.total_size,
            t.derived_size,
        )

    @property
    def _defines(self) -> dict[str, int]:
        return {"RNN_LANES": self.lanes, "RNN_WIDTH": cpp_compiler.toolchain().width}

    @override
    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k != "spec"}


def compile_step(
    module: nn.Module,
    input_size: int,
    state_shapes: tuple[tuple[int, ...], ...] | None,
    *,
    lanes: int,
    input_gradient: bool = False,
    wait: bool = True,
) -> CompiledStep:
    """Capture, write and build one step of a module.

    Args:
        module: a cell, or a head.
        input_size: features of its inputs.
        state_shapes: shape of each part of its state without the samples; None for a head.
        lanes: samples in a block, a multiple of the vector width.
        input_gradient: whether the gradient of its inputs is wanted.
        wait: whether to wait for the compiler; if not, `cpp_compiler.finish(step.library)` does.

    Raises:
        Unsupported: it cannot be compiled; says why.
    """
    captured = capture(module, input_size, state_shapes, input_gradient=input_gradient)
    source, tables = write_source(captured, type(module).__name__)
    defines = {"RNN_LANES": lanes, "RNN_WIDTH": cpp_compiler.toolchain().width}
    name = cpp_compiler.start(source, defines)
    if wait:
        cpp_compiler.finish(name)
    return CompiledStep(source, tables, lanes, name, dict(captured.folded))


def lanes_for(batch_size: int) -> int:
    """Lanes of a block for batches of a size: the fewest idle lanes, then the fewest blocks."""
    width = cpp_compiler.toolchain().width
    choices = [vectors * width for vectors in range(_MOST_VECTORS, 0, -1)]
    return min(choices, key=lambda lanes: (-(-batch_size // lanes) * lanes, -lanes))
