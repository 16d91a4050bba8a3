"""What tools show for a job and its instances: labelled fields, the status, and a suspension's remedy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen
from perdure.values.instance import heals as heals_left
from perdure.values.retry import Backoff, Retry
from perdure.values.status import FAILED_FOR_GOOD, InstanceStatus, Suspension
from perdure.values.times import MAX_DURATION_MS, format_duration, from_ms

if TYPE_CHECKING:
    from perdure.jobs.plan import Plan
    from perdure.values.instance import Instance


_AFTER: Final = {"continue": "wait for the next tick", "park": "park the instance", "purge": "delete the instance"}


@frozen
class DisplayField:
    """A labelled value, for tools that show a job or an instance.

    Attributes:
        label: its name, in lower case.
        value: text, or an aware instant.
    """

    __repr__ = fields_in_line

    label: str
    value: str | datetime


def fields_of_plan(plan: Plan) -> tuple[DisplayField, ...]:
    """Return the display fields for the parts that every definition has."""
    return (
        DisplayField("state", f"{plan.state.type_name}, version {plan.state_version}"),
        DisplayField("retry", "none" if plan.retry is None else describe_retry(plan.retry)),
        DisplayField("after the last attempt", _AFTER.get(plan.exhausted, plan.exhausted)),
        DisplayField("time limit of a run", format_duration(plan.run_timeout_ms)),
        DisplayField("concurrent runs", "the engine's limit" if plan.runs is None else f"at most {plan.runs:,}"),
        *(() if plan.history is None else (DisplayField("history", str(plan.history)),)),
        DisplayField("hooks", ", ".join(plan.hooks)),
        DisplayField("services", ", ".join(sorted({need.services.__name__ for need in plan.needs})) or "none declared"),
    )


def describe_retry(retry: Retry[Any]) -> str:
    """Describe a retry policy in a line.

    >>> describe_retry(Retry(5, Backoff.standard, max_duration="1 hour"))
    '5 attempts within 1h, after 1s, then times 2, at most 30s, ±10 %'
    """
    within = "" if retry.max_duration_ms is None else f" within {format_duration(retry.max_duration_ms)}"
    jitter = ", ±10 %" if retry.jitter else ""
    chosen = ", only for errors that retry_if accepts" if retry.retry_if is not None else ""
    return f"{retry.max_attempts} attempts{within}, after {_describe_backoff(retry.delay)}{jitter}{chosen}"


def _describe_backoff(delay: Backoff) -> str:
    step = f", then {format_duration(delay.step_ms)} longer each time" if delay.step_ms else ""
    growth = f", then times {delay.factor:g}" if delay.factor > 1 else ""
    grows = delay.step_ms > 0 or delay.factor > 1
    most = f", at most {format_duration(delay.max_ms)}" if grows and delay.max_ms < MAX_DURATION_MS else ""
    return f"{format_duration(delay.base_ms)}{step}{growth}{most}"


_FIX: Final = "Fix the cause, then resume it: the run continues, and the retry policy counts from the start."

HEALS: Final[Mapping[Suspension, str]] = {
    "paused": "Resume it: an overdue alarm fires once; ticks inside the pause are skipped.",
    "retries_exhausted": _FIX,
    "not_retryable": _FIX,
    "recovery_exhausted": "Find out why the run kills its process, fix that, then resume it.",
}
"""How an operator heals a suspension."""

NOT_FOUND = InstanceStatus(status="not_found")


def heals(instance: Instance) -> str:
    """Return how an operator heals an instance that is paused, parked or left. Empty for any other."""
    if instance.left is not None:
        return heals_left(instance.left)
    return "" if instance.suspension is None else HEALS[instance.suspension]


def report_status(instance: Instance) -> InstanceStatus:
    """Describe an instance to a caller."""
    attempt = 1
    if instance.claim is not None:
        attempt = instance.claim.attempt
    elif instance.pending_retry is not None:
        # A parked run keeps the number of its next attempt, but shows the last one that failed.
        attempt = instance.pending_retry.attempt - (instance.suspension in FAILED_FOR_GOOD)
    due_ms = instance.due_ms if instance.ended_ms is None else None  # afterwards it is the instant of the deletion
    left = instance.left
    since_ms = left.since_ms if left is not None else instance.suspended_ms if instance.suspension else None
    return InstanceStatus(
        status=instance.status,
        run_count=instance.run_count,
        event_count=instance.event_count,
        created_at=from_ms(instance.created_ms),
        updated_at=from_ms(instance.updated_ms),
        next_run_at=None if due_ms is None else from_ms(due_ms),
        attempt=attempt,
        parked=None if instance.suspension == "paused" else instance.suspension,
        left=None if left is None else left.error,
        since=None if since_ms is None else from_ms(since_ms),
        heals=heals(instance),
        last_error=instance.last_error,
    )
