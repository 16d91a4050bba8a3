"""The compiled writer of a class refuses the values that the writers of its fields refuse, and writes the same."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import attrs
import pytest

from perdure.codecs import Codec
from perdure.codecs.records import record_writer
from perdure.codecs.scalars import SCALARS
from perdure.values.errors import InvalidInput


@attrs.frozen
class Plain:
    """One field of each scalar whose check is written out, and one of another kind."""

    text: Any = ""
    number: Any = 0
    flag: Any = True
    nothing: Any = None
    part: Any = 1.5


class Word(str):
    __slots__ = ()


class Level(IntEnum):
    LOW = 1


class Sub(Plain):
    """A subclass, whose further fields would be lost."""


SCHEMAS = {
    "text": SCALARS[str],
    "number": SCALARS[int],
    "flag": SCALARS[bool],
    "nothing": SCALARS[type(None)],
    "part": SCALARS[float],
}

VALUES = ["", "a", Word("a"), 0, 1, -1, True, False, None, 1.5, Level.LOW, b"", [], object()]
VALUES += [-(2**63) - 1, -(2**63), 2**64 - 1, 2**64]


@pytest.mark.parametrize("field", SCHEMAS)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__} {value!r}"[:40].split(" at 0x")[0])
def test_a_record_is_refused_if_and_only_if_a_field_is_refused(field: str, value: object) -> None:
    record = attrs.evolve(Plain(), **{field: value})
    try:
        expected: object = {name: schema.write(getattr(record, name)) for name, schema in SCHEMAS.items()}
    except Exception as error:  # noqa: BLE001 - of the writer of the field
        expected = str(error)
    try:
        written: object = record_writer(Plain, "Plain", SCHEMAS)(record)
    except Exception as error:  # noqa: BLE001 - as above
        written = str(error)
    assert written == expected
    assert type(written) is type(expected)


@pytest.mark.parametrize("value", [Sub(), object(), {"text": ""}, None])
def test_a_value_of_another_class_is_refused(value: object) -> None:
    with pytest.raises(Exception, match="expected Plain, got"):
        record_writer(Plain, "Plain", SCHEMAS)(value)


@attrs.frozen
class Line:
    """A record of records."""

    name: str
    count: int


@attrs.frozen
class Order:
    """A record with a list of records."""

    lines: tuple[Line, ...]
    paid: bool


def test_the_error_names_the_field() -> None:
    codec = Codec.of(Order, what="state of 'orders'")
    wrong: Any = Order((Line("a", 1), Line("b", True)), 1)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput) as raised:
        codec.encode(wrong)
    assert raised.value.problems == ("$.lines[1].count: expected int, got True", "$.paid: expected bool, got 1")
