"""Counts agree with a scan of every row, however chunks, commits, conflicts and rollbacks interleave."""

import sqlite3
from collections import Counter
from contextlib import closing
from typing import Any, Literal, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.stores.sqlite.changes import apply, encode
from perdure.stores.sqlite.counters import Counters, StatusCounts
from perdure.stores.sqlite.schema import migrations
from perdure.values.address import Address
from perdure.values.instance import Fence, Instance
from perdure.values.transition import Purge, Put, Transition

Step: TypeAlias = tuple[Literal["put", "purge"], Address, int | None, str | None] | Literal["portion", "undo", "commit"]

addresses = st.builds(Address, st.just("task"), st.sampled_from("ab"), st.sampled_from("12345"))
alarms, suspensions = st.none() | st.just(5), st.sampled_from((None, None, "paused", "not_retryable"))
steps = st.lists(
    st.tuples(st.sampled_from(("put", "put", "put", "purge")), addresses, alarms, suspensions)
    | st.sampled_from(("portion", "undo", "commit")),
    max_size=40,
)


class Story:
    """One file with its counts, a row at a time, and the rows that the engine may or may not know."""

    def __init__(self, cursor: sqlite3.Cursor, size: int, knows: Literal["rows", "nothing"]) -> None:
        self.cursor = cursor
        self.knows = knows
        self.known: dict[Address, Instance] = {}
        self.counters = Counters(0, 0, 0, StatusCounts(size=size))

    def play(self, step: Any) -> None:
        match step:
            case "portion":
                self.end("commit")
                self.counters.counts.portion(self.cursor)
            case "undo" | "commit":
                self.end(step)
            case _:
                verb, address, alarm_ms, suspension = step
                if not self.cursor.connection.in_transaction:
                    self.cursor.execute("BEGIN")
                self.write(verb, address, alarm_ms, suspension)

    def write(self, verb: str, address: Address, alarm_ms: int | None, suspension: Any) -> None:
        sql = "SELECT incarnation, version FROM instances WHERE name = ? AND id = ?"
        row = self.cursor.execute(sql, (address.name, address.id)).fetchone()
        expected = None if row is None else Fence(*row)
        after = Instance(
            address=address, created_ms=1, updated_ms=1, state="{}", alarm_ms=alarm_ms, suspension=suspension
        )
        write = Purge() if verb == "purge" else Put(after)
        before = self.known.pop(address, None)
        transition = Transition(address=address, expected=expected, write=write, before=before)
        fence = apply(self.cursor, self.counters, encode(transition))
        if fence is not None and verb == "put" and self.knows == "rows":
            self.known[address] = after.changed(incarnation=fence.incarnation, version=fence.version)

    def end(self, how: Literal["undo", "commit"]) -> None:
        if not self.cursor.connection.in_transaction:
            return
        self.cursor.execute("COMMIT" if how == "commit" else "ROLLBACK")
        if how == "commit":
            self.counters.committed()
        else:
            self.counters.rolled_back()

    def counted(self) -> Counter[tuple[str, str]]:
        return Counter({(one.name, one.status): one.number for one in self.counters.counts.instances})

    def stored(self, up_to: int) -> Counter[tuple[str, str]]:
        sql = "SELECT name, status FROM instances WHERE incarnation <= ?"
        return Counter(self.cursor.execute(sql, (up_to,)).fetchall())


@given(steps, st.integers(1, 3), st.sampled_from(("rows", "nothing")))
@settings(max_examples=300)
def test_counts_are_those_of_the_rows_that_are_counted(
    plan: list[Step], size: int, knows: Literal["rows", "nothing"]
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as file:
        for script in migrations():
            file.executescript(script)
        story = Story(file.cursor(), size, knows)
        for step in plan:
            story.play(step)
            if step == "undo":
                story.known.clear()  # as the engine forgets the rows that it could not write
            if not file.in_transaction and story.counters.counts.progress == "some":
                assert story.counted() == story.stored(story.counters.counts.counted_to)
        story.end("commit")
        for _ in range(len(plan) + 2):
            story.counters.counts.portion(story.cursor)
        assert story.counters.counts.progress == "all"
        assert story.counted() == story.stored(1 << 40)
