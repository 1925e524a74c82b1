"""Ray's surroundings: what it has to be told before it is imported, where a cluster is, and where
one of our own keeps its files. Imports no Ray.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rnnsearch.config import settings
from rnnsearch.errors import RnnsearchError

ADDRESS = "RAY_ADDRESS"
# Ray reads these when it is imported. It would otherwise print banners, write logs, report usage,
# and catch Ctrl-C and return as if the study had finished.
SET_BY_US = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The store is the truth; Tune's own snapshot of an experiment is never read back.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    # With a searcher, Tune would start one worker after the other; ours asks for no more than
    # there are places.
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
}

_ANSWER_TIMEOUT_S = 10
_FORMS = "`HOST:PORT` such as 10.0.0.5:6379, `ray://HOST:PORT`, `auto`, or nothing"
# What a client of HTTP/2 begins with, and gRPC answers: RFC 9113, 3.4.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_SETTINGS_FRAME = 4
# Ray listens on sockets below its folder, such as `session_2026-12-01_05-00-00_123456_4194304/
# sockets/plasma_store.1`, and the path of a socket has at most 107 bytes (unix(7)); 103 on macOS.
_LONGEST_FOLDER = 103 - len("/session_2026-12-01_05-00-00_123456_4194304/sockets/plasma_store.1")


@dataclass(frozen=True)
class RayAddress:
    """Where a cluster was started.

    Attributes:
        text: as Ray takes it.
        host: name or number of its head.
        port: of its control store, or of the server for `ray://`.
        named: how it came to be meant, to be shown: `RAY_ADDRESS=...`.
    """

    text: str
    host: str
    port: int
    named: str

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def reach(self) -> None:
        """Refuse an address where no cluster answers; Ray itself would try for minutes.

        Raises:
            RnnsearchError: nothing listens there, or it is not Ray that does.
        """
        try:
            with socket.create_connection((self.host, self.port), _ANSWER_TIMEOUT_S) as there:
                said = b""
                if not settings.flag("RAY_USE_TLS"):
                    there.sendall(_HELLO)
                    said = there.recv(9)
                    if len(said) < 4 or said[3] != _SETTINGS_FRAME:
                        raise OSError("something else than Ray listens there")
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            msg = (
                f"no Ray cluster answers at {self.named}: {why}. Start it, correct the address, "
                f"or unset {ADDRESS} to run on this machine"
            )
            raise RnnsearchError(msg) from error


def ray_address() -> RayAddress | None:
    """The cluster at RAY_ADDRESS, or None where a study is to run one of its own.

    Raises:
        SettingError: the variable holds no address, or `auto` where no cluster was started.
    """
    given = settings.text(ADDRESS)
    if given is None or given == "local":
        return None
    named = f"{ADDRESS}={given}"
    if given == "auto":
        # Ray would also take the private cluster of another study, which ends with that study.
        recorded = _temporary_folder() / "ray" / "ray_current_cluster"
        try:
            given = recorded.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            problem = f"no cluster was started here with `ray start` ({recorded} does not exist)"
            raise settings.wrong(ADDRESS, problem) from None
        named = f"{named}, which is {given} as {recorded} says"
    found = re.fullmatch(r"(?:ray://)?(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]@]+)):([0-9]{1,5})", given)
    if found is None or not 0 < int(found[3]) < 1 << 16:
        hint = "; RAY_API_SERVER_ADDRESS names a server of jobs" if "http" in given else ""
        raise settings.wrong(ADDRESS, f"expected {_FORMS} for this machine alone{hint}")
    return RayAddress(given, found[1] or found[2], int(found[3]), named)


def prepare() -> RayAddress | None:
    """Set what Ray reads when it is imported; returns `ray_address`."""
    os.environ.update(SET_BY_US)
    address = ray_address()
    if address is None or address.is_loopback:
        # Left alone, Ray listens on every interface of the machine, and takes 127.0.0.1 for another
        # address. This (internal, hence the test on the bound addresses) keeps it on loopback,
        # where tokens protect from nothing.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    return address


def session_folder() -> Path:
    """Where a cluster of our own keeps its sockets and logs.

    Below RAY_TMPDIR, else below TMPDIR where that is short enough for sockets, else in `/tmp`.

    Raises:
        SettingError: RAY_TMPDIR cannot be used.
        RnnsearchError: no folder can.
    """
    if settings.text("RAY_TMPDIR"):
        folder = settings.folder("RAY_TMPDIR")
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        if problem := _problem_with(folder):
            raise settings.wrong("RAY_TMPDIR", problem)
        return folder / "ray"
    tried = []
    for folder in dict.fromkeys([_temporary_folder(), Path("/tmp"), Path("/var/tmp")]):
        if (problem := _problem_with(folder)) is None:
            return folder / "ray"
        tried.append(f"{folder}: {problem}")
    msg = f"Ray finds no folder for its files ({'; '.join(tried)}): set RAY_TMPDIR to one"
    raise RnnsearchError(msg)


def _temporary_folder() -> Path:
    """What Ray takes for the folder of temporary files."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if settings.text(name):
            return settings.folder(name)
    return Path("/tmp")


def _problem_with(folder: Path) -> str | None:
    """Why Ray cannot keep its files in the folder `ray` of a folder."""
    length = len(os.fsencode(folder / "ray"))
    if length > _LONGEST_FOLDER:
        most = _LONGEST_FOLDER - len("/ray")
        return f"its path is too long for sockets; expected at most {most} bytes"
    try:
        own = folder / "ray"  # there may be one already, which another user made
        with tempfile.TemporaryFile(dir=own if own.exists() else folder):
            return None
    except OSError as error:
        return f"cannot be written ({error.strerror or error})"
