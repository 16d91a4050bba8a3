"""The processes of the kill loop: tellers, who are killed, and customers, who are not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from select import select
from typing import IO

import attrs
from bank import KEYLESS, Step

TELLER, CUSTOMER = Path(__file__).with_name("teller.py"), Path(__file__).with_name("customer.py")
OUTSIDE, WINDOW = "outside", "window"
NAMES = (*(f"keyed-{number}" for number in range(4)), *(f"{KEYLESS}-{number}" for number in range(4)))
PATIENCE_S = 120.0


class Teller:
    """One owner of the store, and its output.

    Args:
        folder: where the external system and the window are.
        file: the store, in that folder.
        durability: how it is opened.
        disk: where the log of its disk goes, in that folder; None: it is the real disk.
    """

    def __init__(self, folder: Path, *, file: str, durability: str, disk: str | None) -> None:
        command = [sys.executable, str(TELLER), file, durability, OUTSIDE, WINDOW, *([] if disk is None else [disk])]
        self._process = _started(command, folder)
        self._opened_s: float | None = None

    @property
    def opened_s(self) -> float:
        """Wait until it has opened the store, and say when that was."""
        if self._opened_s is None:
            word, opened_s = self._line().split()
            assert word == "open"
            self._opened_s = float(opened_s)
        return self._opened_s

    def kill(self) -> float:
        """Kill it, wait for its death, and say when that was."""
        died_s = time.time()
        self._process.kill()
        self._process.wait()
        return died_s

    def finish(self) -> None:
        """Let it end the work in progress, and wait for that."""
        assert self.opened_s
        _pipe(self._process.stdin).write("\n")
        _pipe(self._process.stdin).flush()
        assert self._line() == "quiet\n", "the last teller did not finish"
        assert self._process.wait(PATIENCE_S) == 0

    def leave(self) -> None:
        """End it, however it is."""
        self._process.kill()
        _pipe(self._process.stdin).close()
        _pipe(self._process.stdout).close()
        self._process.wait()

    def _line(self) -> str:
        return _pipe(self._process.stdout).readline()


@attrs.frozen
class Journal:
    """The knowledge of a customer.

    Attributes:
        name: its name.
        asked: the newest step that it sent.
        done: the steps that were answered.
    """

    name: str
    asked: int
    done: frozenset[int]

    @property
    def newest_done(self) -> int:
        """The newest step that was answered."""
        return max(self.done, default=0)

    @property
    def left_open(self) -> frozenset[Step]:
        """The steps before that one which never were."""
        return frozenset(Step(self.name, number) for number in range(1, self.newest_done) if number not in self.done)


class Customers:
    """All the customers of one folder. They write a byte to one pipe for each answer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._answers, answers = os.pipe()
        self._processes = [
            subprocess.Popen(  # noqa: S603 - our own script
                [sys.executable, "-S", str(CUSTOMER), WINDOW, name, _repeats(name), name], cwd=folder, stdout=answers
            )
            for name in NAMES
        ]
        os.close(answers)

    def await_answers(self, count: int) -> None:
        """Wait until they received this number of further answers."""
        while count > 0:
            ready, _, _ = select([self._answers], [], [], PATIENCE_S)
            assert ready, "no customer was answered for a minute"
            got = len(os.read(self._answers, count))
            assert got, "all customers are gone"
            count -= got

    def finish(self) -> None:
        """Let each end after its next answer, and wait for that."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            assert process.wait(PATIENCE_S) == 0, "a customer was refused"

    def journals(self) -> Iterator[Journal]:
        """Read the journal of each of them."""
        for name in NAMES:
            journal = self._folder / name
            lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
            words = [line.split() for line in lines]
            done = [int(number) for word, number in words if word == "done"]
            assert len(done) == len(set(done))
            yield Journal(
                name, max((int(number) for word, number in words if word == "asked"), default=0), frozenset(done)
            )

    def kill(self) -> None:
        """End them where they are."""
        for process in self._processes:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End them, and accept no further connections."""
        self.kill()
        os.close(self._answers)


def customers(folder: Path, stack: ExitStack) -> Customers:
    """Let customers come, until the stack is left at the latest."""
    come = Customers(folder)
    stack.callback(come.close)
    return come


def _repeats(name: str) -> str:
    return "once" if name.startswith(KEYLESS) else "until_answered"


def _started(command: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None, "the process was started with pipes"
    return pipe
