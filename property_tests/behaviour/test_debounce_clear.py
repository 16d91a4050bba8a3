"""What `clear` takes: all that waits, and never the batch that is being flushed at this moment."""

from pathlib import Path

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from world import HasOutside, Refused, World, play, say

from perdure import App, Debounce, DebounceContext, Do, program


@frozen
class Letter:
    number: int


@program
def deliver(ctx: DebounceContext[Letter]) -> Do[None, Refused, HasOutside]:
    yield from say("deliver")
    yield from say(f"delivered {ctx.event_count}")


mailbag = Debounce("mailbag", event=Letter, flush_after="5 s", execute=deliver)


@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 4))
def test_a_batch_that_is_being_flushed_is_not_cleared(flushing, waiting, later):
    async def scenario(world: World) -> None:
        jobs = (await world.open(App(world.outside).with_jobs(mailbag))).handle(mailbag)
        for number in range(flushing):
            await world.run(jobs.add("a", Letter(number)))
        world.suspension("deliver")
        await world.run(jobs.flush("a", wait_for="start"))
        for number in range(waiting):
            await world.run(jobs.add("a", Letter(number)))
        assert (await world.run(jobs.clear("a"))).discarded == waiting
        world.release("deliver")
        for number in range(later):
            await world.run(jobs.add("a", Letter(number)))
        await world.advance(s=10)
        delivered = [word for word in world.outside.heard if word != "deliver"]
        assert delivered == [f"delivered {count}" for count in (flushing, later) if count]

    play("memory", Path(), scenario)
