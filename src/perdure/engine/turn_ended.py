"""How a turn ended, for its trace."""

from __future__ import annotations

from typing import Any, Literal

from returns.result import Result, Success

from perdure.engine.tracing import TurnEnded
from perdure.values.answer import PauseResult, RunAnswer
from perdure.values.errors import HookRaised, OutcomeUnknown, Rejected, RunTimeout, StoreError
from perdure.values.failure import FailureRecord


def turn_ended(result: Result[Any, Any] | Literal["cancelled"]) -> TurnEnded:
    """Describe the end of a turn.

    Args:
        result: its answer, or that the caller cancelled the request. The failure of a run has no secrets in its texts.
    """
    if isinstance(result, str):
        return TurnEnded(outcome="cancelled")
    if not isinstance(result, Success):
        return _refused(result.failure())
    answer = result.unwrap()
    if isinstance(answer, RunAnswer) and answer.outcome is not None and answer.outcome.form in ("retrying", "failed"):
        failure = answer.outcome.error
        return TurnEnded(outcome="failed", error_type="" if failure is None else failure.error_type, failure=failure)
    if isinstance(answer, PauseResult) and answer.changed and answer.status == "parked":
        return TurnEnded(outcome="failed", error_type="RecoveryExhausted")
    return TurnEnded(outcome="ok")


def _refused(error: object) -> TurnEnded:
    name = type(error).__name__
    match error:
        case Rejected():
            rejected: Rejected[object] = error  # pyright: ignore[reportUnknownVariableType] - of any type
            return TurnEnded(outcome="rejected", error_type=type(rejected.error).__name__)
        case HookRaised(error_type, message, traceback):
            raised = FailureRecord(form="defect", error_type=error_type, message=message, traceback=traceback or None)
            return TurnEnded(outcome="failed", error_type=error_type, failure=raised)
        case RunTimeout():
            timed_out = FailureRecord(form="timed_out", error_type=name, message=str(error))
            return TurnEnded(outcome="failed", error_type=name, failure=timed_out)
        case StoreError():
            failed = FailureRecord(form="defect", error_type=name, message=str(error))
            return TurnEnded(outcome="unavailable", error_type=name, failure=failed)
        case OutcomeUnknown():
            failed = FailureRecord(form="defect", error_type=name, message=str(error))
            return TurnEnded(outcome="unknown", error_type=name, failure=failed)
        case _:
            return TurnEnded(outcome="refused", error_type=name)
