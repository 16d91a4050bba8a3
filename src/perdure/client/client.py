"""``Client``: an open app's calls. Before its block begins, a guard refuses them and shows the right use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Never, NoReturn, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.client.gateway import (
    Gateway,
    JobByName,
    check_backup,
    check_definition,
    check_together,
    check_wanted,
    list_filter,
)
from perdure.jobs.call import Call, result_of
from perdure.jobs.definition import AnyDefinition, CallError, Definition
from perdure.jobs.explanation import NO_ANSWERS, Answers, Asked, Explanation, request_of
from perdure.jobs.request import Request, check_timeout
from perdure.stores.values import Backup, BackupProgress, Health, LoggedEvent, OnBackupProgress
from perdure.values.address import Address, check_id
from perdure.values.answer import Forgotten
from perdure.values.attributes import Attribute, Condition
from perdure.values.errors import InvalidArgument, RequestError
from perdure.values.excerpt import MAX_LINE_CHARACTERS, shortened
from perdure.values.limits import Limits, Rate
from perdure.values.listings import (
    Demand,
    EngineMember,
    InFlight,
    LimitNumbers,
    ListedStatus,
    ListFilter,
    Listing,
    NamedLimit,
    StoreCounts,
)
from perdure.values.live_event import EngineStopped
from perdure.values.message import StoredMessage
from perdure.values.status_wait import (
    AwaitedStatus,
    NeverStored,
    NothingStored,
    NotReached,
    Reached,
    WaitCondition,
    WaitFailed,
    WaitOver,
)
from perdure.values.times import Duration
from perdure.wire.operations import (
    BURY,
    COUNTS,
    DEAD_LETTERS,
    DEMAND,
    FORGET_KEY,
    HEALTH,
    HISTORY,
    IN_FLIGHT,
    INFO,
    LEFT_MESSAGES,
    LIMITS,
    MEMBERS,
    METRICS,
    REDRIVE,
    RESET_LIMIT,
    SET_LIMIT,
    ClientOperation,
    check_text,
)
from perdure.wire.records import EngineInfo


class ContextGuard:
    """A client's context manager. Its errors show how to enter it.

    Type checkers do not see these methods, so they report the same mistakes.
    """

    __slots__ = ()

    usage: ClassVar[str]
    """The block that enters it, such as ``async with app.open(store) as jobs:``."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                # Private names as Python expects it: `copy` and `inspect` look for them, and handle the error.
                raise AttributeError(name)
            raise AttributeError(f"no {name!r} outside the block: expected '{self.usage}'")


