import pytest

from perdure.testing.conformance import CASES, Case, MemoryPlace, SqlitePlace, check_case


@pytest.mark.parametrize("new_place", [MemoryPlace, SqlitePlace])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_store_keeps(case: Case, new_place):
    check_case(case, new_place)
