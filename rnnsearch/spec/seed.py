"""The seeds of trials."""

from __future__ import annotations

import hashlib


def derive_seed(study_seed: int, phase: str, number: int) -> int:
    """Seed of trial `number`: equal for all architectures, different between the phases.

    A search and a confirmation share no seed by construction: those of a confirmation are odd.
    """
    digest = hashlib.sha256(f"{study_seed}/{phase}/{number}".encode()).digest()
    return 2 * (int.from_bytes(digest[:4], "big") >> 2) + (phase == "confirmation")
