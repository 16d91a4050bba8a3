"""Lines of a difference or a report: with colours on a terminal, plain elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from perdure.cli.standard_output import write_lines
from perdure.values.excerpt import one_line

STYLES: Final = {"+": "green", "-": "red", "~": "yellow", "ok": "green", "warning": "yellow", "problem": "bold red"}
"""The colour of a line, by its first word."""


def write_styled_lines(lines: Iterable[str]) -> None:
    """Write lines, with every character escaped that is not printable."""
    if not sys.stdout.isatty():
        write_lines(lines)
        return
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.text import Text  # noqa: PLC0415

    console = Console(soft_wrap=True)
    for line in lines:
        console.print(Text(one_line(line), style=STYLES.get(line.split(maxsplit=1)[0] if line.strip() else "", "")))
