"""How a client reaches an engine, in this process or another one: a `Gateway`, a `JobByName`, and the calls on them.

A call returns its error as a value, or several run at the same time. A check of an argument names it, the values that
it accepts and the value that was passed.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, Never, Protocol, TypeVar, cast

import attrs
from returns.result import Failure, Result, Success

from perdure.jobs.call import Call, result_of
from perdure.jobs.definition import AnyDefinition, CallError, Definition, Dispatch, EventError
from perdure.jobs.explanation import NO_ANSWERS, Answers, Explanation
from perdure.jobs.request import Request, WaitFor, check_timeout
from perdure.runtime.record import Runtime
from perdure.stores.values import Backup, LoggedEvent, OnBackupProgress
from perdure.values.address import Address, Job, check_id
from perdure.values.answer import Forgotten
from perdure.values.attributes import Attribute, Condition, checked_where
from perdure.values.errors import InvalidArgument, RequestError, UnknownJob, UpdateRefused
from perdure.values.excerpt import excerpt
from perdure.values.limits import Limits
from perdure.values.listings import (
    ForkedMany,
    HoldResult,
    InstanceOutcome,
    JobCount,
    ListedStatus,
    ListFilter,
    MatchCount,
    StepRecord,
)
from perdure.values.live_event import EngineStopped
from perdure.values.status import InstanceStatus
from perdure.values.status_wait import (
    AWAITED_STATUSES,
    Awaited,
    AwaitedStatus,
    CallEnd,
    PublishedValue,
    UpdateReply,
    WaitCondition,
)
from perdure.values.times import Duration, to_ms
from perdure.wire.operations import FORGET_KEY, HISTORY, LIST, PUBLISHED, REPLY, ClientOperation, check_text

A = TypeVar("A")
E = TypeVar("E", bound=Exception)


async def attempt(call: Call[A, E], /) -> Success[A] | Failure[E]:
    """Make a call and return how it ended, as a value to ``match`` on. ``await call`` alone raises the error.

    The result is a closed union: in each ``case`` both type checkers know the answer's type or the error's type, and
    that ``case Success(...)`` with ``case Failure(...)`` is exhaustive.

    Args:
        call: a handle's call, such as ``jobs.handle(orders).send("order-1", event)``.

    Returns:
        ``Success(answer)`` or ``Failure(error)``.

    Raises:
        AlreadyAwaited: the call was awaited before.
        TypeError: the argument is not a call.
    """
    if type(call) is not Call:  # pyright: ignore[reportUnnecessaryComparison] - untyped callers
        expected = "a call that was not awaited, such as attempt(jobs.handle(orders).send(...))"
        raise TypeError(f"argument of attempt: expected {expected}; got {excerpt(call)}")
    ended: Any = await result_of(call)
    result: Success[A] | Failure[E] = ended
    return result


async def concurrently(
    runtime: Runtime, calls: Sequence[Call[Any, Any]]
) -> Result[tuple[Result[Any, Any], ...], Never]:
    """Await calls, each in its own task. If this is cancelled, so are they.

    Args:
        runtime: starts the tasks.
        calls: the calls, none of them awaited yet.
    """
    # All tasks exist before the first is awaited: awaited one by one, the calls would not share transactions.
    tasks = [runtime.spawn(_answer(call), name="perdure:one of several calls") for call in calls]
    try:
        return Success(tuple([await task for task in tasks]))
    # If the caller is cancelled in the middle, no call may continue without it.
    finally:
        for task in tasks:
            task.cancel()


async def _answer(call: Call[Any, Any]) -> Result[Any, Any]:
    return await result_of(call)


MAX_TOGETHER: Final = 1_000
"""Calls that are made together."""


def check_together(calls: object) -> Sequence[Call[Any, Any]]:
    """Check the calls that are made together.

    Raises:
        InvalidArgument: there are more than 1,000, one is not a call, or one is there twice.
    """
    expected = f"at most {MAX_TOGETHER:,} different calls, none awaited, such as [flow.start(...), flow.cancel(...)]"
    # Not read further: an endless generator must end in an error.
    asked: Any = calls  # of an untyped caller
    # One more than the limit is read: it shows that there are too many.
    given: list[Any] = list(islice(asked, MAX_TOGETHER + 1)) if isinstance(calls, Iterable) else []
    wrong: object = None
    if not isinstance(calls, Iterable) or len(given) > MAX_TOGETHER:
        wrong = asked
    elif not all(type(call) is Call for call in given):
        wrong = next(call for call in given if type(call) is not Call)
    # By identity: a call is awaited once, and its second use would wait for ever.
    elif len({id(call) for call in given}) < len(given):
        wrong = "the same call twice"
    else:
        return given
    for call in given:
        if type(call) is Call:
            call.close()  # Python would warn about each of them
    raise InvalidArgument("calls of together", wrong, expected)


MAX_WANTED: Final = 20
"""Statuses and phases of one wait."""


def check_definition(value: object, *, of: str) -> AnyDefinition:
    """Check a definition.

    Raises:
        InvalidArgument: the value is not a definition.
    """
    if isinstance(value, Definition):
        return value  # pyright: ignore[reportUnknownVariableType] - its types are erased here
    raise InvalidArgument(f"definition of {of}", value, "a definition, such as a Task(...) or a Workflow(...)")


def list_filter(
    definition: object,
    *,
    kind: object,
    name: object,
    status: object,
    id_prefix: object,
    due_before: object,
    where: object,
    after: object,
    limit: object,
    max_scanned: object,
) -> ListFilter:
    """Check the ``list`` arguments.

    Raises:
        InvalidArgument: an argument is not valid. The message names it.
    """
    if definition is not None:
        if kind is not None or name is not None:
            raise InvalidArgument("kind and name of list", (kind, name), "None beside a definition, which has both")
        job = check_definition(definition, of="list")
        kind, name = job.kind, job.name
    checked = LIST.checked(
        {
            "kind": kind,
            "name": name,
            "status": status,
            "id_prefix": id_prefix,
            "due_before": due_before,
            "where": checked_where(where, "where of list"),
            "after": after,
            "limit": limit,
            "max_scanned": max_scanned,
        }
    )
    due: datetime | None = checked.pop("due_before")
    return ListFilter(**checked, due_before_ms=None if due is None else to_ms(due))


def check_backup(path: object, progress: object) -> str:
    """Check a backup's arguments, and return its path as text.

    Raises:
        InvalidArgument: the path is neither text nor a path object, or ``progress`` cannot be called.
    """
    if not callable(progress):
        raise InvalidArgument("progress of backup", progress, "a function of one BackupProgress")
    given: object = path
    if isinstance(given, os.PathLike):
        given = os.fspath(given)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - text or bytes
    # A null byte ends the path for the operating system: the file would have another name.
    if isinstance(given, str) and given and "\0" not in given:
        return given
    raise InvalidArgument("path of backup", path, "the path of a new file, as text or as a path object")


def check_wanted(statuses: tuple[object, ...], phases: object) -> WaitCondition:
    """Check a wait's statuses and phases. Without any, it waits for the end.

    Raises:
        InvalidArgument: a status or phase is not valid, or there are more than 20.
    """
    for status in statuses:
        if status not in AWAITED_STATUSES:
            raise InvalidArgument("status of until", status, f"one of {', '.join(AWAITED_STATUSES)}")
    given = cast("tuple[object, ...]", phases)
    if not isinstance(phases, tuple) or len(statuses) + len(given) > MAX_WANTED:
        raise InvalidArgument("phases of until", given, f"a tuple of texts, at most {MAX_WANTED} with the statuses")
    words = tuple(check_text(phase, what="phase of until") for phase in given)
    named = tuple(str(status) for status in statuses)
    return WaitCondition(named, words) if named or words else WaitCondition()


@attrs.frozen(eq=False)
class JobByName(ABC):
    """A job's calls by action name: inputs are JSON text, answers JSON-able data.

    Attributes:
        job: its kind and name.
        gateway: reaches the engine.
    """

    job: Job
    gateway: Gateway

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {':'.join(self.job)}>"

    @abstractmethod
    def call(
        self,
        action: str,
        id_: str,
        /,
        payload: str = "",
        *,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "completion",
        interrupt: bool = False,
        trace: str | None = None,
    ) -> Call[Any, EventError[Any]]:
        """Send a request.

        Args:
            action: such as ``send``.
            id_: the instance.
            payload: the input as JSON text. Empty when the action takes none.
            idempotency_key: a repeat with this key gets the first answer.
            wait_for: when a call that runs user code is answered: at its ``completion`` or at its ``start``.
            interrupt: whether ``terminate`` cancels a run in progress.
            trace: the caller's trace context, as the header ``traceparent``. By default the current one.

        Returns:
            The answer as JSON-able data.
        """

    @abstractmethod
    def call_and_wait(
        self,
        action: str,
        id_: str,
        /,
        payload: str = "",
        *,
        timeout: Duration = "1 minute",
        idempotency_key: str | None = None,
    ) -> Call[CallEnd, EventError[Any]]:
        """Send a request, and wait until its work is over: a workflow, an item or a task has ended, or rests.

        A wait that is over loses nothing: the work continues, and a repeat of this call waits on.

        Args:
            action: such as ``start``.
            id_: the instance.
            payload: the input as JSON text. Empty when the action takes none.
            timeout: how long to wait.
            idempotency_key: needed for an action that a repeat would apply again, such as ``send``.
        """

    @abstractmethod
    def explain(
        self,
        action: str,
        id_: str,
        /,
        payload: str = "",
        *,
        answers: Answers = NO_ANSWERS,
        idempotency_key: str | None = None,
    ) -> Call[Any, CallError]:
        """Compute a request's effect without applying it, as JSON-able data. See `Client.explain`.

        Args:
            action: such as ``send``. Or ``alarm``, its alarm if it is due.
            id_: the instance.
            payload: the input as JSON text. Empty when the action takes none.
            answers: what services answer, by effect name. A client in another process passes none.
            idempotency_key: the request's key.
        """

    @abstractmethod
    def status(self, id_: str, /) -> Call[InstanceStatus, CallError]:
        """Read the committed status."""

    @abstractmethod
    def get_state(self, id_: str, /) -> Call[Any, CallError]:
        """Read the committed state as JSON-able data. None when there is no instance."""

    @abstractmethod
    def shown_state(self, id_: str, /) -> Call[Any, CallError]:
        """Read the committed state as JSON-able data, with ``<secret>`` in place of each secret."""

    @abstractmethod
    def shown_outcome(self, id_: str, /) -> Call[InstanceOutcome | None, CallError]:
        """Read how an instance ended, without secrets. None if it has not, or if its kind does not keep that."""

    @abstractmethod
    def steps(self, id_: str, /) -> Call[tuple[StepRecord, ...], CallError]:
        """Read an instance's steps, if it has a journal, such as a workflow."""

    def until(
        self, id_: str, /, *statuses: AwaitedStatus, phases: tuple[str, ...] = (), timeout: Duration = "1 minute"
    ) -> Call[Awaited, CallError]:
        """Wait until an instance has one of these statuses or phases, or until its end. See `Client.until`."""
        return Call(partial(self._until, id_, statuses, phases, timeout), "until")

    async def _until(
        self, id_: str, statuses: tuple[str, ...], phases: tuple[str, ...], within: Duration
    ) -> Result[Awaited, CallError]:
        try:
            address = Address(*self.job, check_id(id_))
            wanted, timeout_ms = check_wanted(statuses, phases), check_timeout(within)
        except RequestError as refused:
            return Failure(refused)
        return await result_of(self.gateway.until(address, wanted, timeout_ms))

    def reply(self, id_: str, ticket: str, /) -> Call[UpdateReply, CallError]:
        """Read the reply to an update, without waiting for it.

        Args:
            id_: the instance.
            ticket: the ticket that ``update.NAME`` returned.
        """
        return Call(partial(self._reply, id_, ticket), "reply")

    async def _reply(self, id_: str, ticket: str) -> Result[UpdateReply, CallError]:
        kind, name = self.job
        try:
            given = REPLY.checked({"kind": kind, "name": name, "id": check_id(id_), "ticket": ticket})
        except RequestError as refused:
            return Failure(refused)
        return await result_of(self.gateway.perform(REPLY, **given))

    def update(
        self, name: str, id_: str, /, payload: str = "", *, idempotency_key: str, timeout: Duration = "1 minute"
    ) -> Call[UpdateReply, CallError]:
        """Send an update to a workflow, and wait for its reply. See `WorkflowHandle.update`.

        Args:
            name: the update's name.
            id_: the instance.
            payload: the request as JSON text.
            idempotency_key: a repeat with this key sends nothing, and returns the same reply.
            timeout: how long to wait. Then the reply's form is ``waiting``.
        """
        return Call(partial(self._update, name, id_, payload, idempotency_key, timeout), "update")

    async def _update(self, name: str, id_: str, payload: str, key: str, longest: Duration) -> Result[UpdateReply, Any]:
        try:
            timeout_ms = check_timeout(longest, of="update")
            check_text(name, what="name of an update")
        except RequestError as refused:
            return Failure(refused)
        sent = await result_of(self.call(f"update.{name}", id_, payload, idempotency_key=key))
        if not isinstance(sent, Success):
            error = sent.failure()
            # A refusal of the validator is an outcome of the update, as its handle returns it.
            if isinstance(error, UpdateRefused):
                return Success(UpdateReply(form="failed", value=error.data))
            return Failure(error)
        ticket = sent.unwrap()["ticket"]
        # Without a ticket it was not stored: the workflow is absent, or has ended.
        if not ticket:
            return Success(UpdateReply(form="unanswered"))
        waited = await result_of(self.gateway.until(Address(*self.job, id_), WaitCondition((), (), ticket), timeout_ms))
        if not isinstance(waited, Success):
            return Failure(waited.failure())
        return await self._reply(id_, ticket)

    def published(self, id_: str, value: str, /) -> Call[PublishedValue, CallError]:
        """Read a value that a workflow publishes, without waiting for it.

        Args:
            id_: the instance.
            value: the value's name.
        """
        return Call(partial(self._published, id_, value, "0 ms"), "published")

    def until_published(
        self, id_: str, value: str, /, *, timeout: Duration = "1 minute"
    ) -> Call[PublishedValue, CallError]:
        """Wait for a value that a workflow publishes. See `WorkflowHandle.published`.

        Args:
            id_: the instance.
            value: the value's name.
            timeout: how long to wait. Then the form is ``waiting``.
        """
        return Call(partial(self._published, id_, value, timeout), "until_published")

    async def _published(self, id_: str, name: str, longest: Duration) -> Result[PublishedValue, Any]:
        kind, job = self.job
        try:
            timeout_ms, address = check_timeout(longest, of="published"), Address(kind, job, check_id(id_))
            given = PUBLISHED.checked({"kind": kind, "name": job, "id": id_, "value": name})
        except RequestError as refused:
            return Failure(refused)
        # Zero: only the present value is wanted, and no waiter is registered.
        if timeout_ms:
            waited = await result_of(self.gateway.until(address, WaitCondition((), (), published=name), timeout_ms))
            if not isinstance(waited, Success):
                return Failure(waited.failure())
        return await result_of(self.gateway.perform(PUBLISHED, **given))

    def forget_key(self, id_: str, key: str, /) -> Call[Forgotten, CallError]:
        """Forget an idempotency key. See `Client.forget_key`.

        Args:
            id_: the instance.
            key: the key.
        """
        return Call(partial(self._forget_key, id_, key), "forget_key")

    async def _forget_key(self, id_: str, key: str) -> Result[Forgotten, CallError]:
        kind, name = self.job
        try:
            given = FORGET_KEY.checked({"kind": kind, "name": name, "id": check_id(id_), "key": key})
        except RequestError as refused:
            return Failure(refused)
        return await result_of(self.gateway.perform(FORGET_KEY, **given))

    def hold(self) -> Call[HoldResult, CallError]:
        """Hold the job. See `JobHandle.hold`."""
        return self.gateway.set_hold(self.job, "held")

    def release(self) -> Call[HoldResult, CallError]:
        """Release the job."""
        return self.gateway.set_hold(self.job, "released")

    def count(self) -> Call[JobCount, CallError]:
        """Count the job's instances by status, and read whether it is held."""
        return self.gateway.count(self.job)

    def count_matching(
        self, *, where: Sequence[Condition | Attribute[Any, bool] | str] = ()
    ) -> Call[MatchCount, CallError]:
        """Count the job's instances whose attributes meet all conditions. See `JobHandle.count_matching`."""
        return self.gateway.count_matching(self.job, where)

    def fork_many(
        self,
        *,
        step: str | None = None,
        suffix: str = "-fork",
        status: ListedStatus | None = None,
        id_prefix: str = "",
        where: Sequence[Condition | Attribute[Any, bool] | str] = (),
        signals: Literal["keep", "drop"] = "keep",
        accept_undone: bool = False,
        dry_run: bool = False,
        after: Address | None = None,
        limit: int = 100,
    ) -> Call[ForkedMany, CallError]:
        """Fork a page with workflows that match a filter. See `WorkflowHandle.fork_many`.

        Args:
            step: as for a fork.
            suffix: 1 to 100 characters at the end of each new id.
            status: only workflows with this status.
            id_prefix: only ids that begin with this text.
            where: only workflows whose attributes meet all these conditions.
            signals: as for a fork.
            accept_undone: as for a fork.
            dry_run: only count.
            after: the previous page's ``after``, or any address.
            limit: maximum number, 1 to 1,000.
        """
        given = {
            "step": step,
            "suffix": suffix,
            "status": status,
            "id_prefix": id_prefix,
            "where": where,
            "signals": signals,
            "accept_undone": accept_undone,
            "dry_run": dry_run,
            "after": after,
            "limit": limit,
        }
        return self.gateway.fork_many(self.job, given)

    def history(
        self, id_: str, /, *, before: int | None = None, limit: int = 100
    ) -> Call[tuple[LoggedEvent, ...], CallError]:
        """Read an address's newest events, the newest first. See `Client.history`."""
        return Call(partial(self._history, id_, before, limit), "history")

    async def _history(self, id_: str, before: int | None, limit: int) -> Result[tuple[LoggedEvent, ...], CallError]:
        try:
            address = Address(*self.job, check_id(id_))
            page = HISTORY.checked({"before": before, "limit": limit})
        except RequestError as refused:
            return Failure(refused)
        return await result_of(self.gateway.history(address, **page))


