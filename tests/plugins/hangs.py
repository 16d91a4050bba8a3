"""A test that hangs fails with its stacks, and the run continues with the next test.

Each phase of a test (its fixtures, the test, its end) may take the seconds of the option ``hang_timeout``; in the
profile ``nightly``, whose properties try thousands of examples, `NIGHTLY` times as many. Then a signal raises `Hang` in
the main thread. `Hang` is no ``Exception``: Hypothesis does not replay the example. If code under test catches it all
the same, it is raised again after `AGAIN_S` seconds, and the test fails even if it returns.

A call that does not return to Python cannot be interrupted so. ``faulthandler_timeout`` of pytest ends its process.
"""

from __future__ import annotations

import asyncio
import faulthandler
import io
import signal
import tempfile
from collections.abc import Generator
from types import FrameType

import attrs
import pytest
from hypothesis import settings

AGAIN_S = 15.0
NIGHTLY = 20


class Hang(BaseException):
    """The phase of a test took too long."""


@attrs.define
class Watch:
    """Watches one phase.

    Attributes:
        seconds: how long the phase may take; 0 for ever.
        hang: the raised exception, once it took longer.
    """

    seconds: float
    hang: Hang | None = None

    def start(self) -> None:
        if self.seconds:
            signal.signal(signal.SIGALRM, self._interrupt)
            signal.setitimer(signal.ITIMER_REAL, self.seconds, AGAIN_S)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.hang is None:
            self.hang = Hang(f"no end after {self.seconds:g} seconds; the option hang_timeout sets them\n{_stacks()}")
        raise self.hang


def _stacks() -> str:
    """Return the stacks of all threads, and of the tasks of the event loop that this thread runs."""
    text = io.StringIO()
    with tempfile.TemporaryFile("w+") as file:  # faulthandler writes to a descriptor
        faulthandler.dump_traceback(file)
        file.seek(0)
        text.write(file.read())
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:  # no loop runs
        tasks = set()
    for task in tasks:
        task.print_stack(file=text)
    return text.getvalue()


def _stop() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("hang_timeout", "seconds that a phase of a test may take; 0 for ever", default="0")


def _watched(item: pytest.Item) -> Generator[None, object, object]:
    scale = NIGHTLY if settings.get_current_profile_name() == "nightly" else 1
    watch = Watch(scale * float(item.config.getini("hang_timeout")))
    watch.start()
    try:
        result = yield
    finally:
        _stop()
    if watch.hang is not None:
        raise watch.hang
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _watched(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _watched(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _watched(item))


def pytest_enter_pdb() -> None:
    _stop()
