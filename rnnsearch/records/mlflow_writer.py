"""Writes to MLflow beside the trials, and waits for a server that went away."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

from mlflow.exceptions import MlflowException

from rnnsearch.config import settings
from rnnsearch.config.secrets import hide, hide_password
from rnnsearch.errors import TrackingError
from rnnsearch.records.mlflow_store import reason_of, tellable

# A server that restarts is back within minutes; what came up meanwhile is written then.
_PATIENCE_S = settings.seconds("RNNSEARCH_TRACKING_PATIENCE_S", 300)
_BETWEEN_TRIES_S = 5.0
_PASSING = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")


class PatientWriter:
    """One thread that writes what it is given, in order.

    A server that goes away is tried again for five minutes, and then given up: nothing more is
    written, and `flush` says so.

    Args:
        uri: the tracking store.
        study: name of the study, for what is said where it gives up.
    """

    def __init__(self, uri: str, study: str) -> None:
        self._uri, self._study = uri, study
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._failed: Exception | None = None
        self._gone_since: float | None = None
        self._hurry = Event()

    def hurry(self) -> None:
        """Stop waiting for a server: someone is waiting at the terminal."""
        self._hurry.set()

    def flush(self) -> None:
        """Wait until everything is written.

        Raises:
            TrackingError: something could not be.
        """
        self._thread.submit(lambda: None).result()
        if self._failed is not None:
            msg = (
                f"MLflow stopped taking results ({hide_password(self._uri)}): "
                f"{reason_of(self._failed, self._uri)}. "
                f"The study's own records are complete: `rnnsearch study compare "
                f"{self._study}` shows them, and `rnnsearch study resume "
                f"{self._study}` writes to MLflow what it missed"
            )
            raise TrackingError(msg) from tellable(self._failed, self._uri)

    def close(self) -> None:
        """End the writing thread; what a store that does not answer was not told is left."""
        self._hurry.set()
        self._thread.shutdown(wait=True)

    def later(self, write: Callable[[], object]) -> None:
        def guarded() -> None:
            while self._failed is None:
                try:
                    write()
                except (MlflowException, OSError) as error:
                    self._wait_for_it(error)
                else:
                    self._gone_since = None
                    return

        future: Future[None] = self._thread.submit(guarded)
        future.add_done_callback(_raise_bug)

    def _wait_for_it(self, error: Exception) -> None:
        """Wait a little for a store that did not answer, or give it up."""
        if self._gone_since is None:
            self._gone_since = time.monotonic()
            shown, reason = hide_password(self._uri), reason_of(error, self._uri)
            logging.getLogger("rnnsearch").warning("MLflow (%s): %s", shown, reason)
        passes = not isinstance(error, MlflowException) or error.error_code in _PASSING
        too_long = time.monotonic() > self._gone_since + _PATIENCE_S
        if not passes or too_long or self._hurry.wait(_BETWEEN_TRIES_S):
            self._failed = error


def _raise_bug(future: Future[None]) -> None:
    # What `guarded` does not catch is an error of ours: let it be seen.
    if (error := future.exception()) is not None:
        told = hide("".join(traceback.format_exception(error)))
        logging.getLogger("rnnsearch").error("while writing to MLflow\n%s", told)
