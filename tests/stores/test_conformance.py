import pytest

from perdure.testing.conformance import CASES, Case, MemoryHarness, SharedMemoryHarness, SqliteHarness, check_case


@pytest.mark.parametrize("new_harness", [MemoryHarness, SharedMemoryHarness, SqliteHarness])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_store_keeps(case: Case, new_harness):
    check_case(case, new_harness)
