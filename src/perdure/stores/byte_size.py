"""Sizes in settings: ``16MiB``."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_FORM: Final = re.compile(r"([0-9]{1,15}) ?(B|KiB|MiB|GiB|)")


def bytes_of(text: str) -> int | None:
    """Return the number of bytes of a size, or None if the text is not a size.

    >>> [bytes_of(text) for text in ("16MiB", "512 KiB", "0", "16 MB", "-1")]
    [16777216, 524288, 0, None, None]

    Args:
        text: a whole number, and ``KiB``, ``MiB``, ``GiB`` or no unit.
    """
    found = _FORM.fullmatch(text)
    return None if found is None else int(found[1]) * _UNITS[found[2]]
