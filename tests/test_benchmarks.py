"""The benchmarks run and report every variant; the measurements are not asserted."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rnnsearch.engine import cpp_compiler
from rnnsearch.engine.cpp_compiler import NoCompiler, toolchain

from .command import REPOSITORY


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The benchmarks' setting, and their folder on the path, because they are not installed."""
    monkeypatch.syspath_prepend(str(REPOSITORY))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def quick_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build with less optimization, because speed does not matter here."""
    try:
        toolchain()
    except NoCompiler as reason:
        pytest.skip(str(reason))
    flags = tuple("-O1" if flag == "-O3" else flag for flag in cpp_compiler._FLAGS)
    monkeypatch.setattr(cpp_compiler, "_FLAGS", flags)


@pytest.mark.usefixtures("one_thread", "quick_builds")
def test_training_step_reports_every_variant_with_finite_ratios() -> None:
    from benchmarks.cells import IndRNNCell
    from benchmarks.training_step import Case, measure

    case = Case("IndRNN(4)", lambda features: IndRNNCell(features, 4), 3, 5, 7)
    table = measure([case], rounds=2, steps=2)

    rows = json.loads(json.dumps(table.to_dict()))["rows"]
    assert [row["variant"] for row in rows] == [
        "program",
        "compiled layers",
        "eager",
        "nn.LSTM",
        "products alone",
    ]
    for row in rows:
        for column in ("ms", "/ eager", "/ nn.LSTM", "/ products"):
            for value in row[column].values():
                assert math.isfinite(value)
                assert value > 0
    assert rows[0]["error"] < 1e-5
    assert table.to_markdown().count("IndRNN(4)") == len(rows)


@pytest.mark.usefixtures("one_thread")
def test_an_engine_that_refuses_a_cell_is_noted_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks import training_step
    from benchmarks.cells import PlainCell
    from rnnsearch.engine.capture import Unsupported

    def refuse(*_: object) -> float:
        raise Unsupported("not today")

    monkeypatch.setattr(training_step, "_verify", refuse)
    case = training_step.Case("Plain(3)", lambda features: PlainCell(features, 3), 2, 4, 3)
    table = training_step.measure([case], rounds=1, steps=1)

    assert {row["variant"] for row in table.rows} == {"eager", "nn.LSTM", "products alone"}
    assert sum("not today" in note for note in table.notes) == 2


@pytest.mark.usefixtures("one_thread")
def test_command_line_writes_json_and_markdown_with_the_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from benchmarks import __main__

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    path = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "gpu", "--quick", f"--json={path}"])
    __main__.main()

    found = json.loads(path.read_text("utf-8"))
    assert set(found["machine"]) >= {"processor", "cores", "compiler", "torch", "date"}
    assert "gpu" in found["benchmarks"]
    assert "no GPU: not measured" in capsys.readouterr().out


@pytest.mark.usefixtures("one_thread")
def test_ratios_are_of_blocks_of_the_same_round() -> None:
    from benchmarks.interleaving import interleave

    now = 0.0

    def takes(seconds: float) -> object:
        def block(steps: int) -> None:
            nonlocal now
            now += steps * seconds

        return block

    variants = {"slow": takes(0.03), "fast": takes(0.01)}
    timings = interleave(variants, rounds=3, steps=4, clock=lambda: now)  # type: ignore[arg-type]

    assert timings.of("slow").median == pytest.approx(30)
    assert timings.of("fast", 2).median == pytest.approx(20)
    assert timings.ratio("slow", "fast").high == pytest.approx(3)
