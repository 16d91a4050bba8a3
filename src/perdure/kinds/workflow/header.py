"""The header: the data that a workflow's store keeps, besides its state and its journal."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

import attrs

from perdure.codecs import Codec
from perdure.codecs.codec import RowCodec
from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.frozen import frozen
from perdure.values.instance import Instance
from perdure.values.status import FailureRecord

EndedAs: TypeAlias = Literal["done", "failed", "cancelled"]
"""How a workflow ended."""


@frozen(kw_only=True)
class FailingStep:
    """A step whose last attempt raised or timed out.

    Attributes:
        path: the step's path. Empty for the program itself.
        attempts: the attempts so far.
        uncounted: those before the workflow was last resumed, which the retry policy does not count.
        first_failed_ms: when the first attempt that the policy counts failed.
        at_ms: when the next attempt is due. None when there is none, and the workflow is parked.
        reason: why there is none.
    """

    __repr__ = fields_in_line

    path: str
    name: str
    attempts: int
    uncounted: int = 0
    first_failed_ms: int
    at_ms: int | None
    reason: str = ""
    error: FailureRecord


@frozen(kw_only=True)
class Wait:
    """A signal, a child or a timer that a branch waits for.

    Attributes:
        began_ms: when the program reached it.
    """

    __repr__ = fields_in_line

    path: str
    name: str
    at_ms: int | None = None
    began_ms: int | None = None


@frozen(kw_only=True)
class Ended:
    """How a workflow ended, kept until ``keep`` is over.

    Attributes:
        form: with a value, with a typed error, or cancelled.
        value: the value as JSON or the reference to it, the `FailureRecord` as JSON, or the reason as JSON.
    """

    __repr__ = fields_in_line

    form: EndedAs
    value: str = attrs.field(repr=size_only)
    at_ms: int


@frozen(kw_only=True)
class Parent:
    """The workflow that waits for the end of this one.

    Attributes:
        address: the parent, printed ``kind:name:id``.
    """

    __repr__ = fields_in_line

    address: str
    call: str


@frozen(kw_only=True)
class ParkedChild:
    """A child that is parked: its parent waits until it is resumed or ends.

    Attributes:
        path: the path of the call that started it.
        address: the child, printed ``kind:name:id``.
    """

    __repr__ = fields_in_line

    path: str
    address: str
    reason: str


@frozen(kw_only=True)
class Publication:
    """A value that the program published.

    Attributes:
        value: the value as JSON.
        secret: whether it has secrets.
    """

    __repr__ = fields_in_line

    name: str
    value: str = attrs.field(repr=size_only)
    secret: bool = False


@frozen(kw_only=True)
class Watcher:
    """A workflow that waits for something of this one.

    Attributes:
        address: the workflow that waits, printed ``kind:name:id``.
        wants: ``published NAME``, ``reply NUMBER`` of an update, or ``end``.
    """

    __repr__ = fields_in_line

    address: str
    call: str
    wants: str


@frozen(kw_only=True)
class Shared:
    """The data of a workflow that callers and other workflows wait for.

    Attributes:
        published: the values that the program published, each name once. Here, and not in the journal: a turn answers
            with them, and reads no journal.
        watchers: the workflows that wait for something of this one.
    """

    __repr__ = fields_in_line

    published: tuple[Publication, ...] = ()
    watchers: tuple[Watcher, ...] = ()


NOTHING_SHARED: Final = Shared()


@frozen(kw_only=True)
class CancelRequest:
    """A request to cancel the workflow.

    Attributes:
        delivered: whether the program has received it.
        interrupt: whether the steps in progress are stopped.
    """

    __repr__ = fields_in_line

    reason: str
    delivered: bool = False
    interrupt: bool = False


@frozen(kw_only=True)
class ForkedPart:
    """The rows that a fork has taken over from one workflow.

    Attributes:
        rows: those before this place of the journal, unless an earlier part has them.
        run_id: the run id of the workflow that performed them.
        gap_ms: the time between the last of them and the fork, which counts for no time limit.
    """

    __repr__ = fields_in_line

    rows: int
    run_id: str
    gap_ms: int


@frozen(kw_only=True)
class ForkedFrom:
    """The workflow that this one was forked from.

    Attributes:
        address: that workflow, printed ``kind:name:id``.
        step: the path of the first step that is performed again. Empty for the next one.
        parts: whose rows the journal begins with, the oldest first.
    """

    __repr__ = fields_in_line

    address: str
    step: str
    parts: tuple[ForkedPart, ...]

    @property
    def rows(self) -> int:
        """How many rows were taken over."""
        # The numbers of the parts count from the first row: the greatest is that of all.
        return max(part.rows for part in self.parts)

    def gap_ms(self, place: int) -> int:
        """Return how much time passed between a row and the forks behind it in which no workflow ran."""
        return sum(part.gap_ms for part in self.parts if place < part.rows)


class ContinuedSteps(NamedTuple):
    """The steps of a cancelled workflow that its fork continues at their heartbeats.

    Attributes:
        incarnation: the incarnation of the workflow that stored them.
        run_id: its run id.
        paths: the steps that the cancellation stopped, at most 100.
    """

    incarnation: int
    run_id: str
    paths: tuple[str, ...]


@frozen(kw_only=True)
class Header:
    """The data of a workflow that every commit writes: its size does not depend on the journal's length.

    Attributes:
        run_id: the workflow's id, the same for all its runs. `start_over` makes a new one.
        first: the state that it was started with, when that is no longer the present state.
        logged: the number of log records that the program wrote.
        signals: the number of signals and ends of children that have arrived so far.
        waiting: how many signals the program has not received yet. Their values are rows in the journal.
        skips: how many rows in the journal are older than the last `start_over`. Signals among them may still wait.
        failing: the steps whose last attempt raised or timed out.
        waits_for: some of the signals, children and timers that it waits for, for tools.
        parent: the workflow that waits for its end.
        parked: some of its children that are parked.
        unanswered: the numbers of the updates that wait for a reply.
        shared: the data that other instances wait for. None without such data, which most workflows do not have.
        forked: the workflow that this one was forked from.
        deadline_ms: when it is cancelled, unless it has ended or was cancelled before. None without a deadline.
        continued: the stopped steps of the workflow that this one was forked from, whose heartbeats count.
    """

    __repr__ = fields_in_line

    run_id: str
    started_ms: int
    first: str | None = attrs.field(default=None, repr=size_only)
    logged: int = 0
    signals: int = 0
    waiting: int = 0
    skips: int = 0
    failing: tuple[FailingStep, ...] = ()
    waits_for: tuple[Wait, ...] = ()
    cancel: CancelRequest | None = None
    ended: Ended | None = None
    parent: Parent | None = None
    parked: tuple[ParkedChild, ...] = ()
    unanswered: tuple[int, ...] = ()
    shared: Shared | None = None
    forked: ForkedFrom | None = None
    deadline_ms: int | None = None
    continued: ContinuedSteps | None = None


DEADLINE_PASSED: Final = "its deadline passed"
"""The reason of a cancellation at the deadline."""

FAILURE: Codec[FailureRecord] = Codec.of(FailureRecord, what="error of a workflow")
HEADER: Codec[Header] = Codec.of(Header, what="data of a workflow")
# Left out where there is none: earlier code reads the rows of workflows without these.
_DATA: RowCodec[Header] = RowCodec(
    HEADER, left_out=(',"continued":null}', ',"deadline_ms":null}', ',"forked":null}', ',"shared":null}')
)


def cancel_of(header: Header, now_ms: int) -> CancelRequest | None:
    """Return the request to cancel a workflow: that of a caller, or the one that its passed deadline is."""
    # `<`: at the deadline itself the workflow is cancelled.
    if header.cancel is not None or header.deadline_ms is None or now_ms < header.deadline_ms:
        return header.cancel
    return CancelRequest(reason=DEADLINE_PASSED)


def deadline_of(header: Header, began_ms: int) -> int | None:
    """Return when a deadline continues a program. None if it has none, or a further run cannot deliver it."""
    # A run that began after it has delivered it, or never can: a further one would only repeat this one.
    # `<=`: a run that began at the deadline has delivered it.
    is_over = header.cancel is not None or header.deadline_ms is None or header.deadline_ms <= began_ms
    return None if is_over else header.deadline_ms


def has_timed_out(header: Header) -> bool:
    """Return whether a workflow that has ended was cancelled at its deadline."""
    ended = header.ended
    return (
        header.deadline_ms is not None
        and ended is not None
        and (ended.form, ended.value) == ("cancelled", f'"{DEADLINE_PASSED}"')
    )


def shared_in(header: Header) -> Shared:
    """Return the data that other instances wait for."""
    return NOTHING_SHARED if header.shared is None else header.shared


def with_shared(
    header: Header,
    *,
    published: tuple[Publication, ...] | None = None,
    watchers: tuple[Watcher, ...] | None = None,
) -> Header:
    """Return the header with changed fields of its shared data."""
    before = shared_in(header)
    shared = Shared(
        published=before.published if published is None else published,
        watchers=before.watchers if watchers is None else watchers,
    )
    # None where nothing is shared: older code reads such a header.
    return attrs.evolve(header, shared=None if shared == NOTHING_SHARED else shared)


def with_published(header: Header, news: tuple[Publication, ...]) -> Header:
    """Return the header with newly published values, and without the watchers that wait for them."""
    names, shared = {each.name: each for each in news}, shared_in(header)
    # A value that is published again moves to the end, with its new content.
    earlier = tuple(each for each in shared.published if each.name not in names)
    wanted = {f"{PUBLISHED}{name}" for name in names}
    watchers = tuple(each for each in shared.watchers if each.wants not in wanted)
    return with_shared(header, published=(*earlier, *names.values()), watchers=watchers)


PUBLISHED: Final = "published "
"""Begins `Watcher.wants` of a workflow that waits for a value."""

REPLY_TO: Final = "reply "
"""Begins `Watcher.wants` of a workflow that sent an update, before the update's number."""

END: Final = "end"
"""`Watcher.wants` of a workflow that waits for the end."""

MAX_WATCHERS: Final = 100
"""The number of workflows that wait for something of one: every commit writes them."""


def header_of(instance: Instance) -> Header:
    """Decode the header.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    return _DATA.read(instance.data)


def written(header: Header) -> str:
    """Encode a header."""
    return _DATA.write(header)
