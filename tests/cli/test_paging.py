"""Long lists are read page by page: each row once, and no more than the caller wants."""

from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from perdure.cli.instances.selection import FilterOptions, paged, selected
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

    def find(self, wanted: ListFilter) -> Listing:
        begin = 0 if wanted.after is None else int(wanted.after.id) + 1
        end = min(self.number, begin + wanted.limit)
        rows: Any = tuple(Row(Address("task", "a", str(at))) for at in range(begin, end))
        return Listing(instances=rows)


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
