"""The loop of alarms against a plain table: reads, turns and commits take time, and each due alarm has its turn.

Batches, the timer queue and the number of alarms in progress are so small that each history crosses them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import Task
from perdure.engine.loops.alarms import STORE_RETRY_MS, Alarms, TimerQueue
from perdure.engine.loops.waker import Waker
from perdure.engine.mailbox.entry import MailboxEntry
from perdure.engine.runs.concurrency import Holds
from perdure.programs.future import answer_of, asked
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import commit_one, overlay
from perdure.stores.memory import MemoryBackend
from perdure.values.address import Address
from perdure.values.errors import OutcomeUnknown, StoreUnavailable
from perdure.values.instance import Instance
from perdure.values.limits import Limits
from perdure.values.transition import Purge, Put, Transition

Step: TypeAlias = tuple[str, int]

JOBS = {
    ("task", name): Task(name, state=int, event=int, initial=0, on_event=lambda _, __: Success(None)) for name in "pq"
}
IDS = 7
FAR_MS = 3_000
"""An alarm that is far is not read ahead."""

LATEST_MS = 400
"""How late an alarm may be, behind all the others, if nothing failed and no job was held."""


@attrs.define
class Runs:
    """The part of an engine's runs that the loop sets."""

    alarms: Any = None


@attrs.define(kw_only=True)
class Engine:
    """Plays the dispatcher, the cache and the store. The loop hears of a commit when it lands, as in an engine.

    Attributes:
        simulation: moves the clock.
        limits: the batches.
        room: the alarms in memory.
        read_ms: how long a read takes after its rows are found.
        commit_ms: how long a commit takes before it lands.
        work_ms: how long a run takes.
        fates: the fates of the next turns; a turn succeeds when they are over.
        broken: the reads of the store that fail next.
        rows: the table.
        fired: the instances whose turn is in progress.
    """

    simulation: Simulation
    limits: Limits
    room: int
    read_ms: int
    commit_ms: int
    work_ms: int
    fates: list[str] = attrs.Factory(list[str])
    broken: list[str] = attrs.Factory(list[str])
    rows: dict[Address, Instance] = attrs.Factory(dict[Address, Instance])
    fired: set[Address] = attrs.Factory(set[Address])
    faults: int = 0
    asked: int = 0
    set_ms: dict[Address, int] = attrs.Factory(dict[Address, int])
    reads: int = 0
    runs: Runs = attrs.Factory(Runs)
    backend: MemoryBackend = attrs.Factory(MemoryBackend)
    tasks: list[Any] = attrs.Factory(list[Any])
    inner: Any = attrs.field(init=False)
    holds: Holds = attrs.field(init=False)
    alarms: Alarms = attrs.field(init=False)

    @property
    def runtime(self) -> Any:
        return self.simulation.runtime

    def open(self) -> None:
        """Open the store that an earlier engine may have left, and start the loop."""
        self.fired.clear()
        self.inner = inner = self.backend.open()
        names = ("due", "next_alarm")
        store = overlay(inner, **{name: self.slow(name, getattr(inner, name)) for name in names})
        self.holds = Holds(store, self.runtime)
        parts: Any = self  # the dispatcher, and the cache
        self.alarms = Alarms(
            store,
            self.runtime,
            parts,
            JOBS,
            self.holds,
            self.limits,
            parts,
            Waker(self.runtime),
            TimerQueue(room=self.room),
        )
        self.spawn(self.alarms.run())

    def spawn(self, work: Any) -> None:
        self.tasks.append(self.runtime.spawn_eagerly(work, name="model"))

    def crash(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.simulation.settle()
        self.tasks.clear()

    def slow(self, name: str, read: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> FutureResult[Any, Any]:
            async def late() -> Any:
                self.reads += 1
                found = await answer_of(read(*arguments))
                await self.runtime.sleep(self.read_ms)
                if self.broken:
                    return Failure(StoreUnavailable(self.broken.pop(), "no disk"))
                return found

            return asked(late())

        return call

    # ------------------------------------------------------------ the cache
    def begin_read(self) -> set[Address]:
        return set()

    def end_read(self, changed: object, jobs: object, rows: object) -> None:
        pass

    def row(self, address: Address) -> Instance | None:
        return self.rows.get(address)

    def waits_outside(self, address: Address) -> bool:
        return address in self.fired

    # ------------------------------------------------------------ commits
    async def commit(self, address: Address, after: Instance | None, *, is_noticed: bool = True) -> None:
        """Write a row. The loop hears of it in the step in which the commit is durable."""
        before = self.rows.get(address)
        expected = None if before is None else before.fence
        if after is None:
            await answer_of(commit_one(self.inner, Transition(address=address, expected=expected, write=Purge())))
            del self.rows[address]
        else:
            written = after.changed(version=1 if before is None else before.version + 1)
            put = Transition(address=address, expected=expected, write=Put(written))
            fence = (await answer_of(commit_one(self.inner, put))).unwrap()
            self.rows[address] = written.changed(incarnation=fence.incarnation, version=fence.version)
            self.set_ms[address] = self.runtime.now_ms()
        if is_noticed:
            self.alarms.notice(address, None if after is None else after.due_ms)

    async def set_alarm(self, number: int, *, in_ms: int, is_noticed: bool = True) -> None:
        """Set the alarm of an instance whose turn is not in progress; it may be in the past."""
        address = Address("task", "pq"[number % 2], str(number % IDS))
        if address in self.fired:
            return
        row = self.rows.get(address, Instance(address=address, created_ms=1, updated_ms=1, state="0"))
        await self.commit(address, row.changed(alarm_ms=self.runtime.now_ms() + in_ms), is_noticed=is_noticed)

    async def set_alarms(self, step: str, number: int) -> None:
        match step:
            case "set":
                await self.set_alarm(number, in_ms=number - 10)
            case "set far":
                await self.set_alarm(number, in_ms=number * FAR_MS // 20)
            case "burst":
                for each in range(IDS):
                    await self.set_alarm(each, in_ms=number % 3)
            case _:
                await self.set_alarm(number, in_ms=number, is_noticed=False)
                self.alarms.doubt()

    async def change(self, kind: str, number: int) -> None:
        """Clear an alarm, pause or resume an instance, or delete it."""
        here = sorted(address for address in self.rows if address not in self.fired)
        if not here:
            return
        address = here[number % len(here)]
        row = self.rows[address]
        changed = {
            "clear": row.changed(alarm_ms=None),
            "pause": row.changed(suspension="paused"),
            "resume": row.changed(suspension=None),
            "delete": None,
        }
        await self.commit(address, changed[kind])

    # ------------------------------------------------------------ turns
    def fire(self, _job: Any, address: Address, entry: MailboxEntry) -> None:
        """Take an alarm from the loop, as a dispatcher does."""
        assert address not in self.fired, "an alarm is fired beside its own turn"
        assert (address.kind, address.name) not in self.holds.jobs, "an alarm of a held job is fired"
        of_job = sum(1 for one in self.fired if one.name == address.name)
        assert of_job < self.limits.max_pending, "too many alarms of a job are in progress"
        self.fired.add(address)
        self.spawn(self.turn(address, entry))

    async def turn(self, address: Address, entry: MailboxEntry) -> None:
        row = self.rows.get(address)
        if row is None or row.due_ms is None or row.due_ms > self.runtime.now_ms():  # a stale entry
            self.reply(address, entry, Success(None))
            return
        late_ms = self.runtime.now_ms() - max(row.due_ms, self.set_ms.get(address, 0))
        assert self.faults or late_ms <= LATEST_MS, "an alarm is late"
        await self.runtime.sleep(self.work_ms)
        self.alarms._leave_window(entry.answer)  # type: ignore[arg-type]
        await self.runtime.sleep(self.commit_ms)
        fate = self.fates.pop() if self.fates else "rests"
        if fate == "refused":
            self.faults += 1
            self.reply(address, entry, Failure(StoreUnavailable("commit", "no disk")))
            return
        again = self.runtime.now_ms() + 5 if fate == "again" else None
        self.faults += fate == "unknown"
        await self.commit(address, self.rows[address].changed(alarm_ms=again), is_noticed=fate != "unknown")
        unknown = Failure(OutcomeUnknown("no answer"))
        self.reply(address, entry, unknown if fate == "unknown" else Success(None))
        if fate == "unknown":
            self.alarms.doubt()

    def reply(self, address: Address, entry: MailboxEntry, result: Any) -> None:
        self.fired.discard(address)
        entry.answer.set_result(result)

    # ------------------------------------------------------------ stories
    def hold(self, *, held: bool) -> None:
        self.faults += held
        self.holds.jobs = (("task", "p"),) if held else ()
        self.alarms.doubt()

    async def play(self, story: list[Step]) -> None:
        for step, number in story:
            match step:
                case "set" | "set far" | "burst" | "set unknown":
                    await self.set_alarms(step, number)
                case "clear" | "pause" | "resume" | "delete":
                    await self.change(step, number)
                case "hold" | "release":
                    self.hold(held=step == "hold")
                case "request":
                    self.asked += 1
                case "fail":
                    self.broken.append("due")
                    self.faults += 1
                case _:
                    await self.runtime.sleep(number % 5 if number < LONG else number * 10)

    def ends(self) -> None:
        """Release the holds and pauses: all is done in time, and then the loop reads nothing."""
        self.fates.clear()
        self.broken.clear()
        if self.holds.jobs:  # any release reads the store again, and would hide that nothing else did
            self.hold(held=False)
        for address, row in sorted(self.rows.items()):
            if row.suspension is not None:
                self.spawn(self.commit(address, row.changed(suspension=None)))
        self.simulation.advance(2 * STORE_RETRY_MS + 40 * FAR_MS // 20 + 1_000)
        assert self.simulation.unhandled == ()
        left = [row.address for row in self.rows.values() if row.due_ms is not None]
        assert left == [], "an alarm waits for ever"
        assert self.alarms.under_way == 0
        before = self.reads
        self.simulation.advance(600_000)
        assert self.reads == before, "a loop without alarms reads the store"


LONG = 36
STEPS = ("set",) * 4 + ("wait",) * 5 + ("set far", "burst", "set unknown", "clear", "pause", "resume", "delete")
stories = st.lists(
    st.tuples(st.sampled_from((*STEPS, "hold", "release", "request", "fail")), st.integers(0, 40)),
    min_size=8,
    max_size=40,
)
fates = st.lists(st.sampled_from(["rests", "again", "again", "refused", "unknown"]), max_size=8)
limits = st.builds(Limits, alarm_batch=st.integers(1, 3), max_pending=st.integers(1, 4))


@settings(max_examples=200)
@given(
    lives=st.lists(st.tuples(stories, fates), min_size=1, max_size=3),
    limits=limits,
    room=st.integers(2, 5),
    times=st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 12)),
    seed=st.integers(0, 99),
)
def test_each_due_alarm_has_its_turn(
    lives: list[tuple[list[Step], list[str]]], limits: Limits, room: int, times: tuple[int, int, int], seed: int
) -> None:
    """Whatever is set, moved, held and refused while the loop reads, and in any state that an earlier engine left."""
    read_ms, commit_ms, work_ms = times
    engine = Engine(
        simulation=Simulation(seed=seed),
        limits=limits,
        room=room,
        read_ms=read_ms,
        commit_ms=commit_ms,
        work_ms=work_ms,
    )
    for number, (story, fated) in enumerate(lives):
        if number:
            engine.crash()
        engine.fates[:] = fated
        engine.open()
        engine.simulation.run(engine.play(story))
    engine.ends()
    engine.crash()
