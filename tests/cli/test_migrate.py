"""``perdure migrate``: the tables of a PostgreSQL store."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from perdure.cli.commands import run_command
from perdure.stores.postgres.schema import migrations

SCHEMA = "perdure_test_migrate"


@pytest.fixture
def store(postgres_url: str):
    yield f"{postgres_url}{'&' if '?' in postgres_url else '?'}schema={SCHEMA}"
    asyncio.run(_execute(postgres_url, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


def test_it_creates_the_tables_and_then_has_nothing_to_do(store: str, capsys: pytest.CaptureFixture[str]):
    version = len(migrations())
    assert run_command(["migrate", "--store", store]) == 0
    assert f"version {version}, was 0" in capsys.readouterr().out
    assert run_command(["migrate", "--store", store]) == 0
    assert f"version {version}, nothing to do" in capsys.readouterr().out


def test_the_printed_statements_create_the_same_tables(
    store: str, postgres_url: str, capsys: pytest.CaptureFixture[str]
):
    assert run_command(["migrate", "--store", store, "--print-sql"]) == 0
    asyncio.run(_execute(postgres_url, capsys.readouterr().out))
    assert run_command(["migrate", "--store", store]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_the_statements_after_the_present_version_are_none(capsys: pytest.CaptureFixture[str]):
    version = str(len(migrations()))
    printed = ["migrate", "--store", "postgresql://db/shop", "--print-sql", "--from-version"]
    assert run_command([*printed, version]) == 0
    assert capsys.readouterr().out == f"-- the tables have version {version}: nothing to do\n"
    assert run_command([*printed, "99"]) == 2


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///jobs.db", "expected 'postgresql://user@host:5432/database'"),
        ("postgresql://db/shop?schema=A", "'?schema=perdure'"),
        ("postgresql://127.0.0.1:1/shop", "check that the server runs"),
    ],
)
def test_it_refuses_other_stores(url: str, message: str, capsys: pytest.CaptureFixture[str]):
    assert run_command(["migrate", "--store", url]) == 2
    assert message in capsys.readouterr().err
