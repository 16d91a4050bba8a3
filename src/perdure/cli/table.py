"""Tables: with colours on a terminal, as aligned text elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from perdure.cli.standard_output import write_lines
from perdure.values.excerpt import one_line

STYLES: Final = {
    "scheduled": "green",
    "queued": "blue",
    "idle": "bright_black",
    "running": "cyan",
    "done": "bright_black",
    "retrying": "yellow",
    "paused": "magenta",
    "parked": "bold red",
    "left": "bold red",
    "orphaned": "bold red",
    "ok": "green",
    "warning": "yellow",
    "problem": "bold red",
    "needs a version": "bold red",
    "web tier first": "yellow",
    "engines first": "yellow",
    "compatible": "green",
}
"""The colours of a status, and of a finding."""


@attrs.frozen
class Table:
    """Rows of texts. Characters that are not printable are escaped when it is written.

    Attributes:
        columns: the headings.
        rows: one text for each heading.
        folded: the columns whose texts a narrow terminal folds; it shows the others in full.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: frozenset[str] = frozenset()

    def without_empty(self, column: str) -> Table:
        """Return the table without a column, if no row has a text there."""
        at = self.columns.index(column)
        if any(row[at] for row in self.rows):
            return self
        rows = tuple(row[:at] + row[at + 1 :] for row in self.rows)
        return attrs.evolve(self, columns=self.columns[:at] + self.columns[at + 1 :], rows=rows)

    def lines(self, *, heading: bool = True) -> Iterator[str]:
        """Return aligned lines.

        >>> list(Table(("ID", "STATUS"), (("o-1", "idle"), ("order-2", "paused"))).lines())
        ['ID       STATUS', 'o-1      idle', 'order-2  paused']
        """
        rows = [*([self.columns] if heading else []), *self.rows]
        shown = [tuple(one_line(cell) for cell in row) for row in rows]
        widths = [max(len(row[at]) for row in shown) for at in range(len(self.columns))] if shown else []
        for row in shown:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def write_table(table: Table, *, heading: bool = True) -> None:
    """Write a table to standard output.

    Args:
        table: the table.
        heading: whether to write the headings; a page of a long list has them if they differ from those above it.
    """
    if sys.stdout.isatty():
        _write_styled(table, heading=heading)
    else:
        write_lines(table.lines(heading=heading))


def write_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Write names and values, one pair a line."""
    width = max((len(name) for name, _ in fields), default=0)
    write_lines(f"{name.ljust(width)}  {value}".rstrip() for name, value in fields)


def _write_styled(table: Table, *, heading: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.table import Table as Styled  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    styled = Styled(box=None, pad_edge=False, show_header=heading, header_style="bold")
    for column in table.columns:
        styled.add_column(Text(column), overflow="fold", no_wrap=column not in table.folded)
    for row in table.rows:
        styled.add_row(*(Text(one_line(cell), style=STYLES.get(cell.partition(" (")[0], "")) for cell in row))
    Console().print(styled)
