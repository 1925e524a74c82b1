"""Source: puts the C++ file of a step together, and the tables that go with one size of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnnsearch.engine.capture import Captured
from rnnsearch.engine.lanes import PhaseWriter, write_contractions
from rnnsearch.engine.once import OnceWriter
from rnnsearch.engine.roles import Roles
from rnnsearch.engine.storage import Storage
from rnnsearch.engine.tables import Tables

_FILE = """\
// One step of {title}, forwards and backwards, over lanes of samples.
// n[] are sizes and c[] constants, given at run time; r_ are rows of lanes, v_ values in registers.
// The words are explained in rnnsearch/engine/README.md.
#include "kernel.h"

static inline void step_forward(const Frame& f, const long t) {{
  using namespace lanes;
  const long* const n = f.sizes;
  const float* const c = f.constants;
  (void)n, (void)c;
{forward}
}}

static inline void step_backward(const Frame& f, const long t, const long t0) {{
  using namespace lanes;
  const long* const n = f.sizes;
  const float* const c = f.constants;
  (void)n, (void)c, (void)t0;
{backward}
}}

// Adds steps t0 to t0 + steps to the totals of the weights.
static inline void contract_steps(const Frame& f, const long t0, const long steps) {{
  const long* const n = f.sizes;
  (void)n, (void)t0, (void)steps;
{contraction}
}}

// Arithmetic on parameters alone, once per update.
static void derive(const Frame& f) {{
  using namespace scalar;
  const long* const n = f.sizes;
  const float* const c = f.constants;
  (void)n, (void)c;
{constants}
}}

// From totals to gradients of the parameters, once per update.
static void finish(const Frame& f) {{
  using namespace scalar;
  const long* const n = f.sizes;
  const float* const c = f.constants;
  (void)n, (void)c;
{gradients}
}}

#include "time_loops.h"
"""


@dataclass(frozen=True)
class StepTables:
    """What the compiled code of a step needs to know of one size of it: it pickles.

    Attributes:
        names: parameters and buffers that the step reads, in the kernel's order.
        trained: which of them get a gradient.
        input_size: rows of the inputs.
        output_size: rows of the output.
        state_sizes: rows of each part of the state.
        sizes: the table `n`.
        constants: the table `c`.
        kept_rows: rows of each slot that is kept per time step.
        recent_rows: rows of each slot that is kept per step of a chunk.
        scratch_rows: rows of each buffer that lives within a step.
        summed_rows: rows that are summed over samples and time.
        total_size: elements of all totals.
        derived_size: elements of what is computed once per update.
    """

    names: tuple[str, ...]
    trained: tuple[str, ...]
    input_size: int
    output_size: int
    state_sizes: tuple[int, ...]
    sizes: tuple[int, ...]
    constants: tuple[float, ...]
    kept_rows: tuple[int, ...]
    recent_rows: tuple[int, ...]
    scratch_rows: tuple[int, ...]
    summed_rows: int
    total_size: int
    derived_size: int


def write_source(captured: Captured, title: str) -> tuple[str, StepTables]:
    """Write the C++ of a captured step, which is the same for every size of it.

    Raises:
        Unsupported: an operator that the engine lacks, named.
    """
    roles = Roles(captured)
    storage, tables = Storage(captured, roles), Tables()
    once = OnceWriter(captured, roles, storage, tables)
    forward, backward = (
        PhaseWriter(captured, roles, storage, tables, once.pointer, phase).write()
        for phase in ("forward", "backward")
    )
    source = _FILE.format(
        title=title,
        forward=_indented(forward),
        backward=_indented(backward),
        contraction=_indented(write_contractions(roles, storage, tables)),
        constants=_indented(once.write_constants()),
        gradients=_indented(once.write_gradients()),
    )
    step_tables = StepTables(
        names=captured.names,
        trained=tuple(captured.parameter_gradients),
        input_size=roles.view[captured.inputs].size,
        output_size=roles.view[captured.output_gradient].size,
        state_sizes=tuple(roles.view[node].size for node in captured.state),
        sizes=tuple(tables.sizes),
        constants=tuple(tables.numbers),
        kept_rows=tuple(storage.rows["kept"]),
        recent_rows=tuple(storage.rows["recent"]),
        scratch_rows=tuple(storage.rows["scratch"]),
        summed_rows=storage.summed_rows,
        total_size=storage.total_size,
        derived_size=once.size,
    )
    return source, step_tables


def _indented(lines: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)
