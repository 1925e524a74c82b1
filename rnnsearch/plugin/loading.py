"""Loading code of plugins: what it prints is caught, and it may neither end the program nor hang.

What no process can do for itself: name a plugin whose import kills it (a signal, `exit` of C). With
`rnnsearch --debug` each plugin is named on stderr before it is loaded, so the last one did it.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, NoReturn, TextIO

from typing_extensions import override

from rnnsearch.config import settings
from rnnsearch.errors import PluginError

OFF = "RNNSEARCH_PLUGINS_OFF"
SECONDS = "RNNSEARCH_PLUGIN_SECONDS"
_SECONDS = 60.0
_TELL_AFTER = 10.0
_logger = logging.getLogger(__name__)
# One at a time: who is redirected while somebody else is would put back the wrong output.
_one_at_a_time = threading.RLock()


def turned_off() -> frozenset[str]:
    """Plugins, by the name of their entry point or distribution, that are not to be loaded."""
    return frozenset(name.strip() for name in os.environ.get(OFF, "").split(",") if name.strip())


class _Stopped(BaseException):
    """Loading has to end; no `except Exception` of a plugin holds it."""


@contextmanager
def loading(plugin: str, name: str) -> Iterator[list[str]]:
    """Run what a plugin does while it is loaded.

    Args:
        plugin: the plugin, for messages.
        name: what turns it off.

    Yields:
        A list, to which what it printed is added when it is loaded.

    Raises:
        PluginError: it ended the program, interrupted it, or took too long. Its exceptions pass.
    """
    _logger.debug("loading plugin %s", plugin)
    printed: list[str] = []
    by_user: list[bool] = []
    with _one_at_a_time, ExitStack() as stack:
        stack.enter_context(_time_limit(plugin, name))
        stack.enter_context(_interrupts_told_apart(by_user))
        stack.enter_context(_exits_caught())
        stack.enter_context(_output_caught(printed))
        try:
            yield printed
        except _Stopped as stopped:
            raise PluginError(str(stopped)) from None
        except SystemExit as error:
            raise PluginError(f"it ends the program (SystemExit: {error.code})") from error
        except KeyboardInterrupt as error:
            if by_user:
                raise
            raise PluginError("it raises KeyboardInterrupt") from error
        except GeneratorExit:
            raise
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            raise PluginError(f"it raises {type(error).__name__}: {error}") from error


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _time_limit(plugin: str, name: str) -> Iterator[None]:
    """Say after some seconds who keeps everybody waiting, and give up on it after some more.

    By an alarm, which ends whatever waits in Python; other threads than the main one have none.
    """
    if not _in_main_thread():
        yield
        return
    limit = min(settings.seconds(SECONDS, _SECONDS), 1e6)  # an alarm takes no `inf`
    first = min(_TELL_AFTER, limit)
    remedy = f"{OFF}={name} goes without it, {SECONDS} waits longer or shorter"
    told = False
    errors = _duplicate(2)

    def ring(signum: int, frame: object) -> None:
        nonlocal told
        if told or first == limit:
            raise _Stopped(f"it was not loaded after {limit:g} s. {remedy}")
        told = True
        if errors is not None:
            text = f"plugin {plugin} has been loading for {first:g} s. {remedy}\n"
            with suppress(OSError):
                os.write(errors, text.encode())
        signal.setitimer(signal.ITIMER_REAL, limit - first)

    before = signal.signal(signal.SIGALRM, ring)
    rest, interval = signal.setitimer(signal.ITIMER_REAL, first)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, rest, interval)
        signal.signal(signal.SIGALRM, before)
        if errors is not None:
            os.close(errors)


@contextmanager
def _interrupts_told_apart(by_user: list[bool]) -> Iterator[None]:
    """Note whether Ctrl-C was typed: a plugin may raise KeyboardInterrupt without."""
    handler = signal.getsignal(signal.SIGINT)
    if not _in_main_thread() or handler is not signal.default_int_handler:
        if _in_main_thread() and callable(handler):
            by_user.append(True)  # somebody else listens: no way to know
        yield
        return

    def interrupt(signum: int, frame: Any) -> NoReturn:
        by_user.append(True)
        signal.default_int_handler(signum, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _exits_caught() -> Iterator[None]:
    """Turn `os._exit`, which nothing could catch, into an exception; a fork may end as it likes."""
    really, process, active = os._exit, os.getpid(), True

    def leave(status: int) -> NoReturn:
        if active and os.getpid() == process:
            raise _Stopped(f"it ends the program (os._exit({status}))")
        really(status)

    os._exit = leave
    try:
        yield
    finally:
        active = False
        os._exit = really


class _Held(io.TextIOBase):
    """Keeps what is written until it is released; after that it passes everything on.

    A logging handler made in the meantime keeps writing to it.
    """

    def __init__(self, behind: TextIO, kept: list[str]) -> None:
        self._behind = behind
        self._kept: list[str] | None = kept

    def let_go(self) -> None:
        self._kept = None

    @override
    def write(self, text: str) -> int:
        if self._kept is None:
            return self._behind.write(text)
        self._kept.append(text)
        return len(text)

    @override
    def writable(self) -> bool:
        return True

    @override
    def flush(self) -> None:
        with suppress(ValueError, OSError):
            self._behind.flush()

    @override
    def close(self) -> None:
        """Nothing: the stream behind is not ours."""

    @override
    def isatty(self) -> bool:
        return self._behind.isatty()

    @override
    def fileno(self) -> int:
        return self._behind.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


def _duplicate(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:  # closed, as in a daemon
        return None


@contextmanager
def _output_caught(printed: list[str]) -> Iterator[None]:
    """Catch what is written to the output, by Python or below it."""
    written: list[str] = []
    streams = [_Held(s or io.StringIO(), written) for s in (sys.stdout, sys.stderr)]
    with tempfile.TemporaryFile() as file:
        for stream in streams:
            stream.flush()
        saved = {fd: copy for fd in (1, 2) if (copy := _duplicate(fd)) is not None}
        for descriptor in saved:
            os.dup2(file.fileno(), descriptor)
        try:
            with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
                yield
        finally:
            for stream in streams:
                stream.let_go()
            for descriptor, copy in saved.items():
                os.dup2(copy, descriptor)
                os.close(copy)
            file.seek(0)
            below = file.read().decode(errors="replace")
            printed.extend(text for text in ("".join(written), below) if text.strip())
