"""What a study ran on: versions, machine, and the state of the code beside the study file."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rnnsearch.config import machine
from rnnsearch.plugin.registry import Registry

_PACKAGES = ("rnnsearch", "torch", "torchvision", "ray", "optuna", "mlflow", "numpy")
_DIFF_LIMIT = 100_000  # characters


def describe_environment(registry: Registry) -> dict[str, str]:
    """Versions of Python, of the libraries and of the plugins, and the machine."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": str(machine.cpus()),
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    for plugin in registry.plugins:
        found[f"plugin {plugin.name}"] = f"{plugin.distribution} {plugin.version}"
    return found


def describe_git(folder: Path) -> dict[str, str]:
    """Commit, branch and uncommitted changes of the repository around a folder, if there is one."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {}
    changes = git("status", "--porcelain")
    return {
        "commit": commit,
        "branch": git("rev-parse", "--abbrev-ref", "HEAD") or "",
        "dirty": "true" if changes else "false",
        "diff": (git("diff", "HEAD") or "")[:_DIFF_LIMIT],
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
