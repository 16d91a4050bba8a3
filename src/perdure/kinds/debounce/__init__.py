"""Debounces: batches of rapid events."""

from perdure.kinds.debounce.context import DebounceContext as DebounceContext
from perdure.kinds.debounce.context import FlushReason as FlushReason
from perdure.kinds.debounce.definition import Debounce as Debounce
from perdure.kinds.debounce.handle import DebounceHandle as DebounceHandle
from perdure.kinds.debounce.handle import DebounceSender as DebounceSender

__all__ = ["Debounce", "DebounceContext", "DebounceHandle", "DebounceSender", "FlushReason"]
