"""A process with a schedule that fires often; the test kills it at any moment.

``python schedule_worker.py STORE FIRINGS``: it prints ``open``, and at the end a line of JSON.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from attrs import frozen
from batch_worker import say
from returns.result import Success

from perdure import App, Decision, Schedules, Task, every, tell

INTERVAL_MS = 20


@frozen
class Tick:
    at: datetime


def note(ticks: tuple[datetime, ...], tick: Tick) -> Success[Decision[tuple[datetime, ...]]]:
    return Success(Decision((*ticks, tick.at)))


notes = Task("notes", state=tuple[datetime, ...], event=Tick, initial=(), decide=note)
schedules = Schedules("schedules", targets=(notes,))


async def main(store: str, firings: int) -> None:
    async with App(None).with_jobs(notes, schedules).open(store) as client:
        say("open")
        often = every(timedelta(milliseconds=INTERVAL_MS), align="start", catch_up="all", catch_up_limit=1_000)
        message = tell(notes, "all").send(Tick(datetime.fromtimestamp(0, tz=UTC)))
        await client.handle(schedules).put("s", often, message, tick_field="at")
        ticks: tuple[datetime, ...] = ()
        while len(ticks) < firings:
            await asyncio.sleep(0.05)
            ticks = await client.handle(notes).get_state("all") or ()
        gaps = {(later - earlier) // timedelta(milliseconds=1) for earlier, later in pairwise(ticks)}
        say(json.dumps({"gaps": sorted(gaps)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
