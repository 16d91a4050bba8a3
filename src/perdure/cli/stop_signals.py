"""SIGINT and SIGTERM as requests: the first to stop, the second to cancel runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager

import attrs

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@attrs.frozen
class StopSignals:
    """The signals received so far.

    Attributes:
        stop: done at the first signal, with its name.
        stop_now: done at the second, with its name. A third one has the signal's default effect.
    """

    stop: asyncio.Future[str]
    stop_now: asyncio.Future[str]

    def receive(self, number: signal.Signals) -> None:
        """Record a signal."""
        if not self.stop.done():
            self.stop.set_result(number.name)
        elif not self.stop_now.done():
            self.stop_now.set_result(number.name)
            _ignore_no_more()

    @contextmanager
    def calling(self, act: Callable[[], None]) -> Generator[None]:
        """Call a function at the first signal, if it arrives within the block or has arrived before."""

        def called(_: asyncio.Future[str]) -> None:
            act()

        self.stop.add_done_callback(called)
        try:
            yield
        finally:
            self.stop.remove_done_callback(called)

    def when_urged(self, act: Callable[[], None]) -> None:
        """Call a function at the second signal."""
        self.stop_now.add_done_callback(lambda urged: None if urged.cancelled() else act())


@contextmanager
def stop_signals() -> Generator[StopSignals]:
    """Handle both signals in the running event loop, until the end of the block."""
    loop = asyncio.get_running_loop()
    signals = StopSignals(loop.create_future(), loop.create_future())
    for number in SIGNALS:
        loop.add_signal_handler(number, signals.receive, number)
    try:
        yield signals
    finally:
        _ignore_no_more()
        signals.stop.cancel()
        signals.stop_now.cancel()


def _ignore_no_more() -> None:
    for number in SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(number)
