"""A debounce under every mishap: each acknowledged event is in exactly one flushed batch, or discarded by a clear."""

import asyncio
import tempfile
from collections import Counter
from itertools import chain
from pathlib import Path

from attrs import frozen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from returns.result import Success
from world import HasOutside, ProcessDied, Refused, World, say

from perdure import Backoff, Debounce, DebounceContext, Do, Engine, Limits, Retry, program
from perdure.values.event import DebounceFlushed


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
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="perdure-")
        self.world = World(self.store, Path(self.folder.name))
        self.acknowledged: set[int] = set()
        self.discarded = 0
        self.number = 0
        self.crashes = 0
        self.open()

    # ------------------------------------------------------------ one process after the other
    def open(self) -> None:
        app = Engine(self.world.outside, limits=Limits(drain_ms=1_000)).jobs(mailbag)
        self.jobs = self.runner.run(self.world.open(app)).of(mailbag)

    def revive(self) -> None:
        self.runner.run(self.world.crash())
        self.crashes += 1
        self.open()

    def do(self, call):
        """Make a call with a key; where the process dies, repeat it once with its key."""
        if self.world.process.border.dead == "dead":
            self.revive()
        self.number += 1
        key = f"key-{self.number}"
        try:
            return self.runner.run(self.world.result(call(key)))
        except ProcessDied:
            self.revive()
            return self.runner.run(self.world.result(call(key)))

    # ------------------------------------------------------------ what callers do
    @rule(id_=ids, loud=st.sampled_from(["quiet", "loud"]))
    def add(self, id_: str, loud: str) -> None:
        letter = Letter(self.number, loud)
        answer = self.do(lambda key: self.jobs.add(id_, letter, idempotency_key=key))
        if isinstance(answer, Success):
            self.acknowledged.add(letter.number)

    @rule(id_=ids)
    def flush(self, id_: str) -> None:
        self.do(lambda key: self.jobs.flush(id_, wait="claim", idempotency_key=key)) if self.is_idle() else None

    @rule(id_=ids)
    def clear(self, id_: str) -> None:
        answer = self.do(lambda key: self.jobs.clear(id_, idempotency_key=key))
        self.discarded += answer.unwrap().discarded

    @rule(id_=ids)
    def pause(self, id_: str) -> None:
        self.do(lambda key: self.jobs.pause(id_, idempotency_key=key))

    @rule(id_=ids)
    def resume(self, id_: str) -> None:
        self.do(lambda key: self.jobs.resume(id_, idempotency_key=key))

    # ------------------------------------------------------------ what the world does
    @rule(ms=st.integers(1, 7_000))
    def wait(self, ms: int) -> None:
        self.runner.run(self.world.advance(ms=ms))

    @rule(times=st.integers(1, 3))
    def refuse(self, times: int) -> None:
        self.world.outside.refusals["deliver"] = times

    def is_idle(self) -> bool:
        return "deliver" not in self.world.outside.held

    @precondition(lambda self: self.is_idle())
    @rule()
    def take_time(self) -> None:
        self.world.hold("deliver")

    @precondition(lambda self: not self.is_idle())
    @rule()
    def be_done(self) -> None:
        self.world.release("deliver")

    @rule()
    def crash(self) -> None:
        self.revive()

    @rule(crossings=st.integers(0, 12))
    def crash_soon(self, crossings: int) -> None:
        border = self.world.process.border
        if border.dead == "alive":
            border.die_at = len(border.crossings) + crossings

    @rule()
    def restart(self) -> None:
        if self.world.process.border.dead == "dead":
            self.revive()
        self.world.process.border.die_at = None
        self.runner.run(self.world.close())
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
        marks = Counter((run_id, mark) for run_id, mark, *_ in deliveries)
        assert all(count == 1 for count in marks.values()), "a repeat that the program cannot see"

    @invariant()
    def a_committed_flush_is_never_repeated(self) -> None:
        assert all(count == 1 for count in Counter(self.flushed()).values())

    @invariant()
    def no_event_is_in_two_batches(self) -> None:
        batches = {run_id: numbers.split(",") for run_id, _, _, numbers in self.deliveries()}
        assert all(count == 1 for count in Counter(chain(*batches.values())).values())

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.runner.run(self.world.leave())
            self.runner.close()
            self.folder.cleanup()

    def finish(self) -> None:
        """All is well again: whatever was acknowledged is flushed."""
        self.restart()
        self.world.outside.refusals.clear()
        if not self.is_idle():
            self.be_done()
        for id_ in "ab":
            self.resume(id_)
        self.wait(60_000)
        batches = {run_id: numbers.split(",") for run_id, _, _, numbers in self.deliveries()}
        arrived = {int(number) for run_id in self.flushed() for number in batches[run_id]}
        assert arrived <= self.acknowledged
        assert len(self.acknowledged) == len(arrived) + self.discarded, "an acknowledged event is lost"
        for id_ in "ab":
            assert self.runner.run(self.world.row(mailbag.address(id_))) is None


class MailbagsOnDisk(Mailbags):
    store = "sqlite"


TestInMemory = Mailbags.TestCase
TestInMemory.settings = settings(max_examples=50, stateful_step_count=30)
TestOnDisk = MailbagsOnDisk.TestCase
TestOnDisk.settings = settings(max_examples=10, stateful_step_count=25)
