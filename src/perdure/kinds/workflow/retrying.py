"""Whether and when a failed step is attempted again. Pure."""

from __future__ import annotations

from typing import Any, Final

import attrs

from perdure.kinds.workflow.errors import JournalFull, NotInWorkflow, NotRecordable
from perdure.kinds.workflow.stored import FailingStep
from perdure.values.failure import FailureRecord
from perdure.values.retry import Retry, RetryAt

NOT_RETRYABLE: Final = (NotRecordable, NotInWorkflow, JournalFull)
"""Defects that another attempt would only repeat, after it has performed the effect again."""

FULL_ERRORS: Final = 20
"""How many steps that fail at the same time keep the traceback of their error: each commit writes them again."""


def shortened_error(step: FailingStep) -> FailingStep:
    """Return a failing step without the traceback of its error; the event of the attempt has it."""
    return attrs.evolve(step, error=attrs.evolve(step.error, traceback=""))


def after_failure(
    policy: Retry[Any] | None,
    before: FailingStep | None,
    *,
    path: str,
    name: str,
    defect: object,
    error: FailureRecord,
    now_ms: int,
    jitter: float,
) -> FailingStep:
    """Return a step after a failed attempt.

    Args:
        policy: the retry policy of the definition.
        before: the step after its last failed attempt, if this is not the first.
        path: the path of the step.
        name: its name.
        defect: the exception of this attempt.
        error: the exception, recorded.
        now_ms: when the attempt failed.
        jitter: a random number in [0, 1).
    """
    attempts = 1 if before is None else before.attempts + 1
    uncounted = 0 if before is None else before.uncounted
    counted = attempts - uncounted
    first_failed_ms = now_ms if before is None or counted == 1 else before.first_failed_ms
    at_ms, reason = None, "not_retryable"
    if not isinstance(defect, NOT_RETRYABLE):
        reason = "max_attempts"
        if policy is not None:
            decided = policy.after_defect(
                attempt=counted, first_failed_ms=first_failed_ms, now_ms=now_ms, jitter=jitter
            )
            if isinstance(decided, RetryAt):
                at_ms, reason = decided.at_ms, ""
            else:
                reason = decided.reason
    return FailingStep(
        path=path,
        name=name,
        attempts=attempts,
        uncounted=uncounted,
        first_failed_ms=first_failed_ms,
        at_ms=at_ms,
        reason=reason,
        error=error,
    )
