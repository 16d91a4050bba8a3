"""Two engines on one PostgreSQL schema."""

from __future__ import annotations

import asyncio

import attrs
from postgres_harness import SharedPostgresHarness
from returns.result import Success

from perdure import App, Decision, Task, unwrap


@attrs.frozen
class Added:
    cents: int


@attrs.frozen
class Sum:
    cents: int = 0
    count: int = 0


def decide(total: Sum, event: Added) -> Success[Decision[Sum]]:
    return Success(Decision(Sum(total.cents + event.cents, total.count + 1)))


SUMS = Task("sums", state=Sum, event=Added, initial=Sum(), decide=decide, execute=lambda ctx: ctx.terminate())
REQUESTS = 120


def test_requests_through_two_engines_are_each_applied_once(postgres_url: str):
    """Both take requests for the same few instances; then one leaves, and the other continues with all of them."""
    harness = SharedPostgresHarness(postgres_url)
    app = App(None).with_jobs(SUMS)

    async def main() -> None:
        async with app.open(harness.url) as here:
            async with app.open(harness.url) as there:
                handles = [jobs.handle(SUMS) for jobs in (here, there)]
                sends = [
                    unwrap(handles[number % 2].send(f"{number % 5}", Added(number), idempotency_key=f"{number}"))
                    for number in range(REQUESTS)
                ]
                await asyncio.gather(*sends)
            sums = [await unwrap(here.handle(SUMS).get_state(f"{number}")) for number in range(5)]
            assert sum(each.count for each in sums if each is not None) == REQUESTS
            assert sum(each.cents for each in sums if each is not None) == sum(range(REQUESTS))
            await unwrap(here.handle(SUMS).send("0", Added(1)))
        await harness.discard()

    asyncio.run(main())
