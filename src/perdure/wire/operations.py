"""A client's operations: one entry for each, from which everything between its method and the engine derives.

An entry provides a server's route with scope and limit, the OpenAPI entry, the request that a client in another process
sends, and a command's call. The methods that users call are written by hand, with their types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, cast, get_origin
from urllib.parse import urlencode

import attrs
from typing_extensions import TypeForm

from perdure.codecs.json_schema import JsonSchema
from perdure.stores.values import Health, LoggedEvent
from perdure.values.address import MAX_ID_CHARACTERS, Address, is_text
from perdure.values.answer import Forgotten
from perdure.values.attributes import MAX_CONDITIONS, checked_where
from perdure.values.errors import DefinitionError, InvalidArgument
from perdure.values.limits import MAX_CONCURRENCY, MAX_RATE, Rate, rate_of
from perdure.values.listings import (
    LISTED_STATUSES,
    Demand,
    EngineMember,
    ForkedMany,
    HoldResult,
    InFlight,
    JobCount,
    LimitNumbers,
    Listing,
    MatchCount,
    NamedLimit,
    StepRecord,
    StoreCounts,
)
from perdure.values.message import StoredMessage
from perdure.values.status import InstanceStatus
from perdure.values.status_wait import PublishedValue, UpdateReply, ticket_parts
from perdure.values.times import Duration, duration_ms, format_duration, to_ms
from perdure.wire.records import EngineInfo, record_of
from perdure.wire.requests import path_part

A = TypeVar("A")

Scope: TypeAlias = Literal["read", "call", "operate"]
"""What a token permits: ``read`` instances, ``call`` jobs, ``operate`` the engine (terminate, pause, redrive, ...)."""

MAX_PAGE: Final = 1_000
MAX_NUMBER: Final = 2**63 - 1
"""The greatest sequence number or message id in a store."""


# ---------------------------------------------------------------- types of arguments
@attrs.frozen(kw_only=True)
class ArgumentType:
    """An argument's values, and their form in a URL.

    Attributes:
        schema: the form in a URL, for the OpenAPI document.
        check: returns a caller value, or raises `InvalidArgument`. ``what`` names the argument.
        text: returns a checked value's form in a URL.
        read: returns a text's value in a URL. The call refuses a value that it cannot read: its text, or it
            raises `InvalidArgument`. The second argument is the name in the URL.
        is_quoted: whether the text is percent-encoded in a path.
        is_repeated: whether a query may have it several times: the value is a sequence, whose parts are read and
            written one by one.
    """

    schema: JsonSchema
    check: Callable[[object, str], Any]
    text: Callable[[Any], str] = str
    read: Callable[[str, str], Any]
    is_quoted: bool = False
    is_repeated: bool = False


def check_whole(value: object, *, what: str, least: int, most: int = MAX_NUMBER) -> int:
    """Check a whole number within these bounds, inclusive.

    Raises:
        InvalidArgument: the value is not such a number.
    """
    # `type`, not `isinstance`: True is an int.
    if type(value) is int and least <= value <= most:
        return value
    raise InvalidArgument(what, value, f"a whole number from {least} to {most}")


def check_text(value: object, what: str) -> str:
    """Check text of at most 512 characters that UTF-8 can encode. It may be empty.

    Raises:
        InvalidArgument: the value is not such text.
    """
    if isinstance(value, str) and _is_text(value):
        return value
    expected = f"text of at most {MAX_ID_CHARACTERS} characters, without lone surrogates"
    raise InvalidArgument(what, value, expected)


def _is_text(part: object) -> bool:
    return part == "" or is_text(part, MAX_ID_CHARACTERS)


def _read_whole(text: str, _: str) -> int | str:
    digits = text.removeprefix("-")
    # At most 19 digits: a longer text would raise an error of Python's own.
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else text  # noqa: PLR2004 - 64 bits


def _whole(least: int, most: int = MAX_NUMBER, **more: Any) -> ArgumentType:
    return ArgumentType(
        schema={"type": "integer", "minimum": least, "maximum": most, **more},
        check=lambda value, what: check_whole(value, what=what, least=least, most=most),
        read=_read_whole,
    )


def _text(**more: Any) -> ArgumentType:
    schema: JsonSchema = {"type": "string", "maxLength": MAX_ID_CHARACTERS, **more}
    return ArgumentType(schema=schema, check=check_text, read=lambda text, _: text, is_quoted=True)


def _check_status(value: object, what: str) -> object:
    if value not in LISTED_STATUSES:
        raise InvalidArgument(what, value, f"one of {', '.join(LISTED_STATUSES)}, or None")
    return value


def _check_instant(value: object, what: str) -> object:
    try:
        to_ms(cast("datetime", value))
    except DefinitionError as wrong:
        raise InvalidArgument(what, value, wrong.expected) from wrong
    return value


MAX_AHEAD_MS: Final = 100 * 86_400_000 - 1
"""The longest time ahead: just below 100 days."""

# Each unit at most once, and the largest first: equal durations then have one text.
_AHEAD: Final = r"^(\d{1,2}d)?(1?\dh|2[0-3]h)?([1-5]?\dm)?([1-5]?\ds)?(\d{1,3}ms)?$"


def _check_ahead(value: object, what: str) -> str:
    try:
        milliseconds = duration_ms(cast("Duration", value), what=what, minimum_ms=0)
    except DefinitionError as wrong:
        raise InvalidArgument(what, value, wrong.expected) from wrong
    if milliseconds > MAX_AHEAD_MS:
        raise InvalidArgument(what, value, "a duration below 100 days")
    # In one spelling: equal durations make equal URLs.
    return format_duration(milliseconds)


def _read_instant(text: str, name: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    # Without an offset an instant would depend on the server's time zone.
    if instant is None or instant.utcoffset() is None:
        raise InvalidArgument(name, text, "an instant with its offset, such as 2026-01-31T12:00:00Z")
    return instant


_RATE: Final = r"^([1-9]\d{0,4}|100000)/([1-9]\d{0,8}ms|[1-9]\d{0,5}[sm]|[1-9]\d{0,4}h|[1-9]\d{0,3}d)$"
_UNITS_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


def _check_rate(value: object, what: str) -> Rate | None:
    try:
        rate = value if isinstance(value, Rate) else rate_of(value, what=what)
    except DefinitionError as wrong:
        raise InvalidArgument(what, value, wrong.expected) from wrong
    if rate is not None and re.fullmatch(_RATE, rate_text(rate)) is None:
        expected = "a window below 10,000 days, in whole days, hours, minutes, seconds, or up to nine digits of ms"
        raise InvalidArgument(what, value, expected)
    return rate


def rate_text(rate: Rate) -> str:
    """Return a rate as a request has it.

    >>> rate_text(Rate(100, 60_000))
    '100/1m'
    """
    # The largest unit that divides it: as a person would write it.
    unit, length_ms = next(unit for unit in _UNITS_MS.items() if rate.window_ms % unit[1] == 0)
    return f"{rate.runs}/{rate.window_ms // length_ms}{unit}"


def _read_rate(text: str, name: str) -> Rate:
    if re.fullmatch(_RATE, text) is None:
        raise InvalidArgument(name, text, f"a number from 1 to {MAX_RATE:,}, a slash and a duration, such as 100/1m")
    runs, _, window = text.partition("/")
    return Rate(int(runs), duration_ms(window, what=name))


def _check_ticket(value: object, what: str) -> object:
    ticket_parts(cast("str", value), what)
    return value


def _check_address(value: object, what: str) -> Address:
    if isinstance(value, Address) and all(map(_is_text, (value.kind, value.name, value.id))):
        return value
    raise InvalidArgument(what, value, "the address of the last instance of the page before, or None")


def _read_address(text: str, name: str) -> Address:
    # Twice at most: an id may hold colons.
    parts = text.split(":", 2)
    if len(parts) != 3 or "" in parts:  # noqa: PLR2004 - the parts of an address
        raise InvalidArgument(name, text, "the address of the last instance of the page before: kind:name:id")
    return Address(*parts)


def _check_key(value: object, what: str) -> str:
    if isinstance(value, str) and is_text(value, MAX_ID_CHARACTERS):
        return value
    raise InvalidArgument(what, value, f"text of 1 to {MAX_ID_CHARACTERS} characters, without lone surrogates")


def _check_suffix(value: object, what: str) -> str:
    if isinstance(value, str) and is_text(value, MAX_SUFFIX_CHARACTERS):
        return value
    raise InvalidArgument(what, value, f"text of 1 to {MAX_SUFFIX_CHARACTERS} characters, without lone surrogates")


def _check_signals(value: object, what: str) -> object:
    if value not in UNRECEIVED_SIGNALS:
        raise InvalidArgument(what, value, f"one of {', '.join(UNRECEIVED_SIGNALS)}")
    return value


def _check_flag(value: object, what: str) -> object:
    if type(value) is not bool:
        raise InvalidArgument(what, value, "True or False")
    return value


def _read_flag(text: str, name: str) -> bool:
    if text not in ("true", "false"):
        raise InvalidArgument(name, text, "'true' or 'false'")
    # Only these two words: "1" or "yes" of another convention is probably a mistake.
    return text == "true"


MAX_SUFFIX_CHARACTERS: Final = 100
"""The longest text that `fork_many` adds to an id."""

UNRECEIVED_SIGNALS: Final = ("keep", "drop")

_NUMBER: Final = _whole(0)
_FROM_1: Final = _whole(1)
_PAGE: Final = _whole(1, MAX_PAGE, default=100)
_TEXT: Final = _text()
_FILLED_TEXT: Final = _text(minLength=1)
_KEY: Final = attrs.evolve(_FILLED_TEXT, check=_check_key)
_TICKET: Final = ArgumentType(
    schema={"type": "string", "pattern": r"^\d{1,19}\.\d{1,19}\.\d{1,19}$"},
    check=_check_ticket,
    read=lambda text, _: text,
)
_STATUS: Final = ArgumentType(
    schema={"type": "string", "enum": list(LISTED_STATUSES)}, check=_check_status, read=lambda text, _: text
)
_INSTANT: Final = ArgumentType(
    schema={"type": "string", "format": "date-time"},
    check=_check_instant,
    text=datetime.isoformat,
    read=_read_instant,
)
_AHEAD_OF_NOW: Final = ArgumentType(
    schema={"type": "string", "minLength": 2, "maxLength": 20, "pattern": _AHEAD, "example": "30s", "default": "0ms"},
    check=_check_ahead,
    # Other spellings of a duration are accepted, too: a person writes `90s`.
    read=_check_ahead,
)
_ADDRESS: Final = ArgumentType(
    schema={"type": "string", "pattern": r"^[^:]{1,512}:[^:]{1,512}:[\s\S]{1,512}$"},
    check=_check_address,
    read=_read_address,
)


_SUFFIX: Final = attrs.evolve(
    _FILLED_TEXT,
    schema={"type": "string", "minLength": 1, "maxLength": MAX_SUFFIX_CHARACTERS, "default": "-fork"},
    check=_check_suffix,
)
_SIGNALS: Final = ArgumentType(
    schema={"type": "string", "enum": list(UNRECEIVED_SIGNALS)}, check=_check_signals, read=lambda text, _: text
)
_FLAG: Final = ArgumentType(
    schema={"type": "boolean", "default": False},
    check=_check_flag,
    text=lambda value: "true" if value else "false",
    read=_read_flag,
)
_CONCURRENCY: Final = _whole(1, MAX_CONCURRENCY)
_RATE_OF_LIMIT: Final = ArgumentType(
    schema={"type": "string", "pattern": _RATE, "example": "100/1m"},
    check=_check_rate,
    text=rate_text,
    read=_read_rate,
)
_CONDITIONS: Final = ArgumentType(
    schema={"type": "array", "items": {"type": "string"}, "maxItems": MAX_CONDITIONS},
    check=checked_where,
    read=lambda text, _: text,
    is_repeated=True,
)


@attrs.frozen(kw_only=True)
class Argument:
    """One operation argument.

    Attributes:
        name: the name in the client's method.
        place: where a URL has it. The method takes path arguments by position, and query arguments by name.
        default: a request's value without it.
        parameter: the name in a URL. By default ``name``.
        description: a sentence for the OpenAPI document.
        is_required: whether the call refuses a request without it. By default path arguments are.
    """

    name: str
    place: Literal["path", "query"] = "query"
    type: ArgumentType
    default: object = None
    parameter: str = attrs.field(default=attrs.Factory(lambda self: self.name, takes_self=True))
    description: str = ""
    is_required: bool = attrs.field(default=attrs.Factory(lambda self: self.place == "path", takes_self=True))


# ---------------------------------------------------------------- operations
@attrs.frozen(kw_only=True)
class ClientOperation(Generic[A]):
    """One client operation.

    Attributes:
        path: the path, with ``{name}`` for each argument that it has.
        scope: the scope that a server's client needs.
        summary: a sentence for the OpenAPI document.
        id: the ``operationId``. A job operation's id is put together from the job's name.
        needs: the action that the job's instances need. Empty for every job.
        bounded_by: the server limit that bounds how many are performed at the same time: ``lists`` for
            `HttpLimits.lists_at_once`.
        repeat: a repeat's effect after a lost answer, as `perdure.jobs.request.Repeat` says it, or ``reads``.
        media: whether the answer is JSON or text.
    """

    name: str
    method: Literal["GET", "POST"] = "GET"
    path: str
    scope: Scope = "read"
    answer: TypeForm[A]
    summary: str
    id: str = attrs.field(default=attrs.Factory(lambda self: self.name, takes_self=True))
    arguments: tuple[Argument, ...] = ()
    needs: str = ""
    bounded_by: Literal["nothing", "lists"] = "nothing"
    repeat: Literal["reads", "changes_nothing", "applies_again"] = "reads"
    media: Literal["json", "text"] = "json"

    @property
    def of(self) -> Literal["engine", "job", "instance"]:
        """Whether it concerns the engine, a job or an instance, as the path says."""
        if "{kind}" not in self.path:
            return "engine"
        return "instance" if "{id}" in self.path else "job"

    def in_the(self, place: Literal["path", "query"]) -> tuple[Argument, ...]:
        """Return the arguments that a URL has in its path or in its query, in their order."""
        return tuple(argument for argument in self.arguments if argument.place == place)

    def checked(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Check a call's arguments: all, or those that are passed. None is valid where it is the default.

        Raises:
            InvalidArgument: an argument is not valid. The message names it.
        """
        return {
            argument.name: None
            if (value := given[argument.name]) is None and argument.place == "query" and argument.default is None
            else argument.type.check(value, f"{argument.name} of {self.name}")
            for argument in self.arguments
            if argument.name in given
        }

    def url(self, given: Mapping[str, Any]) -> str:
        """Return the path and a request's query.

        Args:
            given: the checked arguments. None stands for one that is absent.
        """
        # Checked before: a part that is no text of its type would lead to another route.
        path = self.path.format_map(
            {each.name: path_part(each.type.text(given[each.name])) for each in self.in_the("path")}
        )
        query = [
            (each.parameter, each.type.text(part))
            for each in self.in_the("query")
            # None is left out: the server then has its own default.
            if given[each.name] is not None
            for part in (given[each.name] if each.type.is_repeated else (given[each.name],))
        ]
        return f"{path}?{urlencode(query)}" if query else path

    def answer_of(self, data: object) -> A:
        """Decode an answer from parsed JSON. A newer server may answer with further words.

        Raises:
            OutcomeUnknown: it is not such an answer.
        """
        answer: Any = data if get_origin(self.answer) is Literal else record_of(cast("Any", self.answer), data)
        return cast("A", answer)


