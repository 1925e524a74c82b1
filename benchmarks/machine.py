"""The machine that something was measured on."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from rnnsearch import load_registry
from rnnsearch.engine.cpp_compiler import NoCompiler, toolchain
from rnnsearch.records.environment import describe_environment, describe_git


def describe_machine() -> dict[str, str]:
    """Processor, cores, compiler, versions and date."""
    environment = describe_environment(load_registry())
    try:
        compiler = toolchain().description
    except NoCompiler as error:
        compiler = str(error)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": environment["processor"],
        "cores": environment["cpus"],
        "compiler": compiler,
        "torch": environment["torch"],
        "threads": str(torch.get_num_threads()),
        "GPU": gpu,
        "system": environment["platform"],
        "python": environment["python"],
        "commit": describe_commit(),
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
    }


def describe_commit() -> str:
    """The commit that was measured, and whether the code differs from it."""
    git = describe_git(Path(__file__).parent)
    changed = " with changes" if git.get("dirty") == "true" else ""
    return git.get("commit", "unknown")[:12] + changed
