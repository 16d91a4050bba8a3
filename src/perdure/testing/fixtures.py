"""What the fixtures of the pytest plugin give."""

from __future__ import annotations

import os
from typing import TypeVar

import attrs

from perdure.app import App
from perdure.testing.world import Clock, Interleaving, TraceEvent, World
from perdure.testing.world.backend import Opener
from perdure.testing.world.rest import AtEnd
from perdure.testing.world.trace_event import TransitionCommitted
from perdure.values.event import Event

R = TypeVar("R")


@attrs.define
class Worlds:
    """Opens the worlds of one test.

    Attributes:
        seed: of worlds that are given none.
        clock: of worlds that are given none.
        opened: the worlds so far.
        events: the events of the log, as they were committed.
    """

    seed: int
    clock: Clock
    opened: list[World] = attrs.Factory(list[World])
    events: list[Event] = attrs.Factory(list[Event])

    def __call__(
        self,
        app: App[R],
        services: R | None = None,
        *,
        store: str | os.PathLike[str] | Opener = "memory://",
        seed: int | None = None,
        clock: Clock | None = None,
        interleaving: Interleaving = "turns",
        at_end: AtEnd = "check",
        debug: bool | None = None,
    ) -> World:
        """Open a world; the options are those of `World`."""
        for earlier in self.opened:
            earlier.finish()
            earlier.leave()
        world = World(
            app,
            services,
            store=store,
            seed=self.seed if seed is None else seed,
            clock=self.clock if clock is None else clock,
            interleaving=interleaving,
            at_end=at_end,
            debug=debug,
        )
        self.opened.append(world)
        world.watch(self._watch)
        return world.__enter__()  # the first worker is opened by it, which is no line of the story

    def stories(self) -> list[str]:
        """Tell what happened in each."""
        return [world.trace_text() for world in self.opened]

    def finish(self) -> None:
        """Check that the engine of the world that is open comes to rest."""
        for world in self.opened:
            world.finish()

    def leave(self) -> None:
        """End all of them."""
        for world in self.opened:
            world.leave()

    def _watch(self, moment: TraceEvent) -> None:
        if isinstance(moment.what, TransitionCommitted):
            self.events += moment.what.transition.events
