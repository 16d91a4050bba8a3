"""Writing attributes to a PostgreSQL store."""

from __future__ import annotations

import asyncio
import re

from attrs import frozen
from postgres_harness import PostgresHarness
from returns.result import Success

from perdure import App, Decision, Task, attribute
from perdure.stores.postgres.schema import migrations
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


@frozen
class Order:
    cents: int = 0


@attribute
def cents(order: Order) -> int | None:
    return order.cents or None


ORDERS = Task(
    "orders",
    state=Order,
    event=Order,
    initial=Order(),
    decide=lambda _, event: Success(Decision(event)),
    attributes=(cents,),
)
FIRST, SECOND = migrations()[12], migrations()[16]
"""The migrations that define `write_attributes`."""


def test_an_engine_writes_attributes_before_and_after_the_migration_of_their_function(postgres_url: str) -> None:
    """Its version of the library calls the function of both, while a newer version migrates the tables."""
    harness = PostgresHarness(postgres_url)
    [function] = re.findall(r"CREATE FUNCTION perdure.write_attributes\(.*?END \$\$;", FIRST.sql, re.DOTALL)

    async def main() -> None:
        async with App(None).with_jobs(ORDERS).open(harness.url) as jobs:
            orders = jobs.handle(ORDERS)

            async def found() -> list[str]:
                listing = await jobs.list(ORDERS, where=[cents >= 100])
                assert listing.complete
                return [one.address.id for one in listing]

            await harness.execute(function.replace("CREATE", "CREATE OR REPLACE", 1))
            await harness.execute("DELETE FROM perdure.migrations WHERE version = $1", SECOND.version)
            for id_, amount in (("a", 100), ("b", 200), ("c", 300), ("d", 1)):
                await orders.send(id_, Order(amount))
            while not (await orders.count_matching(where=[cents >= 0])).complete:  # noqa: ASYNC110 - of another task
                await asyncio.sleep(0)
            assert await found() == ["a", "b", "c"]
            await harness.execute(SECOND.script(harness.schema))
            assert await found() == ["a", "b", "c"]
            await orders.send("a", Order(99))
            await orders.send("b", Order(0))
            await orders.send("d", Order(400))
            await orders.send("e", Order(500))
            assert await found() == ["c", "d", "e"]
            await orders.terminate("c")
            assert await found() == ["d", "e"]
        assert await harness.value("SELECT count(*) FROM perdure.attribute_keys") == 3
        assert await harness.value("SELECT max(version) FROM perdure.migrations") == len(migrations())
        await harness.discard()

    asyncio.run(main())
