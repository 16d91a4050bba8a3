"""The table of crash points in the documentation: ``python property_tests/behaviour/crash_table.py`` writes it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "crash-points.md"
HEAD = """\
| operation | crash points | run again, marked |
|---|---|---|
"""
BEGIN, END = "<!-- sweep: begin -->\n", "<!-- sweep: end -->"

sys.path[:0] = [str(ROOT / "tests" / "behaviour")]  # where the world is, when this runs as a script

import continuous_operations  # noqa: E402
import crossing_operations  # noqa: E402
import debounce_operations  # noqa: E402
import task_operations  # noqa: E402
from crash_sweep import Operation, Swept, sweep  # noqa: E402

OPERATIONS: tuple[Operation, ...] = (
    *continuous_operations.OPERATIONS,
    *debounce_operations.OPERATIONS,
    *task_operations.OPERATIONS,
    *crossing_operations.OPERATIONS,
)


def row(operation: Operation, swept: Swept) -> str:
    """Return the line of an operation; the counts that it leaves out are 0."""
    return f"| {operation.name} | {swept.points} | {swept.repeated} |"


def documented() -> dict[str, str]:
    """Return the lines of the page, by operation."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table, _, _ = rest.partition(END)
    return {line.split("|")[1].strip(): line for line in table.removeprefix(HEAD).splitlines()}


def main() -> None:
    """Sweep all operations, over the store in memory, and write the table."""
    rows = []
    for operation in OPERATIONS:
        with tempfile.TemporaryDirectory(prefix="perdure-") as folder:
            rows.append(row(operation, sweep(operation, "memory", Path(folder))))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + HEAD + "".join(f"{line}\n" for line in rows) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
