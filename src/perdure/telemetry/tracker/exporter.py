"""The loop that exports the log: reads a page, sends it in batches, and moves the position, which the store keeps.

Each batch is sent to the endpoint with an HTTP client until the endpoint accepts or refuses it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, assert_never
from uuid import UUID

import attrs
from returns.future import FutureResult
from returns.result import Result, Success

from perdure.engine.loops.waker import Waker
from perdure.engine.sinks import OnEvent, SinkLag
from perdure.programs.future import answer_of
from perdure.runtime.record import LogRecord, Runtime, SpawnedTask
from perdure.runtime.tasks import ended
from perdure.stores.contract import Cursors, Store
from perdure.stores.values import Cursor, LoggedEvent
from perdure.telemetry.tracker.batches import (
    Advance,
    Blocked,
    EventsAccepted,
    EventsRefused,
    Misconfigured,
    NoResponse,
    Outgoing,
    Response,
    Send,
    Step,
    Unavailable,
    body_of,
    delivery,
    gzipped,
    judge,
    outgoing,
)
from perdure.telemetry.tracker.options import Start, TrackerOptions
from perdure.values.errors import DefinitionError
from perdure.values.event import EventHeader, EventsDropped
from perdure.values.excerpt import MAX_LINE_CHARACTERS, excerpt, fields_in_line, shortened
from perdure.values.live_event import AnyEvent
from perdure.values.retry import Backoff
from perdure.wire.records import installed_version

if TYPE_CHECKING:
    import httpx2


class GaveUp(Exception):
    """The sink is closing, and its last request failed."""


@attrs.define(kw_only=True)
class Retries:
    """One tracker's failures.

    Attributes:
        name: the sink's name, for log lines.
        runtime: the only interface to time, chance and logs.
        backoff: the delay after a failure.
        is_closing: whether the sink is closing.
        problem: why the last attempt failed. Empty if it did not.
    """

    name: str
    runtime: Runtime
    backoff: Backoff
    is_closing: bool = False
    problem: str = ""
    _pause: Waker = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pause = Waker(self.runtime)

    async def wait(self, failures: int, message: str, reason: str, *, at_least_ms: int = 0) -> None:
        """Log a failure that passes without an operator, and wait.

        Args:
            failures: how many there were, one after the other.
            message: the log line.
            reason: why. A reason that is not new is not logged.
            at_least_ms: the shortest wait.

        Raises:
            GaveUp: the sink is closing.
        """
        delay_ms = max(self._jittered(self.backoff.delay_ms(failures)), at_least_ms)
        await self._wait("warning", message, {"reason": reason}, delay_ms)

    async def wait_for_operator(self, message: str, reason: str, fix: str, **fields: object) -> None:
        """Log a failure that needs an operator, and wait as long as the backoff goes.

        Raises:
            GaveUp: the sink is closing.
        """
        fields = {"reason": reason, **fields, "fix": fix}
        await self._wait("error", message, fields, self._jittered(self.backoff.max_ms))

    async def _wait(
        self, level: Literal["warning", "error"], message: str, fields: dict[str, Any], delay_ms: float
    ) -> None:
        # Only a new reason: an outage of a day would fill the log with one line.
        if fields["reason"] != self.problem:
            self.log(level, message, **fields)
        self.problem = fields["reason"]
        if self.is_closing:
            raise GaveUp
        timer = self.runtime.call_later(delay_ms, self._pause.notify)
        await self._pause.wait_until(None)
        timer.cancel()

    def recovered(self) -> None:
        """Note a success."""
        if self.problem:
            self.problem = ""
            self.log("info", "tracker exports again")

    def close(self) -> None:
        """End a wait, and let the next failure be the last."""
        self.is_closing = True
        self._pause.notify()

    def log(self, level: Literal["info", "warning", "error"], message: str, **fields: object) -> None:
        """Log a line about this sink."""
        self.runtime.log(LogRecord(level, message, {"sink": self.name, **fields}))

    def _jittered(self, delay_ms: float) -> float:
        # In part at random: the trackers of many engines must not retry at one instant.
        return delay_ms * (1 + self.runtime.random()) / 2


Post: TypeAlias = Callable[[bytes], Awaitable[Response | NoResponse]]
"""Sends a body to the endpoint."""


@attrs.frozen(kw_only=True)
class Endpoint:
    """A tracker's endpoint.

    Attributes:
        runtime: the only interface to time.
        retries: waits after failures.
    """

    options: TrackerOptions
    runtime: Runtime
    retries: Retries
    post: Post

    async def send(self, batch: Sequence[Outgoing]) -> EventsAccepted | EventsRefused:
        """Send a batch until the endpoint accepts or refuses it.

        Raises:
            GaveUp: the sink is closing.
        """
        # Once: each repeat sends the same bytes.
        body = body_of(batch)
        if self.options.compression == "gzip":
            body = await gzipped(body, lambda: self.runtime.sleep(0))
        failures = 0
        while True:
            failures += 1
            match judge(await self._attempt(body), self.runtime.now_ms()):
                case EventsAccepted() as accepted:
                    self.retries.recovered()
                    return accepted
                case EventsRefused() as refused:
                    return refused
                case Unavailable(reason, retry_after_ms):
                    message = "tracker cannot export; it retries"
                    await self.retries.wait(failures, message, reason, at_least_ms=retry_after_ms)
                case Misconfigured(reason):
                    fix = "correct the endpoint or its key; nothing is skipped meanwhile"
                    await self.retries.wait_for_operator("tracker is misconfigured", reason, fix)

    async def _attempt(self, body: bytes) -> Response | NoResponse:
        """Send a body once, within the limit."""
        # A task of its own, so that a client that ignores its timeout can be ended without cancelling the tracker.
        task = self.runtime.spawn(_response_of(self.post(body)), name=f"perdure:request of {self.options.name}")
        timer = self.runtime.call_later(self.options.timeout_ms, lambda: _cancel(task))
        try:
            await ended(task, self.runtime)
        except self.runtime.cancelled:
            task.cancel()
            # Until the request is over: its connection belongs to the client that is closed next.
            await ended(task, self.runtime)
            raise
        finally:
            timer.cancel()
        if task.cancelled():
            return NoResponse("no response within the timeout")
        error = task.exception()
        return task.result() if error is None else NoResponse(f"the request failed: {excerpt(error)}")


def _cancel(task: SpawnedTask[Any]) -> None:
    task.cancel()


async def _response_of(response: Awaitable[Response | NoResponse]) -> Response | NoResponse:
    return await response


Connect: TypeAlias = Callable[[TrackerOptions], AbstractAsyncContextManager[Post]]
"""Opens a connection to the endpoint of some options; the end of the context closes it."""

MAX_RESPONSE_BYTES: Final = 65_536
"""How much of a response is read, to use its connection again. A longer response costs a new connection."""


@asynccontextmanager
async def http_post(options: TrackerOptions) -> AsyncGenerator[Post]:
    """Open an HTTP client for an endpoint.

    Raises:
        DefinitionError: the extra ``client`` is not installed.
    """
    try:
        import httpx2  # noqa: PLC0415 - of the extra `client`
    except ModuleNotFoundError as error:
        expected = "the HTTP client to be installed: pip install 'perdure[client]'"
        raise DefinitionError("tracker", error, expected) from error
    encoding = {"content-encoding": "gzip"} if options.compression == "gzip" else {}
    headers = {
        "user-agent": f"perdure/{installed_version()}",
        "content-type": "application/json",
        **encoding,
        **options.headers,
    }
    timeout_s = options.timeout_ms / 1_000
    # Batches are sent one after the other.
    limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
    # No redirects: a redirected POST becomes a GET, and the header with the key would go to another host.
    async with httpx2.AsyncClient(timeout=timeout_s, limits=limits, follow_redirects=False) as client:

        async def post(body: bytes) -> Response | NoResponse:
            try:
                async with client.stream("POST", options.endpoint, content=body, headers=headers) as response:
                    await _read(response)
                    return Response(response.status_code, response.headers.get("retry-after", ""))
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
                return NoResponse(reason_of(error, options))

        yield post


async def _read(response: httpx2.Response) -> None:
    size = 0
    # Not decoded: a small compressed response could fill the memory.
    async for part in response.aiter_raw():
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            return


def reason_of(error: Exception, options: TrackerOptions) -> str:
    """Describe an error without header values.

    Args:
        error: the error of the HTTP client.
        options: the tracker's options, with the headers.
    """
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    # The text of a client's error may quote a header, and so the key.
    if any(value in text for value in options.headers.values()):
        return type(error).__name__
    return shortened(text, MAX_LINE_CHARACTERS)


EVENTS_PER_READ = 20
"""The number of events that the tracker reads at once: commits wait for that read."""


@attrs.frozen
class LogPage:
    """Some events after the position.

    Attributes:
        events: the events, in order.
        is_last: whether they reach the log's end.
    """

    __repr__ = fields_in_line

    events: tuple[LoggedEvent, ...]
    is_last: bool


@attrs.define(kw_only=True)
class Position:
    """The position, and the store's operations, each repeated until it succeeds.

    Every method raises `GaveUp` if its operation fails while the sink is closing.

    Attributes:
        runtime: the only interface to time and ids.
        retries: waits after failures.
        cursors: reads and moves the position.
        report: passes the events that a move logs to other sinks.
        done: the number up to which the log is exported, or not selected.
    """

    name: str
    runtime: Runtime
    retries: Retries
    store: Store
    cursors: Cursors
    report: OnEvent
    done: int = 0
    stored: int = 0

    async def locate(self, start: Start) -> int:
        """Read the position, or store the first one. Return the log's end."""
        found = await self._repeated(lambda: self.cursors.read(self.name))
        if found.sequence is not None:
            self.done = self.stored = found.sequence
        else:
            oldest = () if start == "now" else await self._repeated(lambda: self.store.events(0, 1))
            # Stored at once: a restart before the first batch must not begin at a later event.
            await self.move(oldest[0].sequence - 1 if oldest else found.last)
        return int(found.last)

    async def follow(self) -> None:
        """Continue where another engine's tracker has moved the position to."""
        if self.store.sharing is not None:  # the trackers of several engines move it
            found: Cursor = await self._repeated(lambda: self.cursors.read(self.name))
            # Only forward: the stored position may be behind events that this tracker has sent.
            if found.sequence is not None and found.sequence > self.done:
                self.done = self.stored = found.sequence

    async def read(self, limit: int) -> LogPage:
        """Read the events after the position, some at a time: commits run in between.

        The page ends before a gap: retention may have deleted the events between two reads, and the next page reports
        that.
        """
        found: tuple[LoggedEvent, ...] = ()
        while len(found) < limit:
            wanted, after = min(EVENTS_PER_READ, limit - len(found)), found[-1].sequence if found else self.done
            part: tuple[LoggedEvent, ...] = await self._repeated(partial(self.store.events, after, wanted))
            # The caller reports a gap before the first event.
            if found and part and await self._lost(after, part[0].sequence):
                break
            found += part
            if len(part) < wanted:
                return LogPage(found, is_last=True)
        return LogPage(found, is_last=False)

    async def move(self, done: int, *dropped: EventsDropped) -> None:
        """Move the position in the store, and log what was dropped on the way."""
        await self._repeated(lambda: self.cursors.move(self.name, done, dropped))
        # After the store has the position: at a crash in between, events are sent again and none is left out.
        self.done = self.stored = done
        for event in dropped:
            self.report(event)

    async def _lost(self, done: int, first: int) -> int:
        """Return how many events between two numbers retention deleted. Not every gap is a loss."""
        if first <= done + 1:
            return 0
        found: Cursor = await self._repeated(lambda: self.cursors.read(self.name))
        return min(first - done - 1, found.deleted)

    async def move_over_deleted(self, first: int) -> None:
        """Move to the log's oldest event, and report the events before it that retention deleted.

        Args:
            first: the first read event's number.
        """
        count = await self._lost(self.done, first)
        if not count:
            return
        fix = "keep the log for longer: Limits(history_retention=..., history_events=...)"
        self.retries.log("error", "retention deleted events before the tracker exported them", count=count, fix=fix)
        detail = f"sequence {self.done + 1} to {first - 1}"
        dropped = self._dropped(f"sink:{self.name}:retention", count, "retention", detail)
        await self.move(first - 1, dropped)

    async def move_past_refused(self, done: int, skipped: tuple[tuple[Outgoing, str], ...]) -> None:
        """Move the position over events that the endpoint refuses, and report each, except such reports themselves."""
        reports: list[EventsDropped] = []
        for event, reason in skipped:
            self.retries.log(
                "error",
                "tracker skipped an event that the endpoint refuses",
                event_id=event.event_id,
                type=event.type,
                address=event.address,
                reason=reason,
            )
            if event.type != EventsDropped.type:  # an endpoint that knows no such event would get ever more of them
                detail = f"{event.type} {event.event_id}: {reason}"
                reports.append(self._dropped(event.address, 1, "refused", detail))
        await self.move(done, *reports)

    def _dropped(self, address: str, count: int, reason: Literal["retention", "refused"], detail: str) -> EventsDropped:
        return EventsDropped(
            event_id=str(UUID(int=self.runtime.new_id())),
            at_ms=self.runtime.now_ms(),
            address=address,
            sink=self.name,
            count=count,
            reason=reason,
            detail=detail,
        )

    async def _repeated(self, operation: Callable[[], FutureResult[Any, Any]]) -> Any:  # the value of the operation
        failures = 0
        while True:
            found: Result[Any, Any] = await answer_of(operation())
            if isinstance(found, Success):
                if failures:
                    self.retries.recovered()
                return found.unwrap()
            failures += 1
            await self.retries.wait(failures, "tracker cannot use the store; it retries", excerpt(found.failure()))


