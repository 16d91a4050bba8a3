"""The functions and times of a pool that its handler uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure.codecs import Codec
from perdure.values.frozen import frozen


@frozen(kw_only=True)
class Keeping:
    """How a pool keys and keeps its items.

    Attributes:
        key: returns the key of an item; None: the pool has no keys.
        results: the codec of the results.
        keep_ms: how long a result is kept; None: until the item is terminated.
    """

    key: Callable[[Any], object] | None
    results: Codec[Any]
    keep_ms: int | None
