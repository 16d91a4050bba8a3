"""Text as PostgreSQL can hold it: U+0000 is not among its characters.

U+0000 is stored as U+0001 U+0001, and U+0001 as U+0001 U+0002. Encoded texts compare as the original ones do, and the
encoding of a prefix is a prefix of the encoding.
"""

from __future__ import annotations

from typing import overload


@overload
def encoded(text: str) -> str: ...
@overload
def encoded(text: str | None) -> str | None: ...
def encoded(text: str | None) -> str | None:
    r"""Encode text for a column.

    >>> encoded("a\0b\1c")
    'a\x01\x01b\x01\x02c'
    """
    if text is None or ("\0" not in text and "\1" not in text):
        return text
    return text.replace("\1", "\1\2").replace("\0", "\1\1")


def decoded(text: str) -> str:
    r"""Decode the text of a column.

    >>> decoded(encoded("a\0\1\0b"))
    'a\x00\x01\x00b'
    """
    if "\1" not in text:
        return text
    # From the left, each pair begins where the previous one ended, so `replace` finds no pair across two of them.
    return text.replace("\1\1", "\0").replace("\1\2", "\1")
