"""A store that no engine answers for: it can be read, and not changed.

If the store's app is named, the functions that serve a running engine's clients read and show the records, decrypted
and without secrets. Without the app's definitions, records are shown as they are stored.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import attrs
import orjson

from perdure._lazy import lazy_module
from perdure.cli.process import UsageError
from perdure.cli.target.target import InstanceRequest
from perdure.client.reading import ReadingGateway
from perdure.jobs.call import Call
from perdure.jobs.definition import AnyDefinition, CallError
from perdure.jobs.display import NOT_FOUND
from perdure.jobs.redaction import redacted_status, shown_status
from perdure.kinds.continuous import handler as continuous
from perdure.kinds.debounce import handler as debounce
from perdure.kinds.workflow import handler as workflow
from perdure.programs.future import answer_of
from perdure.stores.at_rest import read_only_store
from perdure.stores.contract import Store, load_one
from perdure.stores.encryption import encrypted_store
from perdure.stores.postgres.settings import shown_url
from perdure.stores.sqlite.lock import owner_of
from perdure.stores.sqlite.reader import Reader
from perdure.stores.sqlite.schema import migrations
from perdure.stores.values import Query
from perdure.values.address import Address, Job, check_id
from perdure.values.errors import DefinitionError, InvalidInput, ServerUnreachable
from perdure.values.excerpt import shown_value
from perdure.values.instance import Instance
from perdure.values.limits import Limits
from perdure.values.listings import InstanceOutcome, Listed, ListFilter, Listing, StepRecord
from perdure.values.message import StoredMessage
from perdure.values.secret import why_unreadable
from perdure.values.status import FailureRecord, InstanceStatus
from perdure.values.status_wait import Awaited, AwaitedStatus, CallEnd, PublishedValue, UpdateReply
from perdure.values.stream import StreamPage
from perdure.values.times import Duration
from perdure.values.transition import Loaded
from perdure.wire.operations import DEAD_LETTERS, HISTORY, LEFT_MESSAGES, STATUS, STEPS, ClientOperation

if TYPE_CHECKING:
    from returns.result import Result

    from perdure.cli import app_loader
    from perdure.stores.at_rest import StoreReader
else:
    app_loader = lazy_module("perdure.cli.app_loader")  # an app imports the engine

A = TypeVar("A")

NOT_SHOWN: Final = "<not shown: the app does not serve this job, so its secrets are not known>"
"""Stands for the state of an instance whose job the app does not serve."""

_DEBOUNCE = "debounce"  # whose state does not depend on the code of the job
_REPORTS: Final[Mapping[str, Callable[[Instance, InstanceStatus], InstanceStatus]]] = {
    "continuous": continuous.report,
    _DEBOUNCE: debounce.report,
    "workflow": workflow.report,
}
"""The kinds whose report has more than every instance's report. It does not depend on the job's code."""


@attrs.frozen
class GatewayAtRest(ReadingGateway):
    """Reads a store without an engine. It does not know which jobs an app serves, unless an app is named.

    Args:
        store: the store, which decrypts if the app has keys.
        definitions: the app's definitions. Empty without an app.
    """

    _store: Store = attrs.field(alias="store")
    _definitions: Mapping[Job, AnyDefinition] = attrs.field(alias="definitions")

    @property
    def store(self) -> Store:
        """The store."""
        return self._store

    @property
    def definitions(self) -> Mapping[Job, AnyDefinition]:
        """The app's definitions."""
        return self._definitions

    @property
    def journal_page(self) -> int:
        """How many journal rows one read returns."""
        return Limits().journal_page

    def load(self, address: Address, /) -> Awaitable[Any]:
        """Read an instance's row."""
        return answer_of(load_one(self.store, address))

    def answer(self, read: Callable[[], Awaitable[A]], /) -> Awaitable[A]:
        """Begin a read."""
        return read()

    def query(self, wanted: ListFilter, /) -> Query:
        """Return a list's conditions, without a restriction to jobs."""
        return attrs.evolve(super().query(wanted), jobs=None, except_jobs=())

    def listed(self, instance: Instance, /) -> Listed:
        """Return an instance as lists show it: with its own status, also if the app does not serve its job."""
        job, error = self.definition_of(instance.address), instance.last_error
        shown = instance.changed(last_error=error and _explained(error))
        report = shown_status(job, shown)
        # The parts of a status that the kind alone knows, such as a phase, do not need the app.
        if job is None and instance.address.kind in _REPORTS:
            report = _report_of_kind(shown, report)
        return Listed(address=instance.address, status=instance.status, report=report)

    def shown_message(self, stored: StoredMessage, /) -> StoredMessage:
        """Return a message as it is shown. Without an app it is shown as it is stored, except for its error's data."""
        error = stored.error and _explained(stored.error)
        if self.definitions:
            return super().shown_message(attrs.evolve(stored, error=error))
        return attrs.evolve(stored, error=error and attrs.evolve(error, data=None))

    def messages_left_to(self, codes: Mapping[Job, str], limit: int, /) -> Call[tuple[StoredMessage, ...], CallError]:
        """Read messages to these jobs that code left."""
        read = self.of_store(lambda store: store.messages_left_to(codes, limit), "left_messages")
        return self.shown(read)

    def definition_of(self, address: Address) -> AnyDefinition | None:
        """Return the app's definition for an instance's job, which says which values are secret."""
        return self.definitions.get((address.kind, address.name))


