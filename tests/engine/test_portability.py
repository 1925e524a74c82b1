"""The same source compiles with other compilers and for other processors, with equal results."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rnnsearch import StoreError
from rnnsearch.engine import cpp_compiler
from rnnsearch.engine.cpp_compiler import NATIVE, NoCompiler, toolchain
from rnnsearch.engine.layer import CompiledLayer
from rnnsearch.engine.step import CompiledStep, compile_step
from rnnsearch_gated.lstm import LSTMCell

from .agreement import (
    assert_close,
    assert_layer_agrees,
    drawn,
    drawn_state,
    reference,
)

INPUTS, HIDDEN, STEPS = 3, 5, 6
SHAPES = ((HIDDEN,), (HIDDEN,))
X86 = platform.machine() in ("x86_64", "AMD64")
# Processor features required to run each build.
NEEDED = {
    "-march=x86-64": set(),
    "-march=haswell": {"avx2", "fma", "bmi1", "bmi2", "movbe", "f16c"},
    "-march=x86-64-v4": {"avx2", "fma", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
WIDTHS = {"-march=x86-64": 4, "-march=haswell": 8, "-march=x86-64-v4": 16}


def _features() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


def _require(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not installed")
    return found


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set the environment that names the compiler, and forget the compiler found before."""

    def choose(**variables: str) -> None:
        for name in ("CXX", "RNNSEARCH_CXXFLAGS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        toolchain.cache_clear()

    yield choose
    monkeypatch.undo()
    toolchain.cache_clear()


def _cell() -> LSTMCell:
    torch.manual_seed(0)
    return LSTMCell(INPUTS, HIDDEN)


def _compiled(lanes: int) -> CompiledStep:
    return compile_step(_cell(), INPUTS, SHAPES, lanes=lanes, input_gradient=True)


# Compilers and processors


@pytest.mark.skipif(not X86, reason="this is not an x86-64 machine")
@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("g++", "-march=x86-64"),
        ("g++", "-march=haswell"),
        ("g++", "-march=x86-64-v4"),
        ("clang++", "-march=x86-64"),
        ("clang++", "-march=native"),
    ],
)
def test_a_cell_built_by_a_compiler_for_a_processor_agrees_with_the_eager_loop(
    compiler: str, flags: str, tools: Callable[..., None], own_home: Path
) -> None:
    tools(CXX=_require(compiler), RNNSEARCH_CXXFLAGS=flags)
    width = toolchain().width
    assert width == WIDTHS.get(flags, width)
    step = _compiled(width)
    assert (own_home / "engine" / step.library).stat().st_size
    if missing := NEEDED.get(flags, set()) - _features():
        pytest.skip(f"it builds; this processor lacks {', '.join(sorted(missing))} to run it")
    tools()  # only the step is built by that compiler
    assert_layer_agrees(CompiledLayer(step), _cell(), STEPS, width + 3, SHAPES)