JOB: Final = "/v1/jobs/{kind}/{name}"
INSTANCE: Final = f"{JOB}/instances/{{id}}"

_LIMIT: Final = Argument(name="limit", type=_PAGE, default=100, description="The maximum number.")
_WHERE: Final = Argument(
    name="where",
    type=_CONDITIONS,
    default=(),
    description="Only instances whose attributes meet this condition, such as `amount>100`. It may be repeated.",
)
_SOME_WHERE: Final = attrs.evolve(
    _WHERE, type=attrs.evolve(_CONDITIONS, schema={**_CONDITIONS.schema, "minItems": 1}), is_required=True
)
_MESSAGE: Final = Argument(name="message_id", place="path", type=_NUMBER)
OF_JOB: Final = tuple(Argument(name=name, place="path", type=_FILLED_TEXT) for name in ("kind", "name"))
ID: Final = Argument(
    name="id",
    place="path",
    type=_FILLED_TEXT,
    description="The instance. Percent-encode it; a slash becomes %2F.",
)

INFO: Final = ClientOperation(
    name="info",
    path="/v1/jobs",
    answer=EngineInfo,
    summary="List the jobs that the engine serves.",
    id="list_jobs",
)
HEALTH: Final = ClientOperation(name="health", path="/v1/health", answer=Health, summary="Read the state of the store.")
COUNTS: Final = ClientOperation(
    name="counts",
    path="/v1/counts",
    answer=StoreCounts,
    summary="Count the instances by job and status.",
    bounded_by="lists",
)
DEMAND: Final = ClientOperation(
    name="demand",
    path="/v1/demand",
    answer=Demand,
    summary="Count the work that waits or runs, for an autoscaler.",
    arguments=(
        Argument(
            name="within",
            type=_AHEAD_OF_NOW,
            default="0ms",
            description="Alarms that are due within this time count as due, such as `30s`.",
        ),
    ),
    bounded_by="lists",
)
MEMBERS: Final[ClientOperation[tuple[EngineMember, ...]]] = ClientOperation(
    name="members",
    path="/v1/members",
    answer=tuple[EngineMember, ...],
    summary="List the engines that share the store.",
    bounded_by="lists",
)
IN_FLIGHT: Final = ClientOperation(
    name="in_flight",
    path="/v1/in-flight",
    scope="operate",
    answer=InFlight,
    summary="Read the unfinished work of the engine.",
    bounded_by="lists",
)
LIMITS: Final[ClientOperation[tuple[NamedLimit, ...]]] = ClientOperation(
    name="limits",
    path="/v1/limits",
    answer=tuple[NamedLimit, ...],
    summary="List the limits with a name: their numbers, and their use.",
    id="list_limits",
    bounded_by="lists",
)
_LIMIT_NAME: Final = Argument(name="name", place="path", type=_FILLED_TEXT, description="The limit.")
SET_LIMIT: Final = ClientOperation(
    name="set_limit",
    method="POST",
    path="/v1/limits/{name}",
    scope="operate",
    answer=LimitNumbers,
    summary="Change numbers of a limit with a name while engines run.",
    arguments=(
        _LIMIT_NAME,
        Argument(name="concurrency", type=_CONCURRENCY, description="How many runs and calls may be in progress."),
        Argument(name="rate", type=_RATE_OF_LIMIT, description="How many may begin in a window, such as `100/1m`."),
        Argument(name="concurrency_per_key", type=_CONCURRENCY, description="As `concurrency`, for each key."),
        Argument(name="rate_per_key", type=_RATE_OF_LIMIT, description="As `rate`, for each key."),
    ),
    repeat="changes_nothing",
)
RESET_LIMIT: Final = ClientOperation(
    name="reset_limit",
    method="POST",
    path="/v1/limits/{name}/reset",
    scope="operate",
    answer=LimitNumbers,
    summary="Let a limit with a name have the numbers of the code again.",
    arguments=(_LIMIT_NAME,),
    repeat="changes_nothing",
)
LIST: Final = ClientOperation(
    name="list",
    path="/v1/instances",
    answer=Listing,
    summary="Find instances.",
    id="list_instances",
    arguments=(
        Argument(name="kind", type=_TEXT, description="Only this kind."),
        Argument(name="name", type=_TEXT, parameter="job", description="Only jobs of this name."),
        Argument(name="status", type=_STATUS, description="Only this status."),
        Argument(name="id_prefix", type=_TEXT, default="", description="Only ids that begin with this text."),
        Argument(name="due_before", type=_INSTANT, description="Only instances that are due before this instant."),
        _WHERE,
        Argument(
            name="after", type=_ADDRESS, description="The last address of the previous page, printed `kind:name:id`."
        ),
        _LIMIT,
        Argument(name="max_scanned", type=_FROM_1, description="About how many instances to read at most."),
    ),
    bounded_by="lists",
)
DEAD_LETTERS: Final[ClientOperation[tuple[StoredMessage, ...]]] = ClientOperation(
    name="dead_letters",
    path="/v1/dead-letters",
    scope="operate",
    answer=tuple[StoredMessage, ...],
    summary="Read messages that failed too often, the oldest first.",
    id="list_dead_letters",
    arguments=(
        Argument(name="after", type=_NUMBER, default=0, description="The id of the last message of the previous page."),
        _LIMIT,
    ),
    bounded_by="lists",
)
REDRIVE: Final[ClientOperation[Literal["redriven", "not_found"]]] = ClientOperation(
    name="redrive",
    method="POST",
    path="/v1/dead-letters/{message_id}/redrive",
    scope="operate",
    answer=Literal["redriven", "not_found"],
    summary="Deliver a dead letter again.",
    arguments=(_MESSAGE,),
    repeat="applies_again",
)
LEFT_MESSAGES: Final[ClientOperation[tuple[StoredMessage, ...]]] = ClientOperation(
    name="left_messages",
    path="/v1/left-messages",
    scope="operate",
    answer=tuple[StoredMessage, ...],
    summary="Read messages that code left, as it cannot read them.",
    id="list_left_messages",
    arguments=(_LIMIT,),
    bounded_by="lists",
)
BURY: Final[ClientOperation[Literal["buried", "not_found"]]] = ClientOperation(
    name="bury",
    method="POST",
    path="/v1/left-messages/{message_id}/bury",
    scope="operate",
    answer=Literal["buried", "not_found"],
    summary="Make a message that code left a dead letter.",
    arguments=(_MESSAGE,),
    repeat="applies_again",
)
METRICS: Final = ClientOperation(
    name="metrics", path="/metrics", answer=str, summary="Read the metrics for Prometheus.", media="text"
)
STATUS: Final = ClientOperation(
    name="status",
    path=INSTANCE,
    answer=InstanceStatus,
    summary="Read the committed status.",
    arguments=(*OF_JOB, ID),
)
STEPS: Final[ClientOperation[tuple[StepRecord, ...]]] = ClientOperation(
    name="steps",
    path=f"{INSTANCE}/steps",
    answer=tuple[StepRecord, ...],
    summary="Read the steps.",
    arguments=(*OF_JOB, ID),
    bounded_by="lists",
)
REPLY: Final = ClientOperation(
    name="reply",
    path=f"{INSTANCE}/replies/{{ticket}}",
    answer=UpdateReply,
    scope="call",
    summary="Read the reply to an update of a workflow.",
    arguments=(
        *OF_JOB,
        ID,
        Argument(name="ticket", place="path", type=_TICKET, description="The ticket that `update.NAME` returned."),
    ),
    bounded_by="lists",
)
PUBLISHED: Final = ClientOperation(
    name="published",
    path=f"{INSTANCE}/published/{{value}}",
    answer=PublishedValue,
    summary="Read the value that a workflow published.",
    arguments=(
        *OF_JOB,
        ID,
        Argument(name="value", place="path", type=_FILLED_TEXT, description="The name of the value."),
    ),
)
HISTORY: Final[ClientOperation[tuple[LoggedEvent, ...]]] = ClientOperation(
    name="history",
    path=f"{INSTANCE}/history",
    answer=tuple[LoggedEvent, ...],
    summary="Read the newest events, the newest first.",
    arguments=(
        *OF_JOB,
        ID,
        Argument(
            name="before", type=_NUMBER, description="The sequence number of the last event of the previous page."
        ),
        _LIMIT,
    ),
    bounded_by="lists",
)
FORGET_KEY: Final[ClientOperation[Forgotten]] = ClientOperation(
    name="forget_key",
    method="POST",
    path=f"{INSTANCE}/keys/{{key}}/forget",
    scope="operate",
    answer=Forgotten,
    summary="Forget an idempotency key, so that the request that used it can be made again.",
    arguments=(
        *OF_JOB,
        ID,
        Argument(name="key", place="path", type=_KEY, description="The key. Percent-encode it; a slash becomes %2F."),
    ),
    repeat="applies_again",
)
HOLD: Final = ClientOperation(
    name="hold",
    method="POST",
    path=f"{JOB}/hold",
    scope="operate",
    answer=HoldResult,
    summary="Hold the job: none of its runs begins until it is released.",
    arguments=OF_JOB,
    repeat="changes_nothing",
)
RELEASE: Final = ClientOperation(
    name="release",
    method="POST",
    path=f"{JOB}/release",
    scope="operate",
    answer=HoldResult,
    summary="Release the job: its overdue alarms fire.",
    arguments=OF_JOB,
    repeat="changes_nothing",
)
COUNT: Final = ClientOperation(
    name="count",
    path=f"{JOB}/count",
    answer=JobCount,
    summary="Count the instances of the job by status.",
    arguments=OF_JOB,
    bounded_by="lists",
)
COUNT_MATCHING: Final = ClientOperation(
    name="count_matching",
    path=f"{JOB}/count-matching",
    answer=MatchCount,
    summary="Count the instances of the job whose attributes meet all conditions.",
    arguments=(*OF_JOB, _SOME_WHERE),
    bounded_by="lists",
)