def _explained(record: FailureRecord) -> FailureRecord:
    """Replace an error's ciphertext by the reason why it is not decrypted."""
    problem = why_unreadable(record.message)
    return record if problem is None else attrs.evolve(record, message=problem)


def _report_of_kind(instance: Instance, status: InstanceStatus) -> InstanceStatus:
    try:
        return redacted_status(None, _REPORTS[instance.address.kind](instance, status))
    except InvalidInput:
        return status


@attrs.frozen
class AtRest:
    """Reads a store for commands.

    Attributes:
        gateway: the functions that read and show.
    """

    name: str
    reader: StoreReader
    gateway: GatewayAtRest

    @property
    def hides_secrets(self) -> bool:
        """Whether ``state`` hides the values that definitions mark: only if the store's app is named."""
        return bool(self.gateway.definitions)

    # ------------------------------------------------------------ reading
    def find(self, wanted: ListFilter, /) -> Listing:
        """Find instances, ordered by address.

        Raises:
            UsageError: only an engine knows which instances are orphaned.
        """
        if wanted.status == "orphaned":
            raise UsageError(f"--status orphaned: only an engine knows the jobs that it serves, and {self._why()}")
        self._check_version()
        return self.reader.wait(self.gateway.find(wanted))

    def _status(self, address: Address) -> InstanceStatus:
        """Read an instance's status. ``not_found`` if there is no instance."""
        instance = self._row(address)
        return NOT_FOUND if instance is None else self.gateway.listed(instance).report

    def state(self, address: Address, /) -> object:
        """Read an instance's state. None if there is no instance.

        Without an app the state is returned as it is stored, as text if it is encrypted. If the app does not serve the
        job, `NOT_SHOWN` is returned.

        Raises:
            UsageError: the app does not have its key.
        """
        instance, job = self._row(address), self.gateway.definition_of(address)
        if instance is None:
            return None
        if job is None:
            # With an app, a state without its definition may have secrets that nothing marks.
            return NOT_SHOWN if self.hides_secrets else _stored_state(instance)
        # Before the state is decoded: the ciphertext would be reported as damaged JSON.
        problem = why_unreadable(instance.state) or why_unreadable(instance.data)
        if problem is not None:
            raise UsageError(f"{address}: {problem}")
        text = self.reader.wait(self.gateway.shown_state(job, address.id))
        return None if text is None else orjson.loads(text)

    def outcome(self, address: Address, /) -> InstanceOutcome | None:
        """Read how an instance ended, without secrets. None if it has not, or if no app serves its job."""
        job = self.gateway.definition_of(address)
        return None if job is None else self.reader.wait(self.gateway.shown_outcome(job, address.id))

    def _steps(self, address: Address) -> tuple[StepRecord, ...]:
        """Read an instance's steps. Empty if there is no instance.

        Raises:
            UsageError: the app is not known, which alone can read a journal.
        """
        job = self.gateway.definition_of(address)
        if job is not None:
            return self.reader.wait(self.gateway.steps(job, address.id))
        if self._row(address) is None:
            return ()
        problem = "the store is at rest, and only its app can read the steps: pass one that serves the job with --app"
        raise UsageError(f"{address}: {problem}")

    def perform(self, operation: ClientOperation[A], /, **given: object) -> A:
        """Perform an operation that reads stored records.

        Raises:
            ServerUnreachable: it needs an engine.
        """
        answer: A = self._performed(operation.name, given)
        return answer

    def _performed(self, operation: str, given: dict[str, Any]) -> Any:
        match operation:
            case STATUS.name:
                return self._status(_address(given))
            case STEPS.name:
                return self._steps(_address(given))
            case HISTORY.name:
                page = self.gateway.history(_address(given), before=given["before"], limit=given["limit"])
                return self.reader.wait(page)
            case DEAD_LETTERS.name:
                return self.reader.wait(self.gateway.dead_letters(**given))
            case LEFT_MESSAGES.name:
                return self._left_messages(**given)
            case _:
                raise ServerUnreachable(self.name, self._why())

    def _left_messages(self, *, limit: int) -> tuple[StoredMessage, ...]:
        self._check_version()
        # Of all jobs: the rows themselves name them, as no app does.
        marks = self.reader.rows("SELECT DISTINCT left_by FROM perdure.messages WHERE left_by IS NOT NULL")
        return self.reader.wait(self.gateway.messages_left_to({_job_of(mark): "" for (mark,) in marks}, limit))

    def rows(self, address: Address) -> tuple[Instance, tuple[str, ...]]:
        """Read an instance with its journal.

        Raises:
            UsageError: there is no such instance.
        """
        row = self._row(address)
        if row is None:
            raise UsageError(f"{address}: there is no such instance")
        return row, self.reader.wait(self.gateway.journal(row)).unwrap()

    def _row(self, address: Address) -> Instance | None:
        loaded: Loaded = self.reader.wait(self.gateway.load(address)).unwrap()
        return loaded.instance

    def _check_version(self) -> None:
        """Check that the file has the indexes of this version, which lists use.

        Raises:
            UsageError: an older version of the library wrote it.
        """
        found, expected = self.reader.schema_version, len(migrations())
        if isinstance(self.reader, Reader) and found < expected:
            problem = f"{self.name} has schema version {found}, lists need {expected}; start an engine on it once"
            raise UsageError(problem)

    # ------------------------------------------------------------ of an engine
    def check_engine(self) -> None:
        """Refuse.

        Raises:
            ServerUnreachable: no engine answers for this store. The reason says how to start one.
        """
        self._refuse()

    def until(
        self, address: Address, statuses: tuple[AwaitedStatus, ...], phases: tuple[str, ...], within: Duration, /
    ) -> Awaited:
        """Refuse."""
        self._refuse()

    def explain(self, asked: InstanceRequest, /) -> dict[str, Any]:
        """Refuse."""
        self._refuse()

    def future(self, address: Address, question: bytes, /) -> dict[str, Any]:
        """Compute an instance's future.

        Raises:
            UsageError: the app is not known, whose code decides the future, or the question is not valid.
        """
        from perdure.rehearsal import NoAnswers, asked, timeline  # noqa: PLC0415 - an extra, which no other command at rest needs

        job = self.gateway.definition_of(address)
        if job is None:
            raise UsageError(f"{address}: the store is at rest, and its app decides the future: pass --app MODULE:APP")
        check_id(address.id)
        try:
            wanted = asked.ASKED_FUTURE.decode(question).question()
            now_ms = time.time_ns() // 1_000_000
            return timeline.future_at_rest(self.gateway, self.reader.wait, address, wanted, now_ms=now_ms).data()
        except NoAnswers as missing:
            raise asked.without_answers(missing) from missing
        except DefinitionError as problem:
            raise UsageError(str(problem)) from problem

    def call(self, asked: InstanceRequest, /) -> object:
        """Refuse."""
        self._refuse()

    def calls(self, asked: Sequence[InstanceRequest], /) -> tuple[Result[object, Any], ...]:
        """Refuse."""
        self._refuse()

    def update(self, asked: InstanceRequest, within: Duration, /) -> UpdateReply:
        """Refuse."""
        self._refuse()

    def stream_page(self, address: Address, stream: str, after: int, wait_ms: int, /) -> StreamPage:
        """Refuse."""
        self._refuse()

    def published(self, address: Address, name: str, within: Duration, /) -> PublishedValue:
        """Refuse."""
        self._refuse()

    def call_and_wait(self, asked: InstanceRequest, within: Duration, /) -> CallEnd:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ServerUnreachable(self.name, self._why())

    def _why(self) -> str:
        if not isinstance(self.reader, Reader):
            return "this needs an engine; reach one that perdure serve runs: pass --server URL"
        owner = owner_of(self.reader.path)
        if owner is None:
            return f"the store is at rest; start an engine on it: perdure run MODULE:APP --store {self.name}"
        return (
            f"{owner} owns the store and does not listen on its socket; start it with perdure run, or call the server "
            "that it has with --server"
        )


def _address(at: Mapping[str, Any]) -> Address:
    return Address(at["kind"], at["name"], at["id"])


def _job_of(mark: str) -> Job:
    kind, _, name = mark.partition("\t")[0].partition(":")
    return kind, name


def _stored_state(instance: Instance) -> object:
    """Return a state as it is stored, as text if it is encrypted."""
    text = shown_value(instance.state)
    if instance.address.kind == _DEBOUNCE:
        with suppress(InvalidInput):
            text = debounce.visible_state(instance) or ""
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return text


def store_at_rest(url: str, reader: StoreReader, app: str | None) -> AtRest:
    """Return the target for an open reader.

    Args:
        url: the store's URL.
        reader: reads the store.
        app: its app, written ``module:app``. None to show records as they are stored.

    Raises:
        UsageError: the app cannot be imported, or its keys cannot be read.
    """
    store, name = read_only_store(reader), shown_url(url)
    if app is None:
        return AtRest(name, reader, GatewayAtRest(store, {}))
    code = app_loader.import_app(app)
    keys = app_loader.keys_of(code)
    return AtRest(name, reader, GatewayAtRest(store if keys is None else encrypted_store(store, keys), code.served))
