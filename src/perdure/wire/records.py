"""The answers to reads and waits as JSON, and an engine's description: version, limits, and jobs with their contracts.

Unknown members are ignored, so that a client can read a newer server's answers. A contract has the JSON Schemas for a
definition's types, with their fingerprints: a client compares it with its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from types import UnionType
from typing import Any, Final, Literal, TypeVar, Union, assert_never, cast, get_args, get_origin

import attrs
import orjson
from cattrs import Converter

from perdure.codecs import Codec, fingerprint
from perdure.codecs.json_schema import JsonSchema, canonical
from perdure.jobs.code_fingerprint import DefinitionKey
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.display import NOT_FOUND
from perdure.stores.rows import event_body, logged_event
from perdure.stores.values import LoggedEvent, UnreadEvent
from perdure.values.errors import OutcomeUnknown
from perdure.values.excerpt import excerpt
from perdure.values.listings import StepRecord
from perdure.values.status import Hold, InstanceStatus
from perdure.values.status_wait import Awaited, NeverStored, NotReached, Reached

T = TypeVar("T")


def _converter() -> Converter:
    converter = Converter(detailed_validation=False)
    converter.register_unstructure_hook(datetime, lambda instant: instant.isoformat())
    converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
    converter.register_unstructure_hook_func(_is_frozenset, sorted)
    converter.register_unstructure_hook(LoggedEvent, _event_data)
    converter.register_structure_hook_func(_is_union_of_literals, lambda text, _: text)
    converter.register_structure_hook(LoggedEvent, lambda data, _: _event(data))
    return converter


def _is_union_of_literals(form: Any) -> bool:
    """Return whether a type is a union of ``Literal``s, which cattrs does not structure."""
    return get_origin(form) in (Union, UnionType) and all(get_origin(each) is Literal for each in get_args(form))


def _is_frozenset(form: Any) -> bool:
    return form is frozenset or get_origin(form) is frozenset


def _event_data(logged: LoggedEvent) -> dict[str, Any]:
    event = logged.event
    header = {"sequence": logged.sequence, "type": event.type, "address": event.address, "at_ms": event.at_ms}
    # An event of newer code is sent as it is stored: a client of that code can read it.
    if isinstance(event, UnreadEvent):
        return {**header, "unread": event.body}
    return {**header, "fields": orjson.loads(event_body(event))}


def _event(data: dict[str, Any]) -> LoggedEvent:
    body = orjson.dumps(data["fields"]).decode() if "fields" in data else data["unread"]
    return logged_event(
        sequence=data["sequence"], type_=data["type"], address=data["address"], at_ms=data["at_ms"], body=body
    )


_CONVERTER: Final = _converter()


def data_of(record: object) -> Any:
    """Return a record as JSON-able data: values from `perdure.values`, or tuples of them."""
    return _CONVERTER.unstructure(record)


def json_of(record: object) -> bytes:
    """Return a record as JSON."""
    return orjson.dumps(data_of(record))


def without_tracebacks(encoded: bytes) -> bytes:
    """Return this library's JSON without the failures' tracebacks, also in failures that are stored as JSON text.

    Tracebacks show paths and code, so they are for operators alone. Do not apply it to your own types' JSON.

    >>> without_tracebacks(b'{"error":{"error_type":"KeyError","message":"a","traceback":"File /srv/jobs.py"}}')
    b'{"error":{"error_type":"KeyError","message":"a","traceback":null}}'
    """
    # Most answers have none, and are not parsed.
    return orjson.dumps(_untraced(orjson.loads(encoded))) if _TRACEBACK.encode() in encoded else encoded


_TRACEBACK: Final = "traceback"


def _untraced(data: Any) -> Any:
    if isinstance(data, str):
        return _untraced_text(data) if _TRACEBACK in data else data
    if isinstance(data, list):
        items: list[Any] = data  # pyright: ignore[reportUnknownVariableType] - of JSON
        return [_untraced(each) for each in items]
    if not isinstance(data, dict):
        return data
    members = {name: _untraced(each) for name, each in cast("dict[str, Any]", data).items()}
    if isinstance(members.get(_TRACEBACK), str) and "error_type" in members:
        members[_TRACEBACK] = "" if "code" in members else None  # of a problem, it is a text
    return members


def _untraced_text(text: str) -> str:
    try:
        # Stored records are JSON inside of text: a traceback in one would get through.
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return orjson.dumps(_untraced(parsed)).decode() if isinstance(parsed, dict | list) else text


def record_of(kind: type[T], data: object) -> T:
    """Decode a record from JSON-able data.

    Args:
        kind: the record's class.
        data: the result of `data_of`, possibly with further members.

    Raises:
        OutcomeUnknown: the data is not such a record.
    """
    try:
        return _CONVERTER.structure(data, kind)
    except Exception as error:  # cattrs raises any exception of a constructor
        name = getattr(kind, "__name__", str(kind))
        # The request may have been applied: to call it failed would make the caller repeat it.
        raise OutcomeUnknown(f"the server sent no {name}: {excerpt(data)} ({excerpt(error)})") from error


def steps_from(data: object) -> tuple[StepRecord, ...]:
    """Read steps from parsed JSON.

    Raises:
        OutcomeUnknown: the data does not describe steps.
    """
    listed = data if isinstance(data, list) else [data]  # pyright: ignore[reportUnknownVariableType] - JSON
    return tuple(record_of(StepRecord, each) for each in cast("list[object]", listed))


LONGEST_WAIT_MS: Final = 20_000
"""How long one request to a server may wait at most. A client repeats the request to wait longer."""


@attrs.frozen
class AwaitedRecord:
    """The answer to a wait.

    Attributes:
        form: whether the instance had a wanted status in time, or has never been stored.
        status: the committed status. Null if the instance has never been stored.
    """

    form: Literal["reached", "not_reached", "never_stored"]
    status: InstanceStatus | None


def awaited_json(answer: Awaited) -> bytes:
    """Encode the answer to a wait.

    >>> awaited_json(NeverStored())
    b'{"form":"never_stored","status":null}'
    """
    match answer:
        case Reached(status):
            return json_of(AwaitedRecord("reached", status))
        case NotReached(status):
            return json_of(AwaitedRecord("not_reached", status))
        case NeverStored():
            return json_of(AwaitedRecord("never_stored", None))
        case _:
            assert_never(answer)


def awaited_of(data: Any) -> Awaited:  # of JSON
    """Decode the answer to a wait.

    Raises:
        OutcomeUnknown: the data is not such an answer.
    """
    record = record_of(AwaitedRecord, data)
    match record.form:
        case "reached":
            return Reached(record.status or NOT_FOUND)
        case "not_reached":
            return NotReached(record.status or NOT_FOUND)
        case "never_stored":
            return NeverStored()
        case _:
            assert_never(record.form)


MAX_CACHED: Final = 1_024
"""How many definitions' contracts are kept."""


