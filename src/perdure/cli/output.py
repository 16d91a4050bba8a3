"""What commands print: tables, styled lines, sizes, JSON, and their progress on a terminal.

A terminal gets colours, anything else aligned text. Every character that is not printable is escaped. Progress
is a line that is overwritten in place, with a bar for long work.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TextIO, TypeAlias, cast

import attrs
import orjson

from perdure.cli.process import write_lines
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
"""The colours for statuses and findings."""


@attrs.frozen
class Table:
    """Text rows. Writing the table escapes characters that are not printable.

    Attributes:
        rows: one text for each heading.
        folded: the columns whose texts a narrow terminal folds. It shows the others in full.
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
        # Escaped before the widths are taken: an escape is longer than its character.
        shown = [tuple(one_line(cell) for cell in row) for row in rows]
        widths = [max(len(row[at]) for row in shown) for at in range(len(self.columns))] if shown else []
        for row in shown:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def write_table(table: Table, *, heading: bool = True) -> None:
    """Write a table to standard output.

    Args:
        table: the table.
        heading: whether to write the headings. In a long list, a page has them if they differ from those above it.
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


LINE_STYLES: Final = {
    "+": "green",
    "-": "red",
    "~": "yellow",
    "ok": "green",
    "warning": "yellow",
    "problem": "bold red",
}
"""A line's colour, by its first word."""


def write_styled_lines(lines: Iterable[str]) -> None:
    """Write lines, with every character escaped that is not printable."""
    if not sys.stdout.isatty():
        write_lines(lines)
        return
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.text import Text  # noqa: PLC0415

    # Lines are not folded: a terminal can be searched and copied from.
    console = Console(soft_wrap=True)
    for line in lines:
        console.print(
            Text(one_line(line), style=LINE_STYLES.get(line.split(maxsplit=1)[0] if line.strip() else "", ""))
        )


MIB: Final = 1024 * 1024


def size_text(size_bytes: int) -> str:
    """Print a size in MiB, or in KiB below one MiB.

    >>> [size_text(size) for size in (5_242_880, 73_728, 1, 0)]
    ['5.0 MiB', '72 KiB', '1 KiB', '0']
    """
    if size_bytes >= MIB:
        return f"{size_bytes / MIB:,.1f} MiB"
    return f"{-(-size_bytes // 1024)} KiB" if size_bytes else "0"


def write_json(values: Iterable[object]) -> None:
    r"""Write JSON-able values, each on a separate line, with every character escaped that is not printable.

    >>> write_json([{"id": "\x1b[31m\n\x9b"}])
    {"id":"\u001b[31m\n\u009b"}
    """
    sys.stdout.write("".join(f"{_printable(orjson.dumps(value).decode())}\n" for value in values))


def write_object(value: object) -> None:
    """Write one JSON object, indented."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def object_of(value: object) -> dict[str, Any] | None:
    """Return a JSON object. None if the value is something else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def array_of(value: object) -> list[Any] | None:
    """Return a JSON array. None if the value is something else."""
    return value if isinstance(value, list) else None  # pyright: ignore[reportUnknownVariableType] - of any values


@attrs.define
class ProgressLine:
    """Shows progress on a terminal.

    Attributes:
        terminal: the terminal. None to show nothing.
    """

    terminal: TextIO | None
    _shown: str = ""

    def show(self, text: str) -> None:
        """Overwrite the line, if the text changed."""
        # A page of rows is read in a millisecond: an unchanged line would flicker.
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
        steps: how many steps the block takes.

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
"""Shows how many steps are done, and how many there are."""


@contextmanager
def open_bar(title: str, steps: int) -> Generator[Steps]:
    """Show a bar whose step count may change on standard error while the block runs, if that is a terminal.

    Args:
        title: the text before the bar.
        steps: the number of steps.

    Yields:
        A function that takes how many steps are done, and how many there are.
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
