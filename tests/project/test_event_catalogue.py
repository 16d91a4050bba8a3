"""The catalogue of events has a row for each class of events, with its type and exactly its own fields."""

import re
from pathlib import Path

import attrs
import pytest

from perdure.values.event import EVENT_TYPES, EventHeader
from perdure.values.live_event import LIVE_EVENT_TYPES, LiveHeader

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([a-z_.]+)` \| `(\w+)` \| [^|]+ \|([^|]*)\|$", PAGE, re.MULTILINE)
CLASSES: dict[str, type[attrs.AttrsInstance]] = {**EVENT_TYPES, **LIVE_EVENT_TYPES}


def own_fields(cls: type[attrs.AttrsInstance]) -> set[str]:
    """The fields of a class of events besides those of its header, by the names to read them by."""
    header = LiveHeader if issubclass(cls, LiveHeader) else EventHeader
    common = {field.name for field in attrs.fields(header)}
    return {_readable(cls, field.name) for field in attrs.fields(cls) if field.name not in common}


def _readable(cls: type, name: str) -> str:
    short = name.removesuffix("_ms")
    return short if isinstance(getattr(cls, short, None), property) else name


def test_each_class_has_one_row() -> None:
    assert [(type_, name) for type_, name, _ in ROWS] == [(type_, cls.__name__) for type_, cls in CLASSES.items()]


@pytest.mark.parametrize(("type_", "fields"), [(type_, fields) for type_, _, fields in ROWS])
def test_a_row_names_the_own_fields(type_: str, fields: str) -> None:
    assert set(re.findall(r"`(\w+)`", fields)) == own_fields(CLASSES[type_])
