"""Stops the runs that another engine of a shared store ended: it deleted the instance, or stored a cancellation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import attrs
from returns.result import Result, Success

from perdure.engine.item import RunInProgress
from perdure.engine.reads import Reads
from perdure.engine.resident import Resident
from perdure.engine.residents import Residents
from perdure.jobs.step import Execute
from perdure.values.address import Address
from perdure.values.instance import Instance
from perdure.values.transition import Loaded


@attrs.frozen
class EndedElsewhere:
    """Reads the rows of runs in progress, and stops each run whose claim is gone, or that a request interrupts.

    Such a run would commit nothing: without a look, its program would continue to its end, and perform its effects.

    Attributes:
        reads: reads rows, those of one look together.
        residents: the instances in this process.
        active: returns the addresses of those with work in progress.
    """

    reads: Reads
    residents: Residents
    active: Callable[[], Iterable[Address]]

    def look(self) -> None:
        """Read the rows of all runs whose claims were stored before."""
        for address in self.active():
            resident = self.residents.get(address)
            if resident is None:
                continue
            for run in resident.runs:
                if run.stop is None and (execute := run.claimed()) is not None:
                    compare = partial(_compare, resident, run, execute)
                    answer = self.reads.load(address, None, 0, compare)
                    if answer is not None:
                        compare(answer)


def _compare(resident: Resident, run: RunInProgress, execute: Execute, loaded: Result[Loaded, Any]) -> None:
    """Stop a run that is still in progress, if its claim is not in the row that was read, or a request stops it."""
    if not isinstance(loaded, Success) or run not in resident.runs:
        return
    row = loaded.unwrap().instance
    if row is None or not _has_claim(row, execute.claim.run_id):
        resident.stop(run, "interrupted")
    elif resident.job.interrupting:
        resident.interrupt(run, execute, row)


def _has_claim(row: Instance, run_id: str) -> bool:
    return any(claim is not None and claim.run_id == run_id for claim in (row.claim, row.event_claim))
