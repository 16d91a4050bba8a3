"""No webhook is lost or doubled, order is kept, a full batch does not wait for more, and a batch's id is its own."""

from pathlib import Path

from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from returns.future import FutureResult
from world import World, play

from perdure import App
from perdure.examples.webhook_batcher import SinkFull, Webhook, webhook_batcher


@define
class Sink:
    """Takes batches; the first few times it is full. A batch that came before, by its id, is not taken twice."""

    refusals: int
    batches: dict[str, list[str]]

    @property
    def sink(self) -> "Sink":
        return self

    def push(self, batch_id: str, events: tuple[Webhook, ...]) -> FutureResult[int, SinkFull]:
        if self.refusals:
            self.refusals -= 1
            return FutureResult.from_failure(SinkFull("come back later"))
        self.batches.setdefault(batch_id, [event.event_id for event in events])
        return FutureResult.from_value(len(events))


@given(
    gaps_ms=st.lists(st.integers(0, 4_000), max_size=20),
    burst=st.sampled_from([0, 0, 99, 101]),
    refusals=st.integers(0, 5),
)
def test_every_webhook_arrives_once_and_in_order(gaps_ms, burst, refusals):
    """Five attempts are made of a batch; a sixth refusal would park it."""
    count = len(gaps_ms) + burst

    async def scenario(world: World) -> None:
        sink = Sink(min(refusals, 4), {})
        jobs = (await world.open(App(sink).with_jobs(webhook_batcher))).handle(webhook_batcher)
        for number, gap_ms in enumerate([*gaps_ms, *[0] * burst]):
            await world.advance(ms=gap_ms)
            await world.run(jobs.add("contact", Webhook(str(number), "paid", "{}")))
        await world.advance(minutes=5)
        arrived = [event for batch in sink.batches.values() for event in batch]
        assert arrived == [str(number) for number in range(count)]
        if not refusals:  # else the next batch continues to grow while a full one waits for its retry
            assert all(len(batch) <= 100 for batch in sink.batches.values())

    play("memory", Path(), scenario)
