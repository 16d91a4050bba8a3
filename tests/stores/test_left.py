"""One version of the code continues instances that another cannot read: on a PostgreSQL schema, and on a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest
from postgres_harness import SharedPostgresHarness
from returns.result import Failure, Success

from perdure import App, Do, Task, TaskContext, attempt, effect, program, tell
from perdure.values.errors import Undecodable


@attrs.frozen
class Seen:
    """How many events an instance has seen."""

    n: int = 0


@attrs.frozen
class Idle:
    """An instance at rest."""


@attrs.frozen
class Marked:
    """The same, in a class that only newer code has."""

    n: int = 0


Older: TypeAlias = Seen | Idle
Newer: TypeAlias = Seen | Idle | Marked


@attrs.define
class Bell:
    """Rings when a run has called it."""

    rung: asyncio.Event = attrs.Factory(asyncio.Event)
    runs: list[str] = attrs.Factory(list[str])


@effect
def ring(bell: Bell, run_id: str) -> Success[None]:
    """Remember a run."""
    bell.runs.append(run_id)
    bell.rung.set()
    return Success(None)


def job(state: Any, set_: Any) -> Any:
    """Define a version: an event sets a state and the alarm."""

    @program
    def on_event(ctx: TaskContext[Any], after: str) -> Do[None]:
        yield from ctx.set_state(set_)
        yield from ctx.schedule(after=after)

    @program
    def execute(ctx: TaskContext[Any]) -> Do[None, Any, Bell]:
        yield from ring(ctx.run_id)
        yield from ctx.terminate()

    return Task("bells", state=state, event=str, initial=Seen(), on_event=on_event, execute=execute)


OLD, NEW = job(Older, Seen(1)), job(Newer, Marked(1))
PLACES = 8


async def rings(bell: Bell, count: int) -> None:
    """Wait until so many runs have called the bell, for at most ten seconds."""
    async with asyncio.timeout(10):
        while len(bell.runs) < count:
            bell.rung.clear()
            await bell.rung.wait()


def test_two_engines_on_postgres_leave_each_other_the_instances_that_they_cannot_read(postgres_url: str) -> None:
    """Half of the alarms are in the share of the older engine. None is lost while the newer one is replaced."""
    harness = SharedPostgresHarness(postgres_url)
    bell = Bell()
    older, newer = App(bell).with_jobs(OLD), App(bell).with_jobs(NEW)

    async def main() -> None:
        async with older.open(harness.url) as old:
            async with newer.open(harness.url) as new:
                for place in range(PLACES):
                    await new.handle(NEW).send(f"{place}", "200 ms")
                await new.handle(NEW).send("later", "1 day")
                match await attempt(old.handle(OLD).send("later", "1 s")):
                    case Failure(Undecodable(problems=problems)):
                        assert problems[0].startswith("$")
                    case other:
                        raise AssertionError(other)
                await rings(bell, PLACES)
                for place in range(PLACES):
                    await new.handle(NEW).send(f"{place}", "1 ms" if place % 2 else "300 ms")
            await old.until(OLD, "0", "left", timeout="10 s")
            (found, *_) = await left(old)
            assert found.report.left is not None
            assert found.report.heals
            async with newer.open(harness.url) as new:
                await rings(bell, 2 * PLACES)
                for place in range(PLACES):
                    await new.until(NEW, f"{place}", timeout="10 s")
        assert len(set(bell.runs)) == 2 * PLACES
        await harness.discard()

    asyncio.run(main())


def test_a_left_message_is_buried_by_one_of_two_engines_on_postgres(postgres_url: str) -> None:
    """Both bury it at once. The next message of its pair follows, and the letter can be redriven."""
    texts = Task("targets", state=str, event=str, initial="", on_event=lambda ctx, text: ctx.set_state(text))
    numbers = Task("targets", state=int, event=int, initial=0, on_event=lambda ctx, number: ctx.set_state(number))

    @program
    def both(ctx: TaskContext[int], number: int) -> Do[None]:
        yield from tell(texts, "b").send("word")
        yield from tell(numbers, "b").send(number)
        yield from ctx.set_state(number)

    sender = Task("sender", state=int, event=int, initial=0, on_event=both)
    harness, app = SharedPostgresHarness(postgres_url), App(None).with_jobs(numbers, sender)

    async def main() -> None:
        async with app.open(harness.url) as one, app.open(harness.url) as other:
            await one.handle(sender).send("a", 7)
            async with asyncio.timeout(10):
                while not (found := await other.left_messages()):  # noqa: ASYNC110 - it asks the store
                    await asyncio.sleep(0)
            (message,) = found
            answers = await asyncio.gather(*(client.bury(message.message_id) for client in (one, other)))
            assert sorted(answers) == ["buried", "not_found"]
            await one.until(numbers, "b", "idle", timeout="10 s")
            assert await one.handle(numbers).get_state("b") == 7
            (letter,) = await other.dead_letters()
            assert (letter.message_id, await other.left_messages()) == (message.message_id, ())
            assert await other.redrive(letter.message_id) == "redriven"
        await harness.discard()

    asyncio.run(main())


def test_a_left_message_is_delivered_at_once_by_an_engine_that_reads_it(postgres_url: str) -> None:
    """Whether that engine runs or opens later. The code that left it would look again after a minute."""

    def targets(event: Any) -> Any:
        return Task("targets", state=tuple[event, ...], event=event, initial=(), on_event=lambda ctx, each: (
            ctx.update_state(lambda seen: (*seen, each))
        ))  # fmt: skip

    numbers, both_forms = targets(int), targets(int | str)

    @program
    def on_event(ctx: TaskContext[int], number: int) -> Do[None]:
        yield from tell(both_forms, "b").send(f"word {number}")
        yield from tell(both_forms, "b").send(number)
        yield from ctx.set_state(number)

    sender: Any = Task("sender", state=int, event=int, initial=0, on_event=on_event)
    harness = SharedPostgresHarness(postgres_url)
    older, newer = (App(None).with_jobs(each, sender) for each in (numbers, both_forms))
    expected: list[int | str] = []

    async def main() -> None:
        async with older.open(harness.url) as old:
            await old.handle(sender).send("a", 1)
            async with asyncio.timeout(10):
                while not await old.left_messages():  # noqa: ASYNC110 - it asks the store
                    await asyncio.sleep(0)
            async with newer.open(harness.url) as new:
                for number in range(1, 4):
                    expected.extend((f"word {number}", number))
                    if number > 1:
                        await old.handle(sender).send("a", number)
                    async with asyncio.timeout(10):
                        while await new.handle(both_forms).get_state("b") != tuple(expected):  # noqa: ASYNC110
                            await asyncio.sleep(0)
                assert await new.left_messages() == ()
        await harness.discard()

    asyncio.run(main())


async def left(client: Any) -> list[Any]:
    return list(await client.list(status="left"))


@pytest.mark.parametrize("restarts", [1, 3])
def test_a_rollback_on_a_file_leaves_the_instances_of_the_newer_version(tmp_path: Path, restarts: int) -> None:
    bell, url = Bell(), f"sqlite:///{tmp_path / 'jobs.db'}"
    older, newer = App(bell).with_jobs(OLD), App(bell).with_jobs(NEW)

    async def main() -> None:
        async with newer.open(url) as new:
            await new.handle(NEW).send("a", "300 ms")
            await new.handle(NEW).send("b", "1 day")
        marks = set[Any]()
        for _ in range(restarts):
            async with older.open(url) as old:
                await old.until(OLD, "a", "left", timeout="10 s")
                assert isinstance(await attempt(old.handle(OLD).send("b", "1 s")), Failure)
                marks |= {(row.address.id, row.report.since) for row in await left(old)}
                assert [row.report.parked for row in await old.list()] == [None, None]
        assert len(marks) == 2, "each restart finds the marks of the first"
        async with newer.open(url) as new:
            await rings(bell, 1)
            assert (await new.handle(NEW).status("b")).status == "scheduled"
        assert len(bell.runs) == 1

    asyncio.run(main())
