"""Debounces: rapid events, handled in batches."""

from typing import TYPE_CHECKING

from perdure.kinds.debounce.context import DebounceContext as DebounceContext
from perdure.kinds.debounce.context import FlushReason as FlushReason
from perdure.kinds.debounce.definition import Debounce as Debounce

if TYPE_CHECKING:
    from perdure.kinds.debounce.handle import DebounceHandle as DebounceHandle
    from perdure.kinds.debounce.handle import DebounceSender as DebounceSender
else:
    from perdure._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(__name__, {"perdure.kinds.debounce.handle": ("DebounceHandle", "DebounceSender")})

__all__ = ["Debounce", "DebounceContext", "DebounceHandle", "DebounceSender", "FlushReason"]
