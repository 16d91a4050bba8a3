"""Tells systemd, or another service manager with its protocol, that the engine serves, stops, or still answers.

The protocol is a datagram of ``NAME=value`` lines to the socket in ``NOTIFY_SOCKET``: ``man 3 sd_notify``.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import attrs

from perdure.runtime.record import LogRecord, Runtime

MAX_STATUS_CHARACTERS: Final = 500

_DATAGRAM_PREFIXES: Final = ("/", "@")


@attrs.frozen
class ServiceManager:
    """The service manager that started this process, if there is one. Notifying none does nothing.

    Attributes:
        address: its socket's path, or ``@`` and a name in the abstract namespace. None if there is none.
        watchdog_ms: how often it expects a sign of life, in milliseconds. None if it expects none.
    """

    address: str | None = None
    watchdog_ms: float | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> ServiceManager:
        """Return the service manager that the environment names.

        Args:
            environ: the environment: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC``, ``WATCHDOG_PID``.
            pid: this process's id. Another process's watchdog is ignored.
        """
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(_DATAGRAM_PREFIXES):
            return cls()
        # Another process may be watched: this one, its child, must not report for it.
        period, watched = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
        if not (period.isascii() and period.isdigit() and int(period)) or watched != str(pid):
            return cls(address)
        return cls(address, int(period) / 1_000)

    def ready(self, status: str) -> None:
        """Report that the engine serves."""
        self._notify("READY=1", _status(status))

    def stopping(self, status: str) -> None:
        """Report that the engine stops."""
        self._notify("STOPPING=1", _status(status))

    def waiting(self, status: str) -> None:
        """Report why the engine does not serve yet."""
        self._notify(_status(status))

    def alive(self) -> None:
        """Report a sign of life."""
        self._notify("WATCHDOG=1")

    def _notify(self, *lines: str) -> None:
        if self.address is None:
            return
        # "@" names an abstract socket, which begins with a null byte.
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # Without waiting: a service manager that hangs must not block the event loop.
                sender.settimeout(0)
                sender.sendto("\n".join(lines).encode(), address)
        except OSError:  # a manager that cannot be reached is no reason to stop serving
            return


@asynccontextmanager
async def watched(
    manager: ServiceManager, answers: Callable[[], Awaitable[object]], runtime: Runtime
) -> AsyncGenerator[None]:
    """Report signs of life within the block, as long as the event loop runs and the store answers in time.

    It queries the store twice in each watchdog period. If the store does not answer within a quarter of the period, it
    reports nothing, so that the service manager restarts a process that hangs.

    Args:
        manager: the service manager.
        answers: queries the store, such as ``jobs.health``: any answer counts, an error included.
        runtime: the clock, the tasks and the log.
    """
    if manager.watchdog_ms is None:
        yield
        return
    task = runtime.spawn(_watch(manager, answers, runtime, manager.watchdog_ms), name="watchdog")
    try:
        yield
    finally:
        task.cancel()


async def _watch(
    manager: ServiceManager, answers: Callable[[], Awaitable[object]], runtime: Runtime, period_ms: float
) -> None:
    while True:
        try:
            async with asyncio.timeout(period_ms / 4_000):
                await answers()
        except TimeoutError:
            fields = {"period_ms": period_ms}
            runtime.log(LogRecord("error", "the store does not answer: the watchdog will restart the engine", fields))
        else:
            manager.alive()
            await runtime.sleep(period_ms / 2)


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:MAX_STATUS_CHARACTERS]}"


def service_manager() -> ServiceManager:
    """Return this process's service manager."""
    return ServiceManager.of(os.environ, os.getpid())
