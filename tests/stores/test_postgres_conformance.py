"""The PostgreSQL store keeps the requirements of every store, owned and shared."""

from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from postgres_harness import PostgresHarness, SharedPostgresHarness

from perdure.testing.conformance import CASES, Case, check_case, check_kills, check_model

WITH_KILLS = settings.get_current_profile_name() == "nightly"
"""Whether the shared store is killed at each line, too: its writes are those of the owned one."""

OWNED = [pytest.param(case, PostgresHarness, id=str(case)) for case in CASES if case.needs not in ("shared", "clocked")]
SHARED = [
    pytest.param(case, SharedPostgresHarness, id=f"shared-{case}")
    for case in CASES
    if case.needs != "owned" and (WITH_KILLS or "kill" not in case.name)
]


@pytest.mark.parametrize(("case", "harness"), OWNED + SHARED)
def test_a_postgres_store_keeps(case: Case, harness: Any, postgres_url: str):
    assert check_case(case, partial(harness, postgres_url))


@pytest.mark.parametrize("harness", [PostgresHarness, SharedPostgresHarness])
def test_a_postgres_store_agrees_with_the_model(harness: Any, postgres_url: str):
    check_model(partial(harness, postgres_url), max_examples=20)


@pytest.mark.parametrize("harness", [PostgresHarness, SharedPostgresHarness])
def test_a_postgres_store_survives_kills(harness: Any, postgres_url: str):
    assert check_kills(partial(harness, postgres_url), max_examples=3)
