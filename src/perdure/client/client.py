"""``Client``: the calls of an open app."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.client.arguments import (
    MAX_NUMBER,
    check_after,
    check_backup,
    check_definition,
    check_due_before,
    check_limit,
    check_text,
    check_whole,
)
from perdure.client.by_name import NamedJob
from perdure.client.gateway import Gateway
from perdure.engine.in_flight import InFlight
from perdure.engine.running import RunningEngine
from perdure.engine.unserved import with_unserved
from perdure.jobs.definition import AnyDefinition, CallError, Definition
from perdure.jobs.explanation import NO_ANSWERS, Answers, Asked, Explanation, request_of
from perdure.jobs.report import report_status
from perdure.jobs.request import Request
from perdure.programs.future import answer_of, once
from perdure.stores.store import Backup, BackupProgress, Health, LoggedEvent, OnBackupProgress, Query
from perdure.values.address import Address, check_id
from perdure.values.answer import InstanceStatus
from perdure.values.errors import BackupFailed, InvalidArgument, InvalidInput, RequestError, UnknownJob
from perdure.values.excerpt import MAX_LINE_CHARACTERS, fields_in_line, shortened
from perdure.values.instance import Instance, Status
from perdure.values.limits import Limits
from perdure.values.message import StoredMessage

H = TypeVar("H")
T = TypeVar("T")

ListedStatus: TypeAlias = Status | Literal["orphaned"]
"""The status of an instance in a list: ``orphaned`` when its job is not served here."""

_STATUSES: Final = (*get_args(Status), "orphaned")


def _unreported(_: BackupProgress) -> None:
    """Report no progress."""


@attrs.frozen(kw_only=True)
class Listed:
    """One instance in a list.

    Attributes:
        address: kind, job and id.
        status: its status; ``orphaned`` when its job is not served here.
        report: its report, as ``status`` returns it.
    """

    __repr__ = fields_in_line

    address: Address
    status: ListedStatus
    report: InstanceStatus


@attrs.frozen
class Client:
    """The jobs of an open engine.

    ``jobs.handle(definition)`` returns the typed handle of a job; every call of it returns a ``FutureResult``.
    """

    _gateway: Gateway

    def __repr__(self) -> str:
        served = ", ".join(f"{kind}:{name}" for kind, name in self._engine.jobs)
        return shortened(f"<{type(self).__name__} of {self._engine.store.name}: {served}>", MAX_LINE_CHARACTERS)

    @property
    def _engine(self) -> RunningEngine:
        return self._gateway.engine

    # ------------------------------------------------------------ access
    def handle(self, definition: Definition[H, Any, Any], /) -> H:
        """Return the typed handle of a job.

        Raises:
            UnknownJob: this engine does not serve that definition.
            InvalidArgument: the argument is not a definition.
        """
        check_definition(definition, of="handle")
        if self._engine.jobs.get((definition.kind, definition.name)) is not definition:
            raise self._unknown(definition.kind, definition.name)
        return definition.handle(self._gateway)

    def handle_by_name(self, kind: str, name: str, /) -> NamedJob:
        """Return untyped access to a job, for tools: inputs and answers are JSON.

        Raises:
            UnknownJob: this engine does not serve that job.
            InvalidArgument: the kind or the name is not text.
        """
        check_text(kind, what="kind of handle_by_name")
        check_text(name, what="name of handle_by_name")
        job = self._engine.jobs.get((kind, name))
        if job is None:
            raise self._unknown(kind, name)
        return NamedJob(job, self._gateway)

    def _unknown(self, kind: str, name: str) -> UnknownJob:
        return UnknownJob(kind, name, tuple(f"{kind}:{name}" for kind, name in self._engine.jobs))

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
    ) -> FutureResult[Explanation, CallError]:
        """Compute the effect of a request without applying it: nothing is written, no service is called.

        It reads committed data, as every read does: requests that wait in the mailbox are not taken into account.

        Args:
            definition: the job.
            id_: the instance.
            request: a function of the sender, such as ``lambda order: order.send(event)``; or ``"alarm"``, its alarm
                if it is due, ``"pause"`` or ``"resume"``.
            answers: the answers of services, by the name of the effect or as a function of the call; where one is
                missing, the explanation is `NeedsAnswer`.
            idempotency_key: of the request.

        Raises:
            DefinitionError: the function sends no request, or more than one. Raised when the result is awaited.
        """

        def build(limits: Limits) -> Request:
            return request_of(definition, request, key=idempotency_key, max_bytes=limits.payload_bytes)

        return self._gateway.explain_request(definition, id_, build, answers)

    def list(
        self,
        definition: AnyDefinition | None = None,
        /,
        *,
        status: ListedStatus | None = None,
        id_prefix: str = "",
        due_before: datetime | None = None,
        after: Address | None = None,
        limit: int = 100,
    ) -> FutureResult[tuple[Listed, ...], CallError]:
        """Find instances, in the order of their addresses.

        Args:
            definition: only this job; by default every job in the store, served here or not.
            status: only this status. ``orphaned``: instances of jobs that this app does not serve; every other status:
                instances of jobs that it serves.
            id_prefix: only ids that begin with this text.
            due_before: only instances that are due before this aware instant.
            after: the last address of the previous page.
            limit: maximum number, 1 to 1,000.
        """
        return once(self._list(definition, status, id_prefix, due_before, after, limit))

    async def _list(
        self,
        definition: AnyDefinition | None,
        status: ListedStatus | None,
        id_prefix: str,
        due_before: datetime | None,
        after: Address | None,
        limit: int,
    ) -> Result[tuple[Listed, ...], CallError]:
        try:
            if definition is not None:
                check_definition(definition, of="list")
            if status is not None and status not in _STATUSES:
                raise InvalidArgument("status of list", status, f"one of {', '.join(_STATUSES)}, or None")
            served = tuple(self._engine.jobs)
            query = Query(
                kind=None if definition is None else definition.kind,
                name=None if definition is None else definition.name,
                jobs=None if status in (None, "orphaned") else served,
                except_jobs=served if status == "orphaned" else (),
                id_prefix=check_text(id_prefix, what="id_prefix of list"),
                status=None if status == "orphaned" else status,
                due_before_ms=check_due_before(due_before),
                after=check_after(after),
                limit=check_limit(limit, of="list"),
            )
        except RequestError as refused:
            return Failure(refused)
        found = await answer_of(self._engine.store.find(query))
        return found.map(lambda rows: tuple(self._listed(row) for row in rows))

    def _listed(self, instance: Instance) -> Listed:
        job = self._engine.jobs.get((instance.address.kind, instance.address.name))
        status: ListedStatus = "orphaned" if job is None else instance.status
        return Listed(address=instance.address, status=status, report=_report(job, instance))

    def history(
        self, definition: AnyDefinition, id_: str, /, *, before: int | None = None, limit: int = 100
    ) -> FutureResult[tuple[LoggedEvent, ...], CallError]:
        """Read the newest events of an address, the newest first. They survive the instance until retention.

        Args:
            definition: the job.
            id_: the instance.
            before: the sequence number of the last event of the previous page.
            limit: maximum number, 1 to 1,000.
        """
        return once(self._history(definition, id_, before, limit))

    async def _history(
        self, definition: AnyDefinition, id_: str, before: int | None, limit: int
    ) -> Result[tuple[LoggedEvent, ...], CallError]:
        try:
            address = check_definition(definition, of="history").address(check_id(id_))
            size = check_limit(limit, of="history")
            if before is not None:
                check_whole(before, what="before of history", least=0, most=MAX_NUMBER)
        except RequestError as refused:
            return Failure(refused)
        return await answer_of(self._engine.store.history(address, before, size))

    def dead_letters(self, *, after: int = 0, limit: int = 100) -> FutureResult[tuple[StoredMessage, ...], CallError]:
        """Read messages that failed too often, the oldest first.

        Args:
            after: the id of the last message of the previous page.
            limit: maximum number, 1 to 1,000.
        """
        return once(self._dead_letters(after, limit))

    async def _dead_letters(self, after: int, limit: int) -> Result[tuple[StoredMessage, ...], CallError]:
        try:
            size = check_limit(limit, of="dead_letters")
            check_whole(after, what="after of dead_letters", least=0, most=MAX_NUMBER)
        except RequestError as refused:
            return Failure(refused)
        return await answer_of(self._engine.store.dead_letters(after, size))

    def redrive(self, message_id: int, /) -> FutureResult[Literal["redriven", "not_found"], CallError]:
        """Turn a dead letter into an ordinary message again.

        Args:
            message_id: the id of a message that ``dead_letters`` returns.
        """
        return once(self._redrive(message_id))

    async def _redrive(self, message_id: int) -> Result[Literal["redriven", "not_found"], CallError]:
        try:
            check_whole(message_id, what="message_id of redrive", least=0, most=MAX_NUMBER)
        except RequestError as refused:
            return Failure(refused)
        outcome = await answer_of(self._engine.store.redrive(message_id))
        if isinstance(outcome, Success):
            self._engine.outbox.wake.ring()
        return outcome

    def backup(
        self, path: str | os.PathLike[str], /, *, progress: OnBackupProgress = _unreported
    ) -> FutureResult[Backup, CallError]:
        """Copy the store into a new file while the engine runs. The copy opens as a store.

        It holds every request that was answered before this call, and possibly later ones, each completely. The engine
        serves requests meanwhile: it copies in steps of 256 KiB between them.

        Args:
            path: the new file, which must not exist. Until the backup is complete and on stable storage, its name ends
                with ``.partial``.
            progress: called after each step, in the event loop.

        Returns:
            The path and the size; or ``BackupFailed``, and no file is left.
        """
        return once(self._backup(path, progress))

    async def _backup(self, path: str | os.PathLike[str], progress: OnBackupProgress) -> Result[Backup, CallError]:
        try:
            path = check_backup(path, progress)
        except RequestError as refused:
            return Failure(refused)
        make = self._engine.store.backup
        if make is None:
            reason = f"{self._engine.store.name} has no backup: only the engine of a SQLite file copies its store"
            return Failure(BackupFailed(path, reason))
        return await answer_of(make(path, progress))

    def in_flight(self) -> InFlight:
        """Return the work that the engine has accepted and not finished. It reads memory, not the store."""
        return self._engine.in_flight()

    def health(self) -> FutureResult[Health, CallError]:
        """Report the state of the store, and the messages that wait for jobs that this app does not serve."""
        return once(self._health())

    async def _health(self) -> Result[Health, CallError]:
        health = await answer_of(self._engine.store.health())
        return health.map(lambda known: with_unserved(known, self._engine.outbox.unserved))


def gateway_of(client: Client, /) -> Gateway:
    """Return the gateway that the handles of a client use: the command line and the kit need its engine."""
    return client._gateway  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the only access to it


def _report(job: AnyDefinition | None, instance: Instance) -> InstanceStatus:
    """Describe an instance, by the data of all kinds if the kind's own data cannot be decoded."""
    try:
        return report_status(instance) if job is None else job.report(instance)
    except InvalidInput:
        return report_status(instance)
