"""An interrupt leaves nothing half-written, and Ctrl-C asks before it interrupts."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnnsearch.search import interrupts


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """SIGTERM as handled by a study."""
    before = signal.signal(signal.SIGTERM, interrupts.arrive)
    yield
    signal.signal(signal.SIGTERM, before)


def test_an_interrupt_waits_until_what_belongs_together_is_written() -> None:
    written = []

    def write() -> None:
        with interrupts.wait():
            signal.raise_signal(signal.SIGTERM)
            written.append("all of it")
        written.append("and on")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert written == ["all of it"]
    with interrupts.wait():  # it arrives only once
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_an_interrupt_comes_after_what_could_not_be_written() -> None:
    def write() -> None:
        with interrupts.wait():
            signal.raise_signal(signal.SIGTERM)
            raise OSError("the disk is full")

    with pytest.raises(KeyboardInterrupt) as caught:
        write()
    assert isinstance(caught.value.__context__, OSError)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_ctrl_c_asks_at_first_and_interrupts_when_it_comes_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    stop_file = tmp_path / "stop"
    written = []

    def run() -> None:
        with interrupts.first_asks(stop_file):
            signal.raise_signal(signal.SIGINT)
            written.append(stop_file.exists())
            with interrupts.wait():
                signal.raise_signal(signal.SIGINT)
                written.append("all of it")
            written.append("and on")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert written == [True, "all of it"]
    assert "Ctrl-C again stops at once" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
