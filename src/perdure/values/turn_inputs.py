"""The inputs that the engine collects for the pure core: clock, ids, limits, other engines and the decoded state."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, Literal

import attrs

from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import made_late, turn_value
from perdure.values.instance import Instance
from perdure.values.limits import Limits
from perdure.values.status import Hold


@turn_value
class Decoded:
    """A state that the engine keeps so that it need not be decoded again.

    Attributes:
        text: its JSON, the very object in the row that it belongs to.
        opened: the state with the members that newer code wrote. None if there are none.
    """

    __repr__ = fields_in_line

    text: str
    value: object
    opened: Any = None  # the layer of codecs is above this one


@attrs.frozen
class OtherEngines:
    """The other engines that may be alive: all whose death is not known.

    Attributes:
        living: their epochs at the last heartbeat.
        known_up_to: the greatest epoch at that time. An engine that joined later may be alive.
        me: this engine's epoch. 0 when it owns its store.
        codes: the jobs that they serve: kind, name and fingerprint, at the last heartbeat.
    """

    living: frozenset[int] = frozenset()
    known_up_to: int = 1 << 63
    me: int = 0
    codes: frozenset[tuple[str, str, str]] = frozenset()

    def serve_otherwise(self, kind: str, name: str, code: str) -> bool:
        """Return whether another engine serves a job with other code than this."""
        return any((kind, name) == served[:2] and code != served[2] for served in self.codes)

    def __contains__(self, epoch: object) -> bool:
        """Return whether an epoch belongs to another engine that may be alive."""
        # Newer epochs count as living: an engine that joined after the heartbeat would lose its runs to this one.
        return epoch in self.living or (isinstance(epoch, int) and epoch > self.known_up_to and epoch != self.me)

    def __bool__(self) -> bool:
        """Return whether this engine shares its store."""
        return self.me != 0


NO_OTHERS: Final = OtherEngines()
"""This engine owns its store."""


class _Draws:
    """Draws the random number and the id when they are first read: most decisions need neither."""

    __slots__ = ("draw_id", "draw_jitter")
    draw_id: Callable[[], int]
    draw_jitter: Callable[[], float]


@turn_value(kw_only=True)
class TurnInputs(_Draws):
    """One decision's clock, random number and ids.

    Attributes:
        now_ms: the wall clock, integer milliseconds UTC.
        jitter: a random number from [0, 1). The engine draws it when it is first read.
        id_base: a UUIDv7 as an integer, drawn when it is first read. This decision's ids count up from it.
        epoch: the number under which this engine opened the store.
        running: the run ids of this instance that are in progress in this process.
        limits: the engine's limits.
        wants_events: whether the log keeps events or a sink reads them. Otherwise only failures are made, for the
            engine's log.
        trace: the turn's trace context. None if it is not traced.
        hold: whether the job's runs may begin.
        decoded: the row's decoded state, if the engine keeps it. Only for the row that holds its text.
        code: whether all the job's code must be claimed before it runs, because a process died shortly before.
        others: the other engines that share the store.
        reads: the texts that the store can read, beside the job's code: see `Store.reads`.
        ahead_ms: how far the job's lane clock is ahead, because the wall clock went back.
        row: the row as it is stored, or as a pending commit will store it. A write over this very value may name the
            few columns that it changes. None if that is not known.
    """

    __repr__ = fields_in_line

    now_ms: int
    jitter: float
    id_base: int
    epoch: int
    running: tuple[str, ...] = ()
    limits: Limits = Limits()
    wants_events: bool = True
    trace: str | None = None
    code: Literal["trusted", "suspect"] = "trusted"
    hold: Hold = "released"
    others: OtherEngines = NO_OTHERS
    reads: str = ""
    decoded: Decoded | None = None
    ahead_ms: int = 0
    row: Instance | None = None

    def id(self, offset: int = 0) -> str:
        """Return the UUIDv7 that is ``offset`` after the base, printed."""
        return printed_id(self.id_base + offset)


class NotDrawn(Exception):
    """The engine's runtime raised instead of drawing: no code of the job is to blame."""


def _id_base(inputs: TurnInputs) -> int:
    try:
        return inputs.draw_id()
    except Exception as defect:
        raise NotDrawn from defect


def _jitter(inputs: TurnInputs) -> float:
    try:
        return inputs.draw_jitter()
    except Exception as defect:
        raise NotDrawn from defect


made_late(TurnInputs, "id_base", _id_base)
made_late(TurnInputs, "jitter", _jitter)


def printed_id(number: int) -> str:
    """Print a UUID."""
    # `str(UUID(int=...))` takes longer, and ids are made on each turn.
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def digest(data: bytes) -> bytes:
    """Return the 128-bit BLAKE2b digest."""
    digested: bytes = _blake2b()(data, digest_size=16).digest()
    return digested


@cache
def _blake2b() -> Any:
    # Cached: an import statement in each call takes as long as the digest.
    from hashlib import blake2b  # noqa: PLC0415 - loads OpenSSL, which defining jobs does not need

    return blake2b
