"""The laws of codecs: an encoded value decodes unchanged, and invalid bytes are refused with ``InvalidInput``."""

from __future__ import annotations

from copy import copy
from typing import Any, Protocol, TypeVar

import orjson
from hypothesis import strategies as st

from perdure.testing.laws.law import Law, check_laws
from perdure.values.errors import InvalidInput

T = TypeVar("T")


class AnyCodec(Protocol[T]):
    """Encodes and decodes values of one type."""

    def encode(self, value: T) -> bytes:
        """Encode a value, or raise ``InvalidInput``."""
        ...

    def decode(self, data: bytes) -> T:
        """Decode a value, or raise ``InvalidInput``."""
        ...


def check_codec(codec: AnyCodec[T], values: st.SearchStrategy[T], /, *, max_examples: int = 100) -> None:
    """Check that a codec keeps the values it encodes.

    Args:
        codec: the codec.
        values: values that it must accept, such as ``from_type(Order)``.
        max_examples: the number of examples of each law.

    Raises:
        LawViolated: a law does not hold.
    """
    anything = _anything(codec, values)
    laws = (
        Law("an encoded value decodes unchanged", lambda data: writes_what_it_reads(codec, data.draw(values))),
        Law("bytes are a value, or InvalidInput", lambda data: refuses_or_reads(codec, data.draw(anything))),
    )
    check_laws(laws, max_examples=max_examples)


def writes_what_it_reads(codec: AnyCodec[T], value: T) -> None:
    """Check that a value decodes to an equal value of the same class, which is encoded to the same bytes.

    Raises:
        AssertionError: it does not.
    """
    data = codec.encode(value)
    orjson.loads(data)
    back = codec.decode(data)
    assert back == value, f"{value!r} was encoded as {data!r} and decoded as {back!r}"  # noqa: S101 - a law
    assert type(back) is type(value), f"a {type(value).__name__} was decoded as a {type(back).__name__}"  # noqa: S101
    again = codec.encode(back)
    assert again == data, f"it was encoded as {data!r}, and the second time as {again!r}"  # noqa: S101


def refuses_or_reads(codec: AnyCodec[Any], data: bytes) -> None:
    """Check that bytes are refused with ``InvalidInput``, or decoded to a value that round-trips.

    Raises:
        AssertionError: neither is the case.
    """
    try:
        value = codec.decode(data)
    except InvalidInput:
        return
    except Exception as other:
        raise AssertionError(f"{data!r} was refused with {other!r} instead of InvalidInput") from other
    assert codec.decode(codec.encode(value)) == value, f"{data!r} decodes to {value!r}, which does not round-trip"  # noqa: S101


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


def _damaged(document: Any, place: int, other: object) -> object:  # any JSON
    """Replace one part of a document."""
    if not document or not isinstance(document, dict | list):
        return other
    keys: list[Any] = sorted(document) if isinstance(document, dict) else [*range(len(document))]  # pyright: ignore[reportUnknownArgumentType]
    changed: Any = copy(document)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    changed[keys[place % len(keys)]] = other
    return changed