@attrs.frozen
class ContractPart:
    """One type in a definition.

    Attributes:
        schema: the type's JSON Schema. None if there is no such type: an action without input, or no declared errors.
        fingerprint: 32 hexadecimal digits, the same for all types with the same JSON.
    """

    schema: JsonSchema | None
    fingerprint: str


@attrs.frozen(kw_only=True)
class Contract:
    """The types in a definition that its clients use.

    Attributes:
        parts: the types, by name: ``state``, ``errors``, and ``input of send`` for each action.
    """

    kind: str
    name: str
    parts: Mapping[str, ContractPart]

    @property
    def fingerprints(self) -> dict[str, str]:
        """Each part's fingerprint, by its name."""
        return {name: part.fingerprint for name, part in self.parts.items()}


def contract_of(definition: AnyDefinition) -> Contract:
    """Return a definition's contract. It is computed once for each definition.

    Class names, docstrings, and the order of fields, choices and union members do not change a fingerprint. Tags do:
    the JSON contains them.
    """
    return _contract(DefinitionKey(definition))


@lru_cache(maxsize=MAX_CACHED)
def _contract(key: DefinitionKey) -> Contract:
    definition, plan = key.definition, key.definition.plan
    parts = {
        "state": _part(plan.state),
        "errors": _part(plan.errors),
        **{f"input of {action}": _part(spec.input) for action, spec in plan.commands.items()},
    }
    return Contract(kind=definition.kind, name=definition.name, parts=parts)


def _part(codec: Codec[Any] | None) -> ContractPart:
    schema = None if codec is None else codec.json_schema()
    return ContractPart(schema, fingerprint(orjson.dumps(None if schema is None else canonical(schema))))


@attrs.frozen(kw_only=True)
class JobInfo:
    """A job that an engine serves.

    Attributes:
        actions: the requests that the job's instances accept.
        fingerprints: the fingerprints of the job's types, by name. See `Contract`.
        hold: whether it is held.
        run_now: the action that runs an instance now that waits for a retry. None if there is none.
    """

    kind: str
    name: str
    actions: tuple[str, ...]
    fingerprints: Mapping[str, str]
    hold: Hold = "released"
    run_now: str | None = None


@attrs.frozen
class EngineInfo:
    """An engine as its clients see it.

    Attributes:
        version: the library version that it runs.
        jobs: the jobs that it serves.
        payload_bytes: an encoded input's maximum size.
        state_bytes: an encoded state's maximum size.
    """

    version: str
    jobs: tuple[JobInfo, ...]
    payload_bytes: int
    state_bytes: int


def job_info(job: AnyDefinition, hold: Hold) -> JobInfo:
    """Describe a job by its definition."""
    return JobInfo(
        kind=job.kind,
        name=job.name,
        actions=tuple(job.plan.offered),
        fingerprints=contract_of(job).fingerprints,
        hold=hold,
        run_now=job.run_now,
    )


def installed_version() -> str:
    """Return the installed library's version. Empty in a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - imports a random generator

    try:
        return version("perdure")
    except PackageNotFoundError:
        return ""
