from perdure.testing.conformance import SqlitePlace, check_kills, check_model


def test_the_sqlite_store_agrees_with_the_memory_store():
    check_model(SqlitePlace, max_examples=50)


def test_the_sqlite_store_agrees_with_the_memory_store_over_kills():
    assert check_kills(SqlitePlace, max_examples=8)
