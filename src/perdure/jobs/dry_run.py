"""Runs a program as a dry run: on its draft, in virtual time, with given answers instead of effects."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from returns.result import Success

from perdure.jobs.draft import Draft
from perdure.programs import Exit, Halted, Program, Raised, run_async, sandbox
from perdure.values.errors import RunTimeout
from perdure.values.excerpt import fields_in_line
from perdure.values.times import from_ms

if TYPE_CHECKING:
    from perdure.runtime.simulated import Simulation


@attrs.define
class DryRun:
    """One program, to be run as the engine would run it, except for its effects.

    Attributes:
        program: the program.
        draft: the draft of its context operations.
        services: the services that it may read.
        begins_ms: time of the virtual clock at the start.
        limit_ms: time limit, in virtual milliseconds.
    """

    __repr__ = fields_in_line

    HALT: ClassVar[Halted] = Halted("the dry run ends here")
    program: Program[Any, Any, Any]
    draft: Draft
    services: object
    begins_ms: int
    limit_ms: int
    _simulation: Simulation | None = None

    @property
    def now_ms(self) -> int:
        """The time of the virtual clock."""
        return self.begins_ms if self._simulation is None else self._simulation.now_ms

    def run(self, perform: Callable[[object], object]) -> Exit[Any, Any]:
        """Run the program and return its exit.

        Args:
            perform: answers its effects, synchronously; ``HALT`` stops the program there.
        """
        from perdure.runtime.simulated import Simulation  # noqa: PLC0415 - imports `random`, and few processes need it

        self._simulation = simulation = Simulation(start=from_ms(self.begins_ms), order="fifo")
        runtime = simulation.runtime

        async def limited() -> Exit[Any, Any]:
            work = run_async(
                sandbox(self.program, self.draft),
                self.services,
                runtime=runtime,
                handler=lambda asked, _: perform(asked),
            )
            task = runtime.spawn(work, name="dry run")

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
            simulation.close()
