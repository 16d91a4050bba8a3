"""``perdure migrate``: bring the tables of a PostgreSQL store to the present version."""

from __future__ import annotations

import asyncio

from perdure.cli.exit_code import ExitCode
from perdure.cli.standard_output import write_lines
from perdure.cli.store_option import StoreOption
from perdure.cli.usage_error import UsageError
from perdure.stores.postgres import migrate_schema
from perdure.stores.postgres.schema import migrations, script_from
from perdure.stores.postgres.settings import settings_of
from perdure.values.errors import DefinitionError, StoreError


def migrate(*, store: StoreOption, print_sql: bool = False, from_version: int = 0) -> int:
    """Create the tables of a PostgreSQL store, or bring them to the version of this code.

    An engine does the same when it opens the store. Use this command where the engine's role may not create tables,
    or to run the statements yourself.

    Exit code: 0 the tables have the present version, 2 they could not be migrated, and are unchanged.

    Parameters
    ----------
    store
        Where instances live: postgresql://user@host:5432/database.
    print_sql
        Print the statements for psql, and connect to nothing.
    from_version
        With --print-sql: the version of the tables as they are; 0 if there are none.
    """
    try:
        settings = settings_of(store)
        if print_sql:
            _check_version(from_version)
            script = script_from(from_version, settings.schema)
            write_lines(script.splitlines() or [f"-- the tables have version {from_version}: nothing to do"])
            return ExitCode.DONE
        before = asyncio.run(migrate_schema(store))
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    now = len(migrations())
    write_lines([f"{settings.name}: version {now}" + (", nothing to do" if before == now else f", was {before}")])
    return ExitCode.DONE


def _check_version(version: int) -> None:
    if not 0 <= version <= len(migrations()):
        raise UsageError(f"--from-version {version}: expected a number from 0 to {len(migrations())}")
