"""The parent's view of the worker process: starts it, sends commands, kills it."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import attrs

from perdure.cli.demo.protocol import ANSWERS, COMMANDS, Answer, Command, Ready, Stop
from perdure.cli.demo.worker import MAX_LINE_BYTES
from perdure.stores.sqlite.files import open_private

T = TypeVar("T")

WORKER = (sys.executable, "-m", "perdure.cli.demo.worker")
"""The command that runs a worker; its arguments follow."""

GRACE_S = 10.0
"""How long a worker may take to stop."""


@attrs.define(kw_only=True)
class Child:
    """One worker process.

    Attributes:
        process: the process; it has its own session, so that Ctrl-C reaches only its parent.
        ready: its message when the store is open; None when it ended before.
    """

    process: asyncio.subprocess.Process
    ready: asyncio.Future[Ready | None]
    _numbers: itertools.count[int] = attrs.Factory(itertools.count)
    _waiting: dict[int, asyncio.Future[Answer | None]] = attrs.Factory(dict[int, "asyncio.Future[Answer | None]"])
    _listener: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Start reading the worker's output."""
        self._listener = asyncio.create_task(self._listen(), name="answers of the worker")

    async def _listen(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - it was started with a pipe
        while line := await self.process.stdout.readline():
            self._take(ANSWERS.decode(line))
        _answer(self.ready, None)
        for future in self._waiting.values():
            _answer(future, None)

    def _take(self, answer: Answer | Ready) -> None:
        if isinstance(answer, Ready):
            _answer(self.ready, answer)
        else:
            _answer(self._waiting.pop(answer.number), answer)

    def ask(self, command: Callable[[int], Command]) -> asyncio.Future[Answer | None]:
        """Send a command.

        Args:
            command: returns the command with a given number.

        Returns:
            The future of its answer; None when the worker ends first.
        """
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        if self.has_ended:
            future.set_result(None)
            return future
        self._waiting[number] = future
        self._write(command(number))
        return future

    def _write(self, command: Command) -> None:
        assert self.process.stdin is not None  # noqa: S101 - it was started with a pipe
        self.process.stdin.write(COMMANDS.encode(command) + b"\n")

    @property
    def has_ended(self) -> bool:
        """Return whether no further answer can arrive."""
        return self.process.returncode is not None or (self._listener is not None and self._listener.done())

    async def kill(self) -> None:
        """Kill the worker with SIGKILL, and read the rest of its output."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        await self._ended()

    async def stop(self) -> int:
        """Tell the worker to stop, and wait.

        Returns:
            Its exit code.

        Raises:
            TimeoutError: it did not end within the grace time.
        """
        self._write(Stop())
        async with asyncio.timeout(GRACE_S):
            await self._ended()
        return self.process.returncode or 0

    async def _ended(self) -> None:
        await self.process.wait()
        if self._listener is not None:
            await self._listener


def _answer(future: asyncio.Future[T], answer: T) -> None:
    """Resolve a future if it is still pending."""
    if not future.done():
        future.set_result(answer)


async def start_child(command: Sequence[str], log: Path) -> Child:
    """Start a worker.

    Args:
        command: the worker and its arguments.
        log: the file for its standard error.
    """
    with os.fdopen(open_private(log, os.O_WRONLY | os.O_APPEND), "ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=MAX_LINE_BYTES,
            start_new_session=True,
        )
    child = Child(process=process, ready=asyncio.get_running_loop().create_future())
    child.listen()
    return child
