"""``perdure steps``: the steps of one instance with a journal."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Parameter

from perdure.cli.exit_code import ExitCode
from perdure.cli.instances.filters import address_of
from perdure.cli.instances.records import error_text, instant
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.standard_output import write_lines
from perdure.cli.table import Table, write_table
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.values.address import Address
from perdure.values.excerpt import shortened
from perdure.values.listings import StepRecord
from perdure.values.times import format_duration, from_ms
from perdure.wire.records import data_of

MAX_OUTCOME_CHARACTERS: Final = 80

KINDS_WITHOUT_STEPS: Final = frozenset({"continuous", "debounce", "pool", "task"})
"""The kinds of this library that keep no journal; a kind of your own may keep one."""


def steps(
    address: Annotated[str, Parameter(name="ADDRESS")],
    /,
    *,
    target: TargetOptions = UNSET,
    json: JsonOption = False,
) -> int:
    """Show the steps of one workflow: their times, attempts and outcomes, and the steps that it waits for.

    Exit code: 0 done, also if it has no steps; 2 the command cannot start; 3 there is no such instance; 4 no engine
    answers.

    Parameters
    ----------
    address
        The instance, written kind:name:id.
    """
    at = address_of(address)
    with open_target(target) as found:
        listed = found.steps(at)
        is_known = bool(listed) or found.status(at).status != "not_found"
    if json:
        write_json(data_of(step) for step in listed)
    elif listed:
        columns = ("STEP", "NAME", "STATUS", "TIME", "TOOK", "ATTEMPTS", "OUTCOME")
        write_table(Table(columns, tuple(map(_row, listed)), frozenset({"OUTCOME"})))
    else:
        write_lines([_none(at) if is_known else f"there is no instance {at}"])
    return ExitCode.DONE if is_known else ExitCode.REFUSED


def _none(at: Address) -> str:
    if at.kind in KINDS_WITHOUT_STEPS:
        return f"{at} has no steps: only workflows have them; `perdure history {at}` shows its runs"
    return f"{at} has no steps yet"


def _row(step: StepRecord) -> tuple[str, ...]:
    took = "" if step.began_ms is None or step.at_ms is None else format_duration(max(0, step.at_ms - step.began_ms))
    outcome = error_text(step.error, MAX_OUTCOME_CHARACTERS) if step.error is not None else step.value or ""
    return (
        step.path,
        step.name,
        step.status,
        "" if step.at_ms is None else instant(from_ms(step.at_ms)),
        took,
        str(step.attempts or ""),
        shortened(outcome, MAX_OUTCOME_CHARACTERS),
    )
