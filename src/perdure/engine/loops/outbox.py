"""Delivers messages after the commit that wrote them, in order for each pair of sender and target.

Messages whose target's job is not served wait: they are counted for `health`, and logged once for each job.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Literal, TypeAlias, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.dispatcher import Dispatcher
from perdure.engine.loops.waker import Places, Waker
from perdure.engine.reporting import Reporting, dead_letter
from perdure.engine.runs.runner import inputs_beside_turns
from perdure.jobs.code_fingerprint import code_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.messages import buried, left_message, plain_action, postponement, received, unclaimed, value_named
from perdure.jobs.parts import NamedValue
from perdure.jobs.request import Inbound
from perdure.programs.container import result_inside
from perdure.programs.future import answer_of
from perdure.programs.instructions import ENDS_PROCESS
from perdure.runtime.record import DEFAULT_SIZES, Future, LogRecord, Runtime, SpawnedTask, Timer
from perdure.runtime.tasks import ended
from perdure.stores.contract import Store, commit_one, load_one
from perdure.stores.snapshots import read_journal
from perdure.stores.values import Health
from perdure.values.address import Address, Job
from perdure.values.errors import (
    Conflict,
    EngineClosed,
    HookRaised,
    InstanceParked,
    InvalidInput,
    OutcomeUnknown,
    Overloaded,
    PerdureError,
    Rejected,
    RunTimeout,
    StoreError,
    Undecodable,
)
from perdure.values.excerpt import shortened
from perdure.values.limits import Limits
from perdure.values.message import Consumed, DeadLettered, Postponed, StoredMessage
from perdure.values.transition import Transition
from perdure.values.turn_inputs import TurnInputs

MAX_NAMED: Final = 5
"""Jobs that the detail of `health` names."""

MAX_COUNTED: Final = 1_000
"""Messages that `health` counts."""

Pair: TypeAlias = tuple[Address, Address]
T = TypeVar("T")


@attrs.define
class UnservedMessages:
    """The messages of one read that the outbox cannot deliver.

    Attributes:
        pairs: the pairs of sender and target that have such messages, by target job, printed ``kind:name``.
        elsewhere: returns the jobs that other engines on the shared store serve. Set once, right after construction.
    """

    runtime: Runtime
    pairs: Mapping[str, list[Pair]] = attrs.Factory(dict[str, "list[Pair]"])
    elsewhere: Callable[[], frozenset[Job]] = frozenset
    _logged: set[str] = attrs.Factory(set[str])

    @property
    def total(self) -> int:
        """How many pairs of sender and target wait."""
        return sum(map(len, self.pairs.values()))

    def found(self, messages: list[StoredMessage]) -> None:
        """Replace the pairs of the previous read, and log each job that was not logged before.

        Args:
            messages: every message of the read whose target job is not served: the first one of each pair.
        """
        pairs: dict[str, list[Pair]] = {}
        examples: dict[str, StoredMessage] = {}
        for stored in messages:
            job = f"{stored.message.target.kind}:{stored.message.target.name}"
            pairs.setdefault(job, []).append((stored.message.sender, stored.message.target))
            examples.setdefault(job, stored)
        self.pairs = pairs
        for job in pairs.keys() - self._logged - self._served_elsewhere():
            self._logged.add(job)
            self.runtime.log(_record(job, examples[job]))

    async def counted(self, store: Store) -> Mapping[str, int]:
        """Count the messages by target job: up to `MAX_COUNTED`, and at least the first one of each pair.

        Args:
            store: counts those behind the first; if it cannot, they are left out.
        """
        elsewhere = self._served_elsewhere()
        pairs = {job: waiting for job, waiting in self.pairs.items() if job not in elsewhere}
        counts = {job: len(waiting) for job, waiting in pairs.items()}
        if store.counts is None or not counts or sum(counts.values()) >= MAX_COUNTED:
            return counts
        every = [(job, pair) for job, waiting in pairs.items() for pair in waiting]
        found = await answer_of(store.counts.messages([pair for _, pair in every], MAX_COUNTED))
        if not isinstance(found, Success):
            return counts
        behind = dict.fromkeys(counts, 0)
        for (job, _), count in zip(every, found.unwrap(), strict=True):
            behind[job] += count
        return {job: max(count, behind[job]) for job, count in counts.items()}

    def _served_elsewhere(self) -> frozenset[str]:
        return frozenset(map(":".join, self.elsewhere()))


def _record(job: str, example: StoredMessage) -> LogRecord:
    fields = {
        "job": job,
        "message": example.message_id,
        "sender": str(example.message.sender),
        "target": str(example.message.target),
    }
    return LogRecord("warning", "messages wait for a job that is not served", fields)


def with_unserved(health: Health, counts: Mapping[str, int], nowhere: tuple[str, ...] = ()) -> Health:
    """Add to the health of a store the jobs that no engine serves: those of waiting messages, and those left out.

    Args:
        health: of the store.
        counts: the messages by target job.
        nowhere: the app's jobs that neither this engine nor another one serves, printed ``kind:name``.
    """
    if nowhere:
        detail = f"no engine serves {shortened(', '.join(nowhere))}"
        health = attrs.evolve(
            health,
            state="degraded" if health.state == "ok" else health.state,
            detail="; ".join(filter(None, (health.detail, detail))),
        )
    total = sum(counts.values())
    if total == 0:
        return health
    named = ", ".join(f"{job} ({count:,})" for job, count in sorted(counts.items())[:MAX_NAMED])
    more = ", …" if len(counts) > MAX_NAMED else ""
    waiting = "1 message waits" if total == 1 else f"{total:,} messages wait"
    waiting = f"at least {waiting}" if total >= MAX_COUNTED else waiting
    detail = f"{waiting} for jobs that this app does not serve: {named}{more}"
    return attrs.evolve(
        health,
        state="degraded" if health.state == "ok" else health.state,
        detail="; ".join(filter(None, (health.detail, detail))),
        unserved_messages=total,
    )


STORE_RETRY_MS = 1_000
"""How long the loop waits after an error of the store or of a turn."""

NO_CODE: Final = ""
"""No definition has this fingerprint: every message that is left was left by other code."""

WriteOutcome: TypeAlias = Result[Any, PerdureError] | None
"""What the store answered; None if an engine that shares the store handles the message, so that it was not asked."""


@attrs.define
class HeldMessages:
    """The messages that wait for the resumption of their targets: the first one of each pair of sender and target.

    Attributes:
        limit: how many are kept.
    """

    limit: int = DEFAULT_SIZES.held_messages
    _of: dict[Address, dict[Pair, StoredMessage]] = attrs.Factory(dict[Address, "dict[Pair, StoredMessage]"])
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def add(self, pair: Pair, stored: StoredMessage) -> None:
        """Keep a message, unless there are too many."""
        of = self._of.get(pair[1], {})
        if pair not in of:
            # It is delivered anyway, once its postponement is over.
            if self._count >= self.limit:
                return
            self._count += 1
            self._of[pair[1]] = of
        of[pair] = stored

    def discard(self, pair: Pair) -> None:
        """Forget the message of a pair, because its target has answered it."""
        of = self._of.get(pair[1])
        if of is not None and of.pop(pair, None) is not None:
            self._count -= 1
            if not of:
                del self._of[pair[1]]

    def pop(self, target: Address) -> tuple[StoredMessage, ...]:
        """Remove the messages of a target, and return them."""
        of = self._of.pop(target, {})
        self._count -= len(of)
        return tuple(of.values())


@attrs.frozen
class _Since:
    """Events since a read of messages began: its rows may be older."""

    consumed: set[int] = attrs.Factory(set[int])
    settled: set[Pair] = attrs.Factory(set[Pair])

    def clear(self) -> None:
        self.consumed.clear()
        self.settled.clear()


def _places_of(outbox: Outbox) -> Places:
    return Places(outbox.limits.message_batch)


def _held_of(outbox: Outbox) -> HeldMessages:
    return HeldMessages(outbox.runtime.sizes.held_messages)


@attrs.define
class Outbox:
    """The loop that delivers messages.

    Attributes:
        store: keeps messages until a turn consumes them.
        runtime: the only interface to time and waiting.
        jobs: the served definitions; messages to other jobs wait.
        wake: wakes the loop when a message was written or a target was resumed.
        reporting: tells sinks of deliveries and of commits.
        unserved: the messages to jobs that are not served.
        is_own: whether this engine decides on messages to a target that it cannot handle; on a shared store, those to
            its share.
        process_ends: called when the code of a job raises `SystemExit` or `KeyboardInterrupt`; set once, right after
            construction.
    """

    store: Store
    runtime: Runtime
    dispatcher: Dispatcher
    jobs: Mapping[tuple[str, str], AnyDefinition]
    limits: Limits
    wake: Waker
    reporting: Reporting
    process_ends: Callable[[BaseException], None] = attrs.field(init=False)
    is_own: Callable[[Address], bool] = lambda _: True
    _under_way: set[Pair] = attrs.Factory(set[Pair])
    _places: Places = attrs.field(default=attrs.Factory(_places_of, takes_self=True))
    _posted: dict[int, Future[Any]] = attrs.Factory(dict[int, "Future[Any]"])
    _since_read: _Since = attrs.Factory(_Since)
    _since_left_read: _Since | None = None  # while a read of left messages is in progress
    _held: HeldMessages = attrs.field(default=attrs.Factory(_held_of, takes_self=True))
    _resumed: set[Pair] = attrs.Factory(set[Pair])  # of those in progress: their targets were resumed meanwhile
    unserved: UnservedMessages = attrs.field(init=False)
    _writing: dict[SpawnedTask[Any], None] = attrs.Factory(dict[SpawnedTask[Any], None])
    _unknown: dict[Pair, Timer] = attrs.Factory(dict[Pair, "Timer"])
    _phase: Literal["open", "closed"] = "open"

    def __attrs_post_init__(self) -> None:
        self.unserved = UnservedMessages(self.runtime)

    async def run(self) -> None:
        """Deliver messages until the task is cancelled."""
        while True:
            now_ms = self.runtime.now_ms()
            # Messages in progress, and those to jobs that are not served, are returned again. Without room for them, a
            # page could hold nothing else.
            limit = self.limits.message_batch + len(self._under_way) + self.unserved.total
            self._since_read.clear()
            full, began_ms = self._places.full, self.runtime.monotonic_ms()
            match result_inside(await self.store.messages(now_ms, limit, full)):
                case Success(messages):
                    posted = self._deliver(messages)
                    # The read passed over the messages of full jobs, perhaps many: it takes at most half of the time.
                    if full:
                        await self.runtime.sleep(min(STORE_RETRY_MS, self.runtime.monotonic_ms() - began_ms))
                    if len(messages) == limit and posted:  # behind them, another job's messages may wait
                        await self.runtime.sleep(0)
                        continue
                    await self._sleep(now_ms)
                case Failure(error):
                    self.runtime.log(LogRecord("error", "messages not read", {"error": str(error)}))
                    await self.runtime.sleep(STORE_RETRY_MS)
                case unexpected:
                    raise TypeError(f"a store returns Success or Failure, not {unexpected!r}")

    def consumed(self, message_id: int) -> None:
        """Note that a turn consumed a message, and answer a waiting request for it.

        This happens when the process died while it served the message: the next start recovers the run, and posts the
        message, which is still stored, before that run is settled.
        """
        # The read in progress may still return the message: delivered again, its turn would find it consumed.
        self._since_read.consumed.add(message_id)
        if self._since_left_read is not None:
            self._since_left_read.consumed.add(message_id)
        answer = self._posted.get(message_id)
        if answer is not None and not answer.done():
            answer.set_result(Success(None))

    def abandon(self) -> None:
        """Wait no longer for the store. The next engine delivers the messages again."""
        for task in tuple(self._writing):
            task.cancel()

    def release(self, target: Address) -> None:
        """Deliver the messages that wait for a resumed target at once."""
        # A message in progress may have met the suspension: without this note it would wait for its next delivery.
        self._resumed.update(pair for pair in self._under_way if pair[1] == target)
        for held in self._held.pop(target):
            # A release counts as no delivery.
            now = Postponed(message_id=held.message_id, deliveries=held.deliveries, not_before_ms=0, error=held.error)
            self._spawn_write(None, Transition(address=target, inbound=now), name=f"release of messages to {target}")

    async def written(self) -> None:
        """Wait until the outcome of every message whose turn is over is stored, as far as the store answers."""
        # A fate that is not stored is a second delivery: the engine stops after these writes, not before.
        while self._writing:
            await ended(next(iter(self._writing)), self.runtime)
            await self.runtime.sleep(0)  # until the task is removed, too

    # ------------------------------------------------------------ one message
    def _deliver(self, messages: tuple[StoredMessage, ...]) -> int:
        """Post what may be in progress, and return how many."""
        unserved: list[StoredMessage] = []
        posted = 0
        for stored in messages:
            job = self.jobs.get((stored.message.target.kind, stored.message.target.name))
            if job is None:
                unserved.append(stored)
            # One message of a pair at a time, or two could be applied in the wrong order.
            elif self._may_post(stored, self._since_read):
                self._offer(job, stored)
                posted += 1
        self.unserved.found(unserved)
        return posted

    async def deliver_left(self, codes: Mapping[Job, str]) -> int:
        """Deliver messages that engines of other code left, whatever the share; return their number.

        Args:
            codes: the fingerprint of each served definition.
        """
        # Events are noted only during the read: with nothing left, hours pass between two reads, and the notes would
        # grow with every message.
        since = self._since_left_read = _Since()
        try:
            found = await answer_of(self.store.messages_left_to(codes, self.limits.message_batch))
        finally:
            self._since_left_read = None
        messages = found.value_or(())
        for stored in messages:
            # The engine may have been closed during the read.
            if self._phase == "open" and self._may_post(stored, since):
                self._offer(self.jobs[stored.message.target.kind, stored.message.target.name], stored)
        return len(messages)

    async def left(self, limit: int) -> Result[tuple[StoredMessage, ...], StoreError]:
        """Return messages that code left: of each pair of sender and target the one that the others wait behind."""
        most = min(limit, self.runtime.sizes.left_messages)
        return await answer_of(self.store.messages_left_to(dict.fromkeys(self.jobs, NO_CODE), most))

    async def bury(self, message_id: int, by: str | None) -> Result[Literal["buried", "not_found"], PerdureError]:
        """Make a message that code left a dead letter, unless it is being delivered. The next of its pair follows."""
        found = await self.left(self.runtime.sizes.left_messages)
        if isinstance(found, Failure):
            return found
        for stored in found.unwrap():
            if stored.message_id == message_id and stored.error is not None:
                return await self._bury(stored, buried(stored, stored.error, by, self._inputs()))
        return Success("not_found")

    async def _bury(
        self, stored: StoredMessage, transition: Transition
    ) -> Result[Literal["buried", "not_found"], PerdureError]:
        pair = (stored.message.sender, stored.message.target)
        # Enough for an owned store, whose rows only this engine writes. On a shared one, `_write` adds a fence.
        if await self._fenced(transition) is None or pair in self._under_way:
            return Success("not_found")
        self._begin(pair)
        task = self._write_then_settle(stored, transition)
        await ended(task, self.runtime)  # the write continues if the caller gives up
        if task.cancelled():
            return Failure(OutcomeUnknown("the engine stopped before the store answered"))
        match task.result():
            case Success():
                self._held.discard(pair)
                return Success("buried")
            case None | Failure(Conflict()):  # it was consumed meanwhile, or an engine that shares the store handles it
                return Success("not_found")
            case failed:
                return failed

    @property
    def under_way(self) -> int:
        """Number of pairs of sender and target with a message in progress."""
        return len(self._under_way)

    def _begin(self, pair: Pair) -> None:
        self._under_way.add(pair)
        self._places.take(pair[1])

    def _end(self, pair: Pair) -> None:
        self._resumed.discard(pair)
        if pair in self._under_way:
            self._under_way.remove(pair)
            self._places.leave(pair[1])

    def _may_post(self, stored: StoredMessage, since: _Since) -> bool:
        """Whether its job has a place, the message is not being served, and the stored row that was read is current."""
        pair = (stored.message.sender, stored.message.target)
        if not self._places.has((pair[1].kind, pair[1].name)):
            return False
        return pair not in self._under_way and pair not in since.settled and stored.message_id not in since.consumed

    def _offer(self, job: AnyDefinition, stored: StoredMessage) -> None:
        message = stored.message
        pair = (message.sender, message.target)
        self._begin(pair)
        named = value_named(job, message.action, message.payload)
        if named is None or named.length > self.limits.input_bytes:
            self._post(job, stored, message.payload)
        else:
            self._spawn(self._read_then_post(job, stored, named), name=f"read for {message.target}")

    async def _read_then_post(self, job: AnyDefinition, stored: StoredMessage, named: NamedValue) -> None:
        """Deliver a message with the value that it names, which the sender's journal holds in parts."""
        message = stored.message
        found = result_inside(await load_one(self.store, message.sender))
        sender = found.unwrap().instance if isinstance(found, Success) else None
        rows = await read_journal(self.store, sender, self.limits.journal_page)
        if self._phase == "closed" or not (isinstance(found, Success) and isinstance(rows, Success)):
            self._settle_later((message.sender, message.target))
            return
        try:
            payload = named.payload_with(rows.unwrap())
        except InvalidInput:  # the sender is gone: its target is told so
            payload = message.payload
        self._post(job, stored, payload)

    def _post(self, job: AnyDefinition, stored: StoredMessage, payload: str) -> None:
        message = stored.message
        pair = (message.sender, message.target)
        try:
            request = received(job, message.action, payload)
        except BaseException as error:  # noqa: BLE001 - of a user's constructor: raised, it would end the outbox
            if isinstance(error, ENDS_PROCESS):
                self.process_ends(error)
            self._write_then_settle(stored, left_message(stored, error, self._code(job), self._inputs()))
            return
        inbound = Inbound(message_id=stored.message_id, sender=message.sender, sent_ms=message.sent_ms)
        if ":" in message.action:
            inbound = attrs.evolve(inbound, subscription=plain_action(message.action)[1])
        request = attrs.evolve(request, inbound=inbound, trace=message.trace, attempt=stored.deliveries + 1)
        answer = self.dispatcher.post(job, message.target, request)
        self._posted[stored.message_id] = answer
        answer.add_done_callback(lambda done: self._answered(pair, stored, done))

    def _answered(self, pair: Pair, stored: StoredMessage, answer: Future[Result[Any, Any]]) -> None:
        self._posted.pop(stored.message_id, None)
        if answer.cancelled():
            self._end(pair)
            return
        match answer.result():
            case Success() | Failure(Rejected()):  # consumed by the turn's own commit
                if self.reporting.sinks.told:
                    self.reporting.settled(stored, Consumed(stored.message_id))
                self._held.discard(pair)
                self._settled(pair)
            case Failure(EngineClosed()):  # the next engine finds it in the store
                self._settled(pair)
            case Failure(InstanceParked() | Overloaded()) if not self.is_own(stored.message.target):
                self._settle_later(pair)  # soon it is the message of another engine, which perhaps can handle it
            case Failure(InstanceParked() | Undecodable()) if pair in self._resumed:
                self._settled(pair)  # its target was resumed after this answer: offer it again
            case Failure(Undecodable() as error):
                self._held.add(pair, stored)
                code = self._code(self.jobs[pair[1].kind, pair[1].name])
                self._write_then_settle(stored, left_message(stored, error, code, self._inputs()))
            case Failure(InstanceParked() as error):
                self._held.add(pair, stored)
                self._write_then_settle(stored, postponement(stored, error, self._inputs()))
            case Failure(HookRaised() | RunTimeout() | Overloaded() as error):
                self._write_then_settle(stored, postponement(stored, error, self._inputs()))
            case _:
                self._settle_later(pair)  # the next read of the store decides

    def _code(self, job: AnyDefinition) -> str:
        return code_of(job, self.store.reads)

    def _inputs(self) -> TurnInputs:
        return inputs_beside_turns(self.runtime, self.store, self.limits)

    def _write_then_settle(self, stored: StoredMessage, transition: Transition) -> SpawnedTask[WriteOutcome]:
        pair = (stored.message.sender, stored.message.target)
        task = self._spawn_write(stored, transition, name=f"message from {pair[0]} to {pair[1]}")
        task.add_done_callback(lambda _: self._settled(pair))
        return task

    def _spawn_write(
        self, stored: StoredMessage | None, transition: Transition, *, name: str
    ) -> SpawnedTask[WriteOutcome]:
        return self._spawn(self._write(stored, transition), name=name)

    def _spawn(self, work: Coroutine[Any, Any, T], *, name: str) -> SpawnedTask[T]:
        task = self.runtime.spawn(work, name=name)
        self._writing[task] = None
        task.add_done_callback(lambda over: self._writing.pop(over, None))
        return task

    def _settle_later(self, pair: Pair) -> None:
        """Offer the messages of a pair again after a while: it is not known whether the last one was consumed."""
        # A timer that remains would keep the engine from coming to rest.
        if self._phase == "closed":
            self._settled(pair)
        else:
            self._unknown[pair] = self.runtime.call_later(STORE_RETRY_MS, lambda: self._settled(pair))

    def close(self) -> None:
        """Offer no message again. The next engine finds in the store which ones wait."""
        self._phase = "closed"
        for pair, timer in tuple(self._unknown.items()):
            timer.cancel()
            self._settled(pair)

    def _settled(self, pair: Pair) -> None:
        self._unknown.pop(pair, None)
        self._end(pair)
        # A read in progress may still return the message: it would be delivered twice.
        self._since_read.settled.add(pair)
        if self._since_left_read is not None:
            self._since_left_read.settled.add(pair)
        self.wake.notify()

    async def _write(self, stored: StoredMessage | None, transition: Transition) -> WriteOutcome:
        kept = transition if self.limits.keeps_history else attrs.evolve(transition, events=())
        # Only a dead letter: a postponed message is not lost if another engine delivers it meanwhile.
        if self.store.sharing is not None and isinstance(transition.inbound, DeadLettered):
            fenced = await self._fenced(kept)
            if fenced is None:
                # Another engine handles the message now: a read at once would return it again.
                await self.runtime.sleep(STORE_RETRY_MS)
                return None
            kept = fenced
        began_ms = self.runtime.monotonic_ms()
        outcome: Result[Any, PerdureError] = result_inside(await commit_one(self.store, kept))
        self.reporting.stored(transition, outcome, took_ms=self.runtime.monotonic_ms() - began_ms)
        if isinstance(outcome, Failure):
            fields = {"target": str(transition.address), "error": str(outcome.failure())}
            self.runtime.log(LogRecord("warning", "message outcome not persisted", fields))
        else:
            record = dead_letter(transition)
            if record is not None:
                self.runtime.log(record)
            if stored is not None and self.reporting.sinks.told:
                self.reporting.committed(transition)
                self.reporting.settled(stored, transition.inbound)
        self.wake.notify()
        return outcome

    async def _fenced(self, transition: Transition) -> Transition | None:
        """Return a dead letter that is written only if no engine claims the message meanwhile; None if one does."""
        match result_inside(await load_one(self.store, transition.address)):
            case Success(loaded):
                return unclaimed(transition, loaded.instance, self.runtime.now_ms())
            case _:
                return None

    async def _sleep(self, now_ms: int) -> None:
        match result_inside(await self.store.next_message(now_ms)):
            case Success(at_ms):
                await self.wake.wait_until(at_ms)
            case _:
                await self.runtime.sleep(STORE_RETRY_MS)
