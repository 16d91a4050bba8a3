"""One line on a terminal, written over and over."""

from __future__ import annotations

import sys
from typing import TextIO

import attrs


@attrs.define
class ProgressLine:
    """Says how far something is, where somebody looks.

    Attributes:
        terminal: where to; None if nobody looks.
    """

    terminal: TextIO | None
    _shown: str = ""

    def show(self, text: str) -> None:
        """Write the line anew, if it changed."""
        if self.terminal is not None and text != self._shown:
            self._shown = text
            self.terminal.write(f"\r\x1b[Kperdure: {text}")
            self.terminal.flush()

    def clear(self) -> None:
        """Leave the line as it was."""
        if self.terminal is not None and self._shown:
            self.terminal.write("\r\x1b[K")
            self._shown = ""


def line_on_stderr() -> ProgressLine:
    """Give the line of a person who looks at the standard error; a file or a pipe gets none."""
    return ProgressLine(sys.stderr if sys.stderr.isatty() else None)
