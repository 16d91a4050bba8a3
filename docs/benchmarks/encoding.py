"""What the codecs cost: run ``python docs/benchmarks/encoding.py``.

Each line is the best of several rounds, in microseconds for one operation, measured in one process on one machine. A
codec checks the whole value both ways; cattrs with orjson checks nothing on the way out and coerces on the way in; the
standard library's ``json`` only turns a plain dict into text and back.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import attrs
from cattrs.preconf.orjson import make_converter

from perdure.codecs import Codec, fingerprint

T = TypeVar("T")

ROUNDS = 7
CALLS = 5_000


@attrs.frozen
class Small:
    """A state of five fields and an instant."""

    name: str
    count: int
    ratio: float
    active: bool
    note: str | None
    at: datetime


@attrs.frozen
class Added:
    """One event."""

    item: str
    amount: int
    at: datetime


@attrs.frozen
class Removed:
    """The other event."""

    item: str
    at: datetime


@attrs.frozen
class Noted:
    """The state of newer code, which has one more field in each line."""

    name: str
    lines: tuple[NotedLine, ...]


@attrs.frozen
class NotedLine:
    """One line of newer code."""

    item: str
    amount: int
    note: str = ""


@attrs.frozen
class Lined:
    """The state of older code."""

    name: str
    lines: tuple[Line, ...]


@attrs.frozen
class Line:
    """One line of older code."""

    item: str
    amount: int


@attrs.frozen
class Large:
    """A state with a history of tagged events."""

    name: str
    events: tuple[Added | Removed, ...]


@attrs.frozen
class Guarded:
    """A state that is read back before it is stored, because a validator stands in its constructor."""

    name: str
    count: int = attrs.field(validator=attrs.validators.ge(0))
    ratio: float
    active: bool
    note: str | None
    at: datetime


NOW = datetime(2026, 11, 25, 12, 30, 15, 123456, tzinfo=UTC)
SMALL = Small("order-789", 3, 1.5, active=True, note="a note", at=NOW)
GUARDED = Guarded("order-789", 3, 1.5, active=True, note="a note", at=NOW)
LARGE = Large("order-789", tuple(Added(f"item-{at}", at, NOW) if at % 2 else Removed("x", NOW) for at in range(20)))


def best_us(call: Callable[[], object]) -> float:
    """Measure one call: the best round, divided by its calls."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        rounds.append((time.perf_counter() - start) / CALLS * 1e6)
    return min(rounds)


def report(name: str, write: Callable[[], object], read: Callable[[], object]) -> None:
    """Print one line: writing, reading."""
    print(f"{name:<44} {best_us(write):8.2f} {best_us(read):8.2f}")


def with_codec(name: str, codec: Codec[T], value: T) -> None:
    """Measure a codec."""
    data = codec.encode(value)
    report(name, lambda: codec.encode(value), lambda: codec.decode(data))


def of_versions() -> None:
    """Measure a state that older code reads and writes, with and without members of newer code."""
    older, newer = Codec.of(Lined, what="state"), Codec.of(Noted, what="state")
    known = older.encode(Lined("order-789", tuple(Line(f"item-{at}", at) for at in range(20))))
    unknown = newer.encode(Noted("order-789", tuple(NotedLine(f"item-{at}", at) for at in range(20))))
    for name, text in (("20 lines, all known: close, open", known), ("20 lines of newer code: close, open", unknown)):
        opened = older.open(text)
        lines = (attrs.evolve(opened.value.lines[0], amount=9), *opened.value.lines[1:])
        changed = attrs.evolve(opened.value, lines=lines)
        report(name, partial(older.close, changed, opened), partial(older.open, text))


def main() -> None:
    """Print the table."""
    print(f"Python {sys.version.split()[0]}; microseconds for one call, best of {ROUNDS} rounds of {CALLS}")
    print(f"{'':<44} {'encode':>8} {'decode':>8}")
    with_codec("small state: codec", Codec.of(Small, what="state"), SMALL)
    with_codec("small state with a validator: codec", Codec.of(Guarded, what="state"), GUARDED)
    converter = make_converter(detailed_validation=False)
    data = converter.dumps(SMALL)
    report(
        "small state: cattrs and orjson, unchecked",
        lambda: converter.dumps(SMALL),
        lambda: converter.loads(data, Small),
    )
    plain, text = json.loads(data), data.decode()
    report("small state: json, a plain dict", lambda: json.dumps(plain), lambda: json.loads(text))
    large = Codec.of(Large, what="state")
    with_codec("20 tagged events: codec", large, LARGE)
    plain_large, text_large = json.loads(large.encode(LARGE)), large.encode(LARGE).decode()
    report("20 tagged events: json, a plain dict", lambda: json.dumps(plain_large), lambda: json.loads(text_large))
    of_versions()
    print(f"{'fingerprint of the small state':<44} {best_us(lambda: fingerprint(data)):8.2f}")
    start = time.perf_counter()
    Codec.of(Small, what="state")
    print(f"{'making the codec of the small state':<44} {(time.perf_counter() - start) * 1e6:8.2f}")


if __name__ == "__main__":
    main()
