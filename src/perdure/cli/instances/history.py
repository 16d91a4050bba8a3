"""``perdure history``: the events of one instance."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final

from cyclopts import Parameter

from perdure.cli.exit_code import ExitCode
from perdure.cli.instances.filters import address_of
from perdure.cli.instances.records import instant, shown_name, value_text
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.standard_output import write_lines
from perdure.cli.table import Table, write_table
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.cli.usage_error import UsageError
from perdure.stores.values import LoggedEvent
from perdure.values.excerpt import shortened
from perdure.wire.records import data_of

MAX_LIMIT: Final = 1_000
MAX_DETAIL_CHARACTERS: Final = 100


def history(
    address: Annotated[str, Parameter(name="ADDRESS")],
    /,
    *,
    target: TargetOptions = UNSET,
    before: int | None = None,
    limit: int = 50,
    json: JsonOption = False,
) -> int:
    """Show the newest events of one instance, the newest first. They survive the instance until retention.

    Exit code: 0 done, also if an instance has no events; 2 the command cannot start; 3 there is no such instance and no
    event of it; 4 no engine answers.

    Parameters
    ----------
    address
        The instance, written kind:name:id.
    before
        The sequence number of the last event of the previous page.
    limit
        Maximum number of events, 1 to 1,000.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise UsageError(f"--limit {limit}: expected a number from 1 to {MAX_LIMIT}")
    at = address_of(address)
    with open_target(target) as found:
        events = found.history(at, before, limit)
        is_known = bool(events) or before is not None or found.status(at).status != "not_found"
    if json:
        write_json(data_of(event) for event in events)
    elif events:
        rows = tuple(_row(event) for event in events)
        write_table(Table(("SEQUENCE", "TIME", "EVENT", "RUN", "DETAIL"), rows, frozenset({"DETAIL"})))
    elif not is_known:
        write_lines([f"there is no instance {at}, and it has no events"])
    else:
        write_lines([f"{at} has no events" + ("" if before is None else f" before {before}")])
    if len(events) == limit:
        sys.stderr.write(f"perdure: there may be more events; pass --before {events[-1].sequence}\n")
    return ExitCode.DONE if is_known else ExitCode.REFUSED


_HEADER: Final = frozenset({"event_id", "at_ms", "address", "run_count"})


def _row(logged: LoggedEvent) -> tuple[str, ...]:
    data: dict[str, Any] = data_of(logged)
    fields: dict[str, Any] = data.get("fields", {})
    details = [f"{shown_name(name)}={value_text(name, value)}" for name, value in fields.items() if name not in _HEADER]
    text = ", ".join(detail for detail in details if not detail.endswith("=")) or data.get("unread", "")
    return (
        str(logged.sequence),
        instant(logged.event.at),
        logged.event.type,
        str(fields.get("run_count") or ""),
        shortened(text, MAX_DETAIL_CHARACTERS),
    )
