"""torchvision can be imported even if its compiled operators do not load."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(code: str, *arguments: str, path: tuple[Path, ...] = ()) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))}
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_mnist_and_the_transforms_work_without_a_warning(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = bytes(range(256)) * 6 + bytes(32)
    for part in ("train", "t10k"):
        header = struct.pack(">4i", 0x803, 2, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + pixels)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, 2) + b"\x07\x02")
    code = """
import sys
from rnnsearch.plugin.vision import import_torchvision
torchvision = import_torchvision()
assert import_torchvision() is torchvision
import torch
from torchvision.transforms import v2
to_tensor = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
image, label = torchvision.datasets.MNIST(sys.argv[1], transform=to_tensor)[1]
print(label, tuple(image.shape), round(float(image[0, 0, 0]) * 255))
"""
    assert run(code, str(tmp_path)) == f"2 (1, 28, 28) {784 % 256}\n"


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A torchvision whose import reports whether its operators are described."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("from torchvision import _meta_registrations\n")
    (package / "_meta_registrations.py").write_text("print('described')\n")
    return tmp_path


CODE = "from rnnsearch.plugin.vision import import_torchvision; import_torchvision()"


def test_a_torchvision_whose_operators_load_is_left_alone(fake: Path) -> None:
    spec = find_spec("numpy.random._common")  # any library that loads
    assert spec is not None
    assert spec.origin is not None
    if not spec.origin.endswith(".so"):
        pytest.skip("compiled modules are no .so files here")
    (fake / "torchvision" / "_C.so").symlink_to(spec.origin)
    assert run("import numpy.random; " + CODE, path=(fake,)) == "described\n"


@pytest.mark.parametrize("name", ["_C.so", "_C_stable.so"])
def test_operators_that_do_not_load_are_not_described(fake: Path, name: str) -> None:
    (fake / "torchvision" / name).write_bytes(b"no library")
    assert run(CODE, path=(fake,)) == ""


def test_a_torchvision_that_is_imported_already_is_returned_as_it_is(fake: Path) -> None:
    (fake / "torchvision" / "_C.so").write_bytes(b"no library")
    assert run("import torchvision; " + CODE, path=(fake,)) == "described\n"


def test_importing_the_module_imports_neither_torch_nor_torchvision() -> None:
    code = "import sys, rnnsearch.plugin.vision; print({'torch', 'torchvision'} & set(sys.modules))"
    assert run(code) == "set()\n"
