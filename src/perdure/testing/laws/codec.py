"""The laws of codecs: what is written reads back, and what is refused is refused by name."""

from __future__ import annotations

from copy import copy
from typing import Any, Protocol, TypeVar

import orjson
from hypothesis import strategies as st

from perdure.testing.laws.law import Law, check_laws
from perdure.values.errors import InvalidInput

T = TypeVar("T")


class AnyCodec(Protocol[T]):
    """What encodes and decodes values of one type."""

    def encode(self, value: T) -> bytes:
        """Write a value, or raise ``InvalidInput``."""
        ...

    def decode(self, data: bytes) -> T:
        """Read a value, or raise ``InvalidInput``."""
        ...


def check_codec(codec: AnyCodec[T], values: st.SearchStrategy[T], /, *, max_examples: int = 100) -> None:
    """Check that a codec keeps what it is given.

    Args:
        codec: the codec.
        values: values that it must take, such as ``from_type(Order)``.
        max_examples: how many examples of each law are tried.

    Raises:
        LawBroken: one does not hold.
    """
    anything = _anything(codec, values)
    laws = (
        Law("what is written reads back as it was", lambda data: writes_what_it_reads(codec, data.draw(values))),
        Law("bytes are a value, or InvalidInput", lambda data: refuses_or_reads(codec, data.draw(anything))),
    )
    check_laws(laws, max_examples=max_examples)


def writes_what_it_reads(codec: AnyCodec[T], value: T) -> None:
    """Check that a value reads back as the same value, of the same class, and is written the same again.

    Raises:
        AssertionError: it is not.
    """
    data = codec.encode(value)
    orjson.loads(data)
    back = codec.decode(data)
    assert back == value, f"{value!r} was written as {data!r} and read back as {back!r}"  # noqa: S101 - a law
    assert type(back) is type(value), f"a {type(value).__name__} came back as a {type(back).__name__}"  # noqa: S101
    again = codec.encode(back)
    assert again == data, f"it was written as {data!r}, and the second time as {again!r}"  # noqa: S101


def refuses_or_reads(codec: AnyCodec[Any], data: bytes) -> None:
    """Check that bytes are refused with ``InvalidInput``, or read as a value that is written and read the same.

    Raises:
        AssertionError: neither is so.
    """
    try:
        value = codec.decode(data)
    except InvalidInput:
        return
    except Exception as other:
        raise AssertionError(f"{data!r} was refused with {other!r} instead of InvalidInput") from other
    assert codec.decode(codec.encode(value)) == value, f"{data!r} reads as {value!r}, which does not read back"  # noqa: S101


_NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def _anything(codec: AnyCodec[T], values: st.SearchStrategy[T]) -> st.SearchStrategy[bytes]:
    """Draw bytes: any, any JSON, and JSON of a value with one part replaced."""
    written = values.map(lambda value: orjson.loads(codec.encode(value)))
    damaged = st.tuples(written, st.integers(0, 5), _JSON).map(lambda drawn: _damaged(*drawn))
    return st.binary(max_size=8) | _JSON.map(orjson.dumps) | damaged.map(orjson.dumps)


def _damaged(document: Any, place: int, other: object) -> object:  # of whatever JSON can say
    """Replace one part of a document."""
    if not document or not isinstance(document, dict | list):
        return other
    keys: list[Any] = sorted(document) if isinstance(document, dict) else [*range(len(document))]  # pyright: ignore[reportUnknownArgumentType]
    changed: Any = copy(document)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    changed[keys[place % len(keys)]] = other
    return changed
