"""A digest of arrays that does not depend on how they are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np


def digest_of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    r"""Return a sha256, in hexadecimal, of named arrays.

    It covers the arrays in the order of their names; each contributes the line
    `name dtype shape\n`, such as `test_labels |u1 (10000,)`, then its elements in C order.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
