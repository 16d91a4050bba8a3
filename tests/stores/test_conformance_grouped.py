"""The promises of a store about one commit hold for those that are written together."""

import pytest
from grouped_store import Grouped

from perdure.testing.conformance import CASES, Case, MemoryHarness, SqliteHarness, check_case, check_model


@pytest.mark.parametrize("new_harness", [MemoryHarness, SqliteHarness])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_store_keeps_in_groups(case: Case, new_harness):
    check_case(case, lambda: Grouped(new_harness()))


def test_the_store_agrees_with_the_model_in_groups():
    check_model(lambda: Grouped(SqliteHarness()), max_examples=25)
