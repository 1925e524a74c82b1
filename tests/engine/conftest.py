"""Shared by the tests of the engine: one folder of libraries, so that each is built only once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rnnsearch.engine import build
from rnnsearch.engine.build import NoCompiler, toolchain

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
    """Replaces the separate home of each test."""
    return build_cache


@pytest.fixture(scope="package")
def compiler(build_cache: Path) -> None:
    """Skip tests that need a C++ compiler if there is none."""
    try:
        toolchain()
    except NoCompiler as error:
        pytest.skip(str(error))


@pytest.fixture
def quick_builds(compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build with less optimization, for large steps that only test the generated source."""
    flags = tuple("-O1" if flag == "-O3" else flag for flag in build._FLAGS)
    monkeypatch.setattr(build, "_FLAGS", flags)
