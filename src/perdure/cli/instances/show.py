"""``perdure show``: one instance."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from cyclopts import Parameter

from perdure.cli.exit_code import ExitCode
from perdure.cli.instances.filters import address_of
from perdure.cli.instances.records import error_text, instant, status_data, status_text
from perdure.cli.instances.steps import KINDS_WITHOUT_STEPS
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.standard_output import write_lines
from perdure.cli.table import write_fields
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.cli.target.target import Target
from perdure.cli.usage_error import UsageError
from perdure.values.address import Address
from perdure.values.errors import InvalidInput, Undecodable, UnknownAction
from perdure.values.excerpt import one_line, shortened
from perdure.values.listings import InstanceOutcome, StepRecord
from perdure.values.status import InstanceStatus
from perdure.values.times import from_ms
from perdure.wire.diagnosis import why_parked
from perdure.wire.records import data_of

MAX_ERROR_CHARACTERS = 1_000
RECENT = 20
"""The newest events in which the reason of a parked instance is looked up."""


def show(
    address: Annotated[str, Parameter(name="ADDRESS")],
    /,
    *,
    target: TargetOptions = UNSET,
    state: bool | None = None,
    traceback: Annotated[bool, Parameter(negative="")] = False,
    json: JsonOption = False,
) -> int:
    """Show one instance: its status, the steps that it waits for, how it ended, its last error and its state.

    Exit code: 0 done, also if the state is not readable; 2 the command cannot start; 3 there is no such instance; 4 no
    engine answers.

    Parameters
    ----------
    address
        The instance, written kind:name:id.
    state
        Print the state. By default a running engine prints it, without the values that its job marks as secret; a store
        at rest does not, because it knows no marks: there --state prints the state as it is stored.
    traceback
        Print the traceback of the last error.
    """
    at = address_of(address)
    with open_target(target) as found:
        report = found.status(at)
        is_there = report.status != "not_found"
        shows = found.hides_secrets if state is None else state
        content, unreadable = _state(found, at) if shows and is_there else (None, "")
        parked = _why(found, at, report)
        steps = _steps(found, at) if is_there and not json else ()
        outcome = _outcome(found, at, report) if shows else None
    if json:
        reason = {"because": parked} if parked else {}
        ended = {} if outcome is None else {"outcome": outcome_data(outcome)}
        write_json([status_data(at, report) | reason | ended | ({"state": content} if shows else {})])
    elif is_there:
        write_fields(_fields(at, report, parked, steps, outcome))
        if traceback and report.last_error is not None and report.last_error.traceback:
            write_lines(["", *report.last_error.traceback.rstrip().split("\n")])
        if shows and not unreadable:
            write_lines(["", *state_lines(content)])
    else:
        write_lines([f"there is no instance {at}"])
    if unreadable:
        sys.stderr.write(f"perdure: state: not readable: {one_line(unreadable)}\n")
    elif is_there and state is None and not shows:
        sys.stderr.write("perdure: state not shown: pass --app MODULE:APP, or --state to print it as stored\n")
    return ExitCode.DONE if is_there else ExitCode.REFUSED


def _why(target: Target, at: Address, report: InstanceStatus) -> str:
    """Return why an instance is parked or left."""
    if report.left is not None:
        return report.left.message
    return why_parked(target.history(at, None, RECENT)) if report.parked is not None else ""


def _state(target: Target, at: Address) -> tuple[object, str]:
    """Return the state, or why the code of the engine cannot read it."""
    try:
        return target.state(at), ""
    except (Undecodable, InvalidInput) as error:
        return None, str(error)


def state_lines(state: object) -> list[str]:
    """Print a state as indented JSON."""
    if state is None:
        return ["no state"]
    return orjson.dumps(state, option=orjson.OPT_INDENT_2).decode().split("\n")


def _steps(target: Target, at: Address) -> tuple[StepRecord, ...]:
    """Return the steps of an instance; none if its kind has none, or if only the code of its app can read them."""
    if at.kind in KINDS_WITHOUT_STEPS or not target.hides_secrets:
        return ()
    try:
        return target.steps(at)
    except (Undecodable, InvalidInput, UsageError):
        return ()


def _outcome(target: Target, at: Address, report: InstanceStatus) -> InstanceOutcome | None:
    """Return how an instance ended; None if the engine, or the code of its app, cannot read that."""
    if report.status != "done" and report.phase is None:
        return None
    try:
        return target.outcome(at)
    except (Undecodable, InvalidInput, UnknownAction):  # the last one: an older engine
        return None


def outcome_data(outcome: InstanceOutcome) -> dict[str, Any]:
    """Return an outcome as JSON-able data.

    >>> outcome_data(InstanceOutcome(form="done", value="[3]"))
    {'form': 'done', 'value': [3]}
    """
    value = {} if outcome.value is None else {"value": orjson.loads(outcome.value)}
    error = {} if outcome.error is None else {"error": data_of(outcome.error)}
    return {"form": outcome.form} | value | error | ({} if outcome.reason is None else {"reason": outcome.reason})


def outcome_text(outcome: InstanceOutcome | None) -> str:
    """Print the value of an instance that succeeded, or the reason of a cancellation; its error is the last one.

    >>> outcome_text(InstanceOutcome(form="done", value='{"cents":5}'))
    '{"cents":5}'
    >>> outcome_text(InstanceOutcome(form="cancelled", reason="changed her mind"))
    'cancelled: changed her mind'
    """
    if outcome is None:
        return ""
    return f"{outcome.form}: {outcome.reason}" if outcome.reason else outcome.value or ""


def _fields(
    at: Address,
    report: InstanceStatus,
    parked: str,
    steps: Sequence[StepRecord],
    outcome: InstanceOutcome | None,
) -> list[tuple[str, str]]:
    waits = [f"{step.name}{_until(step)}" for step in steps if step.status == "waiting"]
    failing = [f"{step.name}, attempt {step.attempts}" for step in steps if step.status in {"retrying", "parked"}]
    recorded = sum(step.attempts > 0 and step.status not in {"retrying", "parked"} for step in steps)
    fields = [
        ("address", str(at)),
        ("status", status_text(report.status, report)),
        (f"{report.status} because", shortened(parked, MAX_ERROR_CHARACTERS)),
        (f"{report.status} since", instant(report.since)),
        ("to fix it", report.heals),
        ("outcome", shortened(outcome_text(outcome), MAX_ERROR_CHARACTERS)),
        ("next run", instant(report.next_run_at)),
        ("steps", f"{recorded} recorded" if steps else ""),
        ("waits for", ", ".join(waits)),
        ("failing step", ", ".join(failing)),
        ("attempt", str(report.attempt) if report.attempt > 1 else ""),
        ("runs", str(report.run_count)),
        ("events", str(report.event_count)),
        ("batch started", instant(report.started_at)),
        ("batch flushes", instant(report.will_flush_at)),
        ("created", instant(report.created_at)),
        ("updated", instant(report.updated_at)),
        ("last error", error_text(report.last_error, MAX_ERROR_CHARACTERS)),
    ]
    return [(name, value) for name, value in fields if value]


def _until(step: StepRecord) -> str:
    return "" if step.at_ms is None else f" until {instant(from_ms(step.at_ms))}"