@pytest.mark.parametrize("name", ["layer", "training"])
@pytest.mark.parametrize("compiler", ["g++", "clang++", "aarch64-linux-gnu-g++"])
def test_compilers_take_the_engines_own_files(compiler: str, name: str) -> None:
    done = subprocess.run(
        [_require(compiler), "-std=c++17", "-fsyntax-only", str(NATIVE / f"{name}.cpp")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


_MAIN = """
#include "step.cpp"
#include "layer.cpp"
#include <cstdio>

{arrays}

static void print(const float* values, long count) {{
  for (long i = 0; i < count; i++) std::printf("%a\\n", values[i]);
}}

int main() {{
  const StepSpec spec = {{rnn_derive, rnn_forward, rnn_backward, rnn_finish, L, sizes, constants,
                         {names}, {input_size}, {output_size}, {states}, {kept}, {recent},
                         {scratch}, state_rows, kept_rows, recent_rows, scratch_rows,
                         {summed_rows}, {total_size}, {derived_size}}};
  void* const layer = rnn_layer_new(&spec, {steps}, {batch});
  rnn_layer_forward(layer, parameters, inputs, state, outputs, last);
  rnn_layer_backward(layer, parameters, of_outputs, of_last, gradients, of_inputs, of_state);
  print(outputs, {outputs});
  for (long i = 0; i < {states}; i++) print(last[i], {batch} * state_rows[i]);
  print(of_inputs, {inputs});
  for (long i = 0; i < {states}; i++) print(of_state[i], {batch} * state_rows[i]);
  const long counts[] = {counts};
  for (long i = 0; i < {names}; i++) print(gradients[i], counts[i]);
  rnn_layer_free(layer);
}}
"""


def _braced(values: Sequence[object]) -> str:
    return "{" + ", ".join(map(str, values or [0])) + "}"


def _floats(name: str, values: Tensor) -> str:
    numbers = [float(value).hex() + "f" for value in values.detach().flatten().tolist()]
    return f"static float {name}[] = {_braced(numbers)};"


def _pointers(name: str, to: Sequence[str]) -> str:
    return f"static float* {name}[] = {_braced(to)};"


def _program(step: CompiledStep, batch: int, inputs: Tensor, state: Sequence[Tensor]) -> str:
    """A C++ program that runs a cell forwards and backwards on given numbers and prints all."""
    tables, named = step.tables, dict(_cell().named_parameters())
    held = [named[name] for name in tables.names]
    outputs = STEPS * batch * tables.output_size
    arrays = [
        *(
            f"static const long {name}[] = {_braced(getattr(tables, name))};"
            for name in ("sizes", "kept_rows", "recent_rows", "scratch_rows")
        ),
        f"static const long state_rows[] = {_braced(tables.state_sizes)};",
        _floats("constants", torch.tensor(tables.constants)),
        _floats("inputs", inputs),
        _floats("of_outputs", drawn(STEPS, batch, tables.output_size, seed=20)),
        f"static float outputs[{outputs}], of_inputs[{inputs.numel()}];",
    ]
    for i, part in enumerate(state):
        arrays += [
            _floats(f"state_{i}", part),
            _floats(f"of_last_{i}", drawn(*part.shape, seed=21 + i)),
            f"static float last_{i}[{part.numel()}], of_state_{i}[{part.numel()}];",
        ]
    for i, value in enumerate(held):
        arrays += [
            _floats(f"parameter_{i}", value),
            f"static float gradient_{i}[{value.numel()}];",
        ]
    for name in ("state", "of_last", "last", "of_state"):
        arrays.append(_pointers(name, [f"{name}_{i}" for i in range(len(state))]))
    for name in ("parameter", "gradient"):
        arrays.append(_pointers(f"{name}s", [f"{name}_{i}" for i in range(len(held))]))
    return _MAIN.format(
        arrays="\n".join(arrays),
        names=len(held),
        input_size=tables.input_size,
        output_size=tables.output_size,
        states=len(state),
        kept=len(tables.kept_rows),
        recent=len(tables.recent_rows),
        scratch=len(tables.scratch_rows),
        summed_rows=tables.summed_rows,
        total_size=tables.total_size,
        derived_size=tables.derived_size,
        steps=STEPS,
        batch=batch,
        outputs=outputs,
        inputs=inputs.numel(),
        counts=_braced([value.numel() for value in held]),
    )


@contextmanager
def _built(folder: Path, command: list[str], lanes: int, width: int) -> Iterator[Path]:
    """Build the program of a cell with given blocks; its batch fills them plus three samples."""
    step, batch = _compiled(toolchain().width), lanes + 3
    inputs, state = drawn(STEPS, batch, INPUTS), drawn_state(batch, SHAPES)
    (folder / "step.cpp").write_text(step.source, encoding="utf-8")
    (folder / "main.cpp").write_text(_program(step, batch, inputs, state), encoding="utf-8")
    defines = [f"-DRNN_LANES={lanes}", f"-DRNN_WIDTH={width}"]
    flags = [flag for flag in cpp_compiler._FLAGS if flag not in ("-shared", "-fPIC", "-O3")]
    done = subprocess.run(
        [*command, *flags, *defines, f"-I{NATIVE}", f"-I{folder}", "main.cpp", "-o", "main"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if "sanitize" in " ".join(command) and "cannot find" in done.stderr:
        pytest.skip("the compiler's sanitizers are not installed")
    assert done.returncode == 0, done.stderr
    yield folder / "main"


def _assert_prints_what_the_eager_loop_computes(command: list[str], batch: int) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    printed = torch.tensor([float.fromhex(line) for line in done.stdout.split()])
    expected = reference(_cell(), drawn(STEPS, batch, INPUTS), drawn_state(batch, SHAPES))
    parts = printed.split([value.numel() for value in expected.values()])
    found = {n: part.view(expected[n].shape) for n, part in zip(expected, parts, strict=True)}
    assert_close(found, expected)


@pytest.mark.usefixtures("compiler")
def test_a_kernel_for_neon_agrees_with_the_eager_loop(tmp_path: Path) -> None:
    command = [_require("aarch64-linux-gnu-g++"), "-O2", "-static"]
    with _built(tmp_path, command, 8, 4) as program:
        emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
        if platform.machine() == "aarch64":
            _assert_prints_what_the_eager_loop_computes([str(program)], 11)
        elif emulator:
            _assert_prints_what_the_eager_loop_computes([emulator, str(program)], 11)
        else:
            pytest.skip("it builds; qemu-aarch64 is not installed to run it")


@pytest.mark.usefixtures("compiler")
def test_a_kernel_touches_only_its_own_memory(tmp_path: Path) -> None:
    command = [_require("g++"), "-O1", "-g", "-fsanitize=address,undefined"]
    with _built(tmp_path, [*command, "-fno-sanitize-recover=all"], 8, 4) as program:
        _assert_prints_what_the_eager_loop_computes([str(program)], 11)


# Without a compiler


def test_a_compiler_that_is_not_there_is_named(tools: Callable[..., None]) -> None:
    tools(CXX="no-such-compiler")
    with pytest.raises(NoCompiler) as raised:
        toolchain()
    assert str(raised.value) == "no C++ compiler found (looked for CXX=no-such-compiler)"


def test_without_any_compiler_the_names_looked_for_are_said(
    tools: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tools()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompiler) as raised:
        toolchain()
    assert str(raised.value) == "no C++ compiler found (looked for c++, g++, clang++)"


def test_a_compiler_that_does_not_work_is_named(tools: Callable[..., None], tmp_path: Path) -> None:
    broken = tmp_path / "broken-compiler"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 1\n", encoding="ascii")
    broken.chmod(0o755)
    tools(CXX=str(broken))
    with pytest.raises(NoCompiler, match=r"broken-compiler \(CXX=.*\) fails: out of order"):
        toolchain()


@pytest.mark.usefixtures("compiler")
def test_flags_that_the_compiler_does_not_know_are_its_failure(
    tools: Callable[..., None],
) -> None:
    tools(RNNSEARCH_CXXFLAGS="-march=no-such-processor")
    with pytest.raises(NoCompiler, match="no-such-processor"):
        toolchain()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"CXX": " "}, r"no C\+\+ compiler found \(looked for CXX= \)"),
        ({"CXX": "g++ '-O1"}, r"CXX=g\+\+ '-O1 cannot be read: no closing quotation"),
        ({"CXX": "c++ \\"}, r"CXX=.* cannot be read: no escaped character"),
        ({"CXX": "/"}, r"no C\+\+ compiler found \(looked for CXX=/\)"),
        ({"CXX": "echo"}, r"echo \(CXX=echo\) is no C\+\+ compiler"),
        ({"CXX": "true --fast"}, r"true \(CXX=true --fast\) is no C\+\+ compiler"),
        ({"CXX": "false"}, r"false \(CXX=false\) fails: no message"),
        ({"RNNSEARCH_CXXFLAGS": "'-O1"}, r"RNNSEARCH_CXXFLAGS='-O1 cannot be read: no closing"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("compiler")
def test_a_variable_that_names_no_compiler_is_the_reason_for_going_without(
    variables: dict[str, str], said: str, tools: Callable[..., None]
) -> None:
    tools(**variables)
    with pytest.raises(NoCompiler, match=said):
        toolchain()


# Asks the real compiler for its macros, but does something else for a build.
_ODD = '#!/bin/sh\ncase "$*" in *-dM*) exec c++ "$@";; esac\nfor out; do :; done\n{}\n'


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("exit 0", r"odd \(CXX=.*\) writes no library"),
        ('echo "no library" > "$out"', "a built library cannot be loaded .*noexec.*RNNSEARCH_HOME"),
        (r'printf "\377 error: \377" >&2; exit 1', r"odd \(CXX=.*\) fails: . error: ."),
    ],
    ids=["nothing", "no library", "no text"],
)
@pytest.mark.usefixtures("compiler")
def test_a_compiler_whose_work_is_of_no_use_is_gone_without(
    does: str, said: str, tools: Callable[..., None], tmp_path: Path
) -> None:
    odd = tmp_path / "odd"
    odd.write_text(_ODD.format(does), encoding="ascii")
    odd.chmod(0o755)
    tools(CXX=str(odd))
    with pytest.raises(NoCompiler, match=said):
        cpp_compiler.load(cpp_compiler.build("int unused;\n"))


@pytest.mark.usefixtures("compiler")
def test_without_a_place_for_temporary_files_nothing_is_compiled(
    tools: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(NoCompiler, match=r"no place for temporary files \(TMPDIR\): .*No such"):
        cpp_compiler.build("int unused;\n")


# The cache

_SOURCE = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture
def empty_cache(compiler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for built libraries in a home without any."""
    monkeypatch.setenv("RNNSEARCH_HOME", str(tmp_path))
    return cpp_compiler.cache_folder()


def test_a_source_is_built_once_for_each_compiler_processor_and_set_of_lanes(
    empty_cache: Path, tools: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cpp_compiler.build(_SOURCE, {"RNN_LANES": 4})
    assert cpp_compiler.load(first).answer() == 42
    stamp = first.stat().st_mtime_ns
    assert cpp_compiler.build(_SOURCE, {"RNN_LANES": 4}) == first
    assert first.stat().st_mtime_ns == stamp
    assert cpp_compiler.build(_SOURCE, {"RNN_LANES": 8}) != first
    if X86:
        monkeypatch.setenv("RNNSEARCH_CXXFLAGS", "-march=x86-64")
        toolchain.cache_clear()
        assert cpp_compiler.library_name(_SOURCE, {"RNN_LANES": 4}) != first.name


def test_a_source_that_does_not_compile_leaves_nothing_behind(empty_cache: Path) -> None:
    with pytest.raises(NoCompiler):
        cpp_compiler.build("this is not C++\n")
    assert not empty_cache.exists() or not list(empty_cache.iterdir())


def test_a_write_that_breaks_off_leaves_no_library(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left on device"):
            cpp_compiler.build(_SOURCE)
    assert list(empty_cache.iterdir()) == []
    assert cpp_compiler.load(cpp_compiler.build(_SOURCE)).answer() == 42


def test_a_library_never_shows_under_its_name_before_it_is_whole(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []
    replace = os.replace

    def watched(source: Path, target: Path) -> None:
        seen.append((Path(target).name, Path(source).stat().st_size))
        assert not Path(target).exists()
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    built = cpp_compiler.build(_SOURCE)
    assert seen == [(built.name, built.stat().st_size)]
    assert list(empty_cache.iterdir()) == [built]


_BUILD_WHEN_TOLD = """
import sys, time
from pathlib import Path
from rnnsearch.engine import cpp_compiler
source, signal = sys.argv[1:]
print("ready", flush=True)
while not Path(signal).exists():
    time.sleep(0.001)
path = cpp_compiler.build(source)
print(path, cpp_compiler.load(path).answer())
"""


def test_two_processes_that_build_the_same_at_once_both_get_it(
    empty_cache: Path, tmp_path: Path
) -> None:
    signal = tmp_path / "go"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _BUILD_WHEN_TOLD, _SOURCE, str(signal)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    signal.touch()
    told = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert told[0][0] == told[1][0]
    assert told[0][0].endswith("42\n")
    assert len(list(empty_cache.iterdir())) == 1
