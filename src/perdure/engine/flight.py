"""A transition on its way to the store, with the turns that it is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import attrs
from returns.result import Result, Success

from perdure.engine.item import Item
from perdure.engine.resident import Resident
from perdure.jobs.request import ENGINE_COMMANDS, Terminate
from perdure.jobs.step import Commit
from perdure.values.errors import StoreUnavailable
from perdure.values.instance import Fence
from perdure.values.transition import KeepInstance, Loaded, Put, Transition, coalesced
from perdure.values.turn_inputs import Decoded

MAX_TURNS: Final = 1_000
"""Turns that one transition holds at most."""

Stored: TypeAlias = Result[Fence, Any]  # a StoreError, Conflict or OutcomeUnknown

_ALONE: Final = (*ENGINE_COMMANDS, Terminate)


@attrs.define(eq=False)
class Flight:
    """A transition that is decided and not durable.

    While its group has not left, further turns of the instance are decided on its outcome and folded into it: their
    changes are one row, and each of their callers is answered when that is durable.

    Attributes:
        transition: the changes.
        resident: the instance; None for a transition of no turn.
        loaded: the row as the transition leaves it, if it is stored.
        decoded: the state of that row, if it is known.
        tell: called with the store's answer, inside its callback.
        steps: the turns that it is made of, with their requests; none for a claim.
        state: whether its group has left.
    """

    transition: Transition
    resident: Resident | None
    loaded: Loaded
    decoded: Decoded | None
    tell: Callable[[Flight, Stored], None]
    steps: list[tuple[Item, Commit]] = attrs.Factory(list[tuple[Item, Commit]])
    state: Literal["open", "left"] = "open"

    def leave(self) -> Transition:
        """Return the transition, to which nothing is folded from now on."""
        self.state = "left"
        return self.transition

    # ------------------------------------------------------------ folding
    def may_take(self, item: Item) -> bool:
        """Return whether the turn of a request may be decided on the outcome of this flight.

        A key and a message are looked up in the store, and what the engine itself requests is decided on stored rows.
        A new instance is stored first: decisions distinguish it from one that is not stored. Turns whose transition the
        store has refused are written one by one.
        """
        request, write = item.request, self.transition.write
        return (
            self.state == "open"
            and len(self.steps) < MAX_TURNS
            and (type(write) is KeepInstance or (type(write) is Put and self.transition.expected is not None))
            and request.idempotency_key is None
            and request.inbound is None
            and item.ended is None
            and item.company == "any"
            and not isinstance(request.command, _ALONE)
            and not self._is_alone
        )

    @property
    def _is_alone(self) -> bool:
        """Whether it is of one turn: it was refused, or its message may cause a conflict that no repetition ends."""
        if not self.steps:
            return False
        first = self.steps[0][0]
        return first.company == "alone" or (self.transition.inbound is not None and first.conflicts > 0)

    def fold(self, item: Item, commit: Commit, written: Transition, decoded: Decoded | None) -> None:
        """Add a turn that was decided on the outcome of this flight.

        Args:
            item: the request.
            commit: the decision.
            written: its transition, as it is stored.
            decoded: the state that it leaves, if it is known.
        """
        if not written.is_empty:
            self.transition = coalesced(self.transition, written)
            self.loaded, self.decoded = outcome_of(written, self.loaded), decoded
        self.steps.append((item, commit))


def taken_apart(flight: Flight, stored: Stored) -> list[Item]:
    """Take the turns off a flight that the store has refused; return the requests, to be decided again one by one.

    The store refuses a transition that holds a value that it cannot write, such as a text, and so the turn that it is
    of. No request is returned if there is only one, or if the store may have written them.
    """
    items = [item for item, _ in flight.steps]
    if len(items) <= 1 or isinstance(stored, Success) or not isinstance(stored.failure(), StoreUnavailable):
        return []
    flight.steps.clear()
    for item in items:
        item.company = "alone"
    return items


def is_foldable(transition: Transition) -> bool:
    """Return whether a decided transition may become a part of a flight."""
    journal = transition.journal
    return transition.remember is None and transition.inbound is None and (journal is None or journal.earlier == "kept")


def outcome_of(transition: Transition, before: Loaded) -> Loaded:
    """Return the row as a transition leaves it.

    Args:
        transition: the transition.
        before: the row before.
    """
    write = transition.write
    if type(write) is Put:
        return Loaded(instance=write.instance)
    return before if type(write) is KeepInstance else Loaded()
