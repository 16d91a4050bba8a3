"""A line on a terminal that is overwritten in place."""

from __future__ import annotations

import sys
from typing import TextIO

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
