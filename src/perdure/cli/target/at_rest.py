"""The file of a store that no engine answers for: it can be read, and not changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal, NoReturn

import attrs
import orjson

from perdure.cli.check import tables
from perdure.cli.check.row_reader import SqliteRows
from perdure.cli.target.shown_by import NOT_SHOWN, Shown
from perdure.cli.target.target import Ask
from perdure.cli.usage_error import UsageError
from perdure.jobs.display import NOT_FOUND, report_status
from perdure.kinds.debounce import handler as debounce
from perdure.kinds.worker_pool import handler as worker_pool
from perdure.kinds.workflow import handler as workflow
from perdure.stores.rows import CorruptRows
from perdure.stores.sqlite import queries
from perdure.stores.sqlite.lock import owner_of
from perdure.stores.sqlite.queries import Search
from perdure.stores.sqlite.reader import Reader
from perdure.stores.sqlite.schema import migrations
from perdure.stores.values import Health, LoggedEvent, Query
from perdure.values.address import Address, Job
from perdure.values.errors import InvalidInput, ServerUnreachable
from perdure.values.instance import Instance
from perdure.values.listings import (
    EngineMember,
    HoldResult,
    InstanceOutcome,
    JobCount,
    Listed,
    ListFilter,
    StepRecord,
    StoreCounts,
)
from perdure.values.message import StoredMessage
from perdure.values.status import InstanceStatus
from perdure.values.status_wait import Awaited, AwaitedStatus
from perdure.values.times import Duration
from perdure.wire.engine_info import EngineInfo

_DEBOUNCE = "debounce"  # whose state does not depend on the code of the job
_REPORTS: Final[Mapping[str, Callable[[Instance, InstanceStatus], InstanceStatus]]] = {
    _DEBOUNCE: debounce.report,
    "pool": worker_pool.report,
    "workflow": workflow.report,
}
"""The kinds whose report has more than that of every instance; it does not depend on the code of the job."""


@attrs.frozen
class AtRest:
    """Reads the file. It does not know which jobs an app serves.

    Attributes:
        name: the URL of the store.
        reader: reads the file.
        shown: decrypts and redacts the records.
        corrupt: the rows that were left out of lists.
    """

    name: str
    reader: Reader
    shown: Shown = attrs.field(factory=Shown)
    corrupt: CorruptRows = attrs.field(factory=CorruptRows)

    @property
    def hides_secrets(self) -> bool:
        """Whether ``state`` hides the values that definitions mark: with the app of the store."""
        return bool(self.shown.served)

    # ------------------------------------------------------------ reading
    def find(self, wanted: ListFilter, /) -> tuple[Listed, ...]:
        """Find instances, in the order of their addresses.

        Raises:
            UsageError: only an engine knows which instances are orphaned.
        """
        if wanted.status == "orphaned":
            raise UsageError(f"--status orphaned: only an engine knows the jobs that it serves, and {self._why()}")
        query = Query(
            kind=wanted.kind,
            name=wanted.name,
            id_prefix=wanted.id_prefix,
            status=wanted.status,
            due_before_ms=wanted.due_before_ms,
            after=wanted.after,
            limit=wanted.limit,
        )
        self._check_version()
        found: tuple[Instance, ...] = ()
        search = Search.of(query)
        while search.after is not None and len(found) < query.limit:
            portion = partial(search.portion, damage=self.corrupt, limit=query.limit - len(found))
            rows, search = self.reader.read(portion)
            found += rows
        rows = tuple(map(self.shown.instance, found))
        return tuple(Listed(address=row.address, status=row.status, report=_report(row)) for row in rows)

    def status(self, address: Address, /) -> InstanceStatus:
        """Read the status of an instance; ``not_found`` if there is none."""
        instance = self._load(address)
        return NOT_FOUND if instance is None else _report(instance)

    def state(self, address: Address, /) -> object:
        """Read the state of an instance; None if there is none.

        Without the app of its job it is returned as it is stored, as text if it is encrypted.

        Raises:
            UsageError: the app does not have its key.
        """
        stored = self._stored(address)
        if stored is not None and self.hides_secrets:
            if not self.shown.knows(address):
                return NOT_SHOWN
            self.shown.check_readable(stored)
        text = None if stored is None else _state(self.shown.instance(stored))
        try:
            return orjson.loads(text) if text else None
        except orjson.JSONDecodeError:
            return text

    def outcome(self, address: Address, /) -> InstanceOutcome | None:
        """Read how an instance ended, without secrets; None if it has not, or without the app of its job."""
        stored = self._stored(address)
        return None if stored is None else self.shown.outcome(stored)

    def steps(self, address: Address, /) -> tuple[StepRecord, ...]:
        """Read the steps of an instance; none if there is no instance.

        Raises:
            UsageError: the app is not known, which alone can read a journal; or it cannot read this one.
        """
        stored = self._stored(address)
        if stored is None:
            return ()
        try:
            return self.shown.steps(stored, tables.journal(SqliteRows(self.reader), stored) or ())
        except InvalidInput as problem:
            raise UsageError(f"{address}: {problem}") from problem

    def history(self, address: Address, before: int | None, limit: int, /) -> tuple[LoggedEvent, ...]:
        """Read the newest events of an address, the newest first."""
        return self.shown.events(self.reader.read(lambda cursor: queries.history(cursor, address, before, limit)))

    def dead_letters(self, after: int, limit: int, /) -> tuple[StoredMessage, ...]:
        """Read messages that failed too often, the oldest first."""
        read = self.reader.read(lambda cursor: queries.dead_letters(cursor, self.corrupt, after, limit))
        return self.shown.messages(read)

    def left_messages(self, limit: int, /) -> tuple[StoredMessage, ...]:
        """Read messages that code left."""
        self._check_version()
        return self.shown.messages(self.reader.read(lambda cursor: queries.messages_left(cursor, self.corrupt, limit)))

    def _load(self, address: Address) -> Instance | None:
        stored = self._stored(address)
        return stored and self.shown.instance(stored)

    def _stored(self, address: Address) -> Instance | None:
        return self.reader.read(lambda cursor: queries.load(cursor, address, None, 0)).instance

    def _check_version(self) -> None:
        """Check that the file has the indexes of this version, which lists use.

        Raises:
            UsageError: an older version of the library wrote it.
        """
        found, expected = self.reader.schema_version, len(migrations())
        if found < expected:
            problem = f"{self.name} has schema version {found}, lists need {expected}; start an engine on it once"
            raise UsageError(problem)

    # ------------------------------------------------------------ of an engine
    def check_engine(self) -> None:
        """Refuse.

        Raises:
            ServerUnreachable: no engine answers for this store; the reason says how to start one.
        """
        raise ServerUnreachable(self.name, self._why())

    def info(self) -> EngineInfo:
        """Refuse."""
        self._refuse()

    def until(
        self, address: Address, statuses: tuple[AwaitedStatus, ...], phases: tuple[str, ...], within: Duration, /
    ) -> Awaited:
        """Refuse."""
        self._refuse()

    def hold(self, job: Job, /) -> HoldResult:
        """Refuse."""
        self._refuse()

    def release(self, job: Job, /) -> HoldResult:
        """Refuse."""
        self._refuse()

    def count(self, job: Job, /) -> JobCount:
        """Refuse."""
        self._refuse()

    def counts(self) -> StoreCounts:
        """Refuse."""
        self._refuse()

    def members(self) -> tuple[EngineMember, ...]:
        """Refuse."""
        self._refuse()

    def metrics(self) -> str:
        """Refuse."""
        self._refuse()

    def health(self) -> Health:
        """Refuse."""
        self._refuse()

    def explain(self, asked: Ask, /) -> dict[str, Any]:
        """Refuse."""
        self._refuse()

    def call(self, asked: Ask, /) -> object:
        """Refuse."""
        self._refuse()

    def redrive(self, message_id: int, /) -> Literal["redriven", "not_found"]:
        """Refuse."""
        self._refuse()

    def bury(self, message_id: int, /) -> Literal["buried", "not_found"]:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ServerUnreachable(self.name, self._why())

    def _why(self) -> str:
        owner = owner_of(self.reader.path)
        if owner is None:
            return f"the store is at rest; start an engine on it: perdure run MODULE:APP --store {self.name}"
        return (
            f"{owner} owns the store and does not listen on its socket; start it with perdure run, or call the server "
            "that it has with --server"
        )


def _report(instance: Instance) -> InstanceStatus:
    status = report_status(instance)
    report = _REPORTS.get(instance.address.kind)
    if report is None:
        return status
    try:
        return report(instance, status)
    except InvalidInput:
        return status


def _state(instance: Instance) -> str | None:
    if instance.address.kind != _DEBOUNCE:
        return instance.state
    try:
        return debounce.visible_state(instance)
    except InvalidInput:
        return instance.state
