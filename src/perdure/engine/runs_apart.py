"""The end of runs on a row that other turns may have written meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from returns.result import Failure, Success

from perdure.engine.conflict_backoff import MAX_CONFLICTS, MAX_SHARED_CONFLICTS, back_off
from perdure.engine.resident import Resident
from perdure.engine.turn_outcome import FenceLost, TurnAnswered, Verdict
from perdure.engine.unstored import not_stored
from perdure.jobs.recovery import is_event_between, release
from perdure.jobs.step import Defer, Execute
from perdure.jobs.turn import rejoin
from perdure.programs import Exit
from perdure.runtime.record import LogRecord
from perdure.values.errors import Conflict, OutcomeUnknown

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


async def settle_apart(
    turns: TurnTaker, resident: Resident, execute: Execute, exit_: Exit[Any, Any]
) -> Verdict | Execute:
    """Commit the end of a run that ran beside the resident, on the present row."""
    for tried in range(MAX_SHARED_CONFLICTS if turns.others else MAX_CONFLICTS + 1):
        await back_off(turns.runtime, tried, turns.others)
        match await turns.residents.load(resident.address):
            case Success(loaded) if is_event_between(loaded.instance, resident.running, turns.others):
                return Defer()
            case Success(loaded):
                joined = rejoin(execute, loaded, turns.others)
            case failure:
                turns.left_claimed(resident)
                turns.forget_run(resident, execute)
                return TurnAnswered(Failure(not_stored(failure.failure())))
        step = joined
        if isinstance(joined, Execute):
            step = turns.finish(resident, joined, exit_)
        if isinstance(step, Execute):
            return step
        verdict = await turns.settle(resident, execute, step)
        if not isinstance(verdict, FenceLost):
            return verdict if verdict is not None else TurnAnswered(Failure(Conflict(str(resident.address))))
    return FenceLost(str(resident.address))


async def take_end(turns: TurnTaker, resident: Resident, execute: Execute, exit_: Exit[Any, Any]) -> Verdict:
    """Settle a run that ran beside the queue, and run the hooks that follow it."""
    try:
        verdict = await settle_apart(turns, resident, execute, exit_)
        while isinstance(verdict, Execute):
            ended = await turns.run_program(resident, verdict, "worker")
            if not isinstance(ended, tuple):
                return ended or TurnAnswered(Failure(OutcomeUnknown("the claim was lost")))
            verdict = await settle_apart(turns, resident, *ended)
    except BaseException:
        turns.forget_run(resident, execute)
        raise
    return verdict
