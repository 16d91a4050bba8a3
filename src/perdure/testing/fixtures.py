"""The values that the pytest plugin's fixtures return."""

from __future__ import annotations

import os
from typing import TypeVar

import attrs

from perdure.app import App
from perdure.testing.world import Clock, Interleaving, TraceEvent, World
from perdure.testing.world.boundary import Opener
from perdure.testing.world.trace import TransitionCommitted
from perdure.testing.world.worker import AtEnd
from perdure.values.event import Event

R = TypeVar("R")


@attrs.define
class Worlds:
    """Opens one test's worlds.

    Attributes:
        seed: the default seed.
        clock: the default clock.
        opened: the worlds so far.
        events: the log's events, as they were committed.
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
        """Open a world. `World` documents the options."""
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
        return world.__enter__()  # it opens the first worker, which the reproduction does not list

    def traces(self) -> list[str]:
        """Return each world's trace."""
        return [world.trace_text() for world in self.opened]

    def finish(self) -> None:
        """Check that the open world's engine comes to rest."""
        for world in self.opened:
            world.finish()

    def leave(self) -> None:
        """End all worlds."""
        for world in self.opened:
            world.leave()

    def _watch(self, moment: TraceEvent) -> None:
        if isinstance(moment.what, TransitionCommitted):
            self.events += moment.what.transition.events
