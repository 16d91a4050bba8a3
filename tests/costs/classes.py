"""The classes of requests whose cost is counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from costs import Act, Change, Class, Office, Order, batches, clock, order_job


def sends(*besides: str, id_: str = "a", key: str | None = None) -> Act:
    """Send an event to an order."""

    def act(office: Office) -> Awaitable[Any]:
        return office.jobs.handle(order_job).send(id_, Change(besides=besides), idempotency_key=key)

    return act


def adds(office: Office) -> Awaitable[Any]:
    """Add to a batch."""
    return office.jobs.handle(batches).add("a", 1)


def calls(job: Any, name: str, *arguments: Any) -> Act:
    """Call a handle of instance ``a``."""
    return lambda office: getattr(office.jobs.handle(job), name)("a", *arguments)


def sends_to_many(office: Office) -> Awaitable[Any]:
    """Send an event to each of ten orders, at the same moment."""
    return office.together([office.jobs.handle(order_job).send(f"{number}", Change()) for number in range(10)])


def passes(**time: int) -> Act:
    """Let time pass."""
    return lambda office: office.passes(**time)


def after(*acts: Callable[[Office], Awaitable[object]]) -> Act:
    """Do one thing after the other."""

    async def act(office: Office) -> None:
        for each in acts:
            await each(office)

    return act


started = calls(clock, "start", Order())

CLASSES = (
    Class(name="an event without effects", before=sends(), act=sends()),
    Class(name="the same, not met lately", before=sends(), act=sends(), cache_bytes=0),
    Class(name="the same, and an alarm stays as it is", before=after(sends("distant alarm"), sends()), act=sends()),
    Class(name="the same, and it moves the alarm", before=after(sends("alarm"), passes(s=1)), act=sends("alarm")),
    Class(name="the first event of an instance", before=sends(id_="b"), act=sends()),
    Class(name="ten such events at the same moment", before=sends_to_many, act=sends_to_many),
    Class(name="an event with an idempotency key", before=sends(key="k"), act=sends(key="l")),
    Class(name="its repeat", before=sends(key="k"), act=sends(key="k")),
    Class(name="an event with an effect: claim, and commit", before=sends("effect"), act=sends("effect")),
    Class(
        name="a run that is triggered",
        before=after(sends(), calls(order_job, "trigger")),
        act=calls(order_job, "trigger"),
    ),
    Class(name="a read of the status", before=sends(), act=calls(order_job, "status")),
    Class(name="a read of the status, not met lately", before=sends(), act=calls(order_job, "status"), cache_bytes=0),
    Class(name="an alarm that fires", before=after(sends("alarm"), passes(minutes=6, s=59)), act=passes(s=2)),
    Class(name="a tick of a continuous job", before=after(started, passes(minutes=6, s=59)), act=passes(s=2)),
    Class(name="an event that tells another job, and its delivery", before=sends("tell"), act=sends("tell")),
    Class(name="the first event of a batch", act=adds),
    Class(name="a further event of a batch", before=after(adds, adds), act=adds),
    Class(name="a flush", before=after(adds, adds), act=calls(batches, "flush")),
    Class(name="a start of a continuous job, and its first run", act=started),
    Class(name="a terminate", before=sends(), act=calls(order_job, "terminate")),
    Class(name="an idle hour", before=sends("distant alarm"), act=passes(hours=1)),
)
