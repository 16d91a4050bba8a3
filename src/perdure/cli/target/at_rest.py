"""The file of a store that no engine answers for: it can be read, and not changed.

Its records are shown as a running engine shows them, if the app of the store is named: decrypted, and without secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import attrs
import orjson

from perdure._lazy import lazy_module
from perdure.cli import stored_rows
from perdure.cli.process import UsageError
from perdure.cli.stored_rows import SqliteRows
from perdure.cli.target.target import InstanceRequest
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.display import NOT_FOUND, report_status
from perdure.jobs.redaction import redacted_instance, redacted_message
from perdure.kinds.debounce import handler as debounce
from perdure.kinds.worker_pool import handler as worker_pool
from perdure.kinds.workflow import handler as workflow
from perdure.stores.encryption.records import RecordCipher
from perdure.stores.rows import CorruptRows
from perdure.stores.sqlite import queries
from perdure.stores.sqlite.lock import owner_of
from perdure.stores.sqlite.queries import Search
from perdure.stores.sqlite.reader import Reader
from perdure.stores.sqlite.schema import migrations
from perdure.stores.values import LoggedEvent, Query
from perdure.values.address import Address
from perdure.values.errors import InvalidInput, ServerUnreachable
from perdure.values.failure import FailureRecord
from perdure.values.instance import Instance
from perdure.values.listings import (
    InstanceOutcome,
    Listed,
    ListFilter,
    StepRecord,
)
from perdure.values.message import StoredMessage
from perdure.values.secret import why_unreadable
from perdure.values.status import InstanceStatus
from perdure.values.status_wait import Awaited, AwaitedStatus
from perdure.values.times import Duration
from perdure.wire.operations import DEAD_LETTERS, HISTORY, LEFT_MESSAGES, ClientOperation

if TYPE_CHECKING:
    from perdure.cli import app_loader
else:
    app_loader = lazy_module("perdure.cli.app_loader")  # an app imports the engine

A = TypeVar("A")

NOT_SHOWN: Final = "<not shown: the app does not serve this job, so its secrets are not known>"
"""Stands for the state of an instance whose job the app does not serve."""


@attrs.frozen
class RecordPresenter:
    """Decrypts and redacts records.

    Attributes:
        served: the definitions of the app, by kind and name.
        records: decrypts; None if the app does not encrypt.
    """

    served: Mapping[tuple[str, str], AnyDefinition] = attrs.Factory(dict[tuple[str, str], AnyDefinition])
    records: RecordCipher | None = None

    def knows(self, address: Address) -> bool:
        """Return whether the app has the definition of an instance, which says which values are secret."""
        return self._job(address) is not None

    def instance(self, instance: Instance) -> Instance:
        """Return an instance as it is shown; without its definition, as it is stored but for the data of its errors."""
        found = instance if self.records is None else self.records.instance(instance)
        found = found.changed(last_error=found.last_error and _explained(found.last_error))
        job = self._job(found.address)
        return _without_error_data(found) if job is None else redacted_instance(job, found)

    def check_readable(self, instance: Instance) -> None:
        """Check that the app has the key of an instance's state.

        Raises:
            UsageError: it has not.
        """
        found = instance if self.records is None else self.records.instance(instance)
        problem = why_unreadable(found.state) or why_unreadable(found.data)
        if problem is not None:
            raise UsageError(f"{instance.address}: {problem}")

    def outcome(self, instance: Instance) -> InstanceOutcome | None:
        """Return how an instance ended; None if it has not, or if no app was named that serves the job."""
        job = self._job(instance.address)
        return None if job is None else job.outcome_of(self.instance(instance))

    def steps(self, instance: Instance, rows: tuple[str, ...]) -> tuple[StepRecord, ...]:
        """Return the steps of an instance.

        Raises:
            UsageError: no app was named, or it does not serve the job.
        """
        job, records = self._job(instance.address), self.records
        if job is None:
            problem = (
                "the store is at rest, and only its app can read the steps: pass one that serves the job with --app"
            )
            raise UsageError(f"{instance.address}: {problem}")
        if records is None:
            return job.steps(instance, rows)
        return job.steps(records.instance(instance), records.journal(rows, str(instance.address), 0))

    def messages(self, messages: tuple[StoredMessage, ...]) -> tuple[StoredMessage, ...]:
        """Return messages as they are shown."""
        return tuple(map(self._message, messages))

    def _message(self, stored: StoredMessage) -> StoredMessage:
        found = stored if self.records is None else self.records.message(stored)
        job = self._job(found.message.target)
        if job is not None:
            found = redacted_message(job, found)
        error = _without_data(found.error) if job is None else found.error
        return attrs.evolve(found, error=error and _explained(error))

    def events(self, events: tuple[LoggedEvent, ...]) -> tuple[LoggedEvent, ...]:
        """Return events as they are shown: they are stored without secrets."""
        return events if self.records is None else self.records.logged(events)

    def _job(self, address: Address) -> AnyDefinition | None:
        return self.served.get((address.kind, address.name))


def presenter_of(app: str | None) -> RecordPresenter:
    """Import an app, to show the records of its store.

    Args:
        app: the app, written ``module:app``; None to show them as they are stored.

    Raises:
        UsageError: it cannot be imported, or its keys cannot be read.
    """
    if app is None:
        return RecordPresenter()
    code = app_loader.import_app(app)
    return RecordPresenter(code.served, app_loader.records_of(code))


def _without_error_data(instance: Instance) -> Instance:
    """Leave out the data of typed errors: only the definition says what of it is secret. Their texts hide that."""
    retry = instance.pending_retry
    return instance.changed(
        last_error=_without_data(instance.last_error),
        pending_retry=retry and attrs.evolve(retry, error=attrs.evolve(retry.error, data=None)),
    )


def _without_data(error: FailureRecord | None) -> FailureRecord | None:
    return error and attrs.evolve(error, data=None)


def _explained(record: FailureRecord) -> FailureRecord:
    """Replace the ciphertext of an error by the reason why it is not decrypted."""
    problem = why_unreadable(record.message)
    return record if problem is None else attrs.evolve(record, message=problem)


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
        presenter: decrypts and redacts the records.
        corrupt: the rows that were left out of lists.
    """

    name: str
    reader: Reader
    presenter: RecordPresenter = attrs.field(factory=RecordPresenter)
    corrupt: CorruptRows = attrs.field(factory=CorruptRows)

    @property
    def hides_secrets(self) -> bool:
        """Whether ``state`` hides the values that definitions mark: with the app of the store."""
        return bool(self.presenter.served)

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
        rows = tuple(map(self.presenter.instance, found))
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
            if not self.presenter.knows(address):
                return NOT_SHOWN
            self.presenter.check_readable(stored)
        text = None if stored is None else _state(self.presenter.instance(stored))
        try:
            return orjson.loads(text) if text else None
        except orjson.JSONDecodeError:
            return text

    def outcome(self, address: Address, /) -> InstanceOutcome | None:
        """Read how an instance ended, without secrets; None if it has not, or without the app of its job."""
        stored = self._stored(address)
        return None if stored is None else self.presenter.outcome(stored)

    def steps(self, address: Address, /) -> tuple[StepRecord, ...]:
        """Read the steps of an instance; none if there is no instance.

        Raises:
            UsageError: the app is not known, which alone can read a journal; or it cannot read this one.
        """
        stored = self._stored(address)
        if stored is None:
            return ()
        try:
            return self.presenter.steps(stored, stored_rows.journal(SqliteRows(self.reader), stored) or ())
        except InvalidInput as problem:
            raise UsageError(f"{address}: {problem}") from problem

    def perform(self, operation: ClientOperation[A], /, **given: object) -> A:
        """Perform an operation that reads stored records.

        Raises:
            ServerUnreachable: it needs an engine.
        """
        reads: dict[str, Callable[..., Any]] = {
            HISTORY.name: self._history,
            DEAD_LETTERS.name: self._dead_letters,
            LEFT_MESSAGES.name: self._left_messages,
        }
        if operation.name not in reads:
            self._refuse()
        answer: A = reads[operation.name](**given)
        return answer

    def _history(self, *, kind: str, name: str, id: str, before: int | None, limit: int) -> tuple[LoggedEvent, ...]:  # noqa: A002 - the argument of the operation
        address = Address(kind, name, id)
        return self.presenter.events(self.reader.read(lambda cursor: queries.history(cursor, address, before, limit)))

    def _dead_letters(self, *, after: int, limit: int) -> tuple[StoredMessage, ...]:
        read = self.reader.read(lambda cursor: queries.dead_letters(cursor, self.corrupt, after, limit))
        return self.presenter.messages(read)

    def _left_messages(self, *, limit: int) -> tuple[StoredMessage, ...]:
        self._check_version()
        return self.presenter.messages(
            self.reader.read(lambda cursor: queries.messages_left(cursor, self.corrupt, limit))
        )

    def _load(self, address: Address) -> Instance | None:
        stored = self._stored(address)
        return stored and self.presenter.instance(stored)

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

    def until(
        self, address: Address, statuses: tuple[AwaitedStatus, ...], phases: tuple[str, ...], within: Duration, /
    ) -> Awaited:
        """Refuse."""
        self._refuse()

    def explain(self, asked: InstanceRequest, /) -> dict[str, Any]:
        """Refuse."""
        self._refuse()

    def call(self, asked: InstanceRequest, /) -> object:
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