class AsyncContextGuard(ContextGuard):
    """Refuses a block without ``async``."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __enter__(self) -> NoReturn:
            raise TypeError(f"expected '{self.usage}'; got 'with'")

        def __exit__(self, *_: object) -> None:
            """Satisfy Python, which looks for it before it enters."""


class SyncContextGuard(ContextGuard):
    """Refuses a block with ``async``."""

    __slots__ = ()

    if not TYPE_CHECKING:

        async def __aenter__(self) -> NoReturn:
            raise TypeError(f"expected '{self.usage}'; got 'async with'")

        async def __aexit__(self, *_: object) -> None:
            """Satisfy Python, which looks for it before it enters."""


A = TypeVar("A")
E = TypeVar("E", bound=Exception)
H = TypeVar("H")
T = TypeVar("T")


def _unreported(_: BackupProgress) -> None:
    """Report no progress."""


@attrs.frozen
class Client:
    """An open engine's jobs.

    ``jobs.handle(definition)`` returns a job's typed handle. Every call on the handle returns a ``FutureResult``.
    """

    _gateway: Gateway

    def __repr__(self) -> str:
        jobs = ", ".join(f"{kind}:{name}" for kind, name in self._gateway.definitions)
        return shortened(f"<{type(self).__name__} of {self._gateway.name}: {jobs}>", MAX_LINE_CHARACTERS)

    # ------------------------------------------------------------ access
    def handle(self, definition: Definition[H, Any, Any], /) -> H:
        """Return a job's typed handle.

        Raises:
            UnknownJob: this engine does not serve that definition, or `connect` did not receive it.
            InvalidArgument: the argument is not a definition.
        """
        check_definition(definition, of="handle")
        known = self._gateway.definitions
        # By identity: another definition of the same name has other types, and its answers would not decode.
        if known.get((definition.kind, definition.name)) is not definition:
            raise self._gateway.unknown(definition.kind, definition.name)
        return definition.handle(self._gateway)

    def handle_by_name(self, kind: str, name: str, /) -> JobByName:
        """Return untyped access to a job, for tools: inputs and answers are JSON.

        Raises:
            UnknownJob: the engine in this process does not serve that job. A client in another process learns that with
                its first call.
            InvalidArgument: the kind or the name is not text.
        """
        check_text(kind, what="kind of handle_by_name")
        check_text(name, what="name of handle_by_name")
        return self._gateway.by_name(kind, name)

    # ------------------------------------------------------------ inspecting
    def explain(
        self,
        definition: Definition[Any, T, Any],
        id_: str,
        request: Asked[T],
        /,
        *,
        answers: Answers = NO_ANSWERS,
        idempotency_key: str | None = None,
    ) -> Call[Explanation, CallError]:
        """Compute a request's effect without applying it: nothing is written, no service is called.

        It reads committed data, as every read does: requests that wait in the mailbox are not taken into account.

        Args:
            definition: the job.
            id_: the instance.
            request: a function that takes the sender, such as ``lambda order: order.send(event)``, or ``"alarm"``, its
                alarm if it is due, ``"pause"`` or ``"resume"``.
            answers: what services answer, by effect name or as a function that takes the call. Where one is missing,
                the explanation is `NeedsAnswer`.
            idempotency_key: the request's key.

        Raises:
            DefinitionError: the function sends no request, or more than one. Raised when the result is awaited.
        """

        # Built with the engine's limits, which the caller does not know.
        def build(limits: Limits) -> Request:
            return request_of(definition, request, key=idempotency_key, max_bytes=limits.payload_bytes)

        return self._gateway.explain_request(definition, id_, build, answers)

    def list(
        self,
        definition: AnyDefinition | None = None,
        /,
        *,
        kind: str | None = None,
        name: str | None = None,
        status: ListedStatus | None = None,
        id_prefix: str = "",
        due_before: datetime | None = None,
        where: Sequence[Condition | Attribute[Any, bool] | str] = (),
        after: Address | None = None,
        limit: int = 100,
        max_scanned: int | None = None,
    ) -> Call[Listing, CallError]:
        """Find instances, ordered by addresses.

        Args:
            definition: only this job. By default every job in the store, served here or not.
            kind: only this kind, such as ``"task"``. For tools, instead of the definition.
            name: only jobs with this name, as above.
            status: only this status. ``orphaned``: instances whose job this app does not serve. Every other status:
                instances whose job it serves.
            id_prefix: only ids that begin with this text.
            due_before: only instances that are due before this aware instant.
            where: only instances whose attributes meet all these conditions, such as ``[tenant == "acme", past_due]``,
                or as text, ``["amount>100"]``. The call names one job that the app serves.
            after: the previous page's ``after``, or any address.
            limit: maximum number, 1 to 1,000.
            max_scanned: about how many instances the store may read to find them, from 1. None for all. A search that
                stops there is ``partial``, and a call with its ``after`` continues it.
        """

        def wanted() -> ListFilter:
            return list_filter(
                definition,
                kind=kind,
                name=name,
                status=status,
                id_prefix=id_prefix,
                due_before=due_before,
                where=where,
                after=after,
                limit=limit,
                max_scanned=max_scanned,
            )

        return Call(partial(self._list, wanted), "list")

    async def _list(self, wanted: Callable[[], ListFilter]) -> Result[Listing, CallError]:
        try:
            checked = wanted()
        # The checks run when the call is awaited: `Call` objects may be made before the engine is open.
        except RequestError as refused:
            return Failure(refused)
        return await result_of(self._gateway.find(checked))

    def history(
        self, definition: AnyDefinition, id_: str, /, *, before: int | None = None, limit: int = 100
    ) -> Call[tuple[LoggedEvent, ...], CallError]:
        """Read an address's newest events, the newest first. They survive the instance until retention.

        Args:
            definition: the job.
            id_: the instance.
            before: the sequence number of the previous page's last event.
            limit: maximum number, 1 to 1,000.
        """
        return Call(partial(self._history, definition, id_, before, limit), "history")

    async def _history(
        self, definition: AnyDefinition, id_: str, before: int | None, limit: int
    ) -> Result[tuple[LoggedEvent, ...], CallError]:
        try:
            address = check_definition(definition, of="history").address(check_id(id_))
            page = HISTORY.checked({"before": before, "limit": limit})
        except RequestError as refused:
            return Failure(refused)
        return await result_of(self._gateway.history(address, **page))

    def together(self, calls: Iterable[Call[A, E]], /) -> Call[tuple[Success[A] | Failure[E], ...], InvalidArgument]:
        """Make up to 1,000 calls at the same time: starts, signals, cancellations, of any jobs.

        They share transactions, and to a server a request. Each succeeds or fails for itself. So a repeat of those that
        failed, or of all with their idempotency keys, completes the rest.

        Args:
            calls: the calls, none awaited yet, such as ``[flow.start("a", 1), flow.cancel("b")]``.

        Returns:
            How each call ended, in the order of the calls. It fails with `InvalidArgument` beyond 1,000 calls, and then
            makes none.
        """
        return Call(partial(self._together, calls), "together")

    async def _together(self, calls: Iterable[Call[Any, Any]]) -> Result[tuple[Any, ...], InvalidArgument]:
        try:
            given = check_together(calls)
        except InvalidArgument as wrong:
            return Failure(wrong)
        ended: Result[tuple[Any, ...], Never] = await result_of(self._gateway.concurrently(given))
        return ended

    def forget_key(self, definition: AnyDefinition, id_: str, key: str, /) -> Call[Forgotten, CallError]:
        """Forget an idempotency key, so that the request that used it can be made again, and is applied again.

        The history records who did it (``job.key_forgotten``). The instance does not change, and may be absent.

        Args:
            definition: the job.
            id_: the instance.
            key: the key.

        Returns:
            ``forgotten``; ``not_found`` if the key is not known or has expired; ``running`` while the run of its
            request is in progress.
        """
        return Call(partial(self._forget_key, definition, id_, key), "forget_key")

    async def _forget_key(self, definition: AnyDefinition, id_: str, key: str) -> Result[Forgotten, CallError]:
        try:
            at = check_definition(definition, of="forget_key").address(check_id(id_))
        except RequestError as refused:
            return Failure(refused)
        return await self._performed(FORGET_KEY, {"kind": at.kind, "name": at.name, "id": at.id, "key": key})

    def until(
        self,
        definition: AnyDefinition,
        id_: str,
        /,
        *statuses: AwaitedStatus,
        phases: tuple[str, ...] = (),
        timeout: Duration = "1 minute",
    ) -> Call[Reached, CallError | WaitFailed]:
        """Wait until an instance has one of these statuses or phases. Without any, until its end.

        A transition wakes the caller once it is durable: nothing polls. A status that the instance has when the call
        begins counts, and so does one that a later transition changes again before the caller runs.

        Args:
            definition: the job.
            id_: the instance.
            *statuses: statuses as in ``status``, or ``"ended"``: there is no instance, or its kind keeps it for its
                result only.
            phases: phases that the job's kind reports.
            timeout: how long to wait. ``"0 ms"`` to answer immediately. A client in another process queries its server
                again every 20 seconds, and can miss a status that the instance had only between two requests.

        Returns:
            ``Reached`` with the committed status. It fails with `WaitOver` when the time is over, with `NothingStored`
            if an end is wanted, and there is neither an instance nor one of its events in the log, with `Overloaded`
            beyond ``Limits.waits``, and with `EngineClosed` if the engine stops.
        """

        def checked() -> tuple[Address, WaitCondition, int]:
            address = check_definition(definition, of="until").address(check_id(id_))
            return address, check_wanted(statuses, phases), check_timeout(timeout)

        return Call(partial(self._until, checked), "until")

    async def _until(
        self, checked: Callable[[], tuple[Address, WaitCondition, int]]
    ) -> Result[Reached, CallError | WaitFailed]:
        try:
            address, wanted, timeout_ms = checked()
        except RequestError as refused:
            return Failure(refused)
        match await result_of(self._gateway.until(address, wanted, timeout_ms)):
            case Success(NotReached(status)):
                return Failure(WaitOver(str(address), wanted, status))
            case Success(NeverStored()):
                return Failure(NothingStored(str(address)))
            case Success(Reached() as reached):
                return Success(reached)
            case answer:
                return Failure(answer.failure())

    def dead_letters(self, *, after: int = 0, limit: int = 100) -> Call[tuple[StoredMessage, ...], CallError]:
        """Read messages that failed too often, the oldest first.

        Args:
            after: the id of the previous page's last message.
            limit: maximum number, 1 to 1,000.
        """
        return self._perform(DEAD_LETTERS, after=after, limit=limit)

    def redrive(self, message_id: int, /) -> Call[Literal["redriven", "not_found"], CallError]:
        """Turn a dead letter into an ordinary message again.

        Args:
            message_id: a message id that ``dead_letters`` returns.
        """
        return self._perform(REDRIVE, message_id=message_id)

    def left_messages(self, *, limit: int = 100) -> Call[tuple[StoredMessage, ...], CallError]:
        """Read messages to the served jobs that code left, because it cannot read them or their target.

        Code that reads them takes them by itself. For each sender and target you receive the one message that all later
        ones wait behind, with the problem in its ``error``.

        Args:
            limit: maximum number, 1 to 1,000.
        """
        return self._perform(LEFT_MESSAGES, limit=limit)

    def bury(self, message_id: int, /) -> Call[Literal["buried", "not_found"], CallError]:
        """Make a message that no code will ever read a dead letter, so that those behind it are delivered.

        Args:
            message_id: a message id that ``left_messages`` returns.

        Returns:
            ``buried``, and ``redrive`` turns it back. ``not_found`` if it is not left any more, or being delivered now.
        """
        return self._perform(BURY, message_id=message_id)

    def _perform(self, operation: ClientOperation[T], /, **given: object) -> Call[T, CallError]:
        return Call(partial(self._performed, operation, given), operation.name)

    async def _performed(self, operation: ClientOperation[T], given: Mapping[str, object]) -> Result[T, CallError]:
        try:
            checked = operation.checked(given)
        except RequestError as refused:
            return Failure(refused)
        return await result_of(self._gateway.perform(operation, **checked))

    def backup(
        self, path: str | os.PathLike[str], /, *, progress: OnBackupProgress = _unreported
    ) -> Call[Backup, CallError]:
        """Copy the store into a new file while the engine runs. The copy opens as a store.

        It holds every request that was answered before this call, and possibly later ones, each completely. The engine
        serves requests meanwhile: it copies 256 KiB at a time between them.

        Args:
            path: the new file, which must not exist. Until the backup is complete and on stable storage, its name ends
                with ``.partial``.
            progress: called after each step, in the event loop.

        Returns:
            The path and the size, or ``BackupFailed``, and no file is left.
        """
        return Call(partial(self._backup, path, progress), "backup")

    async def _backup(self, path: str | os.PathLike[str], progress: OnBackupProgress) -> Result[Backup, CallError]:
        try:
            path = check_backup(path, progress)
        except RequestError as refused:
            return Failure(refused)
        return await result_of(self._gateway.backup(path, progress))

    def stopped(self) -> Call[EngineStopped, CallError]:
        """Wait until this process's engine has stopped, and return when and why.

        Its ``reason`` is empty after the block ``async with app.open(...)`` ended. Otherwise the engine stopped itself
        and accepts no more requests: it lost its store, a job raised ``SystemExit`` or ``KeyboardInterrupt``, or the
        engine has a defect. Leave the block then, and let the process manager start the process again.

        A client in another process gets ``InvalidInput``: watch ``health()`` instead.
        """
        return self._gateway.stopped()

    def in_flight(self) -> Call[InFlight, CallError]:
        """Read the work that the engine has accepted and not finished. It reads memory, not the store."""
        return self._gateway.perform(IN_FLIGHT)

    def counts(self) -> Call[StoreCounts, CallError]:
        """Count the instances by job and status, and the messages.

        After an engine was not closed, the next one counts again, in batches. Until the count is done, the answer's
        ``complete`` is False, and each call continues the count.
        """
        return self._gateway.perform(COUNTS)

    def demand(self, *, within: Duration = "0ms") -> Call[Demand, CallError]:
        """Count the work that waits or runs, for each job that the engine serves: what an autoscaler needs.

        The numbers are those of the whole store, whichever of its engines answers. Counting costs the same, however
        many instances are stored.

        Args:
            within: alarms that are due within this time count as due: the time that a new engine needs to start, below
                100 days.
        """
        return Call(partial(self._demand, within), "demand")

    async def _demand(self, within: Duration) -> Result[Demand, CallError]:
        try:
            given = DEMAND.checked({"within": within})
        except RequestError as refused:
            return Failure(refused)
        return await result_of(self._gateway.perform(DEMAND, **given))

    def members(self) -> Call[tuple[EngineMember, ...], CallError]:
        """Return the engines that share the store, by epoch. None if one engine owns the store."""
        return self._gateway.perform(MEMBERS)

    def limits(self) -> Call[tuple[NamedLimit, ...], CallError]:
        """Return the limits with a name that the engine knows, by name: their numbers, and their use.

        A limit that only effects name is known from the first call on.
        """
        return self._gateway.perform(LIMITS)

    def set_limit(
        self,
        name: str,
        /,
        *,
        concurrency: int | None = None,
        rate: tuple[int, Duration] | Rate | None = None,
        concurrency_per_key: int | None = None,
        rate_per_key: tuple[int, Duration] | Rate | None = None,
    ) -> Call[LimitNumbers, CallError]:
        """Change numbers of a limit with a name, for all engines on the store, until `reset_limit`.

        Engines that can reach the store use the new numbers after at most two seconds. Runs and calls in progress
        continue. One that costs more than a number takes all of it.

        Args:
            name: the limit.
            concurrency: how many runs and calls may be in progress, 1 to 100,000. None: as before, like each number.
            rate: how many may begin in any window this long, such as ``(100, "1 minute")``.
            concurrency_per_key: as ``concurrency``, for each key.
            rate_per_key: as ``rate``, for each key.

        Returns:
            The numbers in effect. ``UnknownLimit`` if the engine knows no such limit. ``InvalidArgument`` if a number
            is out of range, or the code declares no such number.
        """
        given = {
            "concurrency": concurrency,
            "rate": rate,
            "concurrency_per_key": concurrency_per_key,
            "rate_per_key": rate_per_key,
        }
        return self._perform(SET_LIMIT, name=name, **given)

    def reset_limit(self, name: str, /) -> Call[LimitNumbers, CallError]:
        """Let a limit have the numbers of the code again, in each engine those of its own code.

        Args:
            name: the limit.
        """
        return self._perform(RESET_LIMIT, name=name)

    def health(self) -> Call[Health, CallError]:
        """Report the store's state, and the messages that wait for jobs that the app does not serve."""
        return self._gateway.perform(HEALTH)

    def metrics(self) -> Call[str, CallError]:
        """Return the engine's metrics in the Prometheus text format, at most a second old.

        The app needs a sink that counts them: `perdure.telemetry.prometheus.prometheus`.
        """
        return self._gateway.perform(METRICS)

    def info(self) -> Call[EngineInfo, CallError]:
        """Describe the engine: its version, the jobs that it serves with their actions, and its limits."""
        return self._gateway.perform(INFO)


def gateway_of(client: Client, /) -> Gateway:
    """Return how a client reaches its engine: a server and the kit pass calls on."""
    return client._gateway  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the only access to it


def call_of(client: Client, operation: ClientOperation[T], given: Mapping[str, Any], /) -> Call[T, CallError]:
    """Make an operation's call, by its typed method, which checks the arguments: a server and commands do.

    Raises:
        UnknownJob: the engine in this process does not serve the job.
        InvalidArgument: the kind or the job's name is not text.
    """
    place = [given[argument.name] for argument in operation.in_the("path")]
    options = {argument.name: given[argument.name] for argument in operation.in_the("query")}
    owner: object = client
    if operation.of != "engine":
        kind, name, *place = place
        owner = client.handle_by_name(kind, name)
    method: Callable[..., Call[T, CallError]] = getattr(owner, operation.name)
    return method(*place, **options)
