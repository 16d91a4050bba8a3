"""The demo's output: plain lines, or in a terminal an instance table that is redrawn below the steps."""

from __future__ import annotations

from typing import Protocol, TextIO

import attrs
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from perdure.cli.demo.proof import Deliveries, Evidence, Proof, ProofLine, Tone, proof_lines, verdict
from perdure.cli.demo.protocol import InstanceRow, JobCounts, Seen


@attrs.frozen(kw_only=True)
class View:
    """One moment.

    Attributes:
        elapsed_s: seconds since the demo started.
        phase: the current step, in a few words.
        deliveries: the sent events and their answers so far.
        evidence: the services' journals so far.
        seen: the instances. None while no worker answers.
    """

    elapsed_s: float
    phase: str
    deliveries: Deliveries
    evidence: Evidence
    seen: Seen | None


EVERY_S = 2.0
"""Seconds between two progress lines."""


class Screen(Protocol):
    """Shows a demo's progress."""

    @property
    def rows(self) -> int:
        """How many instances fit on the screen for each job."""
        ...

    def title(self, text: str) -> None:
        """Print the title."""
        ...

    def step(self, elapsed_s: float, name: str, text: str) -> None:
        """Print a step."""
        ...

    def show(self, view: View) -> None:
        """Show the current view. The demo calls it several times a second."""
        ...

    def prove(self, proof: Proof) -> None:
        """Show the proof."""
        ...

    def close(self) -> None:
        """Restore the terminal."""
        ...


@attrs.define
class PlainScreen:
    """Text lines without escape codes: for pipes, files and logs."""

    out: TextIO
    rows: int = 0
    _next_line_s: float = EVERY_S

    def title(self, text: str) -> None:
        """Print the title."""
        self._line(text)

    def step(self, elapsed_s: float, name: str, text: str) -> None:
        """Print a step."""
        self._line(f"{elapsed_s:6.1f} s  {name:<10}  {text}")

    def show(self, view: View) -> None:
        """Print the progress at intervals."""
        if view.seen is None or view.elapsed_s < self._next_line_s:
            return
        self._next_line_s = view.elapsed_s + EVERY_S
        self.step(view.elapsed_s, "", progress(view))

    def prove(self, proof: Proof) -> None:
        """Show the proof."""
        self._line("")
        for line in proof_lines(proof):
            self._line(_written(line))
        self._line("")
        self._line(verdict(proof))

    def close(self) -> None:
        """Return: plain lines need no end."""

    def _line(self, text: str) -> None:
        self.out.write(f"{text.rstrip()}\n")
        self.out.flush()


def progress(view: View) -> str:
    """Return the progress in one line."""
    deliveries, evidence = view.deliveries, view.evidence
    instances = sum(count.instances for count in view.seen.counts) if view.seen else 0
    return (
        f"{deliveries.sent} sent, {deliveries.accepted} accepted, {deliveries.refused} rejected; "
        f"{instances} instances; "
        f"{len(evidence.sink.taken)} batches, {len(evidence.mail.taken)} mails, {len(evidence.auth.taken)} tokens, "
        f"{evidence.sink.refused + evidence.auth.refused} refusals by services"
    )


def _written(line: ProofLine) -> str:
    return f"{line.label:>22} {line.number:>6}   {line.meaning}"


LINES_AROUND = 15
"""Terminal lines that do not show an instance."""

MAX_ROWS = 8

STATUS_STYLES = {"running": "cyan", "retrying": "yellow", "parked": "red", "left": "red", "paused": "magenta"}
TONE_STYLES: dict[Tone, str] = {"plain": "", "good": "bold green", "bad": "bold red"}


@attrs.define
class LiveScreen:
    """A live table."""

    console: Console
    _live: Live = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._live.start()

    @property
    def rows(self) -> int:
        """How many instances fit on the screen for each job."""
        return min(MAX_ROWS, max(1, (self.console.height - LINES_AROUND) // 5))

    def title(self, text: str) -> None:
        """Print the title."""
        self.console.print(Text(text, style="bold"))
        self.console.print()

    def step(self, elapsed_s: float, name: str, text: str) -> None:
        """Print a step. A long text continues below itself."""
        line = Table.grid(padding=(0, 2))
        line.add_column(justify="right", width=6, style="dim")
        line.add_column(width=9, style="bold red" if name == "killed" else "bold")
        line.add_column()
        line.add_row(f"{elapsed_s:.1f} s", name, Text(text))
        self.console.print(line)

    def show(self, view: View) -> None:
        """Redraw the table."""
        self._live.update(Group(Text(), self._instances(view), Text(), _progress(view)), refresh=True)

    def prove(self, proof: Proof) -> None:
        """Print the proof, and keep it on the screen."""
        self._live.stop()
        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right", width=21)
        table.add_column(justify="right", width=5)
        table.add_column()
        for line in proof_lines(proof):
            table.add_row(line.label, Text(str(line.number), style=TONE_STYLES[line.tone]), Text(line.meaning, "dim"))
        self.console.print()
        self.console.print(table)
        self.console.print()
        self.console.print(Text(verdict(proof), style="bold green" if proof.holds else "bold red"))

    def close(self) -> None:
        """Restore the terminal."""
        self._live.stop()

    def _instances(self, view: View) -> RenderableType:
        if view.seen is None:
            return Text("no worker: no job runs, the file is not open", style="dim")
        table = Table(box=None, padding=(0, 2, 0, 0), expand=True, pad_edge=False, header_style="dim")
        table.add_column("instance", ratio=5, no_wrap=True, overflow="ellipsis")
        table.add_column("state", ratio=6, no_wrap=True, overflow="ellipsis")
        table.add_column("status", width=9)
        table.add_column("due in", justify="right", width=7)
        table.add_column("attempt", justify="right", width=7)
        table.add_column("count", justify="right", width=5)
        for counts in view.seen.counts:
            own = [row for row in view.seen.rows if row.job == counts.job]
            table.add_row(Text(counts.job, style="bold"), Text(_by_status(counts), style="dim"))
            for row in own:
                table.add_row(*_cells(row))
            for _ in range(self.rows - len(own)):
                table.add_row("")
        return table


def _by_status(counts: JobCounts) -> str:
    return ", ".join(f"{number} {status}" for status, number in sorted(counts.by_status.items())) or "none"


def _cells(row: InstanceRow) -> tuple[RenderableType, ...]:
    return (
        f"  {row.id}",
        row.state,
        Text(row.status, style=STATUS_STYLES.get(row.status, "")),
        _due_in(row),
        Text(str(row.attempt), style="yellow" if row.attempt > 1 else ""),
        str(row.count),
    )


def _due_in(row: InstanceRow) -> str:
    if row.due_in_ms is None or row.status == "running":
        return ""
    return f"{max(0, row.due_in_ms) / 1000:.1f} s"


def _progress(view: View) -> RenderableType:
    deliveries, evidence = view.deliveries, view.evidence
    total = len(deliveries.order)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", width=9)
    grid.add_column()
    bar = Table.grid(padding=(0, 2))
    bar.add_row(
        ProgressBar(total=total, completed=min(deliveries.sent, total), width=24), f"{deliveries.sent} of {total}"
    )
    grid.add_row(view.phase, bar)
    grid.add_row("answers", f"{deliveries.accepted} accepted, {deliveries.refused} rejected")
    grid.add_row(
        "services",
        f"{len(evidence.sink.taken)} batches, {len(evidence.mail.taken)} mails, {len(evidence.auth.taken)} tokens; "
        f"refused {evidence.auth.refused} x 503, {evidence.sink.refused} x full",
    )
    return grid
