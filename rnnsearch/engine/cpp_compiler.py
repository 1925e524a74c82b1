"""Build: compiles C++ to a library for this machine, once, and keeps it.

A library is named by a hash of its source, the headers, the compiler, its flags and what the
processor can do, so that a folder may be shared by unlike machines. Files appear whole or not at
all; no lock is needed.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rnnsearch.config.home import home, write_whole
from rnnsearch.engine.capture import Unsupported
from rnnsearch.errors import StoreError

NATIVE = Path(__file__).parent / "native"
_FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-shared",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-w",
)
_LONGEST_BUILD_S = 120


class NoCompiler(Unsupported):
    """There is no C++ compiler that works, or what it builds cannot be used here."""


@dataclass(frozen=True)
class Toolchain:
    """A compiler and what it builds for.

    Attributes:
        command: the compiler with the flags for this processor.
        width: floats in a vector register.
        key: hash of the compiler's version and the processor's features.
        description: both, to be read.
    """

    command: tuple[str, ...]
    width: int
    key: str
    description: str


@cache
def toolchain() -> Toolchain:
    """Find the compiler: CXX, or the first of c++, g++ and clang++.

    `RNNSEARCH_CXXFLAGS` replaces the flags that choose the processor (`-march=native`).

    Raises:
        NoCompiler: none is there, or it does not work.
    """
    named = os.environ.get("CXX")
    candidates = [_words("CXX", named)] if named else [["c++"], ["g++"], ["clang++"]]
    chosen = next((words for words in candidates if words and shutil.which(words[0])), None)
    if chosen is None:
        looked = f"CXX={named}" if named else "c++, g++, clang++"
        raise NoCompiler(f"no C++ compiler found (looked for {looked})")
    given = os.environ.get("RNNSEARCH_CXXFLAGS")
    if given is not None:
        flags = _words("RNNSEARCH_CXXFLAGS", given)
    elif sys.platform == "darwin" and platform.machine() == "arm64":
        flags = ["-mcpu=native"]
    else:
        flags = ["-march=native"]
    command = (*chosen, *flags)
    # The predefined macros tell the compiler's version and every feature of the processor.
    macros = _run([*command, "-std=c++17", "-dM", "-E", "-x", "c++", os.devnull]).stdout
    defined = {line.split()[1]: line for line in macros.splitlines() if len(line.split()) > 1}
    if "__cplusplus" not in defined:
        raise NoCompiler(f"{_shown(command)} is no C++ compiler: it does not list its macros")
    if "__AVX512F__" in defined:
        width, level = 16, "AVX-512"
    elif "__AVX2__" in defined and "__FMA__" in defined:
        width, level = 8, "AVX2"
    else:
        width, level = 4, "NEON" if "__ARM_NEON" in defined else "plain"
    version = defined.get("__VERSION__", "").partition('"')[2].rstrip('"')
    key = hashlib.sha256("\n".join(sorted(defined.values())).encode()).hexdigest()[:12]
    return Toolchain(command, width, key, f"{Path(command[0]).name} {version}, {level}")


def _words(name: str, value: str) -> list[str]:
    """The words of a variable, as a shell reads them."""
    try:
        return shlex.split(value)
    except ValueError as error:
        raise NoCompiler(f"{name}={value} cannot be read: {str(error).lower()}") from None


def _shown(command: Sequence[str]) -> str:
    """A compiler as messages name it: with the variables that had a part in it."""
    names = [name for name in ("CXX", "RNNSEARCH_CXXFLAGS") if os.environ.get(name)]
    given = ", ".join(f"{name}={os.environ[name]}" for name in names)
    return f"{command[0]} ({given})" if given else command[0]


@cache
def _headers() -> bytes:
    return b"".join(path.read_bytes() for path in sorted(NATIVE.iterdir()))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_LONGEST_BUILD_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoCompiler(f"{_shown(command)} does not run: {error}") from error
    if done.returncode:
        lines = (done.stderr.strip() or "no message").splitlines()
        said = next((line for line in lines if "error" in line), lines[0])
        raise NoCompiler(f"{_shown(command)} fails: {said}")
    return done


def cache_folder() -> Path:
    """Where built libraries are kept: `engine` in rnnsearch's home."""
    return home() / "engine"


