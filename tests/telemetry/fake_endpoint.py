"""An endpoint inside a world: it answers as a script says, outlives engines, and keeps what arrives."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
from world import World

from perdure import Do, Task, TaskContext, program
from perdure.stores.values import LoggedEvent
from perdure.telemetry.tracker import Tracker, TrackerOptions, tracker
from perdure.telemetry.tracker.batches import NoResponse, Response
from perdure.telemetry.tracker.exporter import Post

SCRIPTED = ("200", "lost", "reset", "hang", "500", "503 7", "429 junk", "408", "404", "301", "bug")


@program
def handle(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.set_state(event)
    yield from ctx.schedule(after="1 minute")


@program
def execute(ctx: TaskContext[int]) -> Do[None]:
    yield from ctx.update_state(lambda state: state + 1)


job = Task("job", state=int, event=int, initial=0, on_event=handle, execute=execute)


@attrs.define
class FakeEndpoint:
    """Answers ``200``, unless the script has something else for the request.

    Attributes:
        world: the world.
        script: answers to the next requests: a status, perhaps with a ``retry-after``; ``hang``; ``reset`` before the
            body arrived; ``lost``: the body arrived and the answer did not; ``bug``: the client raises.
        poison: decides which events it refuses with 422.
        bodies: the events of each accepted request.
        asked: the number of requests.
    """

    world: World
    script: list[str] = attrs.Factory(list[str])
    poison: Callable[[dict[str, Any]], bool] = lambda _: False
    bodies: list[list[dict[str, Any]]] = attrs.Factory(list[list[dict[str, Any]]])
    asked: int = 0

    def tracker(self, **options: Any) -> Tracker:
        """Make a tracker that exports to this endpoint."""
        return attrs.evolve(tracker("http://fake", **options), connect=self.connect)

    @asynccontextmanager
    async def connect(self, options: TrackerOptions) -> AsyncGenerator[Post]:
        async def post(body: bytes) -> Response | NoResponse:
            self.asked += 1
            plain = gzip.decompress(body) if options.compression == "gzip" else body
            return await self._answered(json.loads(plain)["events"])

        yield post

    async def _answered(self, events: list[dict[str, Any]]) -> Response | NoResponse:
        answer = self.script.pop(0) if self.script else "200"
        if answer == "hang":
            await self.world.process.boundary.runtime.future()
        if answer == "bug":
            raise ZeroDivisionError("bug of the client")
        if answer == "reset":
            return NoResponse("reset")
        if answer not in {"200", "lost"}:
            status, _, retry_after = answer.partition(" ")
            return Response(int(status), retry_after)
        if any(map(self.poison, events)):
            return Response(422)
        self.bodies.append(events)
        return Response(202) if answer == "200" else NoResponse("lost")

    @property
    def arrived(self) -> list[dict[str, Any]]:
        """Every event that arrived, with its duplicates."""
        return [event for body in self.bodies for event in body]

    @property
    def first_arrivals(self) -> list[str]:
        """The ids of the events that arrived, without duplicates."""
        return list(dict.fromkeys(event["event_id"] for event in self.arrived))


async def logged(world: World) -> tuple[LoggedEvent, ...]:
    """The log of the world."""
    return await world.inspect(lambda store: store.events(0, 1_000))


async def logged_ids(world: World) -> list[str]:
    """The ids of the events in the log."""
    return [each.event.event_id for each in await logged(world) if hasattr(each.event, "event_id")]
