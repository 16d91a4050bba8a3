"""Long lists are read page by page: each row once, and no more than the caller wants."""

import re
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from perdure.cli.instances.selection import FilterOptions, list_filter, paged, selected
from perdure.cli.process import UsageError
from perdure.values.address import Address
from perdure.values.listings import ListFilter, Listing


@given(st.integers(0, 30), st.none() | st.integers(0, 35), st.integers(1, 7), st.integers(-1, 30))
def test_pages_hold_each_row_once_up_to_the_maximum(rows: int, most: int | None, page: int, after: int) -> None:
    reads: list[int] = []

    def read(start: int, limit: int) -> tuple[int, ...]:
        reads.append(limit)
        return tuple(range(start + 1, rows))[:limit]

    found = list(paged(read, lambda row: row, after, most, page=page))
    assert [row for part in found for row in part] == list(range(after + 1, rows))[:most]
    assert max(reads, default=0) <= page
    assert len(reads) <= len(found) + 1


@frozen
class Rows:
    """A store with so many instances."""

    number: int
    complete: bool = True

    def find(self, wanted: ListFilter) -> Listing:
        begin = 0 if wanted.after is None else int(wanted.after.id) + 1
        end = min(self.number, begin + wanted.limit)
        rows: Any = tuple(Row(Address("task", "a", str(at))) for at in range(begin, end))
        return Listing(instances=rows, complete=self.complete)


@frozen
class Row:
    address: Address


@pytest.mark.parametrize(("number", "refused"), [(100_000, False), (100_001, True)])
def test_a_command_changes_a_hundred_thousand_instances_at_most(number: int, *, refused: bool) -> None:
    target: Any = Rows(number)
    if refused:
        with pytest.raises(UsageError, match="more than 100,000 instances match"):
            selected(target, (), FilterOptions(), every=True)
    else:
        assert len(selected(target, (), FilterOptions(), every=True)) == number


@pytest.mark.parametrize(
    ("addresses", "options", "every", "refused"),
    [
        ((), {}, False, "no instance is selected"),
        (("task:a:1",), {}, True, "select the instances twice"),
        (("task:a:1",), {"job": "task:a"}, False, "select the instances twice"),
        (("task:a:1",), {"status": "parked"}, False, "select the instances twice"),
        (("task:a",), {}, False, "task:a"),
        ((), {"job": "task"}, False, "--job task: expected kind:name"),
        ((), {"job": ":a"}, False, "--job :a: expected kind:name"),
        ((), {"job": "task:"}, False, "--job task:: expected kind:name"),
        ((), {"job": "task:a:1"}, False, "--job task:a:1: expected kind:name"),
        ((), {"job": "task:a", "kind": "workflow"}, False, "--job task:a is not of --kind workflow"),
        ((), {"kind": "task", "where": ("n>1",)}, False, "pass --job kind:name as well"),
        ((), {"due_in": "1 minute", "due_before": "2026-01-01T00:00:00Z"}, False, "two limits of one instant"),
        ((), {"due_before": "2026-01-01T00:00:00"}, False, "it has no time zone"),
        ((), {"due_in": "-1 minute"}, False, "--due-in"),
    ],
)
def test_a_selection_that_says_two_things_is_refused(
    addresses: tuple[str, ...], options: dict[str, Any], *, every: bool, refused: str
) -> None:
    """A command that changes many instances must never guess which ones."""
    target: Any = Rows(1)
    with pytest.raises(UsageError, match=re.escape(refused)):
        selected(target, addresses, FilterOptions(**options), every=every)


def test_a_job_with_its_own_kind_is_one_filter() -> None:
    for options in (FilterOptions(job="task:a"), FilterOptions(job="task:a", kind="task")):
        assert (list_filter(options).kind, list_filter(options).name) == ("task", "a")
    assert (list_filter(FilterOptions(kind="task")).kind, list_filter(FilterOptions(kind="task")).name) == (
        "task",
        None,
    )


def test_an_incomplete_page_changes_no_instance() -> None:
    target: Any = Rows(3, complete=False)
    with pytest.raises(UsageError, match="some instances may be missing"):
        selected(target, (), FilterOptions(job="task:a"), every=False)
    assert selected(target, ("task:a:7", "task:a:7"), FilterOptions(), every=False) == (Address("task", "a", "7"),)