def library_name(source: str, defines: Mapping[str, int]) -> str:
    """File name of the library that a source becomes on this machine."""
    chain = toolchain()
    parts = [source, repr(sorted(defines.items())), " ".join(chain.command), " ".join(_FLAGS)]
    content = "\0".join(parts).encode() + _headers()
    return f"{chain.key}-{hashlib.sha256(content).hexdigest()[:20]}.so"


def build(source: str, defines: Mapping[str, int] | None = None) -> Path:
    """Compile a source, or find what it became the last time.

    Raises:
        NoCompiler: the compiler is missing or refuses the source, or has no place to work in.
        StoreError: the library cannot be kept.
    """
    defines = defines or {}
    target = cache_folder() / library_name(source, defines)
    if os.path.exists(target):  # False also where it may not be looked at
        return target
    chain = toolchain()
    try:
        with tempfile.TemporaryDirectory(prefix="rnnsearch-build-") as folder:
            written, built = Path(folder, "step.cpp"), Path(folder, "step.so")
            written.write_text(source, encoding="utf-8")
            definitions = [f"-D{name}={value}" for name, value in defines.items()]
            command = [*chain.command, *_FLAGS, *definitions, f"-I{NATIVE}"]
            _run([*command, str(written), "-o", str(built)])
            if not built.exists():
                raise NoCompiler(f"{_shown(command)} writes no library")
            install(target.name, built.read_bytes())
    except OSError as error:
        raise NoCompiler(f"there is no place for temporary files (TMPDIR): {error}") from error
    return target


# Builds under way, by the name of what they make: a cell and its head are compiled side by side.
_PENDING: dict[str, Future[Path]] = {}
_BUILDERS = ThreadPoolExecutor(2, thread_name_prefix="rnnsearch-build")


def start(source: str, defines: Mapping[str, int]) -> str:
    """Begin to build a source; `finish` waits for it.

    Returns:
        File name of the library that it will become.

    Raises:
        NoCompiler: the compiler is missing.
    """
    name = library_name(source, defines)
    if name not in _PENDING and not os.path.exists(cache_folder() / name):
        _PENDING[name] = _BUILDERS.submit(build, source, defines)
    return name


def finish(name: str) -> None:
    """Wait for a build that was started; raises as `build`."""
    pending = _PENDING.get(name)
    if pending is not None:
        try:
            pending.result()
        finally:
            _PENDING.pop(name, None)


def install(name: str, content: bytes) -> Path:
    """Put a library that was built elsewhere into this machine's cache, if it is not there."""
    target = cache_folder() / name
    if not os.path.exists(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make {target.parent}: {error.strerror}") from error
        write_whole(target, content)
    return target


def read_libraries(names: Iterable[str]) -> dict[str, bytes]:
    """Content of built libraries, by file name; without those that somebody has removed."""
    paths = {name: cache_folder() / name for name in names}
    return {name: path.read_bytes() for name, path in paths.items() if os.path.exists(path)}


def install_matching(libraries: Mapping[str, bytes]) -> None:
    """Install the libraries that were built by this machine's compiler for its processor."""
    try:
        key = toolchain().key
    except NoCompiler:
        return
    for name, content in libraries.items():
        if name.startswith(f"{key}-"):
            install(name, content)


@cache
def load(path: Path) -> ctypes.CDLL:
    """Load a built library into this process.

    Raises:
        NoCompiler: the system does not take it.
    """
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        msg = (
            f"a built library cannot be loaded ({error}); where the file system forbids programs "
            "(noexec), set RNNSEARCH_HOME to a folder of another"
        )
        raise NoCompiler(msg) from error


def load_native(name: str) -> ctypes.CDLL:
    """Build and load one of the engine's own files, such as `training`."""
    return load(build((NATIVE / f"{name}.cpp").read_text(encoding="utf-8")))