MAX_PROBED_EVENTS = 100
"""The number of events that the tracker reads to find one that the endpoint accepts."""

EVENTS_PER_ENCODING = 10
"""The number of events that the tracker encodes at once, in about 200 µs."""

MAX_UNSAVED_EVENTS = 1_000
"""The number of events that are not selected after which their position is stored."""


POLL_MS: Final = 1_000
"""How often a tracker on a shared store reads the log."""


@attrs.define(kw_only=True)
class Exporter:
    """Exports one store's log to one endpoint.

    Attributes:
        runtime: the only interface to time.
        retries: waits after failures.
        position: reads the log, and moves the position.
    """

    options: TrackerOptions
    runtime: Runtime
    retries: Retries
    position: Position
    endpoint: Endpoint
    _told: int = 0  # events since the last read
    _last: int = 0  # the end of the log: as read, and one more for each event since
    _oldest_ms: int | None = None
    _is_probing: bool = False
    _wake: Waker = attrs.field(init=False)
    _origin: dict[str, str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._wake = Waker(self.runtime)
        engine = f"perdure/{installed_version()}"
        self._origin = {"service": self.options.service, "environment": self.options.environment, "engine": engine}

    # ------------------------------------------------------------ the sink
    def tell(self, event: AnyEvent) -> None:
        """Note that the log has grown."""
        if isinstance(event, EventHeader):
            self._told += 1
            self._last += 1
            # A wake-up for each event would cost more than the event.
            if self._told == 1 or self._told == self.options.batch_size:  # noqa: PLR1714 - a set would cost more
                self._wake.notify()

    def lag(self) -> SinkLag:
        """Return how far the endpoint is behind the log."""
        events = max(0, self._last - self.position.done)
        return SinkLag(events=events, oldest_ms=self._oldest_ms, problem=self.retries.problem)

    async def close(self, task: SpawnedTask[Any]) -> None:
        """Flush once within the limit, and end `run`'s task."""
        self.retries.close()
        self._wake.notify()
        timer = self.runtime.call_later(self.options.shutdown_timeout_ms, lambda: _cancel(task))
        try:
            await ended(task, self.runtime)
        finally:
            timer.cancel()
            # If this wait is cancelled, too: the task must not outlive the sink.
            task.cancel()
        if remaining := self.lag().events:
            message = "tracker stopped before everything was exported; the next start continues"
            self.retries.log("warning", message, remaining=remaining, reason=self.retries.problem)

    # ------------------------------------------------------------ the loop
    async def run(self) -> None:
        """Export the log, until the sink closes and everything is exported or a request fails."""
        try:
            self._last = await self.position.locate(self.options.start)
            while True:
                await self._export_or_log()
                # After an export: the close sends the rest once.
                if self.retries.is_closing:
                    return
                await self._gather()
        except GaveUp:
            return

    async def _gather(self) -> None:
        """Wait for an event, then for more, until a batch is full or the first has waited long enough.

        On a shared store it reads the log every second besides: other engines do not notify it.
        """
        is_shared = self.position.store.sharing is not None
        await self._wake.wait_until(self.runtime.now_ms() + POLL_MS if is_shared else None)
        if is_shared and not self._told:
            return
        if not self.retries.is_closing and self._told < self.options.batch_size:
            timer = self.runtime.call_later(self.options.flush_interval_ms, self._wake.notify)
            await self._wake.wait_until(None)
            timer.cancel()

    async def _export_or_log(self) -> None:
        try:
            await self._export()
        except GaveUp:
            raise
        except Exception as error:  # noqa: BLE001 - such as a function ``include`` that raises
            self._wake.notify()
            fix = "correct the function include, or report this defect"
            await self.retries.wait_for_operator("tracker raised an exception", excerpt(error), fix)

    async def _export(self) -> None:
        """Export page by page until the log's end. The events that are logged meanwhile wait for others."""
        position = self.position
        while True:
            # Before the read: an event that is logged during the read is counted, and the loop comes back for it.
            self._told = 0
            await position.follow()
            # A larger page may hold an event that the endpoint accepts.
            limit = max(self.options.batch_size, MAX_PROBED_EVENTS) if self._is_probing else self.options.batch_size
            page = await position.read(limit)
            events, at_end = page.events, page.is_last
            if not events:
                self._last = position.done
                break
            self._oldest_ms, last = events[0].event.at_ms, events[-1].sequence
            self._last = last if at_end else max(self._last, last)
            # Before the page is sent: a loss that is reported later would be after events that came later.
            await position.move_over_deleted(events[0].sequence)
            await self._export_page(events)
            if position.done == last and at_end and not self.retries.is_closing:
                break
        self._oldest_ms = None
        # The position has moved over events that were not selected, without the store.
        if self.retries.is_closing and position.done > position.stored:
            await position.move(position.done)

    async def _export_page(self, page: tuple[LoggedEvent, ...]) -> None:
        last, chosen = page[-1].sequence, await self._selected(page)
        if chosen:
            await self._deliver(chosen)
        # Without this, a tracker that selects few events would read all others again at each start.
        elif last - self.position.stored >= MAX_UNSAVED_EVENTS:
            await self.position.move(last)
        else:
            self.position.done = last

    async def _selected(self, page: tuple[LoggedEvent, ...]) -> list[Outgoing]:
        """Encode the selected events, some at a time: requests run in between."""
        select = self.options.select
        chosen = [each for each in page if select is None or select(each.event)]
        # Each event moves the position up to the next selected one, over those in between.
        ends = [each.sequence - 1 for each in chosen[1:]] + [page[-1].sequence]
        encoded: list[Outgoing] = []
        for each, done in zip(chosen, ends, strict=True):
            encoded.append(outgoing(each, done=done, origin=self._origin))
            if len(encoded) % EVENTS_PER_ENCODING == 0:
                await self.runtime.sleep(0)
        return encoded

    async def _deliver(self, chosen: Sequence[Outgoing]) -> None:
        options = self.options
        steps = delivery(chosen, batch_size=options.batch_size, max_bytes=options.max_batch_bytes)
        step: Step | None = next(steps)
        while step is not None:
            verdict = await self._take(step)
            try:
                step = steps.send(verdict)
            except StopIteration:
                step = None

    async def _take(self, step: Step) -> EventsAccepted | EventsRefused | None:
        match step:
            case Send(batch):
                return await self.endpoint.send(batch)
            case Advance(done, skipped):
                self._is_probing = False
                await self.position.move_past_refused(done, skipped)
            case Blocked(event, reason):
                self._is_probing = True
                message = "the endpoint of the tracker refuses every event"
                fix = "correct the endpoint; an event is skipped only when the endpoint accepts a later one"
                await self.retries.wait_for_operator(message, reason, fix, event_id=event.event_id, type=event.type)
            case _:
                assert_never(step)
        return None
