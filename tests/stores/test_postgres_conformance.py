"""The PostgreSQL store keeps the requirements of every store."""

from functools import partial

import pytest
from postgres_harness import PostgresHarness

from perdure.testing.conformance import CASES, Case, check_case, check_kills, check_model

APPLICABLE = [case for case in CASES if case.needs not in ("shared", "clocked")]


@pytest.mark.parametrize("case", APPLICABLE, ids=str)
def test_a_postgres_store_keeps(case: Case, postgres_url: str):
    assert check_case(case, partial(PostgresHarness, postgres_url))


def test_a_postgres_store_agrees_with_the_model(postgres_url: str):
    check_model(partial(PostgresHarness, postgres_url), max_examples=20)


def test_a_postgres_store_survives_kills(postgres_url: str):
    assert check_kills(partial(PostgresHarness, postgres_url), max_examples=3)
