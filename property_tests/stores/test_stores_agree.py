from perdure.testing.conformance import SqliteHarness, check_kills, check_model


def test_the_sqlite_store_agrees_with_the_memory_store():
    check_model(SqliteHarness, max_examples=50)


def test_the_sqlite_store_agrees_with_the_memory_store_over_kills():
    assert check_kills(SqliteHarness, max_examples=8)
