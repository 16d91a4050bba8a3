"""The texts that begin with a prefix, as a range: stores search them in an index."""

from __future__ import annotations

from typing import Final

_FIRST_SURROGATE: Final = 0xD800
_AFTER_SURROGATES: Final = 0xE000
"""No text can hold a surrogate alone."""


def after_prefix(prefix: str) -> str | None:
    """Return the first text, in the order of code points, that is after every text with this prefix."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(_AFTER_SURROGATES if following == _FIRST_SURROGATE else following)
