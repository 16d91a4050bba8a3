"""The metrics of an engine as text, from the sink that counts them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs


@attrs.frozen(kw_only=True)
class Exposition:
    """The metrics of an engine, in a format that a scraper reads.

    Attributes:
        text: the metrics.
        content_type: the media type of the format.
    """

    text: bytes
    content_type: str


Expose: TypeAlias = Callable[[str], Awaitable[Exposition]]
"""Returns the metrics in the format that an HTTP header ``Accept`` prefers; an empty one is allowed."""
