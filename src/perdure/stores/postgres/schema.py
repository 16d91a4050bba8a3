"""The tables: numbered migrations in a schema of the user's database."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any, Final

import attrs

from perdure.values.errors import StoreTooNew

_OURS: Final = re.compile(r"\bperdure\.")
_MIGRATING: Final = 1885692518
_TABLE: Final = """
CREATE TABLE perdure.migrations (
  version int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@attrs.frozen
class SchemaMigration:
    """A step from one version of the tables to the next.

    Attributes:
        version: the version that it leads to, from 1.
        name: the name of its file.
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
    """Return the migrations, in their order."""
    folder = files("perdure.stores.postgres") / "migrations"
    scripts = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return tuple(
        SchemaMigration(version, script.name.removesuffix(".sql"), script.read_text(encoding="utf-8"))
        for version, script in enumerate(scripts, 1)
    )


def in_schema(sql: str, schema: str) -> str:
    """Return statements for another schema than ``perdure``."""
    return _OURS.sub(f'"{schema}".', sql)


def script_from(version: int, schema: str) -> str:
    """Return the statements that lead from a version to the present one, each migration in a transaction.

    Args:
        version: the present version of the tables; 0: there is no schema.
        schema: its name.
    """
    create = f'CREATE SCHEMA "{schema}";\n' if version == 0 else ""
    steps = [f"BEGIN;\n{one.script(schema)}COMMIT;\n" for one in migrations() if one.version > version]
    return create + "\n".join(steps)


async def version_of(connection: Any, schema: str) -> int:
    """Return the version of the tables of a schema; 0 if there are none."""
    # Not `to_regclass`: after waiting for a lock it answers from a catalog cache of before.
    exists = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = 'migrations')"
    if not await connection.fetchval(exists, schema):
        return 0
    return int(await connection.fetchval(in_schema("SELECT coalesce(max(version), 0) FROM perdure.migrations", schema)))


async def migrate(connection: Any, *, store: str, schema: str) -> int:
    """Bring the tables of a schema to the present version, and return the version that they had.

    Two callers at once wait for each other.

    Raises:
        StoreTooNew: a newer version of the library has migrated them; nothing was changed.
    """
    found = await version_of(connection, schema)
    check_version(found, store=store)
    for migration in migrations()[found:]:
        async with connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({_MIGRATING}, hashtext($1))", schema)
            version = await version_of(connection, schema)
            check_version(version, store=store)
            if version >= migration.version:
                continue
            if version == 0 and not await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema
            ):
                await connection.execute(f'CREATE SCHEMA "{schema}"')
            await connection.execute(migration.script(schema))
    return found


def check_version(version: int, *, store: str) -> None:
    """Check that this code knows a version of the tables.

    Raises:
        StoreTooNew: it does not.
    """
    if version > len(migrations()):
        raise StoreTooNew(store, version, len(migrations()))
