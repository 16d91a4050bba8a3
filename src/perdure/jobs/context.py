"""The context of a hook. Attributes are plain values, actions are programs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Never, TypeVar, cast

from perdure.jobs.operations import GetState, SetState, UpdateState
from perdure.programs import Program, halt, now, perform
from perdure.programs.container import node
from perdure.programs.instructions import PERFORM
from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.frozen import frozen, turn_value

if TYPE_CHECKING:
    from perdure.runtime.run_context import RunIdentity
    from perdure.values.instance import Instance

S = TypeVar("S")

_ADDRESS_CHARACTERS = 80


READ_STATE: Program[Any] = perform(GetState())
"""One program for all contexts: it holds no data of any of them."""


@frozen
class EndInstance:
    """The signal of ``ctx.terminate``: purge the instance for this reason."""

    __repr__ = fields_in_line

    reason: str


@frozen
class RunInterrupted:
    """The signal of a run that a stored request stopped; see ``Definition.interrupts``."""


@turn_value(repr=False)
class JobContext(Generic[S]):
    """The context of the hooks of every kind of job.

    Args:
        instance: the stored instance.
        claim: the claim of the run.
    """

    _instance: Instance
    _claim: RunIdentity

    def __repr__(self) -> str:
        address = excerpt(str(self._instance.address), _ADDRESS_CHARACTERS)[1:-1]
        return (
            f"<{type(self).__name__} of {address}: run {self.run_id}, attempt {self.attempt}, delivery {self.delivery}>"
        )

    @property
    def id(self) -> str:
        """The instance's id."""
        return self._instance.address.id

    @property
    def job(self) -> str:
        """The job's name."""
        return self._instance.address.name

    @property
    def run_id(self) -> str:
        """The same for all attempts and deliveries of a run, so an idempotency key for external services."""
        return self._claim.run_id

    @property
    def attempt(self) -> int:
        """Number of failures of this run, plus 1; it continues when a parked run is resumed."""
        return self._claim.attempt

    @property
    def delivery(self) -> int:
        """Number of claims of this attempt; above 1, the run may already have had effects."""
        return self._claim.deliveries

    @property
    def run_count(self) -> int:
        """The number of this run, from 1; inside an event handler, the number of runs begun."""
        return self._instance.run_count

    @property
    def is_retry(self) -> bool:
        """Whether this run was attempted or delivered before."""
        return self.attempt > 1 or self.delivery > 1

    @property
    def state(self) -> Program[S]:
        """Read the state, including this run's own changes."""
        return READ_STATE

    @property
    def now(self) -> Program[datetime]:
        """Read the clock, as an aware instant in UTC."""
        return now()

    def set_state(self, state: S) -> Program[None]:
        """Replace the state. A value that is not of the declared type raises, and is a defect of the run."""
        return node(PERFORM, SetState(state))  # as `perform` does, which every event would call

    def update_state(self, function: Callable[[S], S]) -> Program[None]:
        """Replace the state with the result of a function.

        Args:
            function: takes the current state and returns the new one.

        Raises:
            TypeError: `function` is not a function, for example a state.
        """
        given = cast("object", function)
        if not callable(given) or isinstance(given, Program):
            raise TypeError(
                f"update_state expects a function of the state, such as `lambda state: ...`; got {excerpt(function)}; "
                "to store a value use set_state"
            )
        return perform(UpdateState(cast("Callable[[object], object]", function)))

    def terminate(self, reason: str = "terminated") -> Program[Never]:
        """End the run here, clear the alarm and purge the instance.

        Messages to other instances are sent; messages to this instance are dropped.
        """
        return halt(EndInstance(reason))
