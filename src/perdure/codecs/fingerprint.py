"""A short name for a payload: equal payloads have equal fingerprints, whatever the order of their keys."""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from perdure.values.errors import InvalidInput

_BYTES: Final = 16


def fingerprint(data: bytes) -> str:
    """Name a payload by its content, to tell a repeated request from another one under the same key.

    The order of the keys of an object does not count; the order of a list does. BLAKE2b of 128 bits: no one can be
    made to meet another by chance.

    Args:
        data: JSON, as a codec encodes it.

    Returns:
        32 hexadecimal digits.

    Raises:
        InvalidInput: the bytes are no JSON.

    >>> fingerprint(b'{"a":1,"b":2}') == fingerprint(b'{"b":2,"a":1}')
    True
    """
    try:
        canonical = orjson.dumps(orjson.loads(data), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, TypeError) as error:
        raise InvalidInput("payload to fingerprint", (f"$: not JSON: {error}",)) from error
    return hashlib.blake2b(canonical, digest_size=_BYTES).hexdigest()
