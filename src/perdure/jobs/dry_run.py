"""Rehearses the program of a run: on its draft, in virtual time, with answers that are made up instead of effects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
from returns.result import Success

from perdure.jobs.draft import Draft
from perdure.programs import Exit, Halted, Program, Raised, run_async, sandbox
from perdure.values.errors import RunTimeout
from perdure.values.excerpt import fields_in_line
from perdure.values.instant import from_ms


@attrs.define
class DryRun:
    """One program, to be run as an engine would run it, but for its effects.

    Attributes:
        program: what is run.
        draft: what its context operations act on.
        services: what it sees of the services.
        begins_ms: what the clock shows at first.
        limit_ms: how long it may take, in virtual time.
        ended_ms: what the clock shows at its end.
    """

    __repr__ = fields_in_line

    HALT: ClassVar[Halted] = Halted("the rehearsal ends here")
    program: Program[Any, Any, Any]
    draft: Draft
    services: object
    begins_ms: int
    limit_ms: int
    ended_ms: int = attrs.field(init=False)

    def run(self, perform: Callable[[object], object]) -> Exit[Any, Any]:
        """Run it.

        Args:
            perform: answers its effects, at once; ``HALT`` stops it there.
        """
        from perdure.runtime.simulated import Simulation  # noqa: PLC0415 - imports `random`; few processes rehearse

        simulation = Simulation(start=from_ms(self.begins_ms), order="fifo")
        runtime = simulation.runtime

        async def limited() -> Exit[Any, Any]:
            work = run_async(
                sandbox(self.program, self.draft),
                self.services,
                runtime=runtime,
                handler=lambda asked, _: perform(asked),
            )
            task = runtime.spawn(work, name="rehearsal")

            def time_is_up() -> None:
                task.cancel()

            runtime.call_later(self.limit_ms, time_is_up)
            try:
                exit_ = await task
            except runtime.cancelled:
                return Raised(RunTimeout(self.limit_ms))
            return exit_.unwrap() if isinstance(exit_, Success) else exit_

        try:
            return simulation.run(limited())
        finally:
            self.ended_ms = simulation.now_ms
            simulation.close()
