"""The numbers and marks that the writer of a file keeps in memory, beside the tables, over commits and rollbacks.

Each number is assigned once, and the marks in memory are those of the tables, after any order of failures.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import pairwise
from tempfile import TemporaryDirectory

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from perdure.stores.sqlite import counters
from perdure.stores.sqlite.counters import StatusCounts
from perdure.stores.sqlite.ownership import TABLES, CheckpointMarks, read_marks
from perdure.stores.sqlite.schema import prepare

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "commit", "rollback"]),
        st.integers(0, 3),
        st.sampled_from(["with a mark", "without"]),
    ),
    max_size=20,
)


@attrs.define
class Writer:
    """A connection to a file, and the numbers and marks beside it.

    Attributes:
        durable: the numbers that were assigned in transactions that were committed.
    """

    connection: sqlite3.Connection
    cursor: sqlite3.Cursor = attrs.field(init=False)
    numbers: counters.Counters = attrs.field(init=False)
    marks: CheckpointMarks = attrs.field(init=False)
    durable: list[int] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        self.cursor = self.connection.cursor()
        prepare(self.cursor, store="model", synchronous="NORMAL")
        epoch, counts = counters.next_epoch(self.cursor, 2)
        self.numbers = counters.read(self.cursor, counts)
        self.marks = read_marks(self.cursor, epoch=epoch, read=lambda size, _: b"\0" * size)

    def transaction(self, end: str, assigned: int, mark: str) -> None:
        self.cursor.execute("BEGIN IMMEDIATE")
        new = list[int]()
        for _ in range(assigned):
            self.numbers.incarnation += 1
            self.numbers.sequence += 2
            new.append(self.numbers.incarnation)
        self.numbers.save(self.cursor)
        if mark == "with a mark":
            self.marks.write(self.cursor)
        self.cursor.execute("COMMIT" if end == "commit" else "ROLLBACK")
        if end == "commit":
            self.numbers.committed()
            self.marks.committed()
            self.durable += new
        else:
            self.numbers.rolled_back()
            self.marks.rolled_back()

    def check(self) -> None:
        assert self.durable == list(range(1, len(self.durable) + 1)), "a number is assigned twice, or left out"
        stored = self.cursor.execute("SELECT incarnation, sequence FROM counters").fetchone()
        assert stored == (len(self.durable), 2 * len(self.durable)), "the next opening would assign a number again"
        later = read_marks(self.cursor, epoch=self.marks.epoch, read=lambda size, _: b"\0" * size)
        assert self.marks.may_become(later), "the marks in memory are not those of the tables"
        assert later.may_become(self.marks)


@example(story=[("commit", 1, "without"), ("rollback", 1, "with a mark"), ("commit", 1, "with a mark")])
@given(story=STEPS)
def test_each_number_is_assigned_once_and_the_marks_are_those_of_the_tables(story: list[tuple[str, int, str]]) -> None:
    with (
        TemporaryDirectory() as folder,
        closing(sqlite3.connect(f"{folder}/jobs.db", isolation_level=None)) as connection,
    ):
        writer = Writer(connection)
        for end, assigned, mark in story:
            writer.transaction(end, assigned, mark)
            writer.check()
        again = counters.read(writer.cursor, StatusCounts())
        assert (again.incarnation, again.sequence) == (writer.numbers.incarnation, writer.numbers.sequence)


@given(st.integers(2, 6))
def test_marks_alternate_between_the_tables(number: int) -> None:
    """A copy over the file removes one of two neighbours, at any moment."""
    with (
        TemporaryDirectory() as folder,
        closing(sqlite3.connect(f"{folder}/jobs.db", isolation_level=None)) as connection,
    ):
        writer, changed = Writer(connection), list[str]()
        for _ in range(number):
            before = marks_in(writer.cursor)
            writer.transaction("commit", 0, "with a mark")
            after = marks_in(writer.cursor)
            changed += [table for table in TABLES if before[table] != after[table]]
        assert len(changed) == number
        assert all(one != other for one, other in pairwise(changed))
        assert len(set(marks_in(writer.cursor).values())) == len(TABLES)


def marks_in(cursor: sqlite3.Cursor) -> dict[str, str]:
    return {table: cursor.execute(f"SELECT mark FROM {table}").fetchone()[0] for table in TABLES}  # noqa: S608 - constants
