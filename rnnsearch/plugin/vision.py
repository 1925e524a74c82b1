"""The one place that imports torchvision, made to work beside a torch that it was not built for."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType


def import_torchvision() -> ModuleType:
    """Import torchvision, even where its compiled operators cannot load.

    The wheels on PyPI are built for a torch with CUDA. Beside a torch for the CPU their extension
    fails to load, which torchvision tolerates, but it then describes operators that nobody
    registered, and the import ends in `operator torchvision::nms does not exist`. Data sets and
    transforms need none of them. So where the extension cannot load, and only there, the module
    with those descriptions is replaced by an empty one; an operator that is called nevertheless
    raises torchvision's own error.

    Each process that wants torchvision calls this, Ray workers too.

    Raises:
        ImportError: torchvision is not installed, or broken in another way.
    """
    if "torchvision" not in sys.modules and not _operators_load():
        name = "torchvision._meta_registrations"
        sys.modules[name] = ModuleType(name, "Left out: the compiled operators cannot load.")
    return import_module("torchvision")


def _operators_load() -> bool:
    """Load the compiled operators, as torchvision is about to do; False if that is refused.

    To define the missing operators instead would need their names in each version, and would
    abort the process where the extension does load.
    """
    import torch

    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # let the import itself say what is wrong
    # `_C.so`, or `_C_stable.so` in newer versions. No `.pyd`: on Windows torchvision first
    # prepares the search for libraries, so that a failure here would mean nothing.
    for library in sorted(Path(spec.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
    return True
