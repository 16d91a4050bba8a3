"""Streams and heartbeats: typed values that a run emits while it works.

Readers follow a stream. A heartbeat is for the next attempt of the same work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Never, Protocol, TypeAlias, TypeVar, cast

import attrs
from returns.result import Result, Success
from typing_extensions import TypeForm

from perdure.codecs import Codec
from perdure.programs import Program, ServiceCall, effect
from perdure.values.address import check_name
from perdure.values.errors import DefinitionError, PerdureError
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen
from perdure.values.stream import StreamItem, StreamPage
from perdure.values.times import Duration, duration_ms

if TYPE_CHECKING:
    from perdure.jobs.call import Call

V = TypeVar("V")
T = TypeVar("T")

MAX_STREAMS: Final = 16
MAX_HEARTBEATS: Final = 16
MOST_CHUNKS: Final = 10_000_000
LEAST_BYTES: Final = 65_536
MOST_BYTES: Final = 1_073_741_824


@attrs.frozen(repr=False)
class NotEmitting(PerdureError, RuntimeError):
    """Code emits to a stream where no run takes the chunk.

    Attributes:
        stream: the stream's name.
        reason: ``outside``: no effect of a run that an engine performs is under way here. ``undeclared``: its job does
            not declare the stream. ``ended``: the effect has ended.
    """

    stream: str
    reason: Literal["outside", "undeclared", "ended"]

    def _text(self) -> str:
        why = {
            "outside": "expected the code of an effect of a job that declares streams; a process cannot emit",
            "undeclared": "its job does not declare this stream; add it to the job's `streams`",
            "ended": "the effect has ended; emit before it returns",
        }
        return f"chunk of the stream {self.stream}: {why.get(self.reason, self.reason)}"


class Emitter(Protocol):
    """Where the effect that is performed now emits."""

    def emit(self, stream: Stream[Any], value: bytes, /) -> None:
        """Take an encoded chunk."""
        ...

    def beat(self, heartbeat: Heartbeat[Any], value: bytes, /) -> None:
        """Take a heartbeat's encoded value."""
        ...

    def previous(self, heartbeat: Heartbeat[Any], /) -> bytes | None:
        """Return the newest value that an earlier attempt has stored, encoded."""
        ...


EMITTER: Final[ContextVar[Emitter | None]] = ContextVar("perdure.emitter", default=None)
"""Where the effect that is performed now emits. None outside of effects, and if its job declares nothing."""


class _InEffect(Coroutine[Any, Any, T]):
    """An effect's coroutine: each step executes with its emitter, whichever task takes the step."""

    __slots__ = ("_emitter", "_inner")

    def __init__(self, inner: Coroutine[Any, Any, T], emitter: Emitter) -> None:
        self._inner = inner
        self._emitter = emitter

    def send(self, value: Any, /) -> Any:
        # For each step of the coroutine: an event loop takes the steps in tasks of other contexts.
        token = EMITTER.set(self._emitter)
        try:
            return self._inner.send(value)
        finally:
            EMITTER.reset(token)

    def throw(self, *error: Any) -> Any:
        token = EMITTER.set(self._emitter)
        try:
            return self._inner.throw(*error)
        finally:
            EMITTER.reset(token)

    def close(self) -> None:
        token = EMITTER.set(self._emitter)
        try:
            self._inner.close()
        finally:
            EMITTER.reset(token)

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> _InEffect[T]:
        return self

    def __next__(self) -> Any:
        return self.send(None)


def in_effect(coroutine: Coroutine[Any, Any, T], emitter: Emitter) -> Coroutine[Any, Any, T]:
    """Return an effect's coroutine with its emitter."""
    return _InEffect(coroutine, emitter)


