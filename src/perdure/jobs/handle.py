"""The calls that every kind's typed handle has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import lru_cache, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.jobs.call import Call, named, result_of
from perdure.jobs.definition import CallError, Definition, Dispatch
from perdure.jobs.display import NOT_FOUND
from perdure.jobs.hooks import typed_error
from perdure.jobs.request import (
    Pause,
    Request,
    Resume,
    Terminate,
    WaitFor,
    check_repeatable,
    check_timeout,
    check_wait,
)
from perdure.values.address import Job, check_id
from perdure.values.answer import OutcomeRecord, PauseResult, RunAnswer, Terminated
from perdure.values.errors import RequestError
from perdure.values.limits import Limits
from perdure.values.listings import HoldResult, JobCount, MatchCount
from perdure.values.outcome import (
    Completed,
    Failed,
    Outcome,
    Parked,
    Paused,
    Retrying,
    Running,
    SelfTerminated,
    Triggered,
)
from perdure.values.status import Defect, FailureRecord, Held, InstanceStatus
from perdure.values.status_wait import NeverStored, NoOutcome, NotReached, Reached, WaitCondition, WaitOver
from perdure.values.times import Duration, from_ms

if TYPE_CHECKING:
    from perdure.jobs.streams import Stream, Streamed
    from perdure.values.attributes import Attribute, Condition
    from perdure.values.stream import StreamPage

V = TypeVar("V")
S = TypeVar("S")
T = TypeVar("T")
E = TypeVar("E")


async def sent_and_over(
    dispatch: Dispatch,
    job: Definition[Any, Any, Any],
    action: str,
    id_: str,
    send: Callable[[], Call[Any, Any]],
    *,
    longest: Duration,
    key: str | None,
    of: str,
    ticket_of: Callable[[Any], str | None] = lambda _: None,
) -> Result[tuple[Any, Reached | NotReached], Any]:
    """Send a request, and wait until its work is over. Return its answer, and the wait's.

    Args:
        dispatch: waits.
        job: the definition.
        action: the request's action.
        id_: the instance.
        send: makes the request's call.
        longest: how long to wait.
        key: the request's idempotency key.
        of: the caller's method, for messages.
        ticket_of: returns the ticket of an answer. The reply to it ends the wait. None for another request.
    """
    try:
        timeout_ms, address = check_timeout(longest, of=of), job.address(check_id(id_))
        check_repeatable(job.plan.commands.get(action), key, of=of)
    except RequestError as refused:
        return Failure(refused)
    sent = await result_of(send())
    if not isinstance(sent, Success):
        return Failure(sent.failure())
    ticket = ticket_of(sent.unwrap())
    wanted = WaitCondition((), (), ticket) if ticket else WaitCondition(job.end_statuses)
    awaited = await result_of(dispatch.until(address, wanted, timeout_ms))
    # The request was answered, so there has been an instance: its history is not kept.
    over = awaited.map(lambda found: Reached(NOT_FOUND) if isinstance(found, NeverStored) else found)
    return over.map(lambda found: (sent.unwrap(), found))


STREAM_WAIT_MS: Final = 20_000
"""How long one request of a stream's reader waits."""


