"""A debounce under every fault: each acknowledged event is in exactly one flushed batch, or discarded by a clear."""

import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pytest
from attrs import frozen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from returns.result import Success
from world import HasOutside, ProcessDied, Refused, World, completed, say

from perdure import App, Backoff, Debounce, DebounceContext, Do, Limits, Retry, attempt, program
from perdure.kinds.debounce.context import Batches
from perdure.kinds.debounce.handler import batches_of
from perdure.values.event import DebounceFlushed
from perdure.values.instance import Instance


@frozen
class Letter:
    number: int
    loud: str = "quiet"


@frozen
class Pile:
    numbers: tuple[int, ...] = ()


@program
def pile_up(ctx: DebounceContext[Pile], letter: Letter) -> Do[None, Refused, HasOutside]:
    if letter.loud == "loud":
        yield from say(f"ring {letter.number}")
    pile = yield from ctx.state
    yield from ctx.set_state(Pile((*pile.numbers, letter.number)))


@program
def deliver(ctx: DebounceContext[Pile]) -> Do[None, Refused, HasOutside]:
    pile = yield from ctx.state
    numbers = ",".join(map(str, pile.numbers))
    yield from say(f"batch {ctx.run_id} {ctx.attempt}.{ctx.delivery} {ctx.flush_reason} {numbers}")
    yield from say("deliver")


mailbag = Debounce(
    "mailbag",
    event=Letter,
    state=Pile,
    initial=Pile(),
    flush_after="5 s",
    inactivity="3 s",
    max_events=4,
    on_event=pile_up,
    execute=deliver,
    retry=Retry(2, Backoff.constant("2 s"), jitter=False),
)
ids = st.sampled_from("ab")