@frozen(eq=False)
class Stream(Generic[V]):
    """Values that a run emits while it works. Declare it once, pass it to a job's ``streams``, and read it by a handle.

    A stream keeps its newest chunks as long as the instance. A reader that comes late, or comes back, continues after
    an offset. It is told where chunks were dropped, and where a step begins again, whose earlier chunks may repeat.

    Attributes:
        name: the stream's name, which is stored: 1 to 128 printable characters, no ``:``.
        value: the chunks' type, such as ``str``. A chunk has at most ``Limits.input_bytes`` as JSON. A larger one is
            dropped, and the engine logs a warning.
        max_chunks: how many chunks are kept, 1 to 10,000,000. Older ones are dropped.
        max_bytes: how many bytes are kept, 65,536 to 1 GiB. Older ones are dropped. The newest one stays, whatever its
            size.

    Raises:
        DefinitionError: an argument is not valid.
    """

    __repr__ = fields_in_line

    name: str
    value: TypeForm[V]
    max_chunks: int = attrs.field(default=100_000, kw_only=True)
    max_bytes: int = attrs.field(default=16_777_216, kw_only=True)
    values: Codec[Any] = attrs.field(init=False, repr=False)
    _emit: Callable[[V], Program[None, Never, object]] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_name(self.name, what="name of a stream")
        _check_bound(self.max_chunks, f"max_chunks of the stream {self.name}", 1, MOST_CHUNKS)
        _check_bound(self.max_bytes, f"max_bytes of the stream {self.name}", LEAST_BYTES, MOST_BYTES)
        object.__setattr__(self, "values", Codec.of(self.value, what=f"chunk of the stream {self.name}"))

        def emitting(_: object, value: V) -> Result[None, Never]:
            self.emit_now(value)
            return Success(None)

        # A mark on the function itself, by which the call that performs it is recognised: see `is_emission`.
        emitting.__dict__[_EMITS] = True
        object.__setattr__(self, "_emit", effect(name=f"emit {self.name}")(emitting))

    def emit(self, value: V, /) -> Program[None, Never, object]:
        """Emit a chunk from a program. In a workflow this is a step: a recorded one is not repeated.

        Args:
            value: the chunk.
        """
        return self._emit(value)

    def emit_now(self, value: V, /) -> None:
        """Emit a chunk inside an effect, while it works.

        The chunk is stored soon, together with others, and before the outcome of the effect at the latest. An effect
        of a process cannot emit.

        Args:
            value: the chunk.

        Raises:
            NotEmitting: no effect of a run is performed here, or its job does not declare this stream.
            InvalidInput: the value does not have the stream's type.
        """
        emitter = EMITTER.get()
        if emitter is None:
            raise NotEmitting(self.name, "outside")
        # Encoded here: the caller may change the value afterwards.
        emitter.emit(self, self.values.encode(value))


# ---------------------------------------------------------------- heartbeats
@attrs.frozen(repr=False)
class NotBeating(PerdureError, RuntimeError):
    """Code uses a heartbeat where no run takes it.

    Attributes:
        heartbeat: the heartbeat's name.
        reason: ``outside``: no effect of a run that an engine performs is under way here. ``undeclared``: its job does
            not declare the heartbeat. ``ended``: the effect has ended.
    """

    heartbeat: str
    reason: Literal["outside", "undeclared", "ended"]

    def _text(self) -> str:
        why = {
            "outside": "expected the code of an effect of a job that declares heartbeats; a process cannot beat",
            "undeclared": "its job does not declare this heartbeat; add it to the job's `heartbeats`",
            "ended": "the effect has ended; beat before it returns",
        }
        return f"heartbeat {self.heartbeat}: {why.get(self.reason, self.reason)}"


@frozen(eq=False)
class Heartbeat(Generic[V]):
    """Says that a long effect is alive, and tells its next attempt how far this one came.

    Declare it once, and pass it to a job's ``heartbeats``. Each workflow step, each pool item and each task's run
    has its own values.

    Attributes:
        name: the heartbeat's name, which is stored: 1 to 128 printable characters, no ``:``.
        value: the values' type, such as ``int``. A value has at most ``Limits.input_bytes`` as JSON. A larger one is
            dropped, and the engine logs a warning.
        every: how often the newest value is stored at most, from 10 milliseconds to an hour.

    Raises:
        DefinitionError: an argument is not valid.
    """

    __repr__ = fields_in_line

    name: str
    value: TypeForm[V]
    every: Duration = attrs.field(default="1 second", kw_only=True)
    every_ms: int = attrs.field(init=False, repr=False)
    values: Codec[Any] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_name(self.name, what="name of a heartbeat")
        what = f"every of the heartbeat {self.name}"
        every_ms = duration_ms(self.every, what=what, minimum_ms=LEAST_BEAT_MS)
        if every_ms > MOST_BEAT_MS:
            raise DefinitionError(what, self.every, "at most 1 hour")
        object.__setattr__(self, "every_ms", every_ms)
        object.__setattr__(self, "values", Codec.of(self.value, what=f"value of the heartbeat {self.name}"))

    def beat(self, value: V, /) -> None:
        """Say inside an effect that it is alive, and how far it came. It waits for nothing.

        The run's time limit begins again. The newest value is stored at most once in ``every``, and at the end of
        an effect that may be performed again. An effect in a process cannot beat.

        Args:
            value: the progress. Store it in your own system before you call this: the next attempt relies on it.

        Raises:
            NotBeating: no effect of a run is performed here, or its job does not declare this heartbeat.
            InvalidInput: the value does not have the heartbeat's type.
        """
        # Encoded here: the caller may change the value afterwards.
        self._emitter().beat(self, self.values.encode(value))

    def previous(self) -> V | None:
        """Return the newest value that an earlier attempt has stored. None in the first attempt.

        A fork that continues a cancelled workflow receives the values of the interrupted steps.

        Raises:
            NotBeating: no effect of a run is performed here, or its job does not declare this heartbeat.
            InvalidInput: the stored value does not have the heartbeat's type.
        """
        data = self._emitter().previous(self)
        if data is None:
            return None
        value: V = self.values.open(data).value
        return value

    def _emitter(self) -> Emitter:
        emitter = EMITTER.get()
        if emitter is None:
            raise NotBeating(self.name, "outside")
        return emitter


