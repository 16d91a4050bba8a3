"""Streams and heartbeats: takes what effects emit, stores it in groups, and wakes the readers that follow.

An effect never waits for its readers: they take stored groups, from memory or from the store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.caller_reads import DirectReads
from perdure.engine.runs.effects import Perform, RunLost, perform_directly
from perdure.jobs.definition import AnyDefinition, CallError
from perdure.jobs.draft import EmittingStep
from perdure.jobs.redaction import shown_status
from perdure.jobs.step import Execute
from perdure.jobs.streams import EMITTER, Heartbeat, NotBeating, NotEmitting, Stream, in_effect
from perdure.programs.drivers import default_handler, settle_answer
from perdure.programs.effect_results import CalledElsewhere
from perdure.programs.future import answer_of
from perdure.programs.instructions import ServiceCall, is_closing
from perdure.runtime.record import Future, LogRecord, Runtime, Sizes, SpawnedTask, Timer
from perdure.stores.contract import Store
from perdure.stores.values import StoredStreams
from perdure.values.address import Address, Job
from perdure.values.errors import EngineClosed, OutcomeUnknown, Overloaded
from perdure.values.instance import Instance
from perdure.values.status_wait import WaitCondition
from perdure.values.stream import (
    TOO_LARGE,
    StoredGroup,
    StreamGroup,
    StreamItem,
    StreamPage,
    encoded_group,
    items_of,
)
from perdure.values.transition import Purge, Put, Transition

T = TypeVar("T")

LINGER_MS: Final = 10
"""How long a chunk waits for others of its effect."""

POLL_MS: Final = 50
"""How often a followed stream is read from a store that other engines write, too."""

KEPT_MS: Final = 5_000
"""How long the newest groups of a stream are kept after its last reader."""


MAX_GROUP_BYTES: Final = 262_144
"""The bytes from which on a group takes no further chunk."""


# ---------------------------------------------------------------- emitting
class Emissions(NamedTuple):
    """The streams and heartbeats of one job, by name."""

    streams: Mapping[str, Stream[Any]]
    heartbeats: Mapping[str, Heartbeat[Any]]


class Stored(NamedTuple):
    """Where an effect's values are stored: in a stream, or in a heartbeat's stream of one chunk for each step.

    Attributes:
        name: the stored stream. A declared name has no ``:``, so no heartbeat shares its place with a stream.
        step: who stored a chunk: the step, and for a heartbeat the run that it belongs to.
        max_chunks: how many chunks it keeps.
        max_bytes: how many bytes it keeps.
        every_ms: how long a new value waits after the last one.
        is_marked: whether a mark tells readers that the step begins again.
    """

    name: str
    step: str
    max_chunks: int
    max_bytes: int
    every_ms: int = 0
    is_marked: bool = True


@attrs.define(eq=False)
class RunEmitter:
    """Takes the chunks of one effect: at most one group of it is on its way, so that a lost one leaves no gap.

    Attributes:
        declared: the streams and heartbeats that its job declares.
        step: the step that the effect belongs to.
        beats_as: names the effect's place among the heartbeats of the instance.
        place: whether the effect is performed in the event loop, or by a thread.
        number: how many groups it has sent.
    """

    hub: StreamHub
    execute: Execute
    declared: Emissions
    step: EmittingStep
    beats_as: str = ""
    place: Literal["loop", "elsewhere"] = "loop"
    number: int = 0
    _waiting: dict[Stored, deque[bytes]] = attrs.Factory(dict[Stored, "deque[bytes]"])
    _skipped: dict[Stored, int] = attrs.Factory(dict[Stored, int])
    _due_ms: dict[Stored, float] = attrs.Factory(dict[Stored, float])
    _previous: dict[str, bytes] = attrs.Factory(dict[str, bytes])
    _warned: set[str] = attrs.Factory(set[str])
    _state: Literal["idle", "lingering", "sending", "ended"] = "idle"
    _timer: Timer | None = None
    _timer_ms: float = 0
    _sent: Future[None] | None = None
    _lost: RunLost | None = None

    @property
    def is_used(self) -> bool:
        """Whether the effect has emitted."""
        return bool(self._waiting)

    def emit(self, stream: Stream[Any], value: bytes, /) -> None:
        """Take a chunk.

        Raises:
            NotEmitting: the job does not declare the stream, or the effect has ended.
            RunLost: an earlier chunk was not stored, so the run ends.
        """
        if self._state == "ended":
            raise NotEmitting(stream.name, "ended")
        if self.declared.streams.get(stream.name) is not stream:
            raise NotEmitting(stream.name, "undeclared")
        self._take(Stored(stream.name, self.step.name, stream.max_chunks, stream.max_bytes), value)

    def beat(self, heartbeat: Heartbeat[Any], value: bytes, /) -> None:
        """Take a heartbeat, and let the run's time limit begin again.

        Raises:
            NotBeating: the job does not declare the heartbeat, or the effect has ended.
            RunLost: an earlier value was not stored, so the run ends.
        """
        self._check(heartbeat)
        if self.execute.draft.lives is not None:
            self.execute.draft.lives()
        if self.step.effect != "unknown":
            self._take(self._stored(heartbeat), value)

    def previous(self, heartbeat: Heartbeat[Any], /) -> bytes | None:
        """Return the newest value that an earlier attempt has stored.

        Raises:
            NotBeating: the job does not declare the heartbeat, or the effect has ended.
        """
        self._check(heartbeat)
        return self._previous.get(heartbeat.name)

    def _check(self, heartbeat: Heartbeat[Any]) -> None:
        if self._state == "ended":
            raise NotBeating(heartbeat.name, "ended")
        if self.declared.heartbeats.get(heartbeat.name) is not heartbeat:
            raise NotBeating(heartbeat.name, "undeclared")

    def _stored(self, heartbeat: Heartbeat[Any]) -> Stored:
        name = f"{heartbeat.name}:{self.beats_as}"
        return Stored(name, self.step.run_id, 1, 1, heartbeat.every_ms, is_marked=False)

    async def recall(self) -> None:
        """Read the heartbeats that earlier attempts, or the run that this one continues, have stored.

        Raises:
            RunLost: the store does not answer.
        """
        if self.step.effect == "unknown":
            return
        instance, before = self.execute.instance, self.step.before
        for heartbeat in self.declared.heartbeats.values():
            stored = self._stored(heartbeat)
            own = (instance.address, instance.incarnation, stored.step)
            value = await self._newest(stored.name, *own)
            if value is None and before is not None:
                value = await self._newest(stored.name, Address.parse(before.address), *before[1:])
                if value is not None:
                    # As its own: another fork that continues this run finds it here.
                    self._take(stored, value)
            if value is not None:
                self._previous[heartbeat.name] = value

    async def _newest(self, stored: str, address: Address, incarnation: int, run_id: str) -> bytes | None:
        found = await self.hub.newest(address, incarnation, stored)
        if not isinstance(found, Success):
            raise RunLost(found.failure())
        # Another run may have left its value there.
        values = [item.value.encode() for item in found.unwrap() if item.form == "chunk" and item.step == run_id]
        return values[-1] if values else None

    def _take(self, stored: Stored, value: bytes) -> None:
        if self._lost is not None:
            raise self._lost
        if len(value) > self.execute.draft.limits.input_bytes:
            self._warn(stored.name, len(value))
            if not stored.is_marked:  # the next attempt continues at an earlier value
                return
            value = TOO_LARGE
        waiting = self._waiting.setdefault(stored, deque())
        waiting.append(value)
        # Chunks that the stream would drop anyway need not be stored first: so a slow store bounds this queue.
        if len(waiting) > stored.max_chunks:
            waiting.popleft()
            self._skipped[stored] = self._skipped.get(stored, 0) + 1
        if len(value) > MAX_GROUP_BYTES and self.place == "loop":
            self._drop_oldest(stored, waiting)
        if self.place == "loop" and (self._state == "idle" or self._waits_longer(stored)):
            self._linger()

    def _warn(self, name: str, size: int) -> None:
        """Log a value that is too large, once for each effect and stream. An exception would end a paid call."""
        if name not in self._warned:
            self._warned.add(name)
            fields = {"instance": str(self.execute.instance.address), "step": self.step.name, "stream": name}
            most = self.execute.draft.limits.input_bytes
            fix = "emit smaller values, or raise Limits.input_bytes"
            self.hub.runtime.log(
                LogRecord("warning", "stream value dropped", fields | {"bytes": size, "input_bytes": most, "fix": fix})
            )

    def _drop_oldest(self, stored: Stored, waiting: deque[bytes]) -> None:
        """Drop the chunks that the stream would drop for the bytes of newer ones."""
        # A copy: a thread may be emitting.
        over = sum(map(len, tuple(waiting))) - stored.max_bytes
        while over > 0 and len(waiting) > 1:
            over -= len(waiting.popleft())
            self._skipped[stored] = self._skipped.get(stored, 0) + 1

    def _waits_longer(self, stored: Stored) -> bool:
        """Return whether the timer is set for a later instant than this value may be stored at."""
        return self._state == "lingering" and self._left_ms(stored) < self._timer_ms - self.hub.runtime.monotonic_ms()

    def _left_ms(self, stored: Stored) -> float:
        return max(LINGER_MS, self._due_ms.get(stored, 0) - self.hub.runtime.monotonic_ms())

    def _linger(self) -> None:
        # A value that may be stored earlier brings the timer forward.
        if self._timer is not None:
            self._timer.cancel()
        waits_ms = (
            LINGER_MS
            if self.place == "elsewhere"
            else min(self._left_ms(each) for each, waiting in self._waiting.items() if waiting)
        )
        self._state, self._timer_ms = "lingering", self.hub.runtime.monotonic_ms() + waits_ms
        self._timer = self.hub.runtime.call_later(waits_ms, self._send)

    def tick(self) -> None:
        """Send the values that a thread has emitted, every few milliseconds until the effect ends."""
        if self._state == "idle":
            self._linger()

    def _send(self) -> None:
        groups = self._groups()
        if groups:
            self._state = "sending"
            self.hub.append(groups, self._answered)
        # A thread sets no timer, so the timer runs until the effect ends.
        elif self._sent is None and (self.place == "elsewhere" or any(self._waiting.values())):
            self._linger()
        else:
            self._state = "idle"

    def _groups(self) -> list[StreamGroup]:
        now_ms, groups = self.hub.runtime.monotonic_ms(), list[StreamGroup]()
        for stored, waiting in tuple(self._waiting.items()):
            if waiting and (self._sent is not None or self._due_ms.get(stored, 0) <= now_ms):
                self._due_ms[stored] = now_ms + stored.every_ms
                groups.append(self._group(stored, waiting))
        return groups

    def _group(self, stored: Stored, waiting: deque[bytes]) -> StreamGroup:
        instance, claim = self.execute.instance, self.execute.claim
        self._drop_oldest(stored, waiting)
        values, room = [waiting.popleft()], MAX_GROUP_BYTES
        while waiting and len(values) < self.hub.runtime.sizes.stream_chunks and (room := room - len(values[-1])) > 0:
            values.append(waiting.popleft())
        again = stored.is_marked and self._is_marked(stored.name)
        body = encoded_group(stored.step, values, again=again)
        self.number += 1
        return StreamGroup(
            address=instance.address,
            incarnation=instance.incarnation,
            owner=claim.owner,
            run_id=claim.run_id,
            attempt=claim.attempt,
            deliveries=claim.deliveries,
            stream=stored.name,
            number=self.number,
            skipped=self._skipped.pop(stored, 0),
            count=len(values) + int(again),
            size=len(body.encode()),
            body=body,
            max_chunks=stored.max_chunks,
            max_bytes=stored.max_bytes,
        )

    def _is_marked(self, stream: str) -> bool:
        """Return whether the next group begins with the mark that its step is performed again. Once each attempt."""
        draft, key = self.execute.draft, (self.step.name, self.step.attempt, stream)
        if self.step.form == "first" or (draft.emitted is not None and key in draft.emitted):
            return False
        draft.emitted = {key} if draft.emitted is None else draft.emitted | {key}
        return True

    def _answered(self, groups: Sequence[StreamGroup], answer: Result[Sequence[int | None], Any]) -> None:
        if not isinstance(answer, Success):
            self._lost = RunLost(answer.failure())
        elif None in answer.unwrap():
            self._lost = RunLost(OutcomeUnknown("another delivery of the run holds its claim"))
        self._state = "idle"
        sent, self._sent = self._sent, None
        if sent is not None and not sent.done():
            sent.set_result(None)
        # While `close` waits, it sends the rest itself.
        elif self._lost is None and sent is None:
            self._send()

    async def close(self, outcome: object = None) -> None:
        """Store the rest: before the outcome of the effect, which is committed after this returns.

        Args:
            outcome: the outcome. A step that succeeds is not performed again, so its newest heartbeat is not stored.

        Raises:
            RunLost: a chunk was not stored.
        """
        # No attempt follows that would read its heartbeats.
        if isinstance(outcome, Success) and self.step.effect == "whole":
            for stored in [each for each in self._waiting if not each.is_marked]:
                del self._waiting[stored]
        if self._timer is not None:
            self._timer.cancel()
        if self._state == "lingering":
            self._state = "idle"
        while self._lost is None:
            if self._state == "idle":
                self._sent = self.hub.runtime.future()
                self._send()
            # A synchronous store has answered within the call.
            if self._state == "idle":
                if not any(self._waiting.values()):
                    break
            else:
                sent = self._sent = self._sent or self.hub.runtime.future()
                await sent
        self._state, self._sent = "ended", None
        if self._lost is not None:
            raise self._lost


async def _performed_again(emitter: RunEmitter, perform: Callable[[], Any], services: Any) -> object:
    """Perform an effect that an earlier attempt may have begun, with that attempt's heartbeats."""
    await emitter.recall()
    return await _performed(emitter, emitting(emitter, perform), services)


