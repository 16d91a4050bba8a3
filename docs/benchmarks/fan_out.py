"""One event to a thousand subscribers, and a thousand schedules that are due at the same instant.

Run it with ``python docs/benchmarks/fan_out.py [--store URL] [--number N] [--rounds N]``; by default the store is a new
SQLite file in ``--folder``. A topic has N tasks as subscribers; each round publishes one event. Then N schedules send
to N tasks at each full minute, and each round waits for one. A wait ends when the receiver decides its event: its
program reads the clock, and its state keeps the difference. It takes a minute for each round.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen
from measured.cpu import CpuTime
from measured.figures import Spread, over_rounds, print_table
from measured.machine import conditions, versions

from perdure import App, Do, Schedules, Task, TaskContext, Topic, every, program, tell
from perdure.client.client import Client

TOGETHER = 64
POLL_S = 0.02


@frozen
class Ping:
    """An event with the instant from which its way is measured."""

    at: datetime
    round: int = 0


@frozen
class Received:
    """What a receiver knows of the last event."""

    events: int = 0
    waited_ms: float = 0.0


@program
def note(ctx: TaskContext[Received], event: Ping) -> Do[None]:
    """Note how long the event took."""
    before = yield from ctx.state
    at = yield from ctx.now
    yield from ctx.set_state(Received(before.events + 1, (at - event.at) / timedelta(milliseconds=1)))


subscribers = Task("subscribers", state=Received, event=Ping, initial=Received(), on_event=note)
scheduled = Task("scheduled", state=Received, event=Ping, initial=Received(), on_event=note)
topic: Topic[Ping] = Topic("topic", event=Ping, subscribers=(subscribers,))
table = Schedules("table", targets=(scheduled,))


@frozen
class Round:
    """The figures of one event, or of one instant.

    Attributes:
        answered_ms: what the publish took, for its caller. 0 for schedules.
        waits: of each receiver, in seconds.
        cpu_s: CPU of the process until the last one had it.
    """

    answered_ms: float
    waits: Sequence[float]
    cpu_s: float


async def together(ids: Sequence[str], call: Callable[[str], Awaitable[None]]) -> None:
    """Make a call for each id, some at a time."""
    for start in range(0, len(ids), TOGETHER):
        await asyncio.gather(*(call(id_) for id_ in ids[start : start + TOGETHER]))


async def received(jobs: Client, job: Task[Received, Ping], ids: Sequence[str], events: int) -> list[float]:
    """Wait until each receiver has its events, and return what the last one took, in seconds."""
    handle, waits = jobs.handle(job), list[float]()
    for id_ in ids:
        while True:
            found = await handle.get_state(id_)
            if found is not None and found.events >= events:
                break
            await asyncio.sleep(POLL_S)
        if found.events > events:
            raise RuntimeError(f"{id_} received {found.events} events instead of {events}")
        waits.append(found.waited_ms / 1e3)
    return waits


def cpu() -> float:
    """Return the CPU seconds of all threads."""
    now = CpuTime.now()
    return now.main + now.others


async def publish(jobs: Client, ids: Sequence[str], rounds: int) -> list[Round]:
    """Subscribe the receivers, and publish one event in each round."""

    async def join(id_: str) -> None:
        await jobs.handle(subscribers).send(id_, Ping(datetime.now(UTC)))
        await jobs.handle(topic).subscribe("all", subscribers.address(id_))

    await together(ids, join)
    found = list[Round]()
    for number in range(1, rounds + 1):
        began, before = time.perf_counter(), cpu()
        await jobs.handle(topic).publish("all", Ping(datetime.now(UTC), number))
        answered = time.perf_counter() - began
        found.append(Round(answered * 1e3, await received(jobs, subscribers, ids, number + 1), cpu() - before))
    return found


async def fire(jobs: Client, ids: Sequence[str], rounds: int) -> list[Round]:
    """Put the schedules soon after a full minute, and wait for the next ones."""
    await asyncio.sleep((61 - time.time() % 60) % 60)

    async def put(id_: str) -> None:
        message = tell(scheduled, id_).send(Ping(datetime.now(UTC)))
        await jobs.handle(table).put(id_, every("1 minute", align="start"), message, tick_field="at")

    await together(ids, put)
    found = list[Round]()
    for number in range(1, rounds + 1):
        await asyncio.sleep(max(0.0, 59.9 - time.time() % 60))
        before = cpu()
        found.append(Round(0, await received(jobs, scheduled, ids, number), cpu() - before))
    return found


async def measure(store: str, number: int, rounds: int) -> None:
    """Measure both, and print them."""
    ids = [f"{each}" for each in range(number)]
    async with App(None).with_jobs(subscribers, scheduled, topic, table).open(store) as jobs:
        taken = {"one event to the subscribers": await publish(jobs, ids, rounds)}
        taken["schedules due at once"] = await fire(jobs, ids, rounds)
    print_table(
        ("way", "each round", "caller ms", "p50 ms", "p99 ms", "last ms", "CPU s"),
        [
            (
                name,
                f"{number:,}",
                over_rounds([each.answered_ms for each in found], 1),
                over_rounds([Spread.of(each.waits).p50_ms for each in found]),
                over_rounds([Spread.of(each.waits).p99_ms for each in found]),
                over_rounds([Spread.of(each.waits).max_ms for each in found]),
                over_rounds([each.cpu_s for each in found], 2),
            )
            for name, found in taken.items()
        ],
    )


def main() -> None:
    """Measure one store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default="")
    parser.add_argument("--folder", default=None)
    parser.add_argument("--number", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(versions())
        print(conditions(Path(folder)))
        asyncio.run(measure(arguments.store or f"sqlite:///{folder}/jobs.db", arguments.number, arguments.rounds))


if __name__ == "__main__":
    main()
