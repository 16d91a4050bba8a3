"""The table of crash points in the documentation: ``python property_tests/behaviour/crash_table.py`` writes it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "contributing" / "crash-points.md"
HEAD = """\
| kind | crash points | run again, marked | operations |
|---|---|---|---|
"""
BEGIN, END = "<!-- sweep: begin -->\n", "<!-- sweep: end -->"

sys.path[:0] = [
    str(ROOT / "tests" / folder) for folder in ("behaviour", "stores", "plugins")
]  # when this runs as a script

import continuous_operations  # noqa: E402
import crossing_operations  # noqa: E402
import debounce_operations  # noqa: E402
import pool_operations  # noqa: E402
import schedule_operations  # noqa: E402
import task_operations  # noqa: E402
import topic_operations  # noqa: E402
import workflow_operations  # noqa: E402
from crash_sweep import Operation, sweep  # noqa: E402

OPERATIONS: tuple[Operation, ...] = (
    *continuous_operations.OPERATIONS,
    *debounce_operations.OPERATIONS,
    *task_operations.OPERATIONS,
    *pool_operations.OPERATIONS,
    *schedule_operations.OPERATIONS,
    *topic_operations.OPERATIONS,
    *crossing_operations.OPERATIONS,
    *workflow_operations.OPERATIONS,
)
"""The operations that every run of the tests sweeps over both stores."""

ALL_OPERATIONS: tuple[Operation, ...] = (*OPERATIONS, *pool_operations.FURTHER, *workflow_operations.FURTHER)
"""The operations of the table; a nightly run sweeps all of them over both."""


Counts = tuple[int, int]
"""The crash points of an operation, and those after which user code ran again, marked. Missing counts are 0."""


def documented() -> dict[str, Counts]:
    """Return the counts of the page, by operation."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table, _, _ = rest.partition(END)
    found: dict[str, Counts] = {}
    for line in table.removeprefix(HEAD).splitlines():
        kind, points, repeated, names = (cell.strip() for cell in line.strip("|").split("|"))
        found |= {f"{kind}: {name}": (int(points), int(repeated)) for name in names.split("; ")}
    return found


def lines(counted: dict[str, Counts]) -> list[str]:
    """Return the table: one line for the operations of a kind that have the same counts."""
    grouped: dict[tuple[str, Counts], list[str]] = {}
    for operation, counts in counted.items():
        kind, _, name = operation.partition(": ")
        grouped.setdefault((kind, counts), []).append(name)
    return [
        f"| {kind} | {points} | {repeated} | {'; '.join(names)} |\n"
        for (kind, (points, repeated)), names in sorted(grouped.items(), key=lambda line: line[0])
    ]


def main() -> None:
    """Sweep all operations, over the store in memory, and write the table."""
    counted: dict[str, Counts] = {}
    for operation in ALL_OPERATIONS:
        with tempfile.TemporaryDirectory(prefix="perdure-") as folder:
            swept = sweep(operation, "memory", Path(folder))
            counted[operation.name] = (swept.points, swept.repeated)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + HEAD + "".join(lines(counted)) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
