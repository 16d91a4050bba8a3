from perdure.testing.conformance import SqlitePlace, check_model


def test_the_sqlite_store_agrees_with_the_memory_store():
    check_model(SqlitePlace, max_examples=50)
