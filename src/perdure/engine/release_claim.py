"""Releases the claim of a run that was stopped, in the present row of its instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from returns.result import Success

from perdure.engine.conflict_backoff import MAX_CONFLICTS, MAX_SHARED_CONFLICTS, back_off
from perdure.engine.resident import Resident
from perdure.jobs.recovery import release
from perdure.jobs.step import Execute
from perdure.runtime.record import LogRecord

if TYPE_CHECKING:
    from perdure.engine.turn import TurnTaker


async def release_claim(turns: TurnTaker, resident: Resident, execute: Execute) -> None:
    """Release the claim, so that the next start delivers the run again without counting a crash.

    The claim is released in the present row: other turns may have written it while the run was apart. One that cannot
    be released is recovered as after a crash: after a pause if this engine continues, otherwise by the next one.
    """
    turns.forget_run(resident, execute)
    if execute.claimed != "recorded" or await _is_released(turns, resident, execute):
        return
    turns.runtime.log(LogRecord("warning", "claim not released", {"instance": str(resident.address)}))
    turns.left_claimed(resident)


async def _is_released(turns: TurnTaker, resident: Resident, execute: Execute) -> bool:
    """Release a claim; return whether the store has it no longer."""
    for tried in range(MAX_SHARED_CONFLICTS if turns.others else MAX_CONFLICTS + 1):
        await back_off(turns.runtime, tried, turns.others)
        loaded = await turns.residents.load(resident.address)
        if not isinstance(loaded, Success):
            return False
        instance = loaded.unwrap().instance
        if instance is None:
            return True
        stored = await turns.commits.conclude(release(instance, execute.claim.run_id, turns.inputs_of(resident)))
        if stored is not None:
            return isinstance(stored.result, Success)
    return False
