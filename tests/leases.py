"""Leases of processes that a test invents or starts."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from rnnsearch.records import lease
from rnnsearch.records.lease import Holder
from rnnsearch.records.store import StudyStore


def write_lease(store: StudyStore, pid: int, **changes: Any) -> Holder:
    """Write a lease as if the driver with this process number held it; the file is not locked."""
    started = lease._started(str(pid)) or "0"
    here = replace(Holder.this_process("running", None, locked=True), pid=pid, started=started)
    holder = replace(here, **changes)
    store.beside("lease").write_text(json.dumps(asdict(holder)))
    return holder