class Gateway(Dispatch, Protocol):
    """Every call that a client makes. `Client` checks the arguments. Each call is awaited once."""

    @property
    def name(self) -> str:
        """The store or the server, for messages."""
        ...

    @property
    def definitions(self) -> Mapping[tuple[str, str], AnyDefinition]:
        """The definitions that typed handles exist for, by kind and name."""
        ...

    def unknown(self, kind: str, name: str, /) -> UnknownJob:
        """Return the error for a job without a typed handle."""
        ...

    def by_name(self, kind: str, name: str, /) -> JobByName:
        """Return untyped access to a job.

        Raises:
            UnknownJob: the gateway knows that the engine does not serve it.
        """
        ...

    def explain_request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], answers: Answers, /
    ) -> Call[Explanation, CallError]:
        """Compute a request's effect without applying it."""
        ...

    def history(
        self, address: Address, /, *, before: int | None, limit: int
    ) -> Call[tuple[LoggedEvent, ...], CallError]:
        """Read an address's newest events, the newest first."""
        ...

    def perform(self, operation: ClientOperation[A], /, **given: object) -> Call[A, CallError]:
        """Perform an engine operation.

        Args:
            operation: an entry in `perdure.wire.operations`.
            **given: its arguments, checked.
        """
        ...

    def stopped(self) -> Call[EngineStopped, CallError]:
        """Wait until the engine has stopped."""
        ...

    def backup(self, path: str, progress: OnBackupProgress, /) -> Call[Backup, CallError]:
        """Copy the store into a new file."""
        ...
