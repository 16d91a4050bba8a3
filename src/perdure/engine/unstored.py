"""Ends of runs that are not stored: their store refused, or an interrupt released them."""

from __future__ import annotations

from returns.result import Failure

from perdure.engine.turn_outcome import TurnAnswer
from perdure.programs import Raised
from perdure.values.errors import OutcomeUnknown, StoreError


def is_interrupt(exit_: object) -> bool:
    """Return whether a program was interrupted from the keyboard: not its fault, so its claim is released."""
    return isinstance(exit_, Raised) and isinstance(exit_.cause, KeyboardInterrupt)


def not_stored(error: StoreError | OutcomeUnknown) -> OutcomeUnknown:
    """Return the error for the caller of a run whose end could not be stored."""
    return OutcomeUnknown(f"the run ended, and its result could not be stored: {error}")


def is_lost(result: TurnAnswer) -> bool:
    """Return whether the result of a turn says that its commit was not stored, or perhaps not."""
    return isinstance(result, Failure) and isinstance(result.failure(), StoreError | OutcomeUnknown)
