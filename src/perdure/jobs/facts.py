"""Facts: labelled values that a definition shows of itself and of its instances."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen
from perdure.values.retry import Backoff, Retry
from perdure.values.times import MAX_DURATION_MS, format_duration

if TYPE_CHECKING:
    from perdure.jobs.definition import Plan


_AFTER: Final = {"continue": "wait for the next tick", "park": "park the instance", "purge": "delete the instance"}


@frozen
class Fact:
    """A labelled value, for tools that show a job or an instance.

    Attributes:
        label: its name, in lower case.
        value: text, or an aware instant.
    """

    __repr__ = fields_in_line

    label: str
    value: str | datetime


def facts_of_plan(plan: Plan) -> tuple[Fact, ...]:
    """Return the facts of the parts that every definition has."""
    return (
        Fact("state", f"{plan.state.type_name}, version {plan.state_version}"),
        Fact("retry", "none" if plan.retry is None else describe_retry(plan.retry)),
        Fact("after the last attempt", _AFTER.get(plan.exhausted, plan.exhausted)),
        Fact("time limit of a run", format_duration(plan.run_timeout_ms)),
        Fact("concurrent runs", "the engine's limit" if plan.concurrency is None else f"at most {plan.concurrency:,}"),
        Fact("hooks", ", ".join(plan.hooks)),
        Fact("services", ", ".join(sorted({need.services.__name__ for need in plan.needs})) or "none declared"),
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
