"""``perdure list``: the instances of a store."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from perdure.cli.exit_code import ExitCode
from perdure.cli.instances.filters import ALL, FilterOptions, address_of, list_filter
from perdure.cli.instances.pages import pages
from perdure.cli.instances.records import list_table, listed_data, remedies
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.table import write_table
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.cli.usage_error import UsageError
from perdure.values.excerpt import one_line
from perdure.values.listings import Listed


def list_instances(
    *,
    target: TargetOptions = UNSET,
    wanted: FilterOptions = ALL,
    after: str | None = None,
    limit: int = 100,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    json: JsonOption = False,
) -> int:
    """List instances, in the order of their addresses. It prints no states.

    A store at rest has no orphaned instances: only an engine knows the jobs that it serves.

    Exit code: 0 done, also if no instance matches; 2 the command cannot start; 4 no engine answers.

    Parameters
    ----------
    after
        The last address of the previous page.
    limit
        Maximum number of instances.
    all_
        Print every instance that matches.
    """
    if limit < 1:
        raise UsageError(f"--limit {limit}: expected a number from 1")
    begin = None if after is None else address_of(after)
    left, last, told = limit, None, dict[str, None]()
    columns: tuple[str, ...] = ()
    with open_target(target) as found:
        for page in pages(found, list_filter(wanted, after=begin), None if all_ else limit + 1):
            shown = page if all_ else page[:left]
            if shown:
                columns = _write(shown, columns, json=json)
                left, last = left - len(shown), shown[-1].address
                told.update(dict.fromkeys(remedies(shown)))
            if len(shown) < len(page):
                sys.stderr.write(f"perdure: more instances match; pass --all, or --after '{one_line(str(last))}'\n")
    for remedy in () if json else told:
        sys.stderr.write(f"perdure: {one_line(remedy)}\n")
    if last is None:
        sys.stderr.write("perdure: no instance matches\n")
    return ExitCode.DONE


def _write(page: tuple[Listed, ...], above: tuple[str, ...], *, json: bool) -> tuple[str, ...]:
    """Write a page, with its headings if they differ from those above; return its headings."""
    if json:
        write_json(listed_data(each) for each in page)
        return above
    table = list_table(page)
    write_table(table, heading=table.columns != above)
    return table.columns
