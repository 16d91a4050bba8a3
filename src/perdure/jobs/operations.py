"""The operations of a context, as data. The `Draft` of the run performs them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Never

import attrs

from perdure.jobs.decision import AlarmChange
from perdure.programs import Instruction
from perdure.values.address import Address
from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.frozen import frozen, turn_value


@frozen
class GetState(Instruction[Any, Never]):
    """Read the state."""


@turn_value
class SetState(Instruction[None, Never]):
    """Replace the state."""

    __repr__ = fields_in_line

    state: object


@frozen
class UpdateState(Instruction[None, Never]):
    """Replace the state with the result of a function."""

    function: Callable[[object], object]


@frozen
class GetAlarm(Instruction[datetime | None, Never]):
    """Read when the alarm is due."""


@frozen
class SetAlarm(Instruction[None, Never]):
    """Set, clear or keep the alarm."""

    change: AlarmChange


@frozen
class Post(Instruction[None, Never]):
    """Send a message with the commit of this turn."""

    __repr__ = fields_in_line

    target: Address
    action: str
    payload: str = attrs.field(repr=size_only)


CONTEXT_OPERATIONS = (GetState, SetState, UpdateState, GetAlarm, SetAlarm, Post)
