"""``perdure show``: one instance."""

from __future__ import annotations

import sys
from typing import Annotated

import orjson
from cyclopts import Parameter

from perdure.cli.exit_code import ExitCode
from perdure.cli.instances.filters import address_of
from perdure.cli.instances.records import error_text, instant, status_data, status_text
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.standard_output import write_lines
from perdure.cli.table import write_fields
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.cli.target.target import Target
from perdure.values.address import Address
from perdure.values.answer import InstanceStatus
from perdure.values.errors import InvalidInput, Undecodable
from perdure.values.excerpt import one_line

MAX_ERROR_CHARACTERS = 1_000


def show(
    address: Annotated[str, Parameter(name="ADDRESS")],
    /,
    *,
    target: TargetOptions = UNSET,
    state: bool | None = None,
    traceback: Annotated[bool, Parameter(negative="")] = False,
    json: JsonOption = False,
) -> int:
    """Show one instance: its status, its last error and its state.

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
    if json:
        write_json([status_data(at, report) | ({"state": content} if shows else {})])
    elif is_there:
        write_fields(_fields(at, report))
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


def _fields(at: Address, report: InstanceStatus) -> list[tuple[str, str]]:
    fields = [
        ("address", str(at)),
        ("status", status_text(report.status, report)),
        ("next run", instant(report.next_run_at)),
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
