"""A process with a topic whose events many tasks receive; the test kills it at any moment.

``python topic_worker.py STORE EVENTS``: it prints ``open``, and at the end a line of JSON.
"""

import asyncio
import json
import sys
from typing import Any

from attrs import frozen
from batch_worker import say
from returns.result import Success

from perdure import App, Decision, Limits, Task, Topic

SUBSCRIBERS = 20
PORTION = 7
"""Messages of one commit: an event takes several."""


@frozen
class Tick:
    """An event's number."""

    number: int


def note(ticks: tuple[int, ...], tick: Tick) -> Success[Decision[tuple[int, ...]]]:
    """Keep the number."""
    return Success(Decision((*ticks, tick.number)))


notes = Task("notes", state=tuple[int, ...], event=Tick, initial=(), decide=note)
topics: Topic[Tick] = Topic("topics", event=Tick, subscribers=(notes,), max_waiting=1_000)


async def main(store: str, events: int) -> None:
    """Publish the events that are not published yet, each with its key, and wait until all have arrived."""
    app = App(None, limits=Limits(messages_per_turn=PORTION)).with_jobs(notes, topics)
    async with app.open(store) as client:
        handle, ids = client.handle(topics), [str(number) for number in range(SUBSCRIBERS)]
        for id_ in ids:
            await client.handle(notes).send(id_, Tick(-1), idempotency_key="first")
            await handle.subscribe("t", notes.address(id_), idempotency_key=id_)
        say("open")
        for number in range(events):
            await handle.publish("t", Tick(number), idempotency_key=f"event {number}")
        received: Any = []
        while any(len(each or ()) <= events for each in received) or not received:
            await asyncio.sleep(0.02)
            received = [await client.handle(notes).get_state(id_) for id_ in ids]
        wrong = [each for each in received if each != (-1, *range(events))]
        say(json.dumps({"wrong": wrong}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
