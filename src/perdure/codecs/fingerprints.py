"""A digest of a payload: equal payloads have equal fingerprints, whatever the order of their keys."""

from __future__ import annotations

from typing import Final

import orjson

from perdure.values.errors import InvalidInput

_BYTES: Final = 16


def fingerprint(data: bytes) -> str:
    """Return a digest of a payload, to detect a different request with the same idempotency key.

    The order of the keys of an object does not matter; the order of a list does. BLAKE2b of 128 bits: two payloads do
    not have the same digest by chance, nor can a sender construct such a pair.

    Args:
        data: JSON, as a codec encodes it.

    Returns:
        32 hexadecimal digits.

    Raises:
        InvalidInput: the bytes are not JSON.

    >>> fingerprint(b'{"a":1,"b":2}') == fingerprint(b'{"b":2,"a":1}')
    True
    """
    from hashlib import blake2b  # noqa: PLC0415 - loads OpenSSL, which defining jobs does not need

    try:
        canonical = orjson.dumps(orjson.loads(data), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, TypeError) as error:
        raise InvalidInput("payload to fingerprint", (f"$: not JSON: {error}",)) from error
    return blake2b(canonical, digest_size=_BYTES).hexdigest()
