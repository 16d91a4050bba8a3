"""Stops the runs whose claims are no longer in the store: another engine of a shared store deleted their instances."""

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
from perdure.values.address import Address
from perdure.values.instance import Instance
from perdure.values.transition import Loaded


@attrs.frozen
class EndedElsewhere:
    """Reads the rows of runs in progress, and stops each run whose claim is gone.

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
                if run.stop is None and (run_id := run.claimed()) is not None:
                    compare = partial(_compare, resident, run, run_id)
                    answer = self.reads.load(address, None, 0, compare)
                    if answer is not None:
                        compare(answer)


def _compare(resident: Resident, run: RunInProgress, run_id: str, loaded: Result[Loaded, Any]) -> None:
    """Stop a run that is still in progress, if its claim is not in the row that was read."""
    if isinstance(loaded, Success) and run in resident.runs and not _has_claim(loaded.unwrap().instance, run_id):
        resident.stop(run, "interrupted")


def _has_claim(row: Instance | None, run_id: str) -> bool:
    claims = () if row is None else (row.claim, row.event_claim)
    return any(claim is not None and claim.run_id == run_id for claim in claims)
