"""How far a turn went: how it ended, its only commit, or the rest of it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal, TypeAlias

import attrs
from returns.result import Result

from perdure.jobs.step import Commit, Defer, Execute, RecoverFirst
from perdure.values.turn_value import turn_value

TurnAnswer: TypeAlias = Result[Any, Any]  # the answer, or a CallError


@turn_value
class TurnAnswered:
    """The turn is over."""

    result: TurnAnswer


@attrs.frozen
class RunsApart:
    """The run is claimed and goes on without the mailbox."""

    execute: Execute


@attrs.frozen
class FenceLost:
    """Somebody else wrote an instance of a store that this engine owns."""

    address: str


Verdict: TypeAlias = TurnAnswered | RunsApart | Defer | RecoverFirst | FenceLost
"""How a turn ended, as far as its mailbox is concerned."""


@turn_value
class Rest:
    """A turn that must wait for something.

    Attributes:
        work: goes on with it. Gives how far it went; None when it met a conflict before it had any effect, so that it
            must begin again.
    """

    work: Coroutine[Any, Any, Begun | None]


Begun: TypeAlias = Commit | Verdict | Rest
"""A turn as far as plain calls take it: its only commit, how it ended, or the rest of it."""

Told: TypeAlias = Literal["told"]
"""The store tells of the answer that a turn waits for."""

Committing: TypeAlias = TurnAnswered | Rest | Told | None
"""The only commit of a turn as far as plain calls take it: its result, None if there was a conflict; the rest of it; or
that the store tells of it."""
