"""Everything that can be stored, brought about by the real engine over a real file."""

from __future__ import annotations

from typing import Any

from golden_jobs import Forward, Keep, Note, Ring, Stop, Write, app, forgotten, notes, older, piles, reminders, ticks
from returns.future import FutureResult
from world import World

from perdure.stores.contract import Store
from perdure.values.errors import StoreError
from perdure.values.event import EventsDropped


async def play_scene(world: World) -> None:
    """Leave a store with every kind in every status, and with everything else that a store keeps."""
    await _run_that_kills(world)
    await _other_code(world)
    await world.open(app(world.outside))
    await _at_rest(world)
    await _answered(world)
    await _messages(world)
    await _failing(world)
    await _running(world)
    await _waiting(world)
    await _exported(world)
    await world.crash()


def _begin_each(world: World, word: str) -> None:
    """Begin a run of every kind, and an event, that say this word; no call waits for them."""
    of = world.jobs.handle
    world.start(of(ticks).start(word, Note(word), idempotency_key=word))
    world.start(of(notes).trigger(word, idempotency_key=word))
    world.start(of(notes).send(f"{word}-event", Ring(word), idempotency_key=word))
    world.start(of(piles).flush(word))


async def _prepare_each(world: World, word: str) -> None:
    of = world.jobs.handle
    await world.run(of(notes).send(word, Write(word)))
    await world.run(of(piles).add(word, Note(word)))


async def _run_that_kills(world: World) -> None:
    """Runs that their process never survives: parked, and each on its own, because they are delivered alone."""
    kinds: list[Any] = [
        lambda of: of(ticks).start("doomed", Note("doomed")),
        lambda of: of(notes).trigger("doomed"),
        lambda of: of(notes).send("doomed-event", Ring("doomed")),
        lambda of: of(piles).flush("doomed"),
    ]
    world.suspension("doomed")
    await world.open(app(world.outside))
    await _prepare_each(world, "doomed")
    for call in kinds:
        world.start(call(world.jobs.handle))
        await world.settle()
        for _ in range(3):
            await world.crash()
            await world.open(app(world.outside))
            await world.settle()
    await world.close()


async def _other_code(world: World) -> None:
    """Rows of older code, and rows that the present code cannot read."""
    jobs = await world.open(app(world.outside, older))
    await world.run(jobs.handle(older).send("older", Keep("of version 1")))
    await world.close()
    jobs = await world.open(app(world.outside, forgotten))
    await world.run(jobs.handle(forgotten).send("forgotten", Keep("")))
    await world.close()
    jobs = await world.open(app(world.outside))
    await world.error_of(jobs.handle(notes).send("forgotten", Keep("")))
    await world.close()


async def _at_rest(world: World) -> None:
    of = world.jobs.handle
    await world.run(of(notes).send("idle", Keep("idle")))
    await world.run(of(notes).send("scheduled", Write("scheduled")))
    await world.run(of(ticks).start("scheduled", Note("ticking")))
    await world.run(of(piles).add("scheduled", Note("one")))
    await world.run(of(piles).add("scheduled", Note("two")))
    await world.run(of(notes).send("paused", Write("paused")))
    await world.run(of(ticks).start("paused", Note("paused")))
    await world.run(of(piles).add("paused", Note("paused")))
    await world.run(of(reminders).wish("paused", "paused"))
    for job in (notes, ticks, piles, reminders):
        await world.run(of(job).pause("paused"))


