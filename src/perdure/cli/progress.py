"""The progress of a command on a terminal: a line that is overwritten in place, and a bar for long work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TextIO, TypeAlias

import attrs


@attrs.define
class ProgressLine:
    """Shows progress on a terminal.

    Attributes:
        terminal: the terminal; None to show nothing.
    """

    terminal: TextIO | None
    _shown: str = ""

    def show(self, text: str) -> None:
        """Overwrite the line, if the text changed."""
        if self.terminal is not None and text != self._shown:
            self._shown = text
            self.terminal.write(f"\r\x1b[Kperdure: {text}")
            self.terminal.flush()

    def clear(self) -> None:
        """Erase the line."""
        if self.terminal is not None and self._shown:
            self.terminal.write("\r\x1b[K")
            self._shown = ""


def line_on_stderr() -> ProgressLine:
    """Return a progress line on standard error, or a silent one if that is a file or a pipe."""
    return ProgressLine(sys.stderr if sys.stderr.isatty() else None)


LEAST_STEPS: Final = 20
"""Fewer steps have no bar."""


@contextmanager
def progress_bar(title: str, steps: int) -> Generator[Callable[[], None]]:
    """Show a bar on standard error while the block runs, if that is a terminal.

    Args:
        title: the text before the bar.
        steps: the number of steps.

    Yields:
        A function that advances the bar by one step.
    """
    if steps < LEAST_STEPS or not sys.stderr.isatty():
        yield _no_step
        return
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=steps)
        yield lambda: bar.advance(task)


Steps: TypeAlias = Callable[[int, int], None]
"""Shows how many steps are done, of how many."""


@contextmanager
def open_bar(title: str, steps: int) -> Generator[Steps]:
    """Show a bar on standard error whose number of steps may change, with a rate, if that is a terminal.

    Args:
        title: the text before the bar.
        steps: the number of steps.

    Yields:
        A function of the steps that are done, and of all steps.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=steps)
        yield lambda done, all_: bar.update(task, completed=done, total=all_)


def _no_step() -> None:
    """Show nothing."""
