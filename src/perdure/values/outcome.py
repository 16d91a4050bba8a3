"""Typed run outcomes, as handles return them: a closed union to ``match`` on, and the results that contain one.

`perdure.values.answer` has their stored form.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

import attrs
from typing_extensions import TypeAliasType

from perdure.values.answer import Sent
from perdure.values.excerpt import excerpt, sizes_only
from perdure.values.frozen import frozen
from perdure.values.status import Held, Status

E_co = TypeVar("E_co", covariant=True)
S_co = TypeVar("S_co", covariant=True)
_E = TypeVar("_E")


_NO_REPLIES: Mapping[str, Any] = {}


@frozen(kw_only=True)
class Replied(Sent):
    """Result of ``send`` to a task that declares replies.

    Attributes:
        created: as for `Sent`.
        status: as for `Sent`.
        scheduled_at: as for `Sent`.
        replies: the replies that the handler sent, as JSON-able data, by name. `TaskHandle.ask` decodes one.
    """

    replies: Mapping[str, Any] = attrs.field(default=_NO_REPLIES, repr=sizes_only)


# ---------------------------------------------------------------- how a run ended
@frozen
class Completed:
    """The run succeeded. Its changes are durable."""


@frozen
class Retrying(Generic[E_co]):
    """The attempt failed. The next one is due at ``at``."""

    error: E_co = attrs.field(repr=excerpt)
    at: datetime


@frozen
class Failed(Generic[E_co]):
    """The run failed and is not retried."""

    error: E_co = attrs.field(repr=excerpt)


@frozen
class SelfTerminated:
    """The run terminated its own instance."""

    reason: str = attrs.field(repr=excerpt)


@frozen
class Running:
    """The run is claimed and still executing. The caller did not wait for it."""


@frozen
class Paused:
    """Nothing ran: the instance is paused."""


@frozen
class Parked:
    """Nothing ran: the instance is parked, for the reason in ``reason``."""

    reason: Held


Outcome = TypeAliasType(
    "Outcome", Completed | Retrying[_E] | Failed[_E] | SelfTerminated | Running | Paused | Parked, type_params=(_E,)
)
"""The outcome of the run that a call requested, or the reason why none ran."""


# ---------------------------------------------------------------- typed results
@frozen(kw_only=True)
class Started(Generic[E_co]):
    """Result of ``start``.

    Attributes:
        created: whether this call created the instance. False means that an existing instance was left unchanged.
        status: the status after the call. None when the run terminated the instance.
        outcome: the first run's outcome. None when nothing ran.
    """

    created: bool
    status: Status | None
    outcome: Outcome[E_co] | None


@frozen(kw_only=True)
class Triggered(Generic[E_co]):
    """Result of ``trigger``.

    Attributes:
        triggered: whether a run began.
        status: the status after the call. None when the instance does not exist.
        outcome: the run's outcome, or why it did not run. None when the instance does not exist.
    """

    triggered: bool
    status: Status | None
    outcome: Outcome[E_co] | None


@frozen(kw_only=True)
class Flushed(Generic[E_co]):
    """Result of ``flush``.

    Attributes:
        flushed: whether a run began.
        reason: ``empty`` when there was nothing to flush.
        outcome: the run's outcome, or why it did not run. None when there was nothing to flush.
    """

    flushed: bool
    reason: Literal["empty"] | None
    outcome: Outcome[E_co] | None
