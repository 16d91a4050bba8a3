"""What an adapter gives: a system that takes jobs, at once or for later, and runs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from importlib import import_module
from typing import Literal, Protocol, cast

from attrs import frozen

from side_by_side.place import Place, to_argument


@frozen(kw_only=True)
class Session:
    """An open system.

    Attributes:
        submit: takes a job; it is durable when this returns.
        submit_at: takes a job for an instant, in seconds since 1970; None: the system has no timers.
        callers: ``one`` for a system that is called from one place, ``many`` for one that takes calls side by side.
    """

    submit: Callable[[int], Awaitable[object]]
    submit_at: Callable[[int, float], Awaitable[object]] | None = None
    callers: Literal["one", "many"] = "one"


class System(Protocol):
    """An adapter: a module with these names.

    Attributes:
        SETTINGS: its settings by name, and what each means.
        RECOVERS: the settings of the crash test: a job accepted there is expected to survive.
    """

    SETTINGS: Mapping[str, str]
    RECOVERS: tuple[str, ...]

    def session(self, place: Place) -> AbstractAsyncContextManager[Session]:
        """Open the system and whatever runs its jobs."""
        ...

    def work(self, place: Place) -> None:
        """Run jobs for ever: the separate process of a system that has one."""
        ...


NAMES = ("perdure", "dbos", "huey", "apscheduler", "dura", "honker", "litequeue")


def system(name: str) -> System:
    """Import an adapter."""
    return cast("System", import_module(f"side_by_side.systems.on_{name}"))


@contextmanager
def worker(name: str, place: Place) -> Iterator[None]:
    """Keep a separate process at work for a system."""
    command = [sys.executable, "-m", "side_by_side.worker", name, to_argument(place)]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.terminate()
