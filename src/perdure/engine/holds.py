"""The held jobs of an engine: stored first, then in effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from returns.result import Failure, Result, Success

from perdure.programs.future import answer_of
from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.contract import Store
from perdure.values.address import Job
from perdure.values.errors import StoreError, StoreUnavailable
from perdure.values.listings import HoldResult
from perdure.values.status import Hold


@attrs.define
class Holds:
    """The held jobs.

    Attributes:
        store: stores the holds.
        runtime: writes the log.
        released: called when a job was released: its alarms may be due; set once, right after construction.
        jobs: the held jobs, in their order.
    """

    store: Store
    runtime: Runtime
    released: Callable[[], None] = attrs.field(init=False)
    jobs: tuple[Job, ...] = ()

    async def read(self) -> None:
        """Read the held jobs at the start of the engine.

        Raises:
            StoreError: the store failed.
        """
        if self.store.holds is None:
            return
        match await answer_of(self.store.holds()):
            case Success(jobs):
                self.jobs = jobs
            case failure:
                raise failure.failure()

    def of(self, kind: str, name: str) -> Hold:
        """Return whether a job is held."""
        return "held" if self.jobs and (kind, name) in self.jobs else "released"

    async def set(self, job: Job, hold: Hold) -> Result[HoldResult, StoreError]:
        """Hold or release a job. The change is durable when this returns.

        Args:
            job: its kind and name.
            hold: whether its runs may begin.
        """
        if self.store.set_hold is None:
            return Failure(StoreUnavailable("hold", f"{self.store.name} stores no holds"))
        changed: Result[str, Any] = await answer_of(self.store.set_hold(job, hold))
        if not isinstance(changed, Success):
            return Failure(changed.failure())
        others = tuple(other for other in self.jobs if other != job)
        self.jobs = tuple(sorted((*others, job))) if hold == "held" else others
        if changed.unwrap() == "changed":
            self.runtime.log(LogRecord("info", f"job {hold}", {"job": ":".join(job)}))
        if hold == "released":
            self.released()
        return Success(HoldResult(changed=changed.unwrap() == "changed", hold=hold))
