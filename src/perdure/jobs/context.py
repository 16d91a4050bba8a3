"""The context: what a hook of a job can see and do. Facts are plain attributes, actions are programs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, Never, TypeVar, cast

import attrs

from perdure.jobs.draft import GetState, SetState, UpdateState
from perdure.program import Program, halt, now, perform

S = TypeVar("S")


READ_STATE: Program[Any] = perform(GetState())
"""One program for all contexts: it holds nothing of any of them."""


@attrs.frozen
class EndInstance:
    """The signal of ``ctx.terminate``: purge the instance with this reason."""

    reason: str


@attrs.frozen(kw_only=True)
class JobContext(Generic[S]):
    """What the hooks of every kind of job share.

    Attributes:
        id: the instance's id.
        job: the job's name.
        run_id: the same over all attempts and repeats of one logical run: an idempotency key for the outside world.
        attempt: failures of this run so far, plus 1.
        delivery: claims of this attempt so far; above 1, the run may have had effects already.
        run_count: the number of this run, from 1; inside an event handler, runs begun so far.
    """

    id: str
    job: str
    run_id: str
    attempt: int = 1
    delivery: int = 1
    run_count: int = 0

    @property
    def is_retry(self) -> bool:
        """Whether this run was tried or delivered before."""
        return self.attempt > 1 or self.delivery > 1

    @property
    def state(self) -> Program[S]:
        """Read the state: what is stored, with this run's own changes."""
        return READ_STATE

    @property
    def now(self) -> Program[datetime]:
        """Read the clock: an aware instant in UTC."""
        return now()

    def set_state(self, state: S) -> Program[None]:
        """Replace the state. A value that is not of the declared type is a defect, raised where it is set."""
        return perform(SetState(state))

    def update_state(self, function: Callable[[S], S]) -> Program[None]:
        """Replace the state by a function of the state."""
        return perform(UpdateState(cast("Callable[[object], object]", function)))

    def terminate(self, reason: str = "terminated") -> Program[Never]:
        """End the run here, cancel the alarm and purge the instance.

        What the run told other jobs is sent; what it told itself is dropped.
        """
        return halt(EndInstance(reason))
