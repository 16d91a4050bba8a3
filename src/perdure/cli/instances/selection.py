"""The instances that a command changes: named one by one, or selected by a filter."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from cyclopts import Parameter

from perdure.cli.instances.filters import FilterOptions, address_of, list_filter
from perdure.cli.instances.pages import pages
from perdure.cli.target.target import Target
from perdure.cli.usage_error import UsageError
from perdure.values.address import Address

MAX_SELECTED: Final = 100_000
"""Instances of one command."""

EveryOption: TypeAlias = Annotated[bool, Parameter(name="--all", negative="", help="Select every instance.")]
"""The option ``--all`` of commands that change instances."""


def selected(target: Target, addresses: tuple[str, ...], wanted: FilterOptions, *, every: bool) -> tuple[Address, ...]:
    """Return the addresses that a command changes.

    Args:
        target: the engine.
        addresses: named by the caller.
        wanted: the filter.
        every: whether all instances are selected.

    Raises:
        UsageError: the caller named none, or named and filtered, or selected too many.
    """
    if addresses:
        if every or not wanted.is_empty:
            raise UsageError("addresses and a filter select the instances twice; pass one of them")
        return tuple(dict.fromkeys(address_of(each) for each in addresses))
    if wanted.is_empty and not every:
        raise UsageError("no instance is selected; pass addresses, a filter such as --job kind:name, or --all")
    found: list[Address] = []
    for page in pages(target, list_filter(wanted), MAX_SELECTED + 1):
        found += [each.address for each in page]
    if len(found) > MAX_SELECTED:
        raise UsageError(f"more than {MAX_SELECTED:,} instances match; narrow the filter")
    return tuple(found)
