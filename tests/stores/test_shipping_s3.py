"""Changes are shipped to a complete S3 server over HTTP: new names alone, lists in pages, deletions, and a restore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from test_sqlite_shipping import Outside, Owner, normal

from perdure.stores.encryption import Encryption, Key
from perdure.stores.sqlite.object_storage import BackupBucket
from perdure.stores.sqlite.shipping import Shipper, restore_from
from perdure.values.errors import BackupFailed, StoreUnavailable

NAMES = count()

Bucket = Callable[[], BackupBucket]


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path / "jobs.db")
    yield owner
    owner.connection.close()


@pytest.fixture
def bucket(s3_settings: dict[str, str]) -> Bucket:
    """A folder of its own in the bucket."""
    url = f"s3://backups/{next(NAMES)}/shop"
    config = {name.lower(): text for name, text in s3_settings.items()}
    return lambda: BackupBucket(url, config=config)


@pytest.mark.parametrize(
    "encryption", [None, Encryption(primary=Key("k", bytes(range(64))))], ids=["plain", "encrypted"]
)
def test_each_shipped_snapshot_is_restored_from_s3(
    owner: Owner, bucket: Bucket, tmp_path: Path, encryption: Encryption | None
) -> None:
    outside = Outside()
    snapshots: list[tuple[int, bytes]] = []
    with closing(Shipper(owner.path, bucket(), outside.services(), encryption=encryption, piece_pages=3)) as sidecar:
        for number, rows in enumerate((40, 1, 3)):
            owner.commit(rows)
            assert sidecar.ship() is not None
            snapshots.append((outside.now_ms, owner.pages(tmp_path / f"{number}.db")))
    for at_ms, pages in snapshots:
        target = tmp_path / f"{at_ms}.db"
        restore_from(bucket(), target, at_ms=at_ms, encryption=encryption)
        assert normal(target) == pages


def test_a_second_writer_takes_over_on_s3_because_no_object_is_overwritten(owner: Owner, bucket: Bucket) -> None:
    outside = Outside()
    first = Shipper(owner.path, bucket(), outside.services())
    first.ship()
    second = Shipper(owner.path, bucket(), outside.services())
    second.ship()
    owner.commit(1)
    with pytest.raises(BackupFailed, match="another perdure backup ships to this URL"):
        first.ship()
    assert second.ship() is not None
    first.close()
    second.close()


def test_a_restore_from_s3_reads_more_objects_than_a_page_of_its_list(
    owner: Owner, bucket: Bucket, tmp_path: Path
) -> None:
    outside = Outside()
    with closing(Shipper(owner.path, bucket(), outside.services(), piece_pages=1)) as sidecar:
        owner.commit(2_200)  # some 1,100 pages, of which a list returns 1,000 names
        assert sidecar.ship() is not None
    restore_from(bucket(), tmp_path / "restored.db")
    assert normal(tmp_path / "restored.db") == owner.pages(tmp_path / "now.db")


def test_replaced_generations_are_deleted_on_s3(owner: Owner, bucket: Bucket, tmp_path: Path) -> None:
    outside = Outside()
    with closing(Shipper(owner.path, bucket(), outside.services())) as first:
        first.ship()
    before = outside.now_ms
    with closing(Shipper(owner.path, bucket(), outside.services(), keep_ms=10_000)) as second:
        owner.commit(1)
        second.ship()
        restore_from(bucket(), tmp_path / "before.db", at_ms=before)
        outside.now_ms += 10_001
        second.expire()
    with pytest.raises(StoreUnavailable, match="no complete snapshot of that time"):
        restore_from(bucket(), tmp_path / "gone.db", at_ms=before)
    restore_from(bucket(), tmp_path / "newest.db")
