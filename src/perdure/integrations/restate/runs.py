"""A run object: it counts a run's deliveries before your code, and performs it with its effects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar

import attrs
from restate import ObjectContext
from restate.exceptions import TerminalError
from restate.serde import BytesSerde
from returns.result import Success

from perdure.integrations.restate.mailbox import claim_of
from perdure.integrations.restate.wire import (
    EMPTY,
    MAILBOX,
    CommittedRow,
    JournalRows,
    RecoverOrder,
    RunCount,
    RunEnd,
    RunOrder,
    TurnAnswer,
    WriteAnswer,
    WriteOrder,
    decoded,
    encoded,
)
from perdure.interpreters import (
    RECOVER,
    Commit,
    Execute,
    InstanceRecord,
    Loaded,
    Mark,
    Purge,
    Put,
    Transition,
    TurnInputs,
    begin_marked,
    decode_instance,
    encode_transition,
    interrupted,
    recover,
    run_claimed,
)
from perdure.jobs.definition import AnyDefinition
from perdure.runtime.record import Future, Runtime, SpawnedTask
from perdure.values.answer import OutcomeRecord, RunAnswer
from perdure.values.errors import Conflict, OutcomeUnknown
from perdure.values.instance import Instance

COUNT: Final = "run"
"""A run object's state key, whose value is a `RunCount`."""

STOPPED: Final = timedelta(milliseconds=500)
"""How long a run that was stopped waits for a ``terminate``, before it is delivered again."""

CLEANUP_MS: Final = 5_000
"""How long a stopped program may clean up, before its next delivery."""

CHANGE_MS: Final = 20
MAX_CHANGE_MS: Final = 1_000
"""How often a run that waits for another turn reads its row: first, and at last."""

GONE: Final = RunAnswer(found="exists", outcome=OutcomeRecord(form="terminated", reason="gone"))
"""The answer for a run whose claim the row no longer has."""

_BYTES: Final[Any] = BytesSerde()

T = TypeVar("T")


class MakeInputs(Protocol):
    """Collects one decision's inputs."""

    def __call__(self, running: tuple[str, ...] = ..., epoch: int = ...) -> TurnInputs:
        """Collect them."""
        ...


@attrs.define(eq=False)
class ContextCalls:
    """Calls over Restate's context, for a program that runs beside the handler.

    Only the handler may await the context: two tasks that do take each other's results. A program queues its calls, and
    the handler makes them.

    Attributes:
        runtime: makes futures and tasks.
    """

    runtime: Runtime
    _queue: list[tuple[Callable[[ObjectContext], Awaitable[bytes]], Future[bytes]]] = attrs.Factory(list[Any])
    _wake: Future[None] | None = None

    async def call(self, handler: str, body: bytes) -> bytes:
        """Call the instance's mailbox."""

        async def made(ctx: ObjectContext) -> bytes:
            return bytes(await ctx.generic_call(MAILBOX, handler, body, key=ctx.key()))

        answer: Future[bytes] = self.runtime.future()
        self._queue.append((made, answer))
        self._notify()
        return await answer

    async def perform(self, ctx: ObjectContext, work: Coroutine[Any, Any, T]) -> T:
        """Perform a coroutine, and make its calls.

        Raises:
            TerminalError: the invocation was cancelled. The coroutine is cancelled, too.
        """
        task = self.runtime.spawn(work, name="perdure:run on Restate")
        task.add_done_callback(lambda _: self._notify())
        try:
            while True:
                await ctx.run_typed("run", self._segment(task))
                # Checked after each segment: the segment also ends when the program does.
                if task.done():
                    return task.result()
                make, answer = self._queue.pop(0)
                made = await make(ctx)
                # A cancelled program no longer waits for its answer.
                if not answer.done():
                    answer.set_result(made)
        except TerminalError:
            await self._stopped(task)
            raise
        finally:
            # Whatever the handler fails with: a program that runs on would overlap the next delivery.
            if not task.done():
                task.cancel()

    async def _stopped(self, task: SpawnedTask[Any]) -> None:
        """Cancel a program, and let it end for a while: the next delivery must not overlap it."""
        over: Future[None] = self.runtime.future()
        task.add_done_callback(lambda _: _resolve(over))
        # At most so long: a program that catches its cancellation must not hold the object.
        timer = self.runtime.call_later(CLEANUP_MS, lambda: _resolve(over))
        task.cancel()
        await over
        timer.cancel()

    def _segment(self, task: SpawnedTask[Any]) -> Callable[[], Coroutine[Any, Any, int]]:
        async def segment() -> int:
            # Restate's journal has one entry for all of this: the program's own awaits are none of Restate's.
            while not self._queue and not task.done():
                self._wake = self.runtime.future()
                await self._wake
            return 0

        return segment

    def _notify(self) -> None:
        if self._wake is not None:
            _resolve(self._wake)