FORK_MANY: Final = ClientOperation(
    name="fork_many",
    method="POST",
    path=f"{JOB}/fork-many",
    scope="operate",
    answer=ForkedMany,
    summary="Fork the workflows that match a filter, at most so many in one request.",
    arguments=(
        *OF_JOB,
        Argument(name="step", type=_FILLED_TEXT, description="The path or the name of the first step that runs again."),
        Argument(
            name="suffix", type=_SUFFIX, default="-fork", description="Each new id is the old one with this at its end."
        ),
        Argument(name="status", type=_STATUS, description="Only this status."),
        Argument(name="id_prefix", type=_TEXT, default="", description="Only ids that begin with this text."),
        _WHERE,
        Argument(name="signals", type=_SIGNALS, default="keep", description="Whether unreceived signals are kept."),
        Argument(
            name="accept_undone",
            type=_FLAG,
            default=False,
            description="Fork although kept steps were undone.",
        ),
        Argument(name="dry_run", type=_FLAG, default=False, description="Only count."),
        Argument(name="after", type=_ADDRESS, description="The `after` of the previous answer."),
        _LIMIT,
    ),
    needs="fork",
    bounded_by="lists",
    repeat="changes_nothing",
)

OPERATIONS: Final[tuple[ClientOperation[Any], ...]] = (
    *(INFO, HEALTH, COUNTS, DEMAND, MEMBERS, IN_FLIGHT, LIST, DEAD_LETTERS, REDRIVE, LEFT_MESSAGES, BURY, METRICS),
    *(LIMITS, SET_LIMIT, RESET_LIMIT),
    *(STATUS, STEPS, REPLY, PUBLISHED, HISTORY, FORGET_KEY, HOLD, RELEASE, COUNT, COUNT_MATCHING),
    FORK_MANY,
)
"""Every operation, in the OpenAPI document's order."""