class Mailbags(RuleBasedStateMachine):
    """Two instances, one process after the other, and a delivery that may take its time, refuse, or never return."""

    store = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="perdure-")
        self.world = World(self.store, Path(self.folder.name))
        self.acknowledged: set[int] = set()
        self.discarded = 0
        self.number = 0
        self.crashes = 0
        self.open()

    # ------------------------------------------------------------ one process after the other
    def open(self) -> None:
        app = App(self.world.outside, limits=Limits(shutdown_timeout="1000 ms")).with_jobs(mailbag)
        self.jobs = completed(self.world.open(app)).handle(mailbag)

    def revive(self) -> None:
        completed(self.world.crash())
        self.crashes += 1
        self.open()

    def do(self, call):
        """Make a call with a key; where the process dies, repeat it once with its key."""
        if self.world.process.boundary.died_at is not None:
            self.revive()
        self.number += 1
        key = f"key-{self.number}"
        try:
            return completed(self.answer(call, key))
        except ProcessDied:
            self.revive()
            return completed(self.answer(call, key))

    async def answer(self, call, key: str):
        async def made_when_it_is_run():  # a process may die before it comes to this
            return await attempt(call(key))

        answer = await self.world.run(made_when_it_is_run())
        await self.world.settle()
        return answer

    # ------------------------------------------------------------ what callers do
    @rule(id_=ids, louds=st.lists(st.sampled_from(["quiet", "loud"]), min_size=1, max_size=5))
    def add(self, id_: str, louds: list[str]) -> None:
        for loud in louds:
            letter = Letter(self.number, loud)
            answer = self.do(lambda key, letter=letter: self.jobs.add(id_, letter, idempotency_key=key))
            if isinstance(answer, Success):
                self.acknowledged.add(letter.number)

    @precondition(lambda self: self.is_prompt())
    @rule(id_=ids)
    def flush(self, id_: str) -> None:
        self.do(lambda key: self.jobs.flush(id_, idempotency_key=key))

    @precondition(lambda self: self.is_prompt())
    @rule(id_=ids, louds=st.lists(st.sampled_from(["quiet", "loud"]), min_size=1, max_size=3))
    def flush_slowly(self, id_: str, louds: list[str]) -> None:
        self.add(id_, ["quiet"])
        self.world.suspension("deliver")
        self.do(lambda key: self.jobs.flush(id_, wait_for="start", idempotency_key=key))
        self.add(id_, louds)

    @precondition(lambda self: not self.is_prompt())
    @rule()
    def deliver(self) -> None:
        self.world.release("deliver")

    @rule(id_=ids)
    def clear(self, id_: str) -> None:
        answer = self.do(lambda key: self.jobs.clear(id_, idempotency_key=key))
        self.discarded += answer.unwrap().discarded

    @rule(id_=ids, action=st.sampled_from(["pause", "resume", "resume"]))
    def suspension(self, id_: str, action: str) -> None:
        self.do(lambda key: getattr(self.jobs, action)(id_, idempotency_key=key))

    # ------------------------------------------------------------ actions of the world
    @rule(ms=st.integers(1, 7_000))
    def wait(self, ms: int) -> None:
        with suppress(ProcessDied):  # as arranged before; the clock moves on
            completed(self.world.advance(ms=ms))

    @rule(times=st.integers(1, 3))
    def refuse(self, times: int) -> None:
        self.world.outside.refusals["deliver"] = times

    @rule(mishap=st.sampled_from(["crash", "restart"]) | st.integers(0, 20))
    def suffer(self, mishap: str | int) -> None:
        boundary = self.world.process.boundary
        match mishap:
            case int() if boundary.died_at is None:
                boundary.die_at = len(boundary.crash_points) + mishap
            case "restart" if boundary.died_at is None:
                self.restart()
            case _:
                self.revive()

    @rule(id_=ids, crash_point=st.integers(0, 7))
    def die_over_an_event(self, id_: str, crash_point: int) -> None:
        self.suffer("crash")
        self.suffer(crash_point)
        self.add(id_, ["loud"])

    def row(self, id_: str) -> Instance | None:
        """Read the stored row, also if the process dies on the way there as arranged before."""
        try:
            return completed(self.world.row(mailbag.address(id_)))
        except ProcessDied:
            return completed(self.world.row(mailbag.address(id_)))

    def is_prompt(self) -> bool:
        return "deliver" not in self.world.outside.held

    def restart(self) -> None:
        self.world.process.boundary.die_at = None
        completed(self.world.close())
        self.open()

    # ------------------------------------------------------------ the promises
    def deliveries(self) -> list[list[str]]:
        return [word.split()[1:] for word in self.world.outside.heard if word.startswith("batch")]

    def flushed(self) -> list[str]:
        return [
            event.run_id
            for transition in self.world.commits
            for event in transition.events
            if isinstance(event, DebounceFlushed)
        ]

    @invariant()
    def a_run_keeps_its_batch_and_its_reason_and_marks_each_repeat(self) -> None:
        deliveries = self.deliveries()
        assert len({run_id for run_id, *_ in deliveries}) == len({(run, *batch) for run, _, *batch in deliveries})
        firsts = Counter(run_id for run_id, mark, *_ in deliveries if mark == "1.1")
        assert all(count == 1 for count in firsts.values()), "a repeat that the program cannot see"

    @invariant()
    def a_committed_flush_is_never_repeated(self) -> None:
        assert all(count == 1 for count in Counter(self.flushed()).values())

    @invariant()
    def only_a_collecting_batch_is_due_while_no_other_is_being_flushed(self) -> None:
        for id_ in "ab":
            row = self.row(id_)
            batches = Batches() if row is None else batches_of(row)
            due = None if batches.flushing or batches.collecting is None else batches.collecting.flush_ms
            assert (None if row is None else row.alarm_ms) == due

    @invariant()
    def no_event_is_in_two_batches(self) -> None:
        batches = {run_id: numbers.split(",") for run_id, _, _, numbers in self.deliveries()}
        assert all(count == 1 for count in Counter(chain(*batches.values())).values())

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            completed(self.world.leave())
            self.folder.cleanup()

    def finish(self) -> None:
        """All is well again: whatever was acknowledged is flushed."""
        self.revive()
        self.world.outside.refusals.clear()
        if not self.is_prompt():
            self.deliver()
        for id_ in "ab":
            self.suspension(id_, "resume")
        self.wait(60_000)
        batches = {run_id: numbers.split(",") for run_id, _, _, numbers in self.deliveries()}
        arrived = {int(number) for run_id in self.flushed() for number in batches[run_id]}
        assert arrived <= self.acknowledged
        assert len(self.acknowledged) == len(arrived) + self.discarded, "an acknowledged event is lost"
        for id_ in "ab":
            assert completed(self.world.row(mailbag.address(id_))) is None


class MailbagsOnDisk(Mailbags):
    store = "sqlite"


@pytest.mark.parametrize("continues", [Mailbags.deliver, lambda bags: bags.wait(7_000)])
def test_a_process_that_dies_while_it_continues_is_inspected_after_its_death(
    continues: Callable[[Mailbags], None],
) -> None:
    bags = Mailbags()
    bags.flush_slowly("a", ["quiet"])
    bags.suffer(0)
    continues(bags)
    bags.only_a_collecting_batch_is_due_while_no_other_is_being_flushed()
    bags.teardown()


TestInMemory = Mailbags.TestCase
TestInMemory.settings = settings(max_examples=50, stateful_step_count=30)
TestOnDisk = MailbagsOnDisk.TestCase
TestOnDisk.settings = settings(max_examples=10, stateful_step_count=25)