@attrs.frozen
class JobHandle(Generic[S, E]):
    """The calls that every job kind has. Each returns a `Call`. Await it once.

    The request is sent when the call is awaited. A call fails with a ``RequestError`` (nothing was applied),
    ``HookFailed`` (the job's code failed), ``OutcomeUnknown`` or ``StoreError``.
    """

    definition: Definition[Any, Any, Any]
    dispatch: Dispatch

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.definition.kind}:{self.definition.name}>"

    def status(self, id_: str, /) -> Call[InstanceStatus, CallError]:
        """Read the committed status. ``not_found`` if there is no instance. Does not queue in the mailbox."""
        return self._named(self.dispatch.status(self.definition, id_), "status")

    def get_state(self, id_: str, /) -> Call[S | None, CallError]:
        """Read the committed state. None if there is no instance. Does not queue in the mailbox."""
        return self._named(self.dispatch.state(self.definition, id_), "get_state")

    def stream(self, id_: str, stream: Stream[V], /, *, after: int = -1) -> AsyncIterator[Streamed[V]]:
        """Follow a stream, from an offset on, until the instance has ended: ``async for item in handle.stream(...)``.

        An instance that does not exist yet is waited for. The loop raises the errors that a call raises. To continue
        later, or elsewhere, pass the last item's ``offset``.

        Args:
            id_: the instance.
            stream: the stream's declaration.
            after: the offset of the last item that the reader has. -1: from the first one that is kept.

        Returns:
            An iterator over `Chunk`, `BeganAgain` and `ChunksDropped`.
        """
        from perdure.jobs.streams import follow, streamed  # noqa: PLC0415 - most processes read no stream

        read = partial(self._stream_page, id_, stream)
        return follow(read, after, partial(streamed, stream))

    def _stream_page(self, id_: str, stream: Stream[Any], after: int) -> Call[StreamPage, CallError]:
        address = self.definition.address(check_id(id_))
        return self._named(self.dispatch.stream_page(address, stream.name, after, STREAM_WAIT_MS), "stream")

    def terminate(
        self, id_: str, /, reason: str = "terminated", *, interrupt: bool = False, idempotency_key: str | None = None
    ) -> Call[Terminated, CallError]:
        """Clear the alarm and purge the instance. The id can be used again.

        Args:
            id_: the instance.
            reason: recorded in the event history.
            interrupt: cancel a run in progress. Otherwise the call waits until the run ends, ahead of other requests.
            idempotency_key: a repeat with this key returns the first result.
        """
        command = Terminate(reason, "interrupt" if interrupt is True else "after_run")
        return self._send(id_, command, "terminate", reason, key=idempotency_key, interrupt=interrupt)

    def pause(self, id_: str, /, *, idempotency_key: str | None = None) -> Call[PauseResult, CallError]:
        """Suspend alarms and retries. Events are still handled. Nothing fires and nothing flushes."""
        return self._send(id_, Pause(), "pause", key=idempotency_key)

    def resume(self, id_: str, /, *, idempotency_key: str | None = None) -> Call[PauseResult, CallError]:
        """Resume a paused or parked instance. An overdue alarm fires once."""
        return self._send(id_, Resume(), "resume", key=idempotency_key)

    def hold(self) -> Call[HoldResult, CallError]:
        """Hold the job: no run begins until `release`, also after a restart.

        Every instance, also one that is created later, behaves as a paused one: alarms, retries and flushes wait,
        events are handled, and a call that would begin a run returns ``Paused``. Runs in progress continue. An instance
        that ``start`` creates runs after the release.
        """
        return self._named(self.dispatch.set_hold(self._job, "held"), "hold")

    def release(self) -> Call[HoldResult, CallError]:
        """Release the job: overdue alarms fire."""
        return self._named(self.dispatch.set_hold(self._job, "released"), "release")

    def count(self) -> Call[JobCount, CallError]:
        """Count the job's instances by status, and read whether it is held. See `Client.counts`."""
        return self._named(self.dispatch.count(self._job), "count")

    def count_matching(self, *, where: Sequence[Condition | Attribute[Any, bool] | str]) -> Call[MatchCount, CallError]:
        """Count the job's instances whose attributes meet all conditions, such as ``[past_due, "amount>100"]``.

        Args:
            where: at least one condition. See `Client.list`.
        """
        return self._named(self.dispatch.count_matching(self._job, where), "count_matching")

    @property
    def _job(self) -> Job:
        return self.definition.kind, self.definition.name

    def _send(
        self,
        id_: str,
        command: object,
        action: str,
        value: object = None,
        *,
        key: str | None = None,
        wait_for: WaitFor = "completion",
        interrupt: bool = False,
    ) -> Call[Any, Any]:
        job = self.definition

        def build(limits: Limits) -> Request:
            if wait_for != "completion" or interrupt is not False:
                check_wait(action, wait_for, interrupt)
            payload = job.encode_input(action, value, limits.payload_bytes, limits.input_bytes)
            return Request(command=command, action=action, payload=payload, idempotency_key=key, wait_for=wait_for)

        return self.dispatch.request(job, id_, build, _call_name(job.kind, job.name, action))

    def _and_wait(
        self, action: str, id_: str, send: Callable[[], Call[Any, Any]], timeout: Duration, key: str | None
    ) -> Call[Reached, Any]:
        """Send a request, and wait until its work is over. Its answer is dropped."""
        return Call(partial(self._sent_and_over, action, id_, send, timeout, key), self._name_of(f"{action}_and_wait"))

    def _and_outcome(
        self,
        action: str,
        id_: str,
        send: Callable[[], Call[Any, Any]],
        outcome: Callable[[str], Call[T | None, Any]],
        timeout: Duration,
        key: str | None,
    ) -> Call[T, Any]:
        """Send a request, wait until its work is over, and read its outcome."""
        ended = partial(self._sent_and_over, action, id_, send, timeout, key)
        return Call(partial(self._outcome_after, ended, id_, outcome), self._name_of(f"{action}_and_wait"))

    async def _sent_and_over(
        self, action: str, id_: str, send: Callable[[], Call[Any, Any]], longest: Duration, key: str | None
    ) -> Result[Reached, Any]:
        of = f"{action}_and_wait"
        over = await sent_and_over(self.dispatch, self.definition, action, id_, send, longest=longest, key=key, of=of)
        match over.map(itemgetter(1)):
            case Success(NotReached(status)):
                wanted = WaitCondition(self.definition.end_statuses)
                return Failure(WaitOver(str(self.definition.address(id_)), wanted, status))
            case reached:
                return reached

    async def _outcome_after(
        self,
        ended: Callable[[], Awaitable[Result[Reached, Any]]],
        id_: str,
        outcome: Callable[[str], Call[T | None, Any]],
    ) -> Result[T, Any]:
        over = await ended()
        if not isinstance(over, Success):
            return Failure(over.failure())
        read: Result[T | None, Any] = await result_of(outcome(id_))
        if not isinstance(read, Success):
            return Failure(read.failure())
        found = read.unwrap()
        return Failure(NoOutcome(str(self.definition.address(id_)))) if found is None else Success(found)

    def _named(self, call: Call[T, CallError], action: str) -> Call[T, CallError]:
        """Name a call for Python's warning about calls that are never awaited."""
        return named(call, self._name_of(action))

    def _name_of(self, action: str) -> str:
        return _call_name(self.definition.kind, self.definition.name, action)

    def _triggered(self, answer: RunAnswer) -> Triggered[E | Defect]:
        """Return the typed ``trigger`` result."""
        outcome = self._outcome(answer.outcome)
        ran = outcome is not None and not isinstance(outcome, Paused | Parked)
        return Triggered(triggered=ran, status=answer.status, outcome=outcome)

    def _outcome(self, record: OutcomeRecord | None) -> Outcome[E | Defect] | None:
        """Return a run's typed outcome."""
        if record is None:
            return None
        match record.form:
            case "retrying":
                return Retrying(self._error(record.error), from_ms(record.at_ms or 0))
            case "failed":
                return Failed(self._error(record.error))
            case "terminated":
                return SelfTerminated(record.reason)
            case "parked":
                return Parked(_hold(record.reason))
            case "completed" | "running" | "paused":
                return _PLAIN[record.form]

    def _error(self, record: FailureRecord | None) -> E | Defect:
        unknown = FailureRecord(form="defect", error_type="unknown", message="")
        return typed_error(record or unknown, self.definition.plan.errors)


@lru_cache
def _call_name(kind: str, name: str, action: str) -> str:
    return f"{action} of {kind}:{name}"


_PLAIN: dict[str, Completed | Running | Paused] = {"completed": Completed(), "running": Running(), "paused": Paused()}
_HOLDS: dict[str, Held] = {
    "retries_exhausted": "retries_exhausted",
    "not_retryable": "not_retryable",
    "recovery_exhausted": "recovery_exhausted",
    "paused": "paused",
    "undecodable": "undecodable",
}


def _hold(reason: str) -> Held:
    return _HOLDS[reason]