def _resolve(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@attrs.define(eq=False)
class HeldRecord:
    """The row for a run that holds the mailbox: the mailbox writes the transitions when the run has ended.

    Attributes:
        transitions: the transitions so far.
    """

    row: Instance | None
    calls: ContextCalls
    transitions: list[str] = attrs.Factory(list[str])

    async def load(self) -> Loaded:
        """Return the row as this run knows it."""
        return Loaded(instance=self.row)

    async def write(self, transition: Transition) -> bool:
        """Keep a transition for the run's end."""
        self.transitions.append(encode_transition(transition))
        # The run's next transition builds on this one, though the mailbox has not written it yet.
        if isinstance(transition.write, Put):
            self.row = transition.write.instance
        elif isinstance(transition.write, Purge):
            self.row = None
        return True

    async def journal(self, first: int, limit: int) -> tuple[str, ...]:
        """Return journal rows."""
        return await _journal(self.calls, first, limit)

    async def changed(self, version: int) -> None:
        """Wait for ever: no other turn writes the row."""
        await self.calls.runtime.future()


@attrs.frozen(eq=False)
class BesideRecord:
    """The row for a run beside the mailbox, which the mailbox reads and writes."""

    calls: ContextCalls

    async def load(self) -> Loaded:
        """Read the row."""
        found = decoded(CommittedRow, await self.calls.call("read", EMPTY))
        return Loaded(instance=None if found.row is None else decode_instance(found.row))

    async def write(self, transition: Transition) -> bool:
        """Write a transition, if the row has the expected fence."""
        order = WriteOrder(transition=encode_transition(transition))
        return decoded(WriteAnswer, await self.calls.call("commit", encoded(order))).written

    async def journal(self, first: int, limit: int) -> tuple[str, ...]:
        """Return journal rows."""
        return await _journal(self.calls, first, limit)

    async def changed(self, version: int) -> None:
        """Return when another turn has written the row."""
        pause_ms = CHANGE_MS
        while True:
            await self.calls.runtime.sleep(pause_ms)
            row = (await self.load()).instance
            # Also when the row is gone: the run must learn that it was terminated.
            if row is None or row.version != version:
                return
            pause_ms = min(2 * pause_ms, MAX_CHANGE_MS)


async def _journal(calls: ContextCalls, first: int, limit: int) -> tuple[str, ...]:
    wanted = JournalRows(first=first, limit=limit)
    return decoded(JournalRows, await calls.call("journal", encoded(wanted))).bodies


@attrs.frozen
class RunObject:
    """A run object's handler.

    Attributes:
        inputs: collects one decision's inputs.
        runtime: returns the event loop's runtime.
    """

    jobs: Mapping[tuple[str, str], AnyDefinition]
    inputs: MakeInputs
    services: Callable[[], Any]
    runtime: Callable[[], Runtime]

    async def run(self, ctx: ObjectContext, body: bytes) -> bytes:
        """Perform a run, or return the end that an earlier delivery wrote."""
        order = decoded(RunOrder, body)
        data = await ctx.get(COUNT, _BYTES)
        count = None if data is None else decoded(RunCount, bytes(data))
        # Another run: the count and the end of the last one are no longer wanted, because its invocation has been
        # answered.
        if count is None or count.key != order.key:
            count = RunCount(key=order.key, begun=0)
        # A repeat of an invocation whose answer was lost. The end that was written counts, and nothing is performed
        # again.
        if count.end is not None:
            return encoded(count.end)
        row, calls = decode_instance(order.row), ContextCalls(self.runtime())
        job = self.jobs[row.address.kind, row.address.name]
        held = None if order.beside else HeldRecord(row, calls)
        record: InstanceRecord = BesideRecord(calls) if held is None else held
        try:
            step = await calls.perform(ctx, self._recovered(job, record, order, row, count.begun))
            if isinstance(step, Mark):
                # Before the program: if the worker dies in the middle of it, the next delivery knows, and is marked as
                # a repeat.
                count = attrs.evolve(count, begun=step.claim.deliveries)
                ctx.set(COUNT, encoded(count), _BYTES)
                # Its answer proves that the count is durable: a state that is set travels with the next await.
                await ctx.run_typed("counted", _nothing)
                answer = await calls.perform(ctx, self._performed(job, step, record, calls))
            else:
                answer = step
            end = RunEnd(form="ended", transitions=() if held is None else tuple(held.transitions), answer=answer)
        except TerminalError:
            end = self._stopped(job, row, order)
            if order.beside:
                # Beside the mailbox, no handler waits for this run: without an order of its own, its claim would stay.
                again = encoded(RecoverOrder(run_id=order.run_id))
                key = f"{order.key}:stopped"
                ctx.generic_send(MAILBOX, "recover", again, key=ctx.key(), send_delay=STOPPED, idempotency_key=key)
        # Kept after the answer: cleared here, a repeated invocation would begin the program without a mark.
        ctx.set(COUNT, encoded(attrs.evolve(count, end=end)), _BYTES)
        return encoded(end)

    async def _recovered(
        self, job: AnyDefinition, record: InstanceRecord, order: RunOrder, row: Instance, begun: int
    ) -> Mark | TurnAnswer:
        """Count an earlier delivery's death in the claim. Or return the answer for a run that does not begin.

        A delivery that did not begin the program is no repeat.
        """
        # At first the order's own row is current, because its claim was just written: no call to the mailbox.
        present = row if not begun else (await record.load()).instance
        while True:
            claim = claim_of(present, order.run_id, event=order.event)
            if present is None or claim is None:
                return TurnAnswer.of(job, Success(GONE))
            if claim.deliveries > begun:
                return Mark(transition=Transition(address=row.address), claim=claim)
            # Another epoch than the claim's: the process died that had it.
            step = recover(job, present, claim, self.inputs(epoch=claim.owner + 1))
            if not await record.write(step.transition):
                # Another turn wrote the row meanwhile. The death is counted on the present row.
                present = (await record.load()).instance
                continue
            # A recovery that is a commit alone has parked the run: it died too often.
            if isinstance(step, Commit):
                died = f"the process died {claim.recoveries + 1} times during this run, which is parked"
                return TurnAnswer.refused(job, OutcomeUnknown(died))
            # Read back: the claim now has the number under which this delivery begins.
            present = (await record.load()).instance

    async def _performed(
        self, job: AnyDefinition, mark: Mark, record: InstanceRecord, calls: ContextCalls
    ) -> TurnAnswer:
        services, inputs = self.services(), self.inputs
        try:
            ended = await run_claimed(job, mark, RECOVER, services, record, runtime=calls.runtime, inputs=inputs)
        except Conflict:
            return TurnAnswer.of(job, Success(GONE))
        return TurnAnswer.of(job, ended.result)

    def _stopped(self, job: AnyDefinition, row: Instance, order: RunOrder) -> RunEnd:
        """Return the end for a run whose invocation was cancelled."""
        claim = claim_of(row, order.run_id, event=order.event)
        assert claim is not None  # noqa: S101 - of this order
        mark = Mark(transition=Transition(address=row.address), claim=claim)
        step = begin_marked(job, mark, row, RECOVER, self.inputs())
        result = Success(interrupted(job, step)) if isinstance(step, Execute) else step.result
        return RunEnd(form="stopped", answer=TurnAnswer.of(job, result))


async def _nothing() -> int:
    return 0