LEAST_BEAT_MS: Final = 10
MOST_BEAT_MS: Final = 3_600_000


_EMITS: Final = "perdure_emits"


def is_emission(instruction: object) -> bool:
    """Return whether a program emits by this call: `Stream.emit` made it, and it calls no service."""
    return isinstance(instruction, ServiceCall) and hasattr(instruction.fn, _EMITS)


def _check_bound(value: object, what: str, least: int, most: int) -> None:
    # `type`, not `isinstance`: True would be a bound of 1.
    if type(value) is not int or not least <= value <= most:
        raise DefinitionError(what, value, f"a whole number from {least} to {most}")


Declared = TypeVar("Declared", Stream[Any], Heartbeat[Any])


def declared_streams(given: object, job: str) -> tuple[Stream[Any], ...]:
    """Check the streams that a job declares.

    Raises:
        DefinitionError: they are not streams with different names, or too many.
    """
    return _declared(given, Stream, f"streams of {job}", MAX_STREAMS)


def declared_heartbeats(given: object, job: str) -> tuple[Heartbeat[Any], ...]:
    """Check the heartbeats that a job declares.

    Raises:
        DefinitionError: they are not heartbeats with different names, or too many.
    """
    return _declared(given, Heartbeat, f"heartbeats of {job}", MAX_HEARTBEATS)


def _declared(given: object, form: type[Declared], what: str, most: int) -> tuple[Declared, ...]:
    expected = f"a sequence of at most {most} {what.partition(' ')[0]} with different names"
    if not isinstance(given, tuple | list):
        raise DefinitionError(what, given, expected)
    declared = cast("tuple[Declared, ...]", tuple(cast("Any", given)))  # checked here
    if len(declared) > most or not all(isinstance(cast("object", one), form) for one in declared):
        raise DefinitionError(what, declared, expected)
    if len({one.name for one in declared}) < len(declared):
        raise DefinitionError(what, [one.name for one in declared], expected)
    return declared


# ---------------------------------------------------------------- readers
@frozen(kw_only=True)
class Chunk(Generic[V]):
    """A value of a stream.

    Attributes:
        offset: its place. A reader continues after it.
        value: the value.
        step: the step of the workflow that emitted it. Empty for another kind.
    """

    __repr__ = fields_in_line

    offset: int
    value: V
    step: str = ""


@frozen(kw_only=True)
class BeganAgain:
    """A step begins again: discard the chunks that it has emitted so far. They may come again, or others.

    Attributes:
        offset: the mark's place.
        step: the step. Empty for a job that is no workflow: its run begins again.
    """

    __repr__ = fields_in_line

    offset: int
    step: str = ""


@frozen(kw_only=True)
class ChunksDropped:
    """Chunks that the stream no longer keeps.

    Attributes:
        offset: the place of the last one.
        count: how many there were, marks included.
    """

    __repr__ = fields_in_line

    offset: int
    count: int


Streamed: TypeAlias = Chunk[V] | BeganAgain | ChunksDropped
"""The items that a reader of a stream sees."""


def streamed(stream: Stream[V], item: StreamItem) -> Streamed[V]:
    """Decode an item.

    Raises:
        InvalidInput: it does not have the stream's type.
    """
    if item.form == "chunk":
        value: V = stream.values.open(item.value.encode()).value
        return Chunk(offset=item.offset, value=value, step=item.step)
    if item.form == "again":
        return BeganAgain(offset=item.offset, step=item.step)
    return ChunksDropped(offset=item.offset, count=item.count)


async def follow(
    read: Callable[[int], Call[StreamPage, PerdureError]], after: int, show: Callable[[StreamItem], V]
) -> AsyncIterator[V]:
    """Read pages until the end.

    Args:
        read: reads the page after an offset. It waits a while for one that is not empty.
        after: the first offset.
        show: converts an item.
    """
    while True:
        page = await read(after)
        for item in page.items:
            yield show(item)
        # From the page, not from the last item: a page without items may have moved on.
        after = page.after
        if page.state == "end":
            return
