"""What the engine's tests share: one folder of built libraries, so that each is built once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rnnsearch.engine import cpp_compiler
from rnnsearch.engine.cpp_compiler import NoCompiler, toolchain

pytest.register_assert_rewrite("tests.engine.agreement")


@pytest.fixture(scope="package", autouse=True)
def build_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of all tests here, for fixtures of every scope."""
    folder = tmp_path_factory.mktemp("engine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNNSEARCH_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def own_home(build_cache: Path) -> Path:
    """In place of a home for each test."""
    return build_cache


@pytest.fixture(scope="package")
def compiler(build_cache: Path) -> None:
    """Skip what needs a C++ compiler where there is none."""
    try:
        toolchain()
    except NoCompiler as error:
        pytest.skip(str(error))


@pytest.fixture
def quick_builds(compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build with less optimization, for large steps that show what the source says."""
    flags = tuple("-O1" if flag == "-O3" else flag for flag in cpp_compiler._FLAGS)
    monkeypatch.setattr(cpp_compiler, "_FLAGS", flags)
