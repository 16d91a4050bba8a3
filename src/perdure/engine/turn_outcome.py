"""The outcome of a turn: its answer, its only commit, or the rest of it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal, TypeAlias

import attrs
from returns.result import Result

from perdure.jobs.step import Commit, Defer, Execute, RecoverFirst
from perdure.values.frozen import turn_value

TurnAnswer: TypeAlias = Result[Any, Any]  # the answer, or a CallError


@turn_value
class TurnAnswered:
    """The turn is over."""

    result: TurnAnswer


@attrs.frozen
class RunsApart:
    """The run is claimed and continues without the mailbox."""

    execute: Execute


@attrs.frozen
class FenceLost:
    """Another writer changed an instance of a store that this engine owns."""

    address: str


@turn_value
class Claimable:
    """The run is claimed next, and then begins.

    Attributes:
        execute: the run.
        slot: whether it first takes a slot of the concurrency limits.
    """

    execute: Execute
    slot: Literal["needed", "none"]


Verdict: TypeAlias = TurnAnswered | RunsApart | Defer | RecoverFirst | FenceLost
"""The outcome of a turn for its mailbox."""


@turn_value
class Rest:
    """A turn that must wait for something.

    Attributes:
        work: executes the rest. It returns None if it met a conflict before its first effect and must start again,
            and "again" if it only waited.
    """

    work: Coroutine[Any, Any, Verdict | Literal["again"] | None]


Begun: TypeAlias = Commit | Verdict | Claimable | Rest | Literal["after_flight"]
"""A turn as far as it goes synchronously: its only commit, its outcome, its run, the rest of it; or it begins
again when the turns before it are durable."""

Reading: TypeAlias = Literal["reading"]
"""The turn continues when the store has read its instance."""
