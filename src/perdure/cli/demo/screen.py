"""The output of the demo: plain lines here, a live table in ``live_screen``."""

from __future__ import annotations

from typing import Protocol, TextIO

import attrs

from perdure.cli.demo.proof import Proof
from perdure.cli.demo.proof_lines import ProofLine, proof_lines, verdict
from perdure.cli.demo.view import View

EVERY_S = 2.0
"""Seconds between two lines of progress."""


class Screen(Protocol):
    """Shows the progress of a demo."""

    @property
    def rows(self) -> int:
        """The number of instances of each job that fit."""
        ...

    def title(self, text: str) -> None:
        """Print the title."""
        ...

    def step(self, elapsed_s: float, name: str, text: str) -> None:
        """Print a step."""
        ...

    def show(self, view: View) -> None:
        """Show the current view; called several times a second."""
        ...

    def prove(self, proof: Proof) -> None:
        """Show the proof."""
        ...

    def close(self) -> None:
        """Restore the terminal."""
        ...


@attrs.define
class PlainScreen:
    """Lines of text, without escape codes: for pipes, files and logs.

    Attributes:
        out: the output.
    """

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