def emitting(emitter: RunEmitter, perform: Callable[[], T]) -> T:
    """Call a function whose code emits here."""
    token = EMITTER.set(emitter)
    try:
        return perform()
    finally:
        EMITTER.reset(token)


async def _performed(emitter: RunEmitter, answer: Any, services: Any) -> object:
    """Wait for an effect's outcome, and store all that it has emitted before it is known."""
    runtime = emitter.hub.runtime
    if type(answer) is CalledElsewhere:
        emitter.place = "elsewhere"
        emitter.tick()
    try:
        settled = await in_effect(settle_answer(answer, services, runtime), emitter)
    except BaseException as raised:
        if not is_closing(raised):
            await emitter.close()
        raise
    await emitter.close(settled)
    return settled


# ---------------------------------------------------------------- reading
@attrs.define(eq=False)
class FollowedStream:
    """The readers of one stream in this process: a thousand of them cost the store no more than one.

    Attributes:
        incarnation: the instance's incarnation. 0 if it is absent.
        state: whether more may follow; None before it is known.
        sizes: how many groups, and how many bytes, ``tail`` has.
        tail: the newest groups, decoded, without a gap.
        held: bytes in ``tail``.
        error: why its instance or its groups cannot be read.
        readers: how many readers wait or read.
        timer: drops it when there were no readers for a while.
        follower: the task that reads the instance.
        waiting: the readers that wait for a change.
        commits: counts this engine's commits to the instance.
    """

    job: AnyDefinition
    address: Address
    stream: str
    sizes: Sizes
    tail: deque[tuple[StoredGroup, tuple[StreamItem, ...]]] = attrs.Factory(
        deque["tuple[StoredGroup, tuple[StreamItem, ...]]"]
    )
    held: int = 0
    version: int = 0
    waiting: dict[Future[None], None] = attrs.Factory(dict["Future[None]", None])
    incarnation: int = 0
    commits: int = 0
    state: Literal["absent", "runs", "end"] | None = None
    error: Any = None
    readers: int = 0
    timer: Timer | None = None
    follower: SpawnedTask[None] | None = None

    @property
    def what(self) -> str:
        """The stream's name in errors."""
        return f"stream {self.stream} of {self.address}"

    @property
    def place(self) -> tuple[int, int]:
        """The knowledge with which a read of the instance begins."""
        return self.commits, self.incarnation

    def overtakes(self, place: tuple[int, int], row: Instance | None) -> bool:
        """Return whether more is known by now than a read says that began at this place."""
        commits, incarnation = place
        return commits != self.commits or (row is None and incarnation != self.incarnation)

    def add(self, group: StoredGroup) -> None:
        """Add a group that was stored."""
        if self.tail:
            last = self.tail[-1][0].last
            # It came twice: from an append of this engine, and from a read.
            if group.last <= last:
                return
            # Groups of other engines are missing in between: the readers find them in the store.
            if group.first != last + 1:
                self.clear()
        self.tail.append((group, items_of((group,), group.first - 1, what=self.what)))
        self.held += len(group.body)
        while len(self.tail) > self.sizes.stream_groups or (self.held > self.sizes.stream_bytes and len(self.tail) > 1):
            self.held -= len(self.tail.popleft()[0].body)

    def clear(self) -> None:
        """Forget the groups."""
        self.tail.clear()
        self.held = 0

    def after(self, offset: int) -> tuple[StreamItem, ...] | None:
        """Return the items after an offset. None if they are not all in memory."""
        if not self.tail or self.tail[0][0].first > offset + 1:
            return None
        found: list[StreamItem] = []
        # From the end: a reader that follows needs only the last ones.
        for group, items in reversed(self.tail):
            if group.last <= offset:
                break
            new = items if group.first > offset else tuple(item for item in items if item.offset > offset)
            found[:0] = new
        return tuple(found)


