"""Writing attributes to a PostgreSQL store."""

from __future__ import annotations

import asyncio

from postgres_harness import PostgresHarness

from perdure.testing.conformance.assertions import value

NAMES = ("a", "b", "c")
PAGES, ROWS = 6, 100
WRITE = """
SELECT perdure.write_attributes(done.n, done.n, each.n, array_fill('task'::text, each.size),
  array_fill('orders'::text, each.size), each.id, each.attribute, each.key, '{}', '{}')
FROM (SELECT array_agg(n::int) AS n FROM generate_series($1::int, $2) AS n) AS done (n),
  (SELECT array_agg(n::int), array_agg(n::text), array_agg(name), array_agg($3 || n % 7), ARRAY[count(*)::int]
   FROM generate_series($1::int, $2) AS n, unnest($4::text[]) AS name) AS each (n, id, attribute, key, size)
"""


def test_attributes_are_written_at_the_cost_of_their_own_keys(postgres_url: str) -> None:
    """Also if the session planned the statements while the table was empty, and nothing has analyzed it since."""
    harness = PostgresHarness(postgres_url)

    async def main() -> None:
        store = await harness.open()
        assert store.attributes is not None
        await value(store.attributes.declare({("task", "orders"): {name: name for name in NAMES}}))
        await store.close()
        async with harness.transaction() as connection:
            for word in ("first", "second"):
                for page in range(PAGES):
                    await connection.execute(harness.sql(WRITE), page * ROWS, (page + 1) * ROWS - 1, word, list(NAMES))
            read = "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'perdure.attribute_keys'::regclass"
            fetched = await connection.fetchval(harness.sql(read))
            keys = await connection.fetchval(harness.sql("SELECT array_agg(DISTINCT key) FROM perdure.attribute_keys"))
        assert sorted(keys) == [f"second{n}" for n in range(7)]
        # The second writing removes each key among those of its instance.
        assert fetched <= 2 * len(NAMES) * len(NAMES) * PAGES * ROWS
        await harness.discard()

    asyncio.run(main())
