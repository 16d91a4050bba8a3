"""Every engine limit, with its default; and limits with a name, which all engines on a store keep together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, Generic, Literal, ParamSpec, TypeAlias, cast, get_args

import attrs

from perdure.values.address import check_name
from perdure.values.errors import DefinitionError
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen
from perdure.values.times import Duration, duration_ms, format_duration

P = ParamSpec("P")

OnFull = Literal["reject", "block"]


def _normal(value: Duration, field: attrs.Attribute[Any]) -> str:
    """Format a duration in its shortest form, so that equal limits compare equal."""
    return format_duration(_checked_ms(value, field.name))


def _checked_ms(value: Duration, name: str) -> int:
    return duration_ms(value, what=f"{name} of the limits", minimum_ms=0 if name in MAY_BE_ZERO else 1)


def _duration(default: str) -> str:
    return attrs.field(default=default, converter=attrs.Converter(_normal, takes_field=True))


def _ms_of(name: str) -> int:
    def computed(limits: Limits) -> int:
        return _checked_ms(getattr(limits, name), name)

    return attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(computed, takes_self=True))


@frozen(kw_only=True)
class Limits:
    """The engine's limits, and the answer beyond each. A request that is refused changes nothing.

    Durations are a ``timedelta`` or text such as ``"30 seconds"``.

    Attributes:
        concurrency: user code runs at the same time, over all jobs. Further ones wait. A slot goes to the job with the
            fewest, and each job without a run has one kept, up to a quarter of the slots.
        mailbox_size: requests that wait for one instance, beside the one in progress. Beyond, see ``on_full``.
        max_pending: requests that wait or are being handled, in the whole engine: it also bounds its writes. Beyond,
            see ``on_full``. Besides, so many alarms of one job may wait or run. Further ones wait in the store.
        waits: callers that wait for an instance's status (``Client.until``). A further one fails with ``Overloaded``.
        on_full: how a full queue answers a request. With ``reject`` the request fails with ``Overloaded`` immediately.
            With ``block`` its caller waits for a slot, about in arrival order.
        state_bytes: the largest encoded state. A larger one is a defect in the run that set it, without a retry. In a
            ``start`` or a ``put``, ``InvalidInput``. A larger child state is a defect in the workflow that calls the
            child.
        payload_bytes: the largest encoded event, input or message. A larger one is ``InvalidInput``. In a program, a
            defect. A workflow step's larger outcome is stored in parts of this size.
        input_bytes: the largest encoded input of a workflow's ``start`` or a pool's ``put``, and item result. One above
            ``payload_bytes`` is stored in parts of this size, in one commit, for which other commits wait. Also the
            largest stream chunk, which is one row.
        outcome_bytes: the largest encoded outcome that a workflow or its step has. A larger one parks the workflow: the
            step was performed, and nothing repeats it without a resumption.
        messages_per_turn: messages that one turn may send. More are a defect in the run.
        keys_per_address: idempotency keys for one address. A further keyed request fails with ``Overloaded``.
        answers_per_address: how many of these keys, the newest ones, keep their answers. Repeating an older key fails
            with ``AnswerNotKept`` and is not applied again.
        idempotency_ttl: how long an idempotency key is kept. A later repeat is a new request.
        history_retention: how long events in the log are kept. Every ten minutes the engine deletes the older ones.
            ``"0 ms"``: no event is written.
        history_events: how many events the log keeps, over all instances. Every ten minutes the engine deletes the
            oldest beyond it. 0: no event is written.
        message_deliveries: a message's deliveries that end in a defect or an overload. After the last one it becomes a
            dead letter.
        dead_letter_retention: how long a dead letter is kept, from when its message was sent. Then it is deleted.
        alarm_batch: due instances that are read from the store at once while requests arrive. Otherwise three times
            as many.
        replay_chunk: instructions that a workflow replay answers before the engine's other work gets its turn.
        journal_page: workflow journal rows that one read returns, each up to ``payload_bytes``. A run keeps all journal
            rows in memory. One commit holds at most one result for each step that runs at the same time.
        message_batch: messages to one job that are delivered at the same time, one for each sender and target. Further
            ones wait in the store. Of several jobs, each next one has half of what the others leave of twice as many,
            and at least one.
        recovery_page: rows that the engine reads or deletes at a time when it looks after its store: runs that a crash
            interrupted, instances that other code left, rows past their retention.
        queued_items: waiting items in a pool in memory. Further ones are read from the store when their turn is near.
        lane_page: keys in a pool whose names, or whose first items, are read from the store at once.
        shutdown_timeout: how long a graceful shutdown waits for runs before it cancels them. The next start delivers
            them again.
        blocked_loop: how long one call may hold the event loop. Longer ones are logged, once for each function and
            line, and counted. ``"0 ms"``: no thread looks for them.
        threads: effects with ``on="thread"`` that are performed at the same time. Further ones wait in their runs.
        processes: likewise with ``on="process"``. 0: as many as the machine has cores.
        idempotency_ttl_ms: the same in milliseconds. The following fields likewise.
        history_retention_ms: see ``history_retention``.
        dead_letter_retention_ms: see ``dead_letter_retention``.
        shutdown_timeout_ms: see ``shutdown_timeout``.
        blocked_loop_ms: see ``blocked_loop``.

    Raises:
        DefinitionError: a limit is not a whole number or duration in its range.
    """

    concurrency: int = 256
    mailbox_size: int = 1_000
    max_pending: int = 10_000
    waits: int = 10_000
    on_full: OnFull = "reject"
    state_bytes: int = 1_048_576
    payload_bytes: int = 262_144
    input_bytes: int = 16_777_216
    outcome_bytes: int = 67_108_864
    messages_per_turn: int = 1_000
    keys_per_address: int = 10_000_000
    answers_per_address: int = 10_000
    idempotency_ttl: Duration = _duration("1 day")
    history_retention: Duration = _duration("7 days")
    history_events: int = 1_000_000
    message_deliveries: int = 10
    dead_letter_retention: Duration = _duration("90 days")
    alarm_batch: int = 64
    replay_chunk: int = 500
    journal_page: int = 256
    message_batch: int = 256
    recovery_page: int = 500
    queued_items: int = 4_096
    lane_page: int = 64
    shutdown_timeout: Duration = _duration("30 seconds")
    blocked_loop: Duration = _duration("1 second")
    threads: int = 32
    processes: int = 0
    idempotency_ttl_ms: int = _ms_of("idempotency_ttl")
    history_retention_ms: int = _ms_of("history_retention")
    dead_letter_retention_ms: int = _ms_of("dead_letter_retention")
    shutdown_timeout_ms: int = _ms_of("shutdown_timeout")
    blocked_loop_ms: int = _ms_of("blocked_loop")

    def __attrs_post_init__(self) -> None:
        if self.on_full not in get_args(OnFull):
            raise DefinitionError("on_full of the limits", self.on_full, "'reject' or 'block'")
        for name in WHOLE_NUMBERS:
            value, least = getattr(self, name), 0 if name in MAY_BE_ZERO else 1
            if type(value) is not int or value < least:
                raise DefinitionError(f"{name} of the limits", value, f"a whole number from {least}")

    @property
    def keeps_history(self) -> bool:
        """Whether the log keeps events at all."""
        return self.history_events > 0 and self.history_retention_ms > 0


WHOLE_NUMBERS = (
    "concurrency",
    "mailbox_size",
    "max_pending",
    "waits",
    "state_bytes",
    "payload_bytes",
    "input_bytes",
    "outcome_bytes",
    "messages_per_turn",
    "keys_per_address",
    "answers_per_address",
    "history_events",
    "message_deliveries",
    "alarm_batch",
    "replay_chunk",
    "journal_page",
    "message_batch",
    "recovery_page",
    "queued_items",
    "lane_page",
    "threads",
    "processes",
)

MAY_BE_ZERO = (
    "messages_per_turn",
    "history_retention",
    "history_events",
    "shutdown_timeout",
    "blocked_loop",
    "processes",
)
"""Limits that may be 0: a turn may send no message, the log may keep no event, a shutdown may cancel runs at once, no
thread may look at the loop, and there may be as many processes as cores."""


# ---------------------------------------------------------------- the history of a job
MAX_KEPT_EVENTS: Final = 10_000_000
"""The largest number of events that a job keeps longer than the log."""


@attrs.frozen(init=False)
class KeepHistory:
    """Keep a job's events longer than the log does.

    Retention moves the events of such a job out of the log instead of deleting them. `Client.history` returns both.

    Args:
        age: how long the events are kept, from when they happened. The log keeps each event for its own time anyway.
        events: how many events of the job, over all its instances, are kept besides those in the log: 1 to 10,000,000.
            The oldest beyond it are deleted.

    Raises:
        DefinitionError: an argument is invalid.
    """

    __repr__ = fields_in_line

    age_ms: int
    events: int

    def __init__(self, *, age: Duration, events: int = 100_000) -> None:
        cast("Any", self).__attrs_init__(
            duration_ms(age, what="age of KeepHistory"),
            _whole(events, MAX_KEPT_EVENTS, what="events of KeepHistory"),
        )

    def __str__(self) -> str:
        return f"{format_duration(self.age_ms)}, up to {self.events:,} events besides those in the log"


# ---------------------------------------------------------------- limits with a name
MAX_CONCURRENCY: Final = 100_000
"""The largest number of runs at the same time."""

MAX_RATE: Final = 100_000
"""The largest number of a rate: the engine remembers when each run within the window began."""

MAX_LIMITS: Final = 8
"""Limits that one job or effect names."""

MAX_WEIGHT: Final = 1_000


@frozen
class Rate:
    """At most this many runs begin in any window of this length.

    Attributes:
        window_ms: the length, in milliseconds.
    """

    runs: int
    window_ms: int

    def __str__(self) -> str:
        return f"{self.runs:,} in {format_duration(self.window_ms)}"


def rate_of(value: object, *, what: str) -> Rate | None:
    """Check a rate, such as ``(100, "1 minute")``.

    Raises:
        DefinitionError: it is not a run count with a duration.
    """
    match value:
        case None:
            return None
        case (int() as runs, str() | timedelta() as window) if type(runs) is int and 1 <= runs <= MAX_RATE:
            return Rate(runs, duration_ms(window, what=f"window of the {what}"))
        case _:
            expected = f'a number from 1 to {MAX_RATE:,} and a duration, such as (100, "1 minute"), or None'
            raise DefinitionError(what, value, expected)


def _whole(value: object, most: int, *, what: str) -> int:
    if type(value) is int and 1 <= value <= most:
        return value
    raise DefinitionError(what, value, f"a whole number from 1 to {most:,}")


@attrs.frozen(init=False)
class Limit:
    """A limit with a name, for any jobs and effects. On a shared store it holds over all engines.

    Args:
        name: the limit's name, part of the stored address: 1 to 128 printable characters, no ``:``.
        concurrency: at most this many runs or calls at the same time, 1 to 100,000.
        rate: at most this many runs or calls begin in any window this long, such as ``(100, "1 second")``.
        concurrency_per_key: as ``concurrency``, for each key that `by` names.
        rate_per_key: as ``rate``, for each key that `by` names.

    Raises:
        DefinitionError: an argument is invalid, or no number is set.
    """

    __repr__ = fields_in_line

    name: str
    concurrency: int | None
    rate: Rate | None
    concurrency_per_key: int | None
    rate_per_key: Rate | None

    def __init__(
        self,
        name: str,
        *,
        concurrency: int | None = None,
        rate: tuple[int, Duration] | None = None,
        concurrency_per_key: int | None = None,
        rate_per_key: tuple[int, Duration] | None = None,
    ) -> None:
        what = f"limit {check_name(name, what='name of a limit')}"
        if (concurrency, rate, concurrency_per_key, rate_per_key) == (None, None, None, None):
            raise DefinitionError(what, "no number", "a concurrency or a rate, of all or per key")
        cast("Any", self).__attrs_init__(
            name,
            None if concurrency is None else _whole(concurrency, MAX_CONCURRENCY, what=f"concurrency of {what}"),
            rate_of(rate, what=f"rate of {what}"),
            None
            if concurrency_per_key is None
            else _whole(concurrency_per_key, MAX_CONCURRENCY, what=f"concurrency_per_key of {what}"),
            rate_of(rate_per_key, what=f"rate_per_key of {what}"),
        )

    @property
    def has_keys(self) -> bool:
        """Whether a number counts each key apart."""
        return self.concurrency_per_key is not None or self.rate_per_key is not None

    @property
    def least(self) -> int:
        """The smallest of its numbers: no run costs more."""
        rates = [rate.runs for rate in (self.rate, self.rate_per_key) if rate is not None]
        return min([number for number in (self.concurrency, self.concurrency_per_key) if number is not None] + rates)

    def by(
        self, key: Callable[P, str] | None = None, *, cost: int | Callable[P, int] = 1, weight: int = 1
    ) -> LimitUse[P]:
        """Return a use of this limit.

        Args:
            key: returns the key of a run or call: text of at most 200 characters. A pure function: of an instance's id
                for a job, of an item's key for a pool, and of the arguments for an effect.
            cost: how much a run or call takes from each number. A number, or for an effect a function of its arguments.
            weight: while others wait for the limit, this use gets that many turns for one of theirs: 1 to 1,000.

        Raises:
            DefinitionError: an argument is invalid.
        """
        what = f"limit {self.name}"
        if key is not None and not callable(key):
            raise DefinitionError(f"key of {what}", key, "a function that returns text")
        if not callable(cost) and _whole(cost, MAX_RATE, what=f"cost of {what}") > self.least:
            raise DefinitionError(f"cost of {what}", cost, f"at most {self.least:,}: a higher cost never fits")
        return LimitUse(self, key, cost, _whole(weight, MAX_WEIGHT, what=f"weight of {what}"))


@frozen
class LimitUse(Generic[P]):
    """How a job or an effect uses a limit: `Limit.by` returns it.

    Attributes:
        limit: the limit.
        key: returns the key of a run or call; None: without keys.
        cost: how much a run or call takes.
        weight: how many turns it gets for one of the others.
    """

    __repr__ = fields_in_line

    limit: Limit
    key: Callable[P, str] | None
    cost: int | Callable[P, int]
    weight: int


AnyUse: TypeAlias = LimitUse[...]


def limit_uses(given: object, *, what: str, keyed: Literal["always", "by"]) -> tuple[AnyUse, ...]:
    """Check the limits that a job or an effect names.

    Args:
        given: limits, or their uses.
        what: names them in errors.
        keyed: ``always``: each run has a key, which a limit takes unless `Limit.by` names another one.

    Raises:
        DefinitionError: they are no limits, too many, or one has numbers per key and no key.
    """
    if given == ():
        return ()
    expected = f"a list of at most {MAX_LIMITS} limits, such as [stripe, tenants.by(tenant_of)]"
    if not isinstance(given, list | tuple):
        raise DefinitionError(what, given, expected)
    uses = cast("Sequence[object]", given)
    if len(uses) > MAX_LIMITS:
        raise DefinitionError(what, uses, expected)
    found: dict[str, AnyUse] = {}
    for one in uses:
        known: object = one.by() if isinstance(one, Limit) else one
        if not isinstance(known, LimitUse):
            raise DefinitionError(what, one, expected)
        if known.limit.name in found:
            raise DefinitionError(what, known.limit.name, "different limits")
        if keyed == "by" and known.key is None and known.limit.has_keys:
            raise DefinitionError(what, known.limit.name, f"{known.limit.name}.by(key): it has a number per key")
        found[known.limit.name] = known
    return tuple(found.values())
