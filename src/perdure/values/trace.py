"""Trace contexts: the text that links work to its cause across processes, as W3C Trace Context writes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_INVALID_VERSION: Final = "ff"
_VERSION: Final = "00"

CurrentTrace: TypeAlias = Callable[[], str | None]
"""Returns the trace context of the running code; None if it has none."""

MAX_TRACE_CHARACTERS: Final = 512
"""The size of a header beyond which it is ignored."""


def trace_context(text: object) -> str | None:
    """Return a caller's ``traceparent`` in version 00. None if it has none, or an invalid one.

    An invalid context is ignored and not refused, as the specification demands (W3C Trace Context, section 3.2).

    >>> trace_context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    >>> trace_context("00-00000000000000000000000000000000-b7ad6b7169203331-01")

    Args:
        text: the header or member value.
    """
    if not isinstance(text, str) or len(text) > MAX_TRACE_CHARACTERS:
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == _INVALID_VERSION or not int(trace_id, 16) or not int(span_id, 16) or (version == _VERSION and more):
        return None
    return f"{_VERSION}-{trace_id}-{span_id}-{flags}"
