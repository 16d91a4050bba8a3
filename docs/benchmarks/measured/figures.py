"""Figures: quantiles of waits, medians over repetitions, tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from attrs import frozen


@frozen
class Spread:
    """How long something took, many times over.

    Attributes:
        count: how many times.
        p50_ms: half of them took no longer.
        p99_ms: nor did 99 of 100 take longer than this.
        max_ms: the longest.
    """

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread:
        """Sum up durations in seconds."""
        ordered = sorted(seconds)
        if not ordered:
            return cls(0, 0.0, 0.0, 0.0)
        last = len(ordered) - 1
        p50, p99 = (ordered[min(last, int(len(ordered) * part))] * 1e3 for part in (0.5, 0.99))
        return cls(len(ordered), p50, p99, ordered[last] * 1e3)


def over_rounds(values: Sequence[float], digits: int = 0) -> str:
    """Give the median of the rounds and, from two rounds on, their range."""
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} [{min(values):,.{digits}f} to {max(values):,.{digits}f}]"


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print(f"| {' | '.join(head)} |")
    print("|" + "---|" * len(head))
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
