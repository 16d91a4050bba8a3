"""Jobs of every kind with types of every form, whose hooks cannot raise and need no services."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Literal, NotRequired, TypedDict
from uuid import UUID

import attrs
from returns.result import Failure, Result, Success

from perdure import App, Continuous, Debounce, Decision, Stream, Task, every, succeed


class Colour(Enum):
    RED = "red"
    BLUE = "blue"
    THIRD = 3


class Options(TypedDict):
    must: int
    may: NotRequired[str | None]


@attrs.frozen
class Node:
    value: int | str
    children: tuple["Node", ...] = ()


@attrs.frozen
class Scalars:
    at: datetime
    day: date
    length: timedelta
    key: UUID
    amount: Decimal
    raw: bytes
    real: float


@attrs.frozen
class Containers:
    colours: frozenset[Colour]
    by_number: dict[int, Options]
    pair: tuple[int, Literal["a", "b"]]
    plain: object
    tree: Node | None = None


Event = Scalars | Containers


@attrs.frozen
class Refused:
    """The job does not take this event."""

    colour: Colour


@attrs.frozen
class Collected:
    last: Event | None = None
    count: int = 0


def collect(state: Collected, event: Event) -> Result[Decision[Collected], Refused]:
    if isinstance(event, Scalars) and event.real < 0:
        return Failure(Refused(Colour.RED))
    return Success(Decision(state=Collected(event, state.count + 1)))


PROGRESS = Stream("progress", int)
JOBS = (
    Task("rich types", state=Collected, event=Event, initial=Collected(), decide=collect, streams=[PROGRESS]),
    Debounce("batch", event=Node, flush_after="1 hour", execute=lambda ctx: succeed(None)),
    Continuous("rounds", state=Options, schedule=every("1 hour"), execute=lambda ctx: succeed(None)),
)

APP = App(None).with_jobs(*JOBS)
