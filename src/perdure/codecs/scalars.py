"""Types that are one JSON scalar, closed scalar sets, and plain JSON: no coercion, exact classes, one text each."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, Flag
from typing import Any, Final
from uuid import UUID

from perdure.codecs.json_schema import Describe, Unsupported, always, choice, is_whole, named, text
from perdure.codecs.schema import LONGEST, MAX_NESTING, Fault, Keeps, Part, Schema, never, shapes
from perdure.values.excerpt import excerpt

_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_TIMEDELTA = re.compile(r"(-?)PT([0-9]{1,14})(?:\.([0-9]{1,6}))?S", re.ASCII)
_MICROSECOND = timedelta(microseconds=1)
_TIME_MARK = slice(10, 11)
INTEGERS: Final = range(-(2**63), 2**64)
"""The integers that JSON of a store holds."""


def _none(value: Any, _: Any = None) -> None:
    if value is not None:
        raise Fault("None", value)


def _bool(value: Any, _: Any = None) -> bool:
    if value is True or value is False:
        return value
    raise Fault("bool", value)


def _int(value: Any, _: Any = None) -> int:
    if type(value) is int:
        if value in INTEGERS:
            return value
        raise Fault("an int of 64 bits (-2**63 to 2**64-1; larger ones fit in Decimal)", value)
    raise Fault("int", value)


def _read_int(data: Any, _: Any = None) -> int:
    # JSON has one kind of number: newer code whose field is a float writes 1 as 1.0.
    return int(data) if type(data) is float and is_whole(data) else _int(data)


def _float(value: Any, _: Any = None) -> float:
    if type(value) is float:
        if math.isfinite(value):
            return value
        raise Fault("a finite float", value)
    if type(value) is int and -(2**1023) < value < 2**1023 and float(value) == value:
        return float(value)
    raise Fault("float, or an int that a float holds exactly", value)


def _read_str(data: Any, _: Any = None) -> str:
    if type(data) is str:
        return data
    raise Fault("str", data)


def _write_str(value: Any) -> str:
    if type(value) is str:
        return value
    raise Fault("str", value)


def _write_datetime(value: Any) -> str:
    if type(value) is datetime:
        offset = value.utcoffset()
        if offset is None:
            raise Fault("an aware datetime, such as datetime(…, tzinfo=UTC)", value)
        if offset.microseconds:  # datetime.fromisoformat parses such an offset below a second as UTC
            raise Fault("a datetime whose offset is of whole seconds", value)
        return value.isoformat()
    raise Fault("datetime", value)


def _keeps_datetime(value: datetime) -> bool:
    return value.tzinfo is UTC and value.fold == 0  # any other zone is read back as an offset


def _keeps_float(value: float) -> bool:
    return type(value) is float


def _parse_datetime(text: str) -> datetime | None:
    instant = datetime.fromisoformat(text)
    return instant if text[_TIME_MARK] == "T" and instant.tzinfo is not None else None


def _parse_date(text: str) -> date | None:
    day = date.fromisoformat(text)
    return day if day.isoformat() == text else None


def _print_timedelta(value: timedelta) -> str:
    seconds, micros = divmod(abs(value) // _MICROSECOND, 1_000_000)
    sign = "-" if value.days < 0 else ""
    return f"{sign}PT{seconds}.{micros:06}S" if micros else f"{sign}PT{seconds}S"


def _parse_timedelta(text: str) -> timedelta | None:
    found = _TIMEDELTA.fullmatch(text)
    if found is None:
        return None
    sign, seconds, fraction = found.groups(default="")
    length = timedelta(seconds=int(seconds), microseconds=int(fraction.ljust(6, "0")))
    return -length if sign else length


def _parse_uuid(text: str) -> UUID | None:
    found = UUID(text)
    return found if str(found) == text.lower() else None


def _print_decimal(value: Decimal) -> str:
    if value.is_finite():
        return str(value)
    raise Fault("a finite Decimal", value)


def _parse_decimal(text: str) -> Decimal | None:
    found = Decimal(text) if _DECIMAL.fullmatch(text) else None
    return found if found is not None and found.is_finite() else None


def _print_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _parse_bytes(text: str) -> bytes | None:
    found = base64.b64decode(text, validate=True)
    return found if _print_bytes(found) == text else None


def _parse_int(text: str) -> int | None:
    found = int(text)
    return found if str(found) == text else None


def _plain(
    cls: type,
    read: Any,
    describe: Describe,
    *,
    write: Any = None,
    classes: frozenset[type] | None = None,
    keeps: Keeps | None = None,
) -> Schema:
    name = "None" if cls is type(None) else cls.__name__
    kinds = frozenset({cls})
    return Schema(
        name=name, kinds=kinds, classes=classes or kinds, read=read, write=write or read, describe=describe, keeps=keeps
    )


def _text(
    cls: type,
    *,
    parse: Callable[[str], Any],
    expected: str,
    describe: Describe,
    show: Callable[[Any], str] | None = None,
    write: Callable[[Any], str] | None = None,
    keeps: Keeps | None = None,
) -> Schema:
    def read(data: Any, _: Any = None) -> Any:
        try:
            found = parse(data) if type(data) is str else None
        except (ValueError, OverflowError, ArithmeticError):
            found = None
        if found is None:
            raise Fault(expected, data)
        return found

    def show_exact(value: Any) -> str:
        if type(value) is cls and show is not None:
            return show(value)
        raise Fault(cls.__name__, value)

    return Schema(
        name=cls.__name__,
        kinds=frozenset({str}),
        classes=frozenset({cls}),
        read=read,
        write=write or show_exact,
        describe=describe,
        keeps=keeps,
    )


SCALARS: Final[dict[type, Schema]] = {
    type(None): _plain(type(None), _none, always(type="null")),
    bool: _plain(bool, _bool, always(type="boolean")),
    int: _plain(
        int, _read_int, write=_int, describe=always(type="integer", minimum=INTEGERS.start, maximum=INTEGERS.stop - 1)
    ),
    float: _plain(float, _float, always(type="number"), classes=frozenset({float, int}), keeps=_keeps_float),
    str: _plain(str, _read_str, always(type="string"), write=_write_str),
    datetime: _text(
        datetime,
        parse=_parse_datetime,
        write=_write_datetime,
        expected="an ISO 8601 instant with its offset",
        describe=always(type="string", format="date-time"),
        keeps=_keeps_datetime,
    ),
    date: _text(
        date,
        parse=_parse_date,
        show=date.isoformat,
        expected="an ISO 8601 date such as '2026-11-25'",
        describe=always(type="string", format="date"),
    ),
    timedelta: _text(
        timedelta,
        parse=_parse_timedelta,
        show=_print_timedelta,
        expected="an ISO 8601 length in seconds, 'PT1.5S'",
        describe=text(r"-?PT[0-9]{1,14}(\.[0-9]{1,6})?S", description="A length in seconds, such as PT1.5S."),
    ),
    UUID: _text(
        UUID,
        parse=_parse_uuid,
        show=str,
        expected="a UUID in its usual text",
        describe=always(type="string", format="uuid"),
    ),
    Decimal: _text(
        Decimal,
        parse=_parse_decimal,
        show=_print_decimal,
        expected="a finite decimal number as text",
        describe=text(_DECIMAL.pattern, description="A decimal number."),
    ),
    bytes: _text(
        bytes,
        parse=_parse_bytes,
        show=_print_bytes,
        expected="base64 text",
        describe=text(
            "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?",
            contentEncoding="base64",
        ),
    ),
}
"""The schema of each scalar class."""

INT_KEY: Final = _text(
    int,
    parse=_parse_int,
    show=str,
    expected="a whole number as text",
    describe=text("(0|-?[1-9][0-9]*)", description="A whole number."),
)
"""The schema of an ``int`` that is the key of a dict, which is text in JSON."""


_SCALARS = (str, int, bool, type(None))


def literal_schema(name: str, members: tuple[Any, ...], path: str) -> Schema:
    """Return the schema for a ``Literal``. An enum's member is encoded as its value.

    Raises:
        Unsupported: a member is not a JSON scalar, or two have the same one.
    """
    return _choice(name, members, path, choice([_wire(member, path) for member in members]))


def enum_schema(cls: type[Enum], path: str) -> Schema:
    """Return the schema for an enum, whose members are encoded as their values.

    Raises:
        Unsupported: a value is neither text nor an integer, or the members combine (``Flag``).
    """
    if issubclass(cls, Flag):
        raise Unsupported(path, cls, "an Enum; of a Flag, store the frozenset of its members' names")
    describe = choice([_wire(member, path) for member in cls])
    return _choice(cls.__name__, tuple(cls), path, named(cls, cls.__name__, describe))


def _choice(name: str, members: tuple[Any, ...], path: str, describe: Describe) -> Schema:
    texts = {_key(member): _wire(member, path) for member in members}
    values = {_key(_wire(member, path)): member for member in members}
    # Two members with one JSON value could not be told apart after a restart.
    if len(values) != len(texts) or not values:
        raise Unsupported(path, name, "choices whose JSON values differ, at least one of them")

    def read(data: Any, _: Any = None) -> Any:
        found = values.get((type(data), data), _ABSENT) if type(data) in kinds else _ABSENT
        if found is _ABSENT:
            raise Fault(expected, data)
        return found

    def write(value: Any) -> Any:
        found = texts.get((type(value), value), _ABSENT) if type(value) in classes else _ABSENT
        if found is _ABSENT:
            raise Fault(expected, value)
        return found

    kinds, classes = frozenset(cls for cls, _ in values), frozenset(cls for cls, _ in texts)
    expected = f"{name}, one of {', '.join(repr(text) for text in texts.values())}"
    return Schema(
        name=name,
        kinds=kinds,
        classes=classes,
        read=read,
        write=write,
        describe=describe,
        structure=lambda: shapes.ChoiceShape(kinds, frozenset(values)),
    )


_ABSENT = object()


def _key(value: Any) -> tuple[type, Any]:
    # with its class, because 1, True and 1.0 are the same key of a dict
    return type(value), value


def _wire(member: Any, path: str) -> Any:
    value = member.value if isinstance(member, Enum) else member
    if type(value) not in _SCALARS:
        raise Unsupported(path, member, "choices that are str, int, bool or None, or enum members with such values")
    return value


_KEY: Final = SCALARS[str]
_NESTING: Final = (list, dict)


def _same(value: Any, _: Any = None) -> Any:
    return _copied(value, 0)


def _copied(value: Any, depth: int) -> Any:
    cls: type = type(value)
    if depth == MAX_NESTING and cls in _NESTING:
        # counted here, because some Pythons never raise RecursionError in a loop like this one
        raise Fault(f"JSON nested at most {MAX_NESTING} deep", value)
    if cls is list:
        return [_copied(item, depth + 1) for item in value]
    if cls is dict:
        return {_KEY.write(key): _copied(item, depth + 1) for key, item in value.items()}
    scalar = SCALARS.get(cls)
    if scalar is None or cls not in scalar.kinds:
        raise Fault("a plain JSON value (None, bool, int, float, str, list, dict with str keys)", value)
    return scalar.write(value)


def _parts(value: Any) -> Iterator[Part]:
    cls: type = type(value)
    if cls is list:
        yield from (Part(f"[{at}]", PLAIN, item) for at, item in enumerate(value))
    if cls is dict:
        for key, item in value.items():
            yield Part(f"[{excerpt(key, LONGEST)}]", _KEY, key)
            yield Part(f"[{excerpt(key, LONGEST)}]", PLAIN, item)


_CLASSES: Final[frozenset[type]] = frozenset({type(None), bool, int, float, str, list, dict})

PLAIN: Final = Schema(
    name="plain JSON",
    kinds=_CLASSES,
    classes=_CLASSES,
    read=_same,
    write=_same,
    describe=always(),
    read_parts=_parts,
    write_parts=_parts,
    keeps=never,
)
"""The schema of any JSON value."""
