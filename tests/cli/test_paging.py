"""Long lists are read page by page: each row once, and no more than the caller wants."""

from hypothesis import given
from hypothesis import strategies as st

from perdure.cli.instances.selection import paged


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
