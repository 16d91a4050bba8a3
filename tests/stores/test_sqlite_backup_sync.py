"""A backup that was answered survives loss of power: its content, and then its name, are on stable storage."""

import asyncio

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.stores.sqlite.files import sync_path
from perdure.stores.sqlite.opening import open_file
from perdure.stores.sqlite.ownership import Disk
from perdure.testing.conformance.assertions import value


def test_the_file_is_synced_before_it_has_its_name_and_the_folder_after(tmp_path):
    target = tmp_path / "backups" / "copy.db"
    target.parent.mkdir()
    synced = []

    def sync(path):
        synced.append((path.name, target.exists()))
        sync_path(path)

    async def main():
        store = await open_file(
            tmp_path / "jobs.db",
            durability="full",
            cache_bytes=0,
            on_locked="raise",
            runtime=asyncio_runtime(),
            disk=Disk(sync=sync),
        )
        await value(store.backup.make(target, lambda _: None))
        await store.close()

    asyncio.run(main())
    assert synced == [("copy.db.partial", False), ("backups", True)]
