"""The client calls that need a store and definitions, and no engine.

A running engine serves them through `perdure.client.local_gateway`, and the command line serves them itself for a store
at rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.jobs.attributes import generations_of, types_of
from perdure.jobs.call import Call, mapped
from perdure.jobs.definition import AnyDefinition, CallError
from perdure.jobs.display import NOT_FOUND
from perdure.jobs.parts import whole_state
from perdure.jobs.redaction import redacted_instance, redacted_message, redacted_status, shown_status
from perdure.jobs.suspension import shown_text, visible_text
from perdure.programs.future import answer_of
from perdure.stores.contract import Store
from perdure.stores.snapshots import read_journal
from perdure.stores.values import Found, LoggedEvent, Query
from perdure.values.address import Address, Job, check_id
from perdure.values.attributes import Attribute, Condition, KeyRange, StoredAttribute, checked_where, key_ranges
from perdure.values.errors import InvalidArgument, InvalidInput, RequestError, StoreError, Undecodable
from perdure.values.excerpt import REFERENCE, fields_in_line
from perdure.values.instance import Instance
from perdure.values.listings import InstanceOutcome, Listed, ListFilter, Listing, MatchCount, StepRecord
from perdure.values.message import StoredMessage
from perdure.values.status import InstanceStatus
from perdure.values.transition import Loaded

A = TypeVar("A")


MOST_READS: Final = 5
"""How often a state in parts is read while its workflow starts over with other ones."""


@attrs.frozen
class _Parts:
    """A state in parts.

    Attributes:
        instance: the row that names them.
    """

    __repr__ = fields_in_line

    instance: Instance


def _stored_state(
    job: AnyDefinition, rows: Sequence[str], view: Callable[[str], A], loaded: Loaded
) -> A | _Parts | None:
    """Return a view of a state. If the rows lack one of its parts, return the row.

    Raises:
        InvalidInput: this code cannot read it.
    """
    text = None if loaded.instance is None else visible_text(job, loaded.instance)
    if text is None or loaded.instance is None:
        return None
    if text[:1] == REFERENCE:
        # The rows are of an earlier read, or of none yet: the parts may lie behind them.
        if len(rows) < loaded.instance.journal_length:
            return _Parts(loaded.instance)
        text = whole_state(job, text, rows)
    return view(text)


class ReadingGateway(ABC):
    """Reads a store's instances, messages and log, and shows them without secrets."""

    __slots__ = ()

    @property
    @abstractmethod
    def store(self) -> Store:
        """The store."""

    @property
    def lists(self) -> Store:
        """The store that answers lists, searches and counts: the store's replica, if it has one."""
        return self.store if self.store.replica is None else self.store.replica

    @property
    def elsewhere(self) -> frozenset[Job]:
        """The jobs that other engines on the shared store serve. None without an engine."""
        return frozenset()

    @property
    @abstractmethod
    def definitions(self) -> Mapping[Job, AnyDefinition]:
        """The definitions, which decode instances and mark secrets, by kind and name."""

    @property
    @abstractmethod
    def journal_page(self) -> int:
        """How many journal rows one read returns."""

    @abstractmethod
    def load(self, address: Address, /) -> Awaitable[Result[Loaded, Any]]:
        """Read an instance's committed row."""

    @abstractmethod
    def answer(self, read: Callable[[], Awaitable[Result[A, Any]]], /) -> Awaitable[Result[A, Any]]:
        """Begin a read, and return its answer."""

    # ------------------------------------------------------------ one instance
    def status(self, definition: AnyDefinition, id_: str, /) -> Call[InstanceStatus, CallError]:
        """Read the committed status."""

        def reported(loaded: Loaded) -> InstanceStatus:
            found = loaded.instance
            return NOT_FOUND if found is None else redacted_status(definition, definition.report(found))

        return Call(partial(self._read, definition, id_, reported), "status")

    def state(self, definition: AnyDefinition, id_: str, /) -> Call[Any, CallError]:
        """Read and decode the committed state. None if there is no instance."""

        def decoded(text: str) -> Any:
            return definition.plan.state.open(text.encode()).value

        return Call(partial(self._state, definition, id_, decoded), "state")

    def state_text(self, definition: AnyDefinition, id_: str, /) -> Call[str | None, CallError]:
        """Read the committed state as JSON, with all that newer code wrote. None if there is no instance."""
        return Call(partial(self._state, definition, id_, str), "state")

    async def _state(self, job: AnyDefinition, id_: str, view: Callable[[str], A]) -> Result[A | None, CallError]:
        """Read a state. One in parts is read from the journal, which a workflow that starts over cuts meanwhile."""
        rows: tuple[str, ...] = ()
        for _ in range(MOST_READS):
            read = await self._read(job, id_, partial(_stored_state, job, rows, view))
            if not isinstance(read, Success):
                return Failure(read.failure())
            found = read.unwrap()
            if not isinstance(found, _Parts):
                return Success(found)
            journal = await self.journal(found.instance)
            if not isinstance(journal, Success):
                return Failure(journal.failure())
            # With the rows in hand the row is read again: both must be of one state.
            rows = journal.unwrap()
        return Failure(Undecodable(str(job.address(id_)), ("its parts change while they are read; retry",)))

    def shown_state(self, definition: AnyDefinition, id_: str, /) -> Call[str | None, CallError]:
        """Read the committed state as JSON without secrets. None if there is no instance."""
        return self._view(definition, id_, partial(shown_text, definition), "shown_state")

    def shown_outcome(self, definition: AnyDefinition, id_: str, /) -> Call[InstanceOutcome | None, CallError]:
        """Read how an instance ended, without secrets. None if it has not, or if its kind does not keep that."""
        return self._view(
            definition,
            id_,
            lambda instance: definition.outcome_of(redacted_instance(definition, instance)),
            "shown_outcome",
        )

    def steps(self, definition: AnyDefinition, id_: str, /) -> Call[tuple[StepRecord, ...], CallError]:
        """Read an instance's steps. None if there is no instance."""
        return Call(partial(self._steps, definition, id_), "steps")

    async def _steps(self, job: AnyDefinition, id_: str) -> Result[tuple[StepRecord, ...], CallError]:
        read = await self._read(job, id_, lambda loaded: loaded.instance)
        if not isinstance(read, Success):
            return Failure(read.failure())
        instance: Instance | None = read.unwrap()
        rows = await self.journal(instance)
        if instance is None or not isinstance(rows, Success):
            return rows.map(lambda _: ())
        try:
            return Success(job.steps(instance, rows.unwrap()))
        except RequestError as refused:
            return Failure(refused)

    def journal(self, row: Instance | None, /) -> Awaitable[Result[tuple[str, ...], Any]]:
        """Read a row's journal."""
        return self.answer(lambda: read_journal(self.store, row, self.journal_page))

    def _view(
        self, job: AnyDefinition, id_: str, view: Callable[[Instance], A], name: str
    ) -> Call[A | None, CallError]:
        """Return a call that reads an instance and returns a view of it. None if there is no instance."""
        return Call(
            partial(self._read, job, id_, lambda loaded: None if loaded.instance is None else view(loaded.instance)),
            name,
        )

    async def _read(self, job: AnyDefinition, id_: str, view: Callable[[Loaded], A]) -> Result[A, CallError]:
        try:
            address = job.address(check_id(id_))
        except RequestError as refused:
            return Failure(refused)
        loaded = await self.load(address)
        if not isinstance(loaded, Success):
            return Failure(loaded.failure())
        try:
            return Success(view(loaded.unwrap()))
        except InvalidInput as problem:
            return Failure(Undecodable(str(address), problem.problems))

    # ------------------------------------------------------------ many instances
    def find(self, wanted: ListFilter, /) -> Call[Listing, CallError]:
        """Find instances."""
        return Call(partial(self._find, wanted), "find")

    async def _find(self, wanted: ListFilter) -> Result[Listing, CallError]:
        try:
            query = self.query(wanted)
        except RequestError as refused:
            return Failure(refused)
        # Only a search by attributes depends on how far they are filled.
        if query.where:
            return await self._complete(query, lambda: self._page(query, wanted.max_scanned), _marked)
        return await self._page(query, wanted.max_scanned)

    async def _page(self, query: Query, most: int | None) -> Result[Listing, CallError]:
        if most is not None:
            stopped = await self.answer(lambda: answer_of(self.lists.search(query, most)))
            return stopped.map(lambda found: self._listing(found, query.limit))
        found = await self.answer(lambda: answer_of(self.lists.find(query)))
        return found.map(lambda rows: self._listing(_all_of(rows, query.limit), query.limit))

    def count_matching(
        self, job: Job, where: Sequence[Condition | Attribute[Any, bool] | str], /
    ) -> Call[MatchCount, CallError]:
        """Count a job's instances whose attributes meet all conditions."""
        return Call(partial(self._count_matching, job, where), "count_matching")

    async def _count_matching(self, job: Job, where: object) -> Result[MatchCount, CallError]:
        kind, name = job
        try:
            texts = checked_where(where, "where of count_matching")
            query = self.query(ListFilter(kind=kind, name=name, where=texts))
        except RequestError as refused:
            return Failure(refused)
        attributes = self.lists.attributes
        if not query.where or attributes is None:
            return Failure(InvalidArgument("where of count_matching", where, "at least one condition"))

        async def counted() -> Result[MatchCount, CallError]:
            number: Result[int, CallError] = await self.answer(lambda: answer_of(attributes.count(query)))
            return number.map(lambda found: MatchCount(number=found))

        return await self._complete(query, counted, _marked)

    async def _complete(
        self, query: Query, read: Callable[[], Awaitable[Result[A, CallError]]], marked: Callable[[A], A]
    ) -> Result[A, CallError]:
        """Read by attributes, and mark the answer unless they were whole before and after: one state all the time."""
        before = await self._generations(query)
        answer = await read()
        after = await self._generations(query)
        for generations in (before, after):
            if not isinstance(generations, Success):
                return Failure(generations.failure())
        # An engine of other code may have come and gone meanwhile: then the generation is another one.
        is_whole = before.value_or(None) is not None and before == after
        return answer if is_whole else answer.map(marked)

    async def _generations(self, query: Query) -> Result[tuple[int, ...] | None, CallError]:
        """Return the generations of the attributes of a query. None if one is not whole."""
        # Of the store that answers: a replica may not have the values yet that the primary has filled.
        attributes = self.lists.attributes
        job = self.definitions[query.kind or "", query.name or ""]
        if attributes is None:
            return Success(None)
        known: Result[tuple[StoredAttribute, ...], CallError] = await self.answer(lambda: answer_of(attributes.known()))
        return known.map(lambda found: generations_of(job, query.where, found))

    def query(self, wanted: ListFilter, /) -> Query:
        """Return a list's conditions.

        Raises:
            InvalidArgument: its conditions on attributes do not fit the job.
        """
        # Jobs of other engines count as served: their instances are not orphaned.
        served = tuple(dict.fromkeys((*self.definitions, *sorted(self.elsewhere))))
        return Query(
            kind=wanted.kind,
            name=wanted.name,
            jobs=None if wanted.status in (None, "orphaned") else served,
            except_jobs=served if wanted.status == "orphaned" else (),
            id_prefix=wanted.id_prefix,
            status=None if wanted.status == "orphaned" else wanted.status,
            due_before_ms=wanted.due_before_ms,
            where=self._where(wanted) if wanted.where else (),
            after=wanted.after,
            limit=wanted.limit,
        )

    def _where(self, wanted: ListFilter) -> tuple[KeyRange, ...]:
        job = self.definitions.get((wanted.kind or "", wanted.name or ""))
        if job is None or wanted.status == "orphaned":
            place = f"{wanted.kind or '*'}:{wanted.name or '*'}"
            raise InvalidArgument("where", place, "a job that the engine serves: its code knows the attributes")
        return key_ranges(types_of(job), wanted.where, f"{job.kind}:{job.name}")

    def _listing(self, found: Found, limit: int) -> Listing:
        return Listing(
            instances=tuple(map(self.listed, found.instances)),
            after=found.after,
            # A page can be short and not the last: the search stopped at its bound.
            partial=found.after is not None and len(found.instances) < limit,
        )

    def listed(self, instance: Instance, /) -> Listed:
        """Return an instance as lists show it."""
        place = instance.address.kind, instance.address.name
        job = self.definitions.get(place)
        is_orphaned = job is None and place not in self.elsewhere
        return Listed(
            address=instance.address,
            status="orphaned" if is_orphaned else instance.status,
            report=shown_status(job, instance),
        )

    # ------------------------------------------------------------ the log, and messages
    def history(
        self, address: Address, /, *, before: int | None, limit: int
    ) -> Call[tuple[LoggedEvent, ...], CallError]:
        """Read an address's newest events, the newest first."""
        return self.of_store(lambda store: store.history(address, before, limit), "history")

    def dead_letters(self, after: int, limit: int) -> Call[tuple[StoredMessage, ...], CallError]:
        """Read messages that failed too often, the oldest first."""
        return self.shown(self.of_store(lambda store: store.dead_letters(after, limit), "dead_letters"))

    def shown(
        self, messages: Call[tuple[StoredMessage, ...], CallError], /
    ) -> Call[tuple[StoredMessage, ...], CallError]:
        """Return a call that hides the messages' secrets."""
        return mapped(messages, lambda found: tuple(map(self.shown_message, found)))

    def shown_message(self, stored: StoredMessage, /) -> StoredMessage:
        """Return a message without its secrets, and for a job without a definition, without its payload."""
        target = stored.message.target
        return redacted_message(self.definitions.get((target.kind, target.name)), stored)

    def of_store(self, read: Callable[[Store], FutureResult[A, StoreError]], name: str, /) -> Call[A, CallError]:
        """Return a call that reads from the store."""
        return Call(lambda: self.answer(lambda: answer_of(read(self.store))), name)


def _marked(answer: Any) -> Any:
    return attrs.evolve(answer, complete=False)


def _all_of(rows: tuple[Instance, ...], limit: int) -> Found:
    """Return a page that was searched to its end: only a full one may have a next page."""
    return Found(instances=rows, after=rows[-1].address if len(rows) == limit else None)
