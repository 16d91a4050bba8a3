"""The tables: numbered migrations in a schema in the user's database."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any, Final

import attrs

from perdure.values.errors import StoreTooNew

# A word of its own: the migrations write the default schema, and "myperdure.x" is another one.
_OURS: Final = re.compile(r"\bperdure\.")
_MIGRATING: Final = 1885692518

LOCK_TIMEOUT_MS: Final = 1_000
"""How long a migration waits for a table lock: every statement from every engine waits behind it."""

TRIES: Final = 10
"""How often it tries, with a second between, which the engines use."""
_TABLE: Final = """
CREATE TABLE perdure.migrations (
  version int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
)
"""

_PREVIOUS: Final = """
DO $check$
DECLARE
  v int := (SELECT max(version) FROM perdure.migrations);
BEGIN
  IF v <> {before} THEN
    RAISE EXCEPTION 'migration {version} expects tables of version {before}, got %: use --from-version %', v, v;
  END IF;
END $check$;
"""


@attrs.frozen
class SchemaMigration:
    """A step from one table version to the next.

    Attributes:
        version: the version that it leads to, from 1.
        sql: its statements, for the schema ``perdure``.
    """

    version: int
    name: str
    sql: str

    def script(self, schema: str) -> str:
        """Return the statements for a schema, with the one that notes the version."""
        note = f"INSERT INTO perdure.migrations (version, name) VALUES ({self.version}, '{self.name}');"  # noqa: S608 - constants
        table = f"{_TABLE.strip()};\n" if self.version == 1 else ""
        return in_schema(f"{table}{self.sql}{note}\n", schema)


@cache
def migrations() -> tuple[SchemaMigration, ...]:
    """Return the migrations, in order."""
    folder = files("perdure.stores.postgres") / "migrations"
    scripts = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    # Numbered by order, so a file that is missing from the middle would shift the others: never delete one.
    return tuple(
        SchemaMigration(version, script.name.removesuffix(".sql"), script.read_text(encoding="utf-8"))
        for version, script in enumerate(scripts, 1)
    )


def in_schema(sql: str, schema: str) -> str:
    """Return statements for a schema with another name than ``perdure``."""
    # Quoted: a name such as "order" is a keyword.
    return _OURS.sub(f'"{schema}".', sql)


def script_from(version: int, schema: str) -> str:
    """Return the statements that lead from a version to the present one, each migration in a transaction.

    psql continues after an error, so each migration checks that the one before it is complete.

    Args:
        version: the tables' present version. 0: there is no schema.
        schema: the schema's name.
    """
    create = f'CREATE SCHEMA "{schema}";\n' if version == 0 else ""
    begin = f"BEGIN;\nSET LOCAL lock_timeout = {LOCK_TIMEOUT_MS};\n"
    steps = [
        f"{begin}{_check_previous(one, schema)}{one.script(schema)}COMMIT;\n"
        for one in migrations()
        if one.version > version
    ]
    return create + "\n".join(steps)


def _check_previous(migration: SchemaMigration, schema: str) -> str:
    if migration.version == 1:
        return ""
    return in_schema(_PREVIOUS.format(before=migration.version - 1, version=migration.version), schema)


def no_schema(schema: str) -> str:
    """Return why a store cannot be read whose tables do not exist, and how to create them."""
    return f"there is no schema {schema!r}; create it with 'perdure migrate'"


async def version_of(connection: Any, schema: str) -> int:
    """Return the version of a schema's tables. 0 if there are none."""
    # Not `to_regclass`: after waiting for a lock it answers from a catalog cache of before.
    exists = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = 'migrations')"
    if not await connection.fetchval(exists, schema):
        return 0
    return int(await connection.fetchval(in_schema("SELECT coalesce(max(version), 0) FROM perdure.migrations", schema)))


async def migrate(connection: Any, *, store: str, schema: str, lock_timeout_ms: int = LOCK_TIMEOUT_MS) -> int:
    """Bring a schema's tables to the present version, and return the version that they had.

    Two concurrent callers wait for each other.

    Args:
        connection: a driver connection.
        store: the store's name in errors.
        schema: the schema's name.
        lock_timeout_ms: how long a migration waits for a table lock, before it lets the engines continue and tries
            again after as long.

    Raises:
        StoreTooNew: a newer version of the library has migrated them. Nothing was changed.
        Exception: one of `DRIVER_ERRORS`, such as a lock that was not available `TRIES` times.
    """
    from perdure.stores.postgres.connections import DRIVER_ERRORS, LOCK_NOT_AVAILABLE, state_of  # noqa: PLC0415 - the statements are printed without a driver

    found = await version_of(connection, schema)
    check_version(found, store=store)
    # From the version that was found, one transaction each: an interrupted migration continues behind the last complete
    # one.
    for migration in migrations()[found:]:
        for tries_left in reversed(range(TRIES)):
            try:
                await _apply(migration, connection, store, schema, lock_timeout_ms)
                break
            except DRIVER_ERRORS as error:
                # Only a lock that is not free is tried again: a failed statement fails again.
                if state_of(error) != LOCK_NOT_AVAILABLE or not tries_left:
                    raise
            # On the server, between transactions: this function knows no runtime, and holds no lock while it waits.
            await connection.execute(f"SELECT pg_sleep({lock_timeout_ms / 1000})")
    return found


async def _apply(migration: SchemaMigration, connection: Any, store: str, schema: str, lock_timeout_ms: int) -> None:
    async with connection.transaction():
        # Two engines that start together would otherwise both create the tables, and one would fail.
        await connection.execute(f"SELECT pg_advisory_xact_lock({_MIGRATING}, hashtext($1))", schema)
        # Read again, under the lock: the other engine may have migrated meanwhile.
        version = await version_of(connection, schema)
        check_version(version, store=store)
        if version >= migration.version:
            return
        if version == 0 and not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema
        ):
            await connection.execute(f'CREATE SCHEMA "{schema}"')
        # A migration that waits for a lock makes every later statement of every engine wait behind it.
        await connection.execute(f"SET LOCAL lock_timeout = {lock_timeout_ms}")
        await connection.execute(migration.script(schema))


def check_version(version: int, *, store: str) -> None:
    """Check that this code knows a table version.

    Raises:
        StoreTooNew: it does not.
    """
    # Only a newer version is refused: an older one is migrated.
    if version > len(migrations()):
        raise StoreTooNew(store, version, len(migrations()))
