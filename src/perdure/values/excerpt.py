"""Value excerpts, in one line of bounded length, for messages and for ``repr``."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs
import orjson

from perdure.values.secret import HIDDEN, shown_fields

MAX_LINE_CHARACTERS: Final = 200
"""The length of an excerpt of one value, and of the ``repr`` of clients, handles and apps."""

MAX_TEXT_CHARACTERS: Final = 1_000
"""The length of an error message, and of the ``repr`` of data: answers, events, errors."""

REFERENCE: Final = "@"
"""Begins a value that names its parts in the journal. No JSON begins so: other code cannot misread it."""

_TEXT_CHARACTERS: Final = 160
_FIELD_CHARACTERS: Final = 400
_FIELDS_CHARACTERS: Final = 900  # so that a value that contains one of these still fits
_MAX_INT_BITS: Final = 512
_ELLIPSIS: Final = "..."


class _Excerpts(reprlib.Repr):
    """Cuts text, bytes and containers before it formats them, so that it builds no long text for known types."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxtuple = self.maxlist = self.maxset = self.maxfrozenset = self.maxdict = self.maxarray = 8
        self.maxstring = _TEXT_CHARACTERS
        self.maxlong = self.maxother = MAX_TEXT_CHARACTERS

    def repr1(self, x: Any, level: int) -> str:
        # Before the class's own `repr`, which prints marked fields.
        fields = shown_fields(x.__class__)
        if fields is None:
            return super().repr1(x, level)
        if level <= 0:
            return f"{type(x).__name__}({_ELLIPSIS})"
        shown = (
            f"{name}={HIDDEN if hidden else self.repr1(getattr(x, name, None), level - 1)}" for name, hidden in fields
        )
        return f"{type(x).__name__}({', '.join(shown)})"

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to print integers above 4,300 digits, and takes quadratic time below that.
        return repr(x) if x.bit_length() <= _MAX_INT_BITS else f"<int of {x.bit_length()} bits>"

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x) if len(x) <= _TEXT_CHARACTERS else repr(x[:_TEXT_CHARACTERS]) + _ELLIPSIS


_EXCERPTS: Final = _Excerpts()


class Excerpt(str):
    """The excerpt of a value that another process has: an excerpt of it is the text itself, without further quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def excerpt(value: object, /, limit: int = MAX_LINE_CHARACTERS) -> str:
    """Return a value's ``repr``, in one line with a bounded length.

    Args:
        value: any value. If its ``repr`` raises, the excerpt names the exception instead.
        limit: the maximum length in characters.
    """
    try:
        text = _EXCERPTS.repr(value) if not isinstance(value, Excerpt) else str(value)
    # A message about a wrong value must not be replaced by an error of that value.
    except Exception as broken:  # noqa: BLE001 - a message about a value must not fail because of the value
        text = f"<{type(value).__name__}, whose repr raised {type(broken).__name__}>"
    return shortened(one_line(text), limit)


def shortened(text: str, limit: int = MAX_TEXT_CHARACTERS) -> str:
    """Shorten text to a bounded length: cut out the middle, because a message ends with the fix.

    Args:
        text: any text.
        limit: the maximum length in characters.
    """
    if len(text) <= limit:
        return text
    # The end is kept, because messages end with the remedy.
    tail = (limit - len(_ELLIPSIS)) // 3
    return text[: limit - len(_ELLIPSIS) - tail] + _ELLIPSIS + text[len(text) - tail :]


def one_line(text: str) -> str:
    """Return text with every character escaped that is not printable: line breaks, terminal codes, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def size_only(text: object) -> str:
    """Return an encoded text's length, for a ``repr``: without the codec it is not known which part is secret."""
    # Objects with this field are logged: without the codec, nothing says which part is secret.
    return f"<{len(text)} characters>" if isinstance(text, str) and text else excerpt(text)


def sizes_only(values: Mapping[str, object]) -> str:
    """Return the names of JSON-able values, for a ``repr``: without the codec it is not known which part is secret."""
    return f"<{excerpt(', '.join(values))[1:-1]}>"


def fields_in_line(self: object) -> str:
    """Return an attrs value's class name and fields in one line with a bounded length: a ``__repr__``."""
    fields = (
        f"{field.alias or field.name}={_field(field.repr, getattr(self, field.name, None))}"
        for field in attrs.fields(cast("type[attrs.AttrsInstance]", type(self)))
        if field.repr is not False
    )
    return shortened(f"{type(self).__name__}({', '.join(fields)})", _FIELDS_CHARACTERS)


def _field(own: object, value: Any) -> str:
    return size_only(value) if own is size_only else excerpt(value, _FIELD_CHARACTERS)


def shown_value(text: str) -> str:
    """Return a stored value as tools show it, as JSON: if it is in parts, its size."""
    if text[:1] != REFERENCE:
        return text
    length, *names = orjson.loads(text[1:])
    parts = sum(type(name) is str for name in names)  # beside them, a state has its version
    return f'"<{length:,} characters of JSON in {parts:,} parts>"'
