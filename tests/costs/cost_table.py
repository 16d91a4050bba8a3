"""The table of costs in the documentation: ``python tests/costs/cost_table.py`` rewrites it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
HEAD = """\
| request | commits | hops | statements | rows | pages of the log |
|---|---|---|---|---|---|
"""
BEGIN, END = "<!-- costs: begin -->\n", "<!-- costs: end -->"

sys.path[:0] = [str(ROOT / "property_tests" / "durability")]  # where the recorder is, when this runs as a script

from classes import CLASSES  # noqa: E402

from costs import Class, Cost, cost_of  # noqa: E402


def row(request_class: Class, cost: Cost) -> str:
    """Return the line of a class."""
    counts = (cost.commits, cost.hops, cost.statements, cost.rows, cost.wal_pages)
    return f"| {request_class.name} | {' | '.join(map(str, counts))} |"


def documented() -> dict[str, str]:
    """Return the lines of the page, by class."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table, _, _ = rest.partition(END)
    return {line.split("|")[1].strip(): line for line in table.removeprefix(HEAD).splitlines()}


def main() -> None:
    """Count all classes, and write the table."""
    rows = []
    for request_class in CLASSES:
        with tempfile.TemporaryDirectory(prefix="perdure-") as folder:
            rows.append(row(request_class, cost_of(request_class, Path(folder))))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + HEAD + "".join(f"{line}\n" for line in rows) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
