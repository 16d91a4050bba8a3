"""How many of an engine's slots a job can have: some are kept for the other jobs."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from perdure.jobs.definition import AnyDefinition
from perdure.values.address import Job
from perdure.values.excerpt import fields_in_line
from perdure.values.limits import Limits

SPARE = 8
"""One slot in so many is not taken by the workers of one pool, if the engine serves other jobs."""

MOST_KEPT = 4
"""At most one slot in so many is kept for jobs that have no run."""


def spare_slots(slots: int) -> int:
    """Return how many of an engine's slots the workers of one pool leave to other jobs."""
    return max(1, slots // SPARE)


def reserve_of(slots: int, jobs: int) -> int:
    """Return how many of an engine's slots are kept for jobs that have no run: one for each of them, up to a quarter.

    Args:
        slots: the engine's slots.
        jobs: how many jobs the engine serves.
    """
    # An engine with a single slot keeps none: its jobs would never run.
    return min(jobs - 1, max(1, slots // MOST_KEPT), slots - 1)


@attrs.frozen
class TooManyRuns:
    """A job that may have more runs than the engine ever has slots for it.

    Attributes:
        job: the job, printed ``kind:name``.
        wanted: its ``workers`` or ``concurrency``.
        slots: the slots that it can have.
        concurrency: the engine's slots.
    """

    __repr__ = fields_in_line

    job: str
    wanted: int
    slots: int
    concurrency: int

    def __str__(self) -> str:
        kept = self.concurrency - self.slots
        reason = f"an engine has {self.concurrency:,} slots (`Limits.concurrency`)"
        reason += f" and keeps {kept:,} for other jobs" if kept else ""
        return f"{self.job} may have {self.wanted:,} runs at the same time, but {reason}"


def too_many_runs(limits: Limits, jobs: Mapping[Job, AnyDefinition]) -> tuple[TooManyRuns, ...]:
    """Return the jobs whose own limit an engine can never reach."""
    slots = {job: slots_of(limits.concurrency, len(jobs), definition) for job, definition in jobs.items()}
    wanted = {job: definition.plan.concurrency or 0 for job, definition in jobs.items()}
    return tuple(
        TooManyRuns(":".join(job), wanted[job], slots[job], limits.concurrency)
        for job in jobs
        if wanted[job] > slots[job]
    )


def slots_of(concurrency: int, jobs: int, job: AnyDefinition) -> int:
    """Return how many of an engine's slots a job can have while the other jobs have no run."""
    if jobs == 1:
        return concurrency
    kept = reserve_of(concurrency, jobs)
    # A pool's backlog is the usual one: its workers leave room for several runs of another job.
    return max(1, concurrency - (kept if job.lanes is None else max(kept, spare_slots(concurrency))))
