"""``perdure counts``: the instances of an engine by job and status."""

from __future__ import annotations

from collections.abc import Iterator

from perdure.cli.exit_code import ExitCode
from perdure.cli.instances.records import instant
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.styled_lines import write_styled_lines
from perdure.cli.table import Table, write_table
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.values.listings import MAX_COUNTED, StoreCounts
from perdure.values.times import format_duration
from perdure.wire.records import data_of


def counts(*, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """Count the instances of a running engine by job and status, and its messages.

    `perdure stats` counts the rows of a store file, with or without an engine.

    Exit code: 0 done, 2 the command cannot start, 4 no engine answers.
    """
    with open_target(target) as found:
        counted = found.counts()
    if json:
        write_json([data_of(counted)])
    else:
        rows = tuple((f"{one.kind}:{one.name}", one.status, f"{one.number:,}") for one in counted.instances)
        write_table(Table(("JOB", "STATUS", "INSTANCES"), rows, frozenset()))
        write_styled_lines(list(_rest(counted)))
    return ExitCode.DONE


MIN_AGE_MS = 1_000
"""Counts of this age are no longer of the moment."""


def _rest(counted: StoreCounts) -> Iterator[str]:
    yield f"messages      {_up_to(counted.messages)}"
    yield f"dead letters  {_up_to(counted.dead_letters)}"
    if counted.oldest_due is not None:
        yield f"next alarm    {instant(counted.oldest_due)}"
    if counted.age_ms >= MIN_AGE_MS:
        yield f"counted       {age_text(counted.age_ms)}"
    if not counted.complete:
        yield "The engine is still counting: these are the instances so far. Run the command again."


def age_text(age_ms: int) -> str:
    """Return how long ago instances were counted.

    >>> age_text(65_400)
    '1m5s ago'
    """
    return f"{format_duration(age_ms // 1_000 * 1_000)} ago"


def _up_to(number: int) -> str:
    return f"{number:,}" if number < MAX_COUNTED else f"{MAX_COUNTED:,} or more"