@attrs.define(eq=False)
class StreamHub:
    """The streams of one engine.

    Attributes:
        runtime: makes timers and futures.
        limit: how many readers may wait.
        sharing: whether other engines write the store.
    """

    store: Store
    runtime: Runtime
    reads: DirectReads
    jobs: Mapping[Job, AnyDefinition]
    limit: int
    sharing: bool
    count: int = 0
    _channels: dict[tuple[Address, str], FollowedStream] = attrs.Factory(dict[tuple[Address, str], FollowedStream])
    _waiting: list[tuple[Sequence[StreamGroup], Any]] = attrs.Factory(list[Any])
    _driver: Literal["idle", "busy"] = "idle"
    _phase: Literal["open", "closed"] = "open"

    @property
    def _streams(self) -> StoredStreams:
        streams = self.store.streams
        assert streams is not None  # noqa: S101 - an app refuses such a store
        return streams

    # ------------------------------------------------------------ emitting
    def performing(self, perform: Perform) -> Perform:
        """Return a function that performs effects, those of jobs with streams or heartbeats with an emitter."""
        declared = {
            job: Emissions({one.name: one for one in plan.streams}, {one.name: one for one in plan.heartbeats})
            for job, plan in ((job, found.plan) for job, found in self.jobs.items())
            if plan.streams or plan.heartbeats
        }

        def perform_emitting(instruction: object, services: Any, execute: Execute) -> object:
            address = execute.instance.address
            emissions = declared.get((address.kind, address.name))
            if emissions is None or type(instruction) is not ServiceCall:
                if perform is perform_directly:
                    return default_handler(instruction, services)
                return perform(instruction, services, execute)
            step = execute.draft.emitting(execute.claim, instruction)
            emitter = RunEmitter(self, execute, emissions, step)
            if emissions.heartbeats:
                emitter.beats_as = step.name if step.effect == "whole" else execute.draft.nth(step, instruction.name)
                if step.form == "again" or step.before is not None:
                    return _performed_again(emitter, lambda: perform(instruction, services, execute), services)
            answer = emitting(emitter, lambda: perform(instruction, services, execute))
            if isinstance(answer, Success | Failure) and not emitter.is_used:
                return answer  # pyright: ignore[reportUnknownVariableType] - of any effect
            return _performed(emitter, answer, services)

        return perform_emitting

    def append(
        self,
        groups: Sequence[StreamGroup],
        tell: Callable[[Sequence[StreamGroup], Result[Sequence[int | None], Any]], None],
    ) -> None:
        """Store groups together with those of other effects, and call back with the answer."""
        self._waiting.append((groups, tell))
        if self._driver == "idle":
            self._driver = "busy"
            self.runtime.spawn_eagerly(self._drive(), name="perdure:streams")

    async def _drive(self) -> None:
        try:
            while self._waiting:
                most = self._most_in_a_commit()
                taken, self._waiting = self._waiting[:most], self._waiting[most:]
                await self._store(taken)
        finally:
            self._driver = "idle"

    def _most_in_a_commit(self) -> int:
        """Return how many waiting appends are stored together. Other commits wait for large groups."""
        room, most = self.runtime.sizes.stream_bytes, self.runtime.sizes.batch
        for count, (groups, _) in enumerate(self._waiting[:most], 1):
            room -= sum(group.size for group in groups)
            if room <= 0:
                return count
        return most

    async def _store(self, taken: Sequence[tuple[Sequence[StreamGroup], Any]]) -> None:
        groups = [group for each, _ in taken for group in each]
        answer: Result[Sequence[int | None], Any]
        try:
            answer = await answer_of(self._streams.append(groups))
        except Exception as defect:  # noqa: BLE001 - of a store: without an answer the runs would wait for ever
            answer = Failure(OutcomeUnknown(f"append to a stream: the store raised {defect!r}"))
        place = 0
        for each, tell in taken:
            if isinstance(answer, Success):
                firsts = answer.unwrap()[place : place + len(each)]
                place += len(each)
                if self._channels:
                    self._publish(each, firsts)
                tell(each, Success(firsts))
            else:
                tell(each, answer)

    def _publish(self, groups: Sequence[StreamGroup], firsts: Sequence[int | None]) -> None:
        for group, first in zip(groups, firsts, strict=True):
            channel = self._channels.get((group.address, group.stream))
            if channel is not None and first is not None and channel.incarnation in {0, group.incarnation}:
                if not channel.incarnation:  # its first chunk may come before the answer about its row
                    channel.incarnation, channel.state = group.incarnation, "runs"
                    self.runtime.spawn_eagerly(self._look(channel), name=f"perdure:{channel.what}")
                channel.add(StoredGroup(first, first + group.count - 1, group.body))
                self._wake(channel)

    async def newest(self, address: Address, incarnation: int, stored: str) -> Result[tuple[StreamItem, ...], Any]:
        """Read the chunks that are kept in a stored stream of one chunk."""
        found: Result[tuple[StoredGroup, ...], Any] = await answer_of(
            self._streams.read(address, incarnation, stored, -1, 1, 0)
        )
        return found.map(lambda groups: items_of(groups, -1, what=f"heartbeat {stored} of {address}"))

    # ------------------------------------------------------------ reading
    async def page(
        self, job: AnyDefinition, address: Address, stream: str, after: int, wait_ms: int
    ) -> Result[StreamPage, CallError]:
        """Return the items after an offset. Wait for the first one, if there is none."""
        if self._phase == "closed":
            return Failure(EngineClosed())
        if self.count >= self.limit:
            return Failure(Overloaded("the list of callers that read a stream", self.limit))
        channel = self._channel(job, address, stream)
        self.count, channel.readers = self.count + 1, channel.readers + 1
        try:
            return await self._page(channel, after, wait_ms)
        finally:
            self.count, channel.readers = self.count - 1, channel.readers - 1
            # For a while: a reader comes back for its next page.
            if not channel.readers and self._phase == "open":
                channel.timer = self.runtime.call_later(KEPT_MS, lambda: self._drop(channel))

    def _channel(self, job: AnyDefinition, address: Address, stream: str) -> FollowedStream:
        channel = self._channels.get((address, stream))
        if channel is None:
            channel = FollowedStream(job, address, stream, self.runtime.sizes)
            self._channels[address, stream] = channel
            channel.follower = self.runtime.spawn_eagerly(self._follow(channel), name=f"perdure:{channel.what}")
        if channel.timer is not None:
            channel.timer.cancel()
            channel.timer = None
        return channel

    def _drop(self, channel: FollowedStream) -> None:
        # Another one may have its place by now.
        if self._channels.get((channel.address, channel.stream)) is channel:
            del self._channels[channel.address, channel.stream]
        if channel.follower is not None:
            channel.follower.cancel()

    def _wake(self, channel: FollowedStream) -> None:
        channel.version += 1
        waiting, channel.waiting = channel.waiting, {}
        for reader in waiting:
            if not reader.done():
                reader.set_result(None)

    async def _page(self, channel: FollowedStream, after: int, wait_ms: int) -> Result[StreamPage, CallError]:
        until_ms = self.runtime.monotonic_ms() + wait_ms
        while True:
            # Before the look: a change during it must not be slept through.
            version = channel.version
            if self._phase == "closed":
                return Failure(EngineClosed())
            if channel.error is not None:
                return Failure(channel.error)
            state = channel.state
            if state is not None:
                found = await self._found(channel, after, state)
                if not isinstance(found, Success):
                    return Failure(found.failure())
                items = found.unwrap()
                if items:
                    return Success(StreamPage(items=items, after=items[-1].offset, state="runs"))
                # One that was there and is gone has ended. One that was never there may still begin.
                if state == "end" or (state == "absent" and after >= 0):
                    return Success(StreamPage(items=(), after=after, state="end"))
            left_ms = until_ms - self.runtime.monotonic_ms()
            if state is not None and left_ms <= 0:
                return Success(StreamPage(items=(), after=after, state=state))
            if version == channel.version:  # else something has changed during the read
                await self._changed(channel, max(left_ms, 0) if state is not None else KEPT_MS)

    async def _changed(self, channel: FollowedStream, left_ms: float) -> None:
        """Wait for a change, or until the time is up."""
        mine: Future[None] = self.runtime.future()
        channel.waiting[mine] = None
        timer = self.runtime.call_later(left_ms, lambda: None if mine.done() else mine.set_result(None))
        try:
            await mine
        finally:
            timer.cancel()
            channel.waiting.pop(mine, None)

    async def _found(
        self, channel: FollowedStream, after: int, state: Literal["absent", "runs", "end"]
    ) -> Result[tuple[StreamItem, ...], CallError]:
        held = channel.after(after)
        # Before the end is told, the store says whether another engine has emitted more.
        if held or (held is not None and not (self.sharing and state == "end")):
            return Success(held)
        if not channel.incarnation:
            return Success(())
        groups: Result[tuple[StoredGroup, ...], Any] = await self._read(channel, after)
        return groups.map(lambda found: items_of(found, after, what=channel.what))

    def _read(self, channel: FollowedStream, after: int) -> Any:
        place, sizes = (channel.address, channel.incarnation, channel.stream, after), self.runtime.sizes
        return self.reads.answer(lambda: answer_of(self._streams.read(*place, sizes.stream_groups, sizes.stream_bytes)))

    async def _follow(self, channel: FollowedStream) -> None:
        """Read the instance, and on a shared store the groups that other engines append, while there are readers."""
        while self._channels.get((channel.address, channel.stream)) is channel and self._phase == "open":
            # Before the read: a commit in between knows more than its answer.
            place = channel.place
            loaded = await self.reads.load(channel.address)
            if not isinstance(loaded, Success):
                return self._fail(channel, loaded.failure())
            row = loaded.unwrap().instance
            if self.sharing and row is not None and channel.tail:
                found: Result[tuple[StoredGroup, ...], Any] = await self._read(channel, channel.tail[-1][0].last)
                groups = found.value_or(())
                if groups:
                    for group in groups:
                        channel.add(group)
                    self._wake(channel)
                    # More may have come during this read: the end is shown only when no group is left.
                    continue
            if not channel.overtakes(place, row):
                self._show(channel, row)
            # Nothing was shown yet: its readers wait for this answer.
            elif channel.state is None:
                continue
            if not self.sharing:
                return None
            if not channel.tail:
                self._wake(channel)  # its readers look into the store
            await self.runtime.sleep(POLL_MS)
        return None

    def _show(self, channel: FollowedStream, row: Instance | None) -> None:
        """Take over the state of the instance."""
        before = channel.state, channel.incarnation
        if row is None:
            channel.state, channel.incarnation = "absent", 0
            channel.clear()
        else:
            if channel.incarnation not in {0, row.incarnation}:
                # It was created again, and the groups in memory are those of the old one.
                channel.clear()
            channel.incarnation = row.incarnation
            ends = WaitCondition(channel.job.end_statuses)
            over = ends.ends_with(shown_status(channel.job, row), over=channel.job.is_over(row))
            channel.state = "end" if over else "runs"
        if before != (channel.state, channel.incarnation):
            self._wake(channel)

    # ------------------------------------------------------------ events of the engine
    def committed(self, transition: Transition) -> None:
        """Tell readers of a durable transition whether its instance has ended."""
        write = transition.write
        if not self._channels or type(write) not in {Put, Purge}:
            return
        row = write.instance if type(write) is Put else None
        for (address, _), channel in tuple(self._channels.items()):
            if address != transition.address:
                continue
            # With each commit: a read that began before it is older.
            channel.commits += 1
            if row is not None and not row.incarnation:  # a new one: the store has numbered it
                self.runtime.spawn_eagerly(self._look(channel), name=f"perdure:{channel.what}")
            else:
                self._show(channel, row)

    async def _look(self, channel: FollowedStream) -> None:
        place = channel.place
        loaded = await self.reads.load(channel.address)
        if not isinstance(loaded, Success):
            self._fail(channel, loaded.failure())
        elif not channel.overtakes(place, row := loaded.unwrap().instance):
            self._show(channel, row)

    def _fail(self, channel: FollowedStream, error: Any) -> None:
        """Answer the readers with an error. The next ones begin with a read of their own."""
        channel.error = error
        self._channels.pop((channel.address, channel.stream), None)
        self._wake(channel)

    def close(self) -> None:
        """Answer all readers with `EngineClosed`."""
        self._phase = "closed"
        for channel in tuple(self._channels.values()):
            if channel.timer is not None:
                channel.timer.cancel()
            self._drop(channel)
            self._wake(channel)
