"""Commands as a shell runs them: real processes, awaited by the lines they print, never by the clock."""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

PATIENCE_S = 120


@attrs.define
class Command:
    """A running command.

    Attributes:
        process: the process.
        errors: where its standard error goes.
        seen: the lines that were printed and read.
    """

    process: subprocess.Popen[str]
    errors: Path
    seen: list[str] = attrs.Factory(list)
    _lines: queue.Queue[str | None] = attrs.Factory(queue.Queue)

    def listen(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, text: str) -> str:
        """Wait for a line that contains this text."""
        while (line := self._next(text)) is not None:
            self.seen.append(line)
            if text in line:
                return line
        raise AssertionError(f"the command ended without {text!r}; {self.story}")

    def _next(self, text: str) -> str | None:
        try:
            return self._lines.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise AssertionError(f"no line with {text!r} came; {self.story}") from None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the end, take the remaining output, and return the exit code."""
        while (line := self._next("the end")) is not None:
            self.seen.append(line)
        return self.process.wait(PATIENCE_S)

    @property
    def error(self) -> str:
        return self.errors.read_text()

    @property
    def story(self) -> str:
        return f"it printed {self.seen}, and on the standard error {self.error!r}"


Start = Callable[..., Command]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start commands in a folder of their own; those that still run at the end of the test are killed."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # the tests run in the background of a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)  # else commands ignore it as well
    commands: list[Command] = []
    outside = {name: value for name, value in os.environ.items() if name != "PERDURE_DEBUG"}  # it is of these tests

    def start_one(*arguments: str, **environment: str) -> Command:
        errors = tmp_path / f"stderr-{len(commands)}"
        with errors.open("w") as file:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "perdure", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                cwd=tmp_path,
                env={**outside, "COLUMNS": "100", **environment},
            )
        command = Command(process, errors)
        command.listen()
        commands.append(command)
        return command

    yield start_one
    for command in commands:
        command.process.kill()
        command.process.wait(PATIENCE_S)
        assert command.process.stdout is not None
        command.process.stdout.close()
