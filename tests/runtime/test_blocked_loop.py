"""Code that holds the event loop is found by another thread, logged while it holds it, and counted afterwards."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from os import sep
from types import FrameType
from typing import Any

import attrs
import pytest
from returns.result import Result, Success

from perdure import App, Do, Limits, Task, TaskContext, effect, program
from perdure.engine.reporting import LoopReports
from perdure.engine.sinks import EngineView, OpenSink, OpenSinks
from perdure.runtime.on_asyncio import MAX_STACK, LoopWatch, asyncio_runtime, blocking_code, frame_of, is_of_loop
from perdure.runtime.record import BlockingCode, LogRecord
from perdure.values.live_event import AnyEvent, LoopBlocked

LIMIT_MS = 1_000


# ---------------------------------------------------------------- the watch, looked at by hand
@attrs.define
class Watched:
    """A watch over the running loop, with a clock that only the test moves."""

    now_ms: float = 0
    told: list[BlockingCode] = attrs.Factory(list)
    ended: list[tuple[BlockingCode, float]] = attrs.Factory(list)
    watch: LoopWatch = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.watch = LoopWatch(
            LIMIT_MS,
            lambda: self.now_ms,
            frame_of(threading.get_ident()),
            asyncio.get_running_loop().call_soon_threadsafe,
            self.told.append,
            lambda found, took_ms: self.ended.append((found, took_ms)),
        )

    def look(self, after_ms: float) -> None:
        """Look from another thread, while this one waits for it."""
        self.now_ms += after_ms
        looking = threading.Thread(target=self.watch.look)
        looking.start()
        looking.join()


def holding(watched: Watched, *waits_ms: float) -> None:
    """Hold the loop: the thread of the watch looks after each wait."""
    for wait_ms in (0, *waits_ms):
        watched.look(wait_ms)


async def answered(watched: Watched) -> None:
    """Let the loop answer the watch."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.mark.parametrize(("waits_ms", "found"), [((500, 499), False), ((500, 500), True), ((1_000,), True)])
def test_code_is_found_when_it_has_held_the_loop_for_the_limit(waits_ms: tuple[float, ...], *, found: bool) -> None:
    async def main() -> None:
        watched = Watched()
        holding(watched, *waits_ms)
        assert [each.function.rpartition(".")[2] for each in watched.told] == ["main"] * found
        watched.now_ms += 250
        await answered(watched)
        assert watched.ended == [(each, sum(waits_ms) + 250) for each in watched.told]

    asyncio.run(main())


def test_code_is_told_once_for_each_time() -> None:
    async def main() -> None:
        watched = Watched()
        for _ in range(2):
            holding(watched, LIMIT_MS, LIMIT_MS, LIMIT_MS)
            await answered(watched)
        assert len(watched.told) == len(watched.ended) == 2

    asyncio.run(main())


def test_a_loop_with_much_work_is_not_blocked() -> None:
    """Each callback is short, but the answer waits behind all of them."""

    async def main() -> None:
        watched, loop = Watched(), asyncio.get_running_loop()
        for _ in range(5):
            loop.call_soon(holding, watched, 900)
        await asyncio.sleep(0)
        await answered(watched)
        assert watched.told == []

    asyncio.run(main())


def test_an_idle_loop_is_not_woken() -> None:
    asked: list[object] = []
    names: dict[str, Callable[[], FrameType]] = {}
    source = "import sys\ndef select():\n    return sys._getframe()\n"
    exec(compile(source, f"{sep}lib{sep}selectors.py", "exec"), names)  # noqa: S102 - a frame of that file
    idle = names["select"]()
    assert is_of_loop(idle)
    LoopWatch(LIMIT_MS, lambda: 0, lambda: idle, asked.append, asked.append, lambda *_: None).look()
    assert asked == []


def test_a_thread_that_has_ended_is_not_looked_at() -> None:
    LoopWatch(LIMIT_MS, lambda: 0, lambda: None, pytest.fail, pytest.fail, lambda *_: None).look()


def test_the_code_is_the_function_that_the_library_called() -> None:
    """Not the function of another library in which it waits. Of a deep stack the inner lines are shown."""
    frames: list[BlockingCode] = []

    def deep(left: int) -> None:
        frame = inspect.currentframe()
        assert frame is not None
        deep(left - 1) if left else frames.append(blocking_code(frame))

    async def main() -> None:
        deep(MAX_STACK)

    asyncio.run(main())
    (found,) = frames
    assert found.function.endswith("main")
    assert found.place.startswith(f"{__file__}:")
    assert "in deep" in found.stack
    assert "in main" not in found.stack


# ---------------------------------------------------------------- an engine
@attrs.define
class Collected:
    """A sink that keeps its events."""

    name: str = "collected"
    events: list[AnyEvent] = attrs.Factory(list)

    @asynccontextmanager
    async def open(self, _: EngineView, /) -> AsyncGenerator[OpenSink]:
        yield OpenSink(on_event=self.events.append)


@attrs.define
class Outside:
    """Services whose call waits, without `await`."""

    noticed: threading.Event = attrs.Factory(threading.Event)


@effect
def wait_until_noticed(services: Outside, _number: int) -> Result[int, str]:
    return Success(services.noticed.wait(60))


@program
def on_event(ctx: TaskContext[int], event: int) -> Do[None, str]:
    yield from wait_until_noticed(event)


blocking: Any = Task("blocking", state=int, event=int, initial=0, on_event=on_event)


@pytest.fixture
def outside() -> Iterator[Outside]:
    """Services whose wait ends when the log says that the loop is blocked."""
    services = Outside()

    class Noticing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "wait_until_noticed" in record.getMessage():
                services.noticed.set()

    handler, logger = Noticing(), logging.getLogger("perdure")
    logger.addHandler(handler)
    yield services
    logger.removeHandler(handler)


def test_an_engine_logs_the_effect_that_blocks_it_and_tells_sinks_afterwards(
    outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Collected()

    async def main() -> None:
        app = App(outside, limits=Limits(blocked_loop="20 ms")).with_jobs(blocking).with_sinks(sink)
        async with app.open("memory://") as jobs:
            await jobs.handle(blocking).send("a", 1)

    asyncio.run(main())
    logged = [record for record in caplog.records if "wait_until_noticed" in record.getMessage()]
    assert [record.levelname for record in logged] == ["WARNING"]
    assert f"{__file__}:" in logged[0].getMessage()
    assert "services.noticed.wait(60)" in logged[0].getMessage()
    (told,) = [each for each in sink.events if isinstance(each, LoopBlocked) and each.function == "wait_until_noticed"]
    assert told.took_ms >= 20
    assert told.place.startswith(f"{__file__}:")


def test_no_thread_looks_when_the_limit_is_zero(outside: Outside) -> None:
    runtime = attrs.evolve(asyncio_runtime(), watch_loop=lambda *_: pytest.fail("a thread looks"))
    outside.noticed.set()

    async def main() -> None:
        app = App(outside, limits=Limits(blocked_loop="0 ms")).with_jobs(blocking)
        async with app.open("memory://", runtime=runtime) as jobs:
            await jobs.handle(blocking).send("a", 1)

    asyncio.run(main())


def test_a_place_is_logged_once() -> None:
    records: list[LogRecord] = []
    reports = LoopReports(attrs.evolve(asyncio_runtime(), log=records.append), OpenSinks(asyncio_runtime()))
    for place in ("a.py:1", "a.py:2", "a.py:1"):
        reports.began(BlockingCode("slow", place, "stack"))
    assert [record.fields["place"] for record in records] == ["a.py:1", "a.py:2"]
