"""A tracing sink that raises harms no turn and no effect, and is logged once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any, Literal, TypeAlias, cast

import attrs
import pytest
from world import World, on_each_store, say

from perdure import App, Do, Task, TaskContext, program, succeed
from perdure.engine.sinks import EffectBegun, EffectSpan, EngineView, OpenSink, TurnBegun, TurnEnded
from perdure.runtime.simulated_task import SimulatedCancellation
from perdure.values.errors import DefinitionError
from perdure.values.instance import Claim
from perdure.values.status import FailureRecord

Place: TypeAlias = Literal["current", "begin", "context", "runs", "end", "effect", "enter", "failed", "exit"]
PLACES: tuple[Place, ...] = ("current", "begin", "context", "runs", "end", "effect", "enter", "failed", "exit")


@attrs.frozen
class Breaking:
    """Raises at one place."""

    at: Place
    name: str = "breaking"
    error: type[BaseException] = ZeroDivisionError

    def open(self, engine: EngineView) -> AbstractAsyncContextManager[OpenSink]:
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[OpenSink]:
        yield OpenSink(tracing=self)

    def reach(self, place: Place) -> None:
        if place == self.at:
            raise self.error(f"bug of a sink in {place}")

    def current(self) -> str | None:
        self.reach("current")
        return None

    def begin(self, turn: TurnBegun) -> Breaking:
        self.reach("begin")
        return self

    @property
    def context(self) -> str | None:
        self.reach("context")
        return "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    def runs(self, claim: Claim) -> None:
        self.reach("runs")

    def end(self, ended: TurnEnded) -> None:
        self.reach("end")

    def failed(self, failure: FailureRecord) -> None:
        self.reach("failed")

    def effect(self, effect: EffectBegun) -> AbstractContextManager[EffectSpan]:
        self.reach("effect")
        return self._effect()

    @contextmanager
    def _effect(self) -> Generator[EffectSpan]:
        self.reach("enter")
        yield self
        self.reach("exit")


@program
def on_event(ctx: TaskContext[int], event: str) -> Do[None, Any, Any]:
    yield from say(event).lash(lambda _: succeed(None))
    yield from ctx.set_state(1)


job = Task("job", state=int, event=str, initial=0, on_event=on_event)


@pytest.mark.parametrize("error", [ZeroDivisionError, SimulatedCancellation])
@pytest.mark.parametrize("place", PLACES)
@on_each_store
async def test_a_sink_that_raises_is_logged_once(world: World, place: Place, error: type[BaseException]) -> None:
    world.outside.refusals["refused"] = 9
    jobs = await world.open(App(world.outside).with_jobs(job).with_sinks(Breaking(place, error=error)))
    for id_ in "ab":
        await world.run(jobs.handle(job).send(id_, "refused"))
        assert await world.run(jobs.handle(job).get_state(id_)) == 1
    records = [record for record in world.world.logs if record.message == "sink raised an exception"]
    assert [record.fields["sink"] for record in records] == ["breaking"]


@attrs.frozen
class Garbled(Breaking):
    """Returns contexts that are none."""

    garbage: Any = None

    def current(self) -> str | None:
        return cast("str", self.garbage)

    @property
    def context(self) -> str | None:
        return cast("str", self.garbage)


@pytest.mark.parametrize("garbage", [42, "\0", "\udcff", "0" * 1_000_000, b"00"])
@on_each_store
async def test_a_trace_context_that_is_none_is_not_stored(world: World, garbage: object) -> None:
    jobs = await world.open(App(world.outside).with_jobs(job).with_sinks(Garbled("exit", garbage=garbage)))
    await world.run(jobs.handle(job).send("a", "refused"))
    claims = [row.event_claim for row in (each.write.instance for each in world.commits) if row.event_claim]
    assert [claim.trace for claim in claims] == [None] * len(claims) != []


@on_each_store
async def test_one_sink_of_an_app_traces(world: World) -> None:
    app = App(world.outside).with_jobs(job).with_sinks(Breaking("begin"), Breaking("begin", "second"))
    with pytest.raises(DefinitionError, match="breaking and second"):
        await world.open(app)
