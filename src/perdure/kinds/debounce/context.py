"""What a debounce's hooks see, the commands that reach it, and what is stored of its batches."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import attrs

from perdure.codecs import Codec
from perdure.jobs.context import JobContext
from perdure.programs import Program
from perdure.values.excerpt import fields_in_line
from perdure.values.turn_value import turn_value

S = TypeVar("S")

FlushReason: TypeAlias = Literal["flush_after", "inactivity", "max_events", "manual"]
"""What made a batch flush."""


@turn_value
class AddCommand:
    """Take an event into the batch."""

    __repr__ = fields_in_line

    event: Any  # of the definition's own type


@attrs.frozen
class FlushCommand:
    """Flush the batch now."""


@attrs.frozen
class ClearCommand:
    """Discard the batch."""


@turn_value(repr=False)
class DebounceContext(JobContext[S], Generic[S]):
    """What the hooks of a debounce see and do.

    In ``execute`` the state is that of the batch being flushed; changing it has no effect, for the batch is dropped
    when the flush succeeds and kept as it was when it fails.

    Attributes:
        event_count: events in the batch; in ``on_event``, those before this one.
        started_at: when the batch's first event came.
        flush_reason: what made it flush; None in ``on_event``.
    """

    event_count: int = attrs.field(kw_only=True)
    started_at: datetime = attrs.field(kw_only=True)
    flush_reason: FlushReason | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(kw_only=True)
class CollectingBatch:
    """The batch that collects. Its state is the instance's own. Integer milliseconds UTC.

    Attributes:
        event_count: events in it.
        started_ms: when its first event came.
        flush_ms: when it flushes.
        reason: why it will.
    """

    event_count: int
    started_ms: int
    flush_ms: int
    reason: FlushReason = "flush_after"


@attrs.frozen(kw_only=True)
class FrozenBatch:
    """The batch that is being flushed, or waits for a retry, or is parked. Nothing is added to it."""

    __repr__ = fields_in_line

    state: str
    event_count: int
    started_ms: int
    reason: FlushReason


@attrs.frozen(kw_only=True)
class Batches:
    """What is stored of a debounce beside the state of the batch that collects."""

    collecting: CollectingBatch | None = None
    flushing: FrozenBatch | None = None


BATCHES: Codec[Batches] = Codec.of(Batches, what="batches of a debounce")

HookProgram = Callable[..., Program[Any, Any, Any]]  # a user's hook, whatever its types


@attrs.frozen(kw_only=True)
class Batching:
    """What a debounce does, and when.

    Attributes:
        flush_after_ms: a batch flushes at the latest so long after its first event.
        inactivity_ms: a batch flushes so long after its last event; None: events do not move the flush.
        max_events: a batch of so many events flushes at once; None: no such limit.
        initial: the encoded state of an empty batch; None: a batch begins with its first event as the state.
        on_event: takes an event into the state.
        execute: what to do with a batch.
    """

    __repr__ = fields_in_line

    flush_after_ms: int
    inactivity_ms: int | None
    max_events: int | None
    initial: str | None
    on_event: HookProgram
    execute: HookProgram
