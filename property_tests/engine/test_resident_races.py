"""Rows in memory against a table: reads that end late, several reads at once, rows of other engines, runs that watch.

A read of the store sees the table in one moment, and its answer arrives in another one.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs
from hypothesis import example, given
from hypothesis import strategies as st
from returns.result import Failure, Success

from perdure import Task, TaskContext, program
from perdure.engine.mailbox.entry import MailboxEntry
from perdure.engine.mailbox.instance_cache import InstanceCache, version_of
from perdure.engine.mailbox.instance_cell import PendingCommit
from perdure.jobs.request import ALARM, Request
from perdure.runtime.record import DEFAULT_SIZES
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import overlay
from perdure.stores.memory import MemoryBackend
from perdure.values.errors import Conflict, OutcomeUnknown
from perdure.values.instance import Fence, Instance
from perdure.values.transition import Loaded, Purge, Put, Transition


@program
def ignore(ctx: TaskContext[str], event: int):
    yield from ctx.set_state("")


orders = Task("orders", state=str, event=int, initial="", on_event=ignore)
JOBS = {("task", "orders"): orders}
IDS = "abc"


def row_of(id_: str, version: int, incarnation: int = 1) -> Instance:
    return Instance(
        address=orders.address(id_), created_ms=1, updated_ms=2, state="", incarnation=incarnation, version=version
    )


@attrs.define
class Table:
    """The stored rows, the rows in memory beside them, and the reads on their way.

    Attributes:
        seen: the newest version of each instance that this process has read or written since it last doubted it.
    """

    ownership: Literal["owned", "shared"]
    stored: dict[str, Instance] = attrs.Factory(dict)
    seen: dict[str, tuple[int, int]] = attrs.Factory(dict)
    reads: list[tuple[str, Instance | None]] = attrs.Factory(list)
    pages: list[tuple[set[Any], list[Instance]]] = attrs.Factory(list)
    incarnations: int = 0
    cache: InstanceCache = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        store = MemoryBackend().open()
        self.cache = InstanceCache(
            overlay(store, capabilities=attrs.evolve(store.capabilities, ownership=self.ownership)),
        )

    def next(self, id_: str) -> Instance:
        before = self.stored.get(id_)
        if before is None:
            self.incarnations += 1
            return row_of(id_, 1, self.incarnations)
        return before.changed(version=before.version + 1)

    def act(self, action: str, id_: str) -> None:
        address = orders.address(id_)
        cell = self.cache.at(orders, address)
        match action:
            case "commit":
                row = self.stored[id_] = self.next(id_)
                self.cache.keep(cell, Loaded(instance=row))
                self.note(id_, row)
            case "purge" if self.ownership == "owned":
                self.stored.pop(id_, None)
                self.cache.keep(cell, Loaded())
                self.seen.pop(id_, None)
            case "other commits" if self.ownership == "shared":
                self.stored[id_] = self.next(id_)
            # One turn of an instance reads at a time. A background run may commit meanwhile.
            case "begin" if cell.loaded is None and id_ not in dict(self.reads):
                cell.is_doubted = False
                self.reads.append((id_, self.stored.get(id_)))
            case "end" if self.reads:
                ended, row = self.reads.pop(0)
                self.cache.loaded(self.cache.at(orders, orders.address(ended)), Loaded(instance=row))
            case "begin page":
                self.pages.append((self.cache.begin_read(), list(self.stored.values())))
            case "end page" | "last page" if self.pages:
                changed, rows = self.pages.pop(0 if action == "end page" else -1)
                unchanged = [row for row in rows if row.address not in changed]
                self.cache.end_read(changed, JOBS, rows)
                for row in unchanged:
                    assert self.cache.row(row.address) is not None, "a row that was read is not kept"
            case "doubt":
                self.cache.doubt(cell)
                self.seen.pop(id_, None)
            case _:
                pass

    def note(self, id_: str, row: Instance | None) -> None:
        self.seen[id_] = max(self.seen.get(id_, (0, 0)), version_of(row))

    def check(self) -> None:
        for id_ in IDS:
            cell = self.cache.get(orders.address(id_))
            if cell is None or cell.loaded is None:
                continue
            kept = version_of(cell.row)
            if self.ownership == "owned":
                assert kept == version_of(self.stored.get(id_)), "an older row is kept than the stored one"
            else:
                assert kept >= self.seen.get(id_, (0, 0)), "the row goes back behind one that this engine wrote"


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "commit",
                "commit",
                "purge",
                "other commits",
                "begin",
                "end",
                "begin page",
                "end page",
                "end last page",
                "doubt",
            ]
        ),
        st.sampled_from(IDS),
    ),
    max_size=40,
)


TWO_PAGES = ["commit", "begin page", "begin page", "end page", "doubt", "end page"]


@example([(action, "a") for action in TWO_PAGES])
@example([(action, "a") for action in ("begin", "commit", "doubt", "end")])
@example([(action, "a") for action in ("begin", "commit", "end")])
@given(ACTIONS)
def test_of_an_owned_store_a_kept_row_is_the_stored_one(actions: list[tuple[str, str]]) -> None:
    """Whichever reads end when: a row that was read before a commit does not replace the row that it wrote."""
    table = Table("owned")
    for action, id_ in actions:
        table.act(action, id_)
        table.check()


@given(ACTIONS)
def test_of_a_shared_store_a_page_replaces_no_newer_row(actions: list[tuple[str, str]]) -> None:
    """A page of due alarms may have been read before another engine, or this one, wrote a row."""
    table = Table("shared")
    for action, id_ in actions:
        if action not in ("begin", "end"):  # a turn that reads is the only one of its instance
            table.act(action, id_)
            table.check()


# ---------------------------------------------------------------- rows that may be out of date
@given(st.lists(st.booleans(), max_size=200))
def test_turns_are_decided_on_kept_rows_while_most_of_those_are_current(found: list[bool]) -> None:
    """The part of turns that found a current row, lately; each read counts once."""
    table = Table("shared")
    part, cell = 1.0, table.cache.at(orders, orders.address("a"))
    table.act("commit", "a")
    for is_current in found:
        row = cell.row if is_current else table.next("a")
        assert row is not None
        table.stored["a"] = row
        table.cache.loaded(cell, Loaded(instance=row))
        part += ((1.0 if is_current else 0.0) - part) / DEFAULT_SIZES.lately
        entry = MailboxEntry(Request(command=None, action="send"), Simulation().runtime.future())
        assert table.cache.are_current == (part >= 0.9)
        assert table.cache.may_decide(cell, entry) == (part >= 0.9)
        part += (1.0 - part) / DEFAULT_SIZES.lately if part >= 0.9 else 0.0
        assert table.cache.may_decide(cell, MailboxEntry(ALARM, Simulation().runtime.future()))  # its row was just read


@given(st.lists(st.sampled_from(["kept", "read"]), min_size=1, max_size=6))
def test_a_conflict_on_a_kept_row_is_no_rival_and_the_row_is_read_then(bases: list[Any]) -> None:
    """Each time: a turn is decided on the stored row after any conflict, and only conflicts on those count."""
    table, rivals = Table("shared"), 0
    entries = [MailboxEntry(Request(command=None, action="send"), Simulation().runtime.future()) for _ in range(2)]
    for row_source in bases:
        entries[0].row_source = row_source
        rivals += row_source == "read"
        table.cache.note_conflict(entries)
        assert entries[0].row_source == "read"
        assert [entry.conflicts for entry in entries] == [rivals, rivals]


# ---------------------------------------------------------------- runs that watch
WATCHES = st.lists(
    st.tuples(
        st.sampled_from(["watch", "watch", "unwatch", "lands", "others"]), st.sampled_from(IDS), st.integers(0, 3)
    ),
    max_size=25,
)
ANSWERS = (Success(Fence(1, 2)), Failure(Conflict("a")), Failure(OutcomeUnknown("lost")), Success(Fence(1, 3)))


@given(WATCHES)
def test_each_run_that_watches_sees_the_next_change_and_no_other(story: list[tuple[str, str, int]]) -> None:
    """Of each outcome: after a conflict or an unknown one the row may be another, too."""
    simulation, table = Simulation(), Table("owned")
    waiting: dict[str, list[Any]] = {id_: [] for id_ in IDS}
    for verb, id_, number in story:
        address = orders.address(id_)
        told: list[Any] = []
        match verb:
            case "watch":
                waiting[id_].append(table.cache.watch(address, simulation.runtime.future()))
            case "unwatch":
                for change in waiting[id_][number : number + 1]:
                    waiting[id_].remove(change)
                    table.cache.unwatch(address, change)
            case "lands":
                write: Any = Purge() if number == 3 else Put(row_of(id_, 2))
                transition = Transition(address=address, expected=Fence(1, 1), write=write)
                cell = table.cache.at(orders, address)
                pending = PendingCommit(transition, cell, Loaded(), None, lambda *_: None)
                table.cache.on_answer(pending, ANSWERS[number])
                told, waiting[id_] = waiting[id_], []
            case _:
                table.cache.others_wrote()
                told = [change for changes in waiting.values() for change in changes]
                waiting = {id_: [] for id_ in IDS}
        assert all(change.done() for change in told)
        assert not any(change.done() for changes in waiting.values() for change in changes)
        assert set(table.cache.watched) == {orders.address(one) for one, changes in waiting.items() if changes}
