import asyncio
import sys
from contextlib import chdir

import pytest

from perdure.stores.memory import memory_store
from perdure.stores.postgres.settings import settings_of
from perdure.stores.url import open_store, sqlite_path
from perdure.values.errors import DefinitionError, StoreMissing


async def _opened(url, **options):
    store = await open_store(url, **options)
    await store.close()
    return store


def test_memory():
    assert asyncio.run(_opened("memory://")).name == "memory://"


def test_a_relative_path_has_three_slashes(tmp_path):
    with chdir(tmp_path):
        store = asyncio.run(_opened("sqlite:///jobs.db"))
    assert (tmp_path / "jobs.db").exists()
    assert store.name == "sqlite:///jobs.db"
    assert store.capabilities.durability == "full"


def test_an_absolute_path_has_four_slashes(tmp_path):
    store = asyncio.run(_opened(f"sqlite:///{tmp_path}/a%3Fb.db?durability=relaxed"))
    assert (tmp_path / "a?b.db").exists()
    assert store.capabilities.durability == "relaxed"


def test_a_file_that_must_exist(tmp_path):
    url = f"sqlite:///{tmp_path}/jobs.db"
    with pytest.raises(StoreMissing):
        asyncio.run(_opened(f"{url}?if_missing=refuse"))
    asyncio.run(_opened(url))
    store = asyncio.run(_opened(f"{url}?durability=relaxed&if_missing=refuse"))
    assert store.capabilities.durability == "relaxed"


@pytest.mark.parametrize(("query", "bound"), [("", 64 * 1024**2), ("?cache=16MiB", 16 * 1024**2), ("?cache=0", 0)])
def test_the_bound_of_the_instances_in_memory(tmp_path, query, bound):
    assert asyncio.run(_opened(f"sqlite:///{tmp_path}/jobs.db{query}")).cache_bytes == bound


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("jobs.db", "memory:, sqlite:"),
        ("", "memory:, sqlite:"),
        ("mysql://db/jobs", "or a package that offers this scheme"),
        ("sqlite://jobs.db", "sqlite:///relative.db"),
        ("sqlite:jobs.db", "sqlite:///relative.db"),
        ("sqlite:///", "sqlite:///relative.db"),
        ("sqlite:///:memory:", "'memory://'"),
        ("sqlite:///jobs.db?durability=none", "?durability=relaxed"),
        ("sqlite:///jobs.db?colour=1", "?durability=relaxed"),
        ("sqlite:///jobs.db?cache=lots", "'?cache=16MiB'"),
        ("sqlite:///jobs.db?cache=1KiB&cache=2KiB", "each at most once"),
        ("sqlite:///jobs.db?if_missing=ask", "?if_missing=refuse"),
        ("sqlite:///jobs.db?if_missing=refuse&if_missing=create", "each at most once"),
        ("memory://name", "'memory://' with nothing after it"),
        ("postgresql+psycopg://db/shop", "did you mean 'postgresql://db/shop'?"),
        ("postgresql://[::1/shop", "an IPv6 address is written [::1]"),
        ("postgresql://db:port/shop", "'postgresql://user@host:5432/database'"),
        ("postgresql://db:99999/shop", "'postgresql://user@host:5432/database'"),
        ("postgresql://db1:5432,db2:x/shop", "'postgresql://user@host:5432/database'"),
    ],
)
def test_a_url_that_names_no_store_lists_the_schemes(url, hint):
    with pytest.raises(DefinitionError) as caught:
        asyncio.run(_opened(url))
    assert hint in str(caught.value)
    assert caught.value.got == url


@pytest.mark.parametrize(
    ("parameter", "choice"),
    [("sslmode=on", "verify-full"), ("target_session_attrs=read-writ", "read-write")],
)
def test_a_parameter_of_postgresql_has_one_of_its_values(parameter, choice):
    with pytest.raises(DefinitionError, match=choice):
        asyncio.run(_opened(f"postgresql://db/shop?{parameter}"))


@pytest.mark.parametrize("hosts", ["db", "db:5432", "db1:5432,db2:5433", "db1,db2", "[::1]", "[::1]:5432", ""])
def test_hosts_of_postgresql_are_one_or_several_with_ports_or_without(hosts):
    assert settings_of(f"postgresql://app@{hosts}/shop").name == f"postgresql://{hosts}/shop"


@pytest.mark.parametrize(
    "url",
    [
        "postgress://app:hunter2@db/shop",
        "sqlite://app:hunter2@db/shop",
        "postgresql://app:hunter2@db/shop?ownership=mine",
        "memory://app:hunter2@db",
        "mysql://db/shop?password=hunter2",
    ],
)
def test_a_password_is_in_no_message(url):
    with pytest.raises(DefinitionError) as caught:
        asyncio.run(_opened(url))
    assert "hunter2" not in str(caught.value)


def test_a_command_for_files_names_the_tools_of_postgresql():
    with pytest.raises(DefinitionError, match="pg_dump") as caught:
        sqlite_path("postgresql://app:hunter2@db/shop")
    assert "hunter2" not in str(caught.value)


def test_another_scheme_is_passed_as_a_mapping():
    async def open_mine(url, runtime):
        return memory_store(name=url)

    assert asyncio.run(_opened("mine://here", schemes={"mine": open_mine})).name == "mine://here"


def test_another_scheme_is_offered_by_an_installed_package(tmp_path):
    package = tmp_path / "mine-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[perdure.stores]\nmine = mine_store:open_mine\n")
    (tmp_path / "mine_store.py").write_text(
        "from perdure.stores.memory import memory_store\n"
        "async def open_mine(url, runtime): return memory_store(name='installed ' + url)\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        assert asyncio.run(_opened("mine://here")).name == "installed mine://here"
    finally:
        sys.path.remove(str(tmp_path))
