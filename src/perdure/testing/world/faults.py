"""Faults, as values: where one strikes, and what it does there."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

import attrs

from perdure.values.duration import Duration, duration_ms
from perdure.values.errors import DefinitionError

StoreOperation: TypeAlias = Literal[
    "load",
    "commit",
    "due",
    "next_alarm",
    "claimed",
    "messages",
    "next_message",
    "dead_letters",
    "redrive",
    "find",
    "history",
    "events",
    "prune",
    "health",
]
"""The operations of a store, by the names of its record."""

STORE_OPERATIONS: Final[tuple[StoreOperation, ...]] = get_args(StoreOperation)


# ---------------------------------------------------------------- what it does
@attrs.frozen
class Fails:
    """Nothing is done, and this is the error: of the store, or the declared one of the effect."""

    error: object


@attrs.frozen
class Raises:
    """Nothing is done, and this exception comes out: a defect."""

    exception: Exception


@attrs.frozen
class LosesAnswer:
    """It is done, and the answer does not come back.

    A commit answers ``OutcomeUnknown`` then, any other store operation ``StoreUnavailable``; an effect raises
    `AnswerLost`.

    Attributes:
        error: what a store operation answers instead.
    """

    error: Exception | None = None


@attrs.frozen
class Takes:
    """It is done, after so long."""

    time: Duration

    @property
    def ms(self) -> int:
        """The time, in milliseconds."""
        return duration_ms(self.time, what="time of a fault", minimum_ms=0)


@attrs.frozen
class Holds:
    """It is done, and the answer comes when the world releases it."""


@attrs.frozen
class Crashes:
    """The worker dies, before it is done or just after."""

    when: Literal["before", "after"] = "before"


Disturbance: TypeAlias = Fails | Raises | LosesAnswer | Takes | Holds | Crashes


# ---------------------------------------------------------------- where it strikes
def _known(_: object, __: object, operation: str) -> None:
    if operation not in STORE_OPERATIONS:
        raise DefinitionError("operation of a StoreFault", operation, f"one of {', '.join(STORE_OPERATIONS)}")


@attrs.frozen
class StoreFault:
    """An operation of the store goes wrong.

    Args:
        operation: which one, such as ``"commit"``.
        does: what happens.
        after: how many calls of it go well before.
        times: how many calls of it go wrong.

    Raises:
        DefinitionError: a store has no such operation.
    """

    operation: StoreOperation = attrs.field(validator=_known)
    does: Disturbance
    after: int = attrs.field(default=0, kw_only=True, validator=attrs.validators.ge(0))
    times: int = attrs.field(default=1, kw_only=True, validator=attrs.validators.ge(1))

    @property
    def at(self) -> str:
        """Where it strikes, as crossings name it."""
        return self.operation


@attrs.frozen
class EffectFault:
    """An effect of a program goes wrong.

    Args:
        effect: the name of the ``@effect`` function.
        does: what happens.
        after: how many calls of it go well before.
        times: how many calls of it go wrong.
    """

    effect: str
    does: Disturbance
    after: int = attrs.field(default=0, kw_only=True, validator=attrs.validators.ge(0))
    times: int = attrs.field(default=1, kw_only=True, validator=attrs.validators.ge(1))

    @property
    def at(self) -> str:
        """Where it strikes, as crossings name it."""
        return f"effect {self.effect}"


Fault: TypeAlias = StoreFault | EffectFault


@attrs.define
class Pending:
    """A fault with how often it has still to pass over, and to strike: it counts down, so it is no value."""

    fault: Fault
    after: int
    times: int

    @classmethod
    def of(cls, fault: Fault) -> Pending:
        """Begin to count."""
        return cls(fault, fault.after, fault.times)

    def strikes(self, at: str) -> bool:
        """Whether it strikes now; asked once for each call."""
        if at != self.fault.at or self.times == 0:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True