async def _answered(world: World) -> None:
    """An answer of every form, kept for its key."""
    of = world.jobs.handle
    world.outside.refusals = {"fails": 2, "again": 1, "final": 1}
    await world.run(of(notes).send("keys", Write("keys"), idempotency_key="send"))
    await world.run(of(notes).trigger("keys", idempotency_key="ran"))
    await world.run(of(notes).trigger("absent", idempotency_key="absent"))
    await world.run(of(notes).pause("keys", idempotency_key="pause"))
    await world.run(of(notes).trigger("keys", idempotency_key="paused"))
    await world.run(of(notes).resume("keys", idempotency_key="resume"))
    await world.run(of(notes).trigger("doomed", idempotency_key="parked"))
    await world.run(of(ticks).start("keys", Note("again"), idempotency_key="retrying"))
    await world.run(of(ticks).start("keys", Note("again"), idempotency_key="exists"))
    await world.run(of(piles).add("keys", Note("x"), idempotency_key="add"))
    await world.run(of(piles).flush("keys", idempotency_key="flush"))
    await world.run(of(piles).clear("keys", idempotency_key="clear"))
    await world.run(of(piles).flush("keys", idempotency_key="empty"))
    await world.run(of(notes).terminate("keys", "enough", idempotency_key="terminate"))
    await world.run(of(notes).send("ended", Stop(), idempotency_key="ended"))
    await world.run(of(notes).send("over", Write("end")))
    await world.run(of(notes).trigger("over", idempotency_key="over"))
    await world.run(of(notes).send("final", Write("final")))
    await world.run(of(notes).trigger("final", idempotency_key="final"))
    await world.run(of(notes).send("failing", Write("fails")))
    await world.run(of(notes).trigger("failing", idempotency_key="fails"))
    await world.advance(minutes=2)


async def _messages(world: World) -> None:
    """Messages that wait, that are postponed, that no job could take."""
    of = world.jobs.handle
    world.outside.refusals["refused"] = 1
    world.outside.breaks |= {"boom"}
    await world.run(of(notes).send("sender", Forward("elsewhere", "wait")))
    await world.run(of(notes).send("sender", Forward("forgotten", "held")))
    await world.run(of(notes).send("sender", Forward("refusing", "refused")))
    await world.run(of(notes).send("sender", Forward("breaking", "boom")))
    await world.advance(s=10)


async def _failing(world: World) -> None:
    """Runs that wait for their next attempt: one has failed with its typed error, another broke."""
    of = world.jobs.handle
    world.outside.refusals["retrying"] = 1
    world.outside.breaks |= {"broken"}
    await _prepare_each(world, "retrying")
    await world.run(of(notes).trigger("retrying"))
    await world.run(of(ticks).start("retrying", Note("broken")))
    await world.run(of(piles).add("retrying", Note("broken")))
    await world.run(of(piles).flush("retrying"))
    await world.run(of(piles).add("retrying", Note("meanwhile")))
    await world.run(of(reminders).wish("breaking", "broken"))
    await world.advance(minutes=1)


async def _running(world: World) -> None:
    """Runs that their process dies in the middle of."""
    world.suspension("busy")
    await _prepare_each(world, "busy")
    await world.run(world.jobs.handle(reminders).wish("busy", "busy"))
    await world.advance(minutes=1)
    _begin_each(world, "busy")
    await world.settle()
    await world.run(world.jobs.handle(piles).add("busy", Note("meanwhile")))
    await world.settle()


async def _waiting(world: World) -> None:
    """Alarms and messages due within the next minute."""
    of = world.jobs.handle
    await _prepare_each(world, "again")
    world.outside.breaks |= {"again"}
    world.outside.refusals["typed"] = 1
    await world.run(of(notes).trigger("again"))
    await world.run(of(ticks).start("again", Note("typed")))
    await world.run(of(piles).flush("again"))
    await world.run(of(reminders).wish("scheduled", "tea"))


async def _exported(world: World) -> None:
    """The position of a sink, and its report about an event that it skipped."""
    dropped = EventsDropped(
        event_id="019b76da-a800-7dd8-90ab-e7f085776e9b",
        at_ms=world.now_ms,
        address="task:notes:idle",
        sink="tracker",
        count=1,
        reason="refused",
        detail="job.started: the endpoint answered 422",
    )

    def move(store: Store) -> FutureResult[None, StoreError]:
        assert store.cursors is not None
        return store.cursors.move("tracker", 3, (dropped,))

    await world.inspect(move)
