"""A store is shipped to object storage beside its engine, and each shipped snapshot is restored as it was."""

from __future__ import annotations

import asyncio
import http.server
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perdure.stores.encryption import Encryption, Key
from perdure.stores.sqlite import open_sqlite, ship_changes
from perdure.stores.sqlite.lock import owner_of
from perdure.stores.sqlite.log_frames import HeldLog
from perdure.stores.sqlite.object_storage import BackupBucket, Piece, seal, unseal
from perdure.stores.sqlite.schema import log_of, prepare
from perdure.stores.sqlite.shipping import Shipper, ShippingServices, restore_from
from perdure.testing.conformance.histories import address, created
from perdure.values.errors import BackupFailed, DefinitionError, StoreCorrupt, StoreMissing, StoreUnavailable


@attrs.define
class Outside:
    """A clock that the test moves, and waits that end at once."""

    now_ms: int = 1_000
    ids: int = 0
    said: list[str] = attrs.field(factory=list)
    waited: Callable[[], bool] = lambda: False

    def services(self) -> ShippingServices:
        return ShippingServices(
            now_ms=self.tick, new_id=self.new_id, wait=lambda _: self.waited(), report=self.said.append
        )

    def tick(self) -> int:
        self.now_ms += 1
        return self.now_ms

    def new_id(self) -> str:
        self.ids += 1
        return f"{self.ids:032x}"


class Owner:
    """The connection of an engine, without its rows: it commits, checkpoints, and starts the log over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None)
        prepare(self.connection.cursor(), store="s", synchronous="NORMAL")
        self.connection.execute("CREATE TABLE IF NOT EXISTS texts (id INTEGER PRIMARY KEY, text TEXT)")

    def commit(self, rows: int) -> None:
        self.connection.execute("BEGIN")
        self.connection.executemany("INSERT INTO texts (text) VALUES (?)", [("x" * 1_500,)] * rows)
        self.connection.execute("COMMIT")

    def checkpoint(self, mode: str = "PASSIVE") -> None:
        self.connection.execute("PRAGMA busy_timeout = 0")
        self.connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()

    def pages(self, copy: Path) -> bytes:
        """All pages of the file as a reader sees them."""
        with closing(sqlite3.connect(copy)) as target:
            target.execute("PRAGMA journal_mode = OFF")
            self.connection.backup(target)
        return normal(copy)


def normal(path: Path) -> bytes:
    """A file without the numbers that SQLite changes when it copies: change counter, schema cookie, its version."""
    data = bytearray(path.read_bytes())
    for start, end in ((18, 20), (24, 28), (40, 44), (92, 100)):
        data[start:end] = bytes(end - start)
    return bytes(data)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path / "jobs.db")
    yield owner
    owner.connection.close()


def shipper(owner: Owner, bucket: Path, outside: Outside, **options: object) -> Shipper:
    return Shipper(owner.path, BackupBucket(bucket.as_uri()), outside.services(), **options)  # type: ignore[arg-type]


def restored(bucket: Path, target: Path, **options: object) -> Path:
    restore_from(BackupBucket(bucket.as_uri()), target, **options)  # type: ignore[arg-type]
    return target


ACTS = st.sampled_from(["commit", "large", "passive", "restart", "truncate", "ship", "sidecar", "vacuum", "delete"])


@given(st.lists(ACTS, max_size=10))
@example(["ship", "passive", "commit", "passive", "commit", "ship", "passive", "commit", "ship"])
@example(["ship", "large", "passive", "ship", "commit", "truncate", "commit", "ship"])
@example(["ship", "commit", "sidecar", "truncate", "commit", "ship"])
@example(["large", "ship", "delete", "vacuum", "passive", "commit", "ship"])
def test_each_shipped_snapshot_is_restored_page_for_page(
    tmp_path_factory: pytest.TempPathFactory, acts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("shipped")
    owner, outside = Owner(folder / "jobs.db"), Outside()
    sidecar = shipper(owner, folder / "bucket", outside, piece_pages=3)
    snapshots: list[tuple[int, bytes]] = []
    try:
        for act in [*acts, "ship"]:
            match act:
                case "commit" | "large":
                    owner.commit(3 if act == "commit" else 40)
                case "delete":
                    owner.connection.execute("DELETE FROM texts WHERE id % 3 <> 0")
                case "passive" | "restart" | "truncate":
                    owner.checkpoint(act)
                case "vacuum":
                    owner.connection.execute("VACUUM")
                case "sidecar":
                    sidecar.close()
                    sidecar = shipper(owner, folder / "bucket", outside, piece_pages=3)
                case _:
                    shipped = sidecar.ship()
                    if shipped is not None:
                        snapshots.append((outside.now_ms, owner.pages(folder / f"{len(snapshots)}.db")))
        for number, (at_ms, pages) in enumerate(snapshots):
            assert normal(restored(folder / "bucket", folder / f"restored{number}.db", at_ms=at_ms)) == pages
        assert normal(restored(folder / "bucket", folder / "newest.db")) == owner.pages(folder / "now.db")
    finally:
        sidecar.close()
        owner.connection.close()
        shutil.rmtree(folder)


def test_a_long_log_starts_over_and_nothing_is_missed(owner: Owner, tmp_path: Path) -> None:
    """The engine commits and checkpoints while the hold is interrupted: the end of the former log is read."""
    outside = Outside()
    sidecar = shipper(owner, tmp_path / "bucket", outside)
    sidecar.ship()
    owner.commit(3_000)

    def meanwhile() -> bool:
        outside.waited = lambda: False
        owner.commit(5)
        owner.checkpoint()
        owner.commit(1)
        return False

    outside.waited = meanwhile
    shipped = sidecar.ship()
    assert shipped is not None
    assert sidecar._position.frame < 1_000  # type: ignore[union-attr]
    assert shipped.pages < 1_700  # not the whole file twice
    sidecar.close()
    assert normal(restored(tmp_path / "bucket", tmp_path / "r.db")) == owner.pages(tmp_path / "now.db")


def test_only_changed_pages_are_shipped(owner: Owner, tmp_path: Path) -> None:
    outside = Outside()
    sidecar = shipper(owner, tmp_path / "bucket", outside)
    owner.commit(500)
    assert sidecar.ship().pages > 200  # type: ignore[union-attr]
    assert sidecar.ship() is None
    owner.commit(1)
    assert sidecar.ship().pages <= 4  # type: ignore[union-attr]
    outside.now_ms += 60_000
    assert sidecar.ship().pages == 0  # type: ignore[union-attr]
    sidecar.close()


def test_a_second_writer_takes_over_and_the_first_one_ends(owner: Owner, tmp_path: Path) -> None:
    outside = Outside()
    first = shipper(owner, tmp_path / "bucket", outside)
    first.ship()
    second = shipper(owner, tmp_path / "bucket", outside)
    second.ship()
    owner.commit(1)
    with pytest.raises(BackupFailed, match="another perdure backup ships to this URL"):
        first.ship()
    assert second.ship() is not None
    first.close()
    second.close()


def test_another_stores_url_is_refused(owner: Owner, tmp_path: Path) -> None:
    outside = Outside()
    with closing(shipper(owner, tmp_path / "bucket", outside)) as first:
        first.ship()
    other = Owner(tmp_path / "other.db")
    with pytest.raises(BackupFailed, match=r"no other.db.backup which says"):
        shipper(other, tmp_path / "bucket", outside)
    shipper(other, tmp_path / "elsewhere", outside).close()
    with pytest.raises(BackupFailed, match="the backups of another store"):
        shipper(other, tmp_path / "bucket", outside)
    other.connection.close()


def test_replaced_generations_are_deleted_after_their_time(owner: Owner, tmp_path: Path) -> None:
    outside = Outside()
    with closing(shipper(owner, tmp_path / "bucket", outside)) as first:
        first.ship()
    second = shipper(owner, tmp_path / "bucket", outside, keep_ms=10_000)
    second.ship()
    second.expire()
    assert len([each for each in (tmp_path / "bucket").iterdir() if list(each.iterdir())]) == 2
    outside.now_ms += 10_001
    second.expire()
    assert len([each for each in (tmp_path / "bucket").iterdir() if list(each.iterdir())]) == 1
    second.close()
    restored(tmp_path / "bucket", tmp_path / "r.db")


def test_a_restarted_writer_deletes_copies_that_an_earlier_one_replaced(owner: Owner, tmp_path: Path) -> None:
    outside = Outside()
    for _ in range(3):
        with closing(shipper(owner, tmp_path / "bucket", outside)) as each:
            each.ship()
    outside.now_ms += 10_001
    last = shipper(owner, tmp_path / "bucket", outside, keep_ms=10_000)
    last.ship()
    last.expire()
    last.close()
    left = [each for each in (tmp_path / "bucket").iterdir() if list(each.iterdir())]
    assert len(left) == 2  # the one that was the newest until now, and the present one
    restored(tmp_path / "bucket", tmp_path / "r.db")


def test_a_log_that_is_reused_between_its_position_and_its_frames_tells_no_changes(owner: Owner) -> None:
    """The hold began when the whole log was in the file, so the engine may start it over at any moment."""
    with closing(HeldLog(owner.path)) as held:
        since = held.begin()
        held.release()
        owner.commit(3)
        owner.checkpoint()
        now = held.begin()
        owner.commit(2)
        with closing(held.snapshot(now)) as snapshot:
            assert now != since
            assert held.changed(since, snapshot) is None
            assert held.changed(now, snapshot) == set()


@pytest.mark.parametrize("missing", [0, 1])
def test_the_end_of_a_log_that_started_over_is_read_up_to_its_limit(owner: Owner, missing: int) -> None:
    """One frame more is read than was written: it is where the end is seen."""
    owner.commit(20)
    with closing(HeldLog(owner.path)) as probe:
        since = probe.begin()
        probe.release()
        owner.commit(5)
        written = probe.position().frame - since.frame
        with closing(HeldLog(owner.path, max_tail_frames=written + 1 - missing)) as held:
            owner.checkpoint()
            owner.commit(1)
            with closing(held.snapshot(held.begin())) as snapshot:
                changed = held.changed(since, snapshot)
    assert (changed is None) == bool(missing)


def test_a_generation_has_at_most_so_many_objects(owner: Owner, tmp_path: Path) -> None:
    sidecar = shipper(owner, tmp_path / "bucket", Outside(), max_pieces=3)
    counts: list[list[int]] = []
    for _ in range(4):
        owner.commit(1)
        sidecar.ship()
        counts.append([len(list(each.glob("0*"))) for each in sorted((tmp_path / "bucket").iterdir())])
    sidecar.close()
    assert counts == [[1], [2], [3], [4, 1]]  # the fourth of the former one is its end
    assert normal(restored(tmp_path / "bucket", tmp_path / "r.db")) == owner.pages(tmp_path / "now.db")


def test_an_engine_that_closes_beside_the_process_did_not_die(tmp_path: Path) -> None:
    """The process keeps the log, which otherwise tells that the engine died."""
    path = tmp_path / "jobs.db"

    async def main() -> None:
        store = await open_sqlite(path)
        with closing(Shipper(path, BackupBucket((tmp_path / "bucket").as_uri()), Outside().services())) as sidecar:
            sidecar.ship()
            await store.close()
            assert log_of(path).exists()
            for _ in range(2):
                again = await open_sqlite(path)
                assert again.previous_exit == "closed"
                assert owner_of(path) == holder(path)
                await again.close()
            assert owner_of(path) is None
            log_of(path).with_name("jobs.db.lock").write_text(f"{holder(path)}\n")  # as of an engine that is killed
            third = await open_sqlite(path)
            assert third.previous_exit == "died"
            await third.close()

    asyncio.run(main())


def holder(path: Path) -> str:
    return path.with_name("jobs.db.lock").read_text().partition("\n")[0]


# ---------------------------------------------------------------- in a program
def test_a_program_ships_its_own_store_until_it_cancels_the_call(tmp_path: Path) -> None:
    path, url = tmp_path / "jobs.db", (tmp_path / "bucket").as_uri()
    shipped = threading.Event()

    async def main() -> None:
        opened = await open_sqlite(path)
        shipping = asyncio.create_task(ship_changes(path, url, every="1h", on_shipped=lambda _: shipped.set()))
        assert await asyncio.to_thread(shipped.wait, 120)
        await created(opened, address("after the first copy"))
        shipping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await shipping
        await opened.close()
        assert not log_of(path).exists()  # the last connection was the store's

    asyncio.run(main())
    with closing(sqlite3.connect(restored(tmp_path / "bucket", tmp_path / "r.db"))) as database:
        assert database.execute("SELECT id FROM instances").fetchall() == [("after the first copy",)]


def test_a_call_fails_when_another_writer_takes_over(owner: Owner, tmp_path: Path) -> None:
    """Also a cancelled one, because its last changes are not there."""
    url = (tmp_path / "bucket").as_uri()
    shipped = threading.Event()

    async def main(every: str, *, is_cancelled: bool) -> None:
        shipped.clear()
        shipping = asyncio.create_task(ship_changes(owner.path, url, every=every, on_shipped=lambda _: shipped.set()))
        assert await asyncio.to_thread(shipped.wait, 120)
        with closing(shipper(owner, tmp_path / "bucket", Outside())) as other:
            other.ship()
        owner.commit(1)
        if is_cancelled:
            shipping.cancel()
        with pytest.raises(BackupFailed, match="another perdure backup ships to this URL"):
            await shipping

    asyncio.run(main("1ms", is_cancelled=False))
    asyncio.run(main("1h", is_cancelled=True))


def test_a_call_with_a_wrong_argument_fails_at_once(tmp_path: Path) -> None:
    for url, every, words in (
        ("https://example.com", "1s", "URL of a backup"),
        (tmp_path.as_uri(), "often", "every of ship_changes"),
    ):
        with pytest.raises(DefinitionError, match=words):
            asyncio.run(ship_changes(tmp_path / "jobs.db", url, every=every))
    with pytest.raises(StoreUnavailable, match="there is no such file"):
        asyncio.run(ship_changes(tmp_path / "jobs.db", tmp_path.as_uri()))


# ---------------------------------------------------------------- damaged backups
@pytest.fixture
def shipped(owner: Owner, tmp_path: Path) -> list[Path]:
    """The objects of a base in two pieces and of two changes."""
    with closing(shipper(owner, tmp_path / "bucket", Outside(), encryption=KEYS, piece_pages=20)) as sidecar:
        for _ in range(3):
            owner.commit(2)
            sidecar.ship()
    return sorted((tmp_path / "bucket").glob("*/0*"))


KEYS = Encryption(primary=Key("k", bytes(range(64))))


def test_a_missing_object_ends_the_restore_there(shipped: list[Path], tmp_path: Path) -> None:
    shipped[-2].unlink()
    done = restore_from(BackupBucket((tmp_path / "bucket").as_uri()), tmp_path / "r.db", encryption=KEYS)
    assert any("is missing; later ones were not used" in each for each in done.incomplete)


def test_a_base_without_its_end_is_no_backup(shipped: list[Path], tmp_path: Path) -> None:
    for each in shipped[1:]:
        each.unlink()
    with pytest.raises(StoreUnavailable, match="has no complete snapshot: the newest snapshot is incomplete"):
        restored(tmp_path / "bucket", tmp_path / "r.db", encryption=KEYS)
    assert not list(tmp_path.glob("r.db*"))


@pytest.mark.parametrize("damage", ["flip", "swap", "cut", "other"])
def test_a_changed_object_is_refused(shipped: list[Path], tmp_path: Path, damage: str) -> None:
    data = shipped[-1].read_bytes()
    match damage:
        case "flip":
            shipped[-1].write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        case "swap":
            shipped[-1].write_bytes(shipped[-2].read_bytes())
        case "cut":
            shipped[-1].write_bytes(data[:-1])
        case _:
            shipped[-1].write_bytes(b"mine")
    with pytest.raises(StoreCorrupt, match=r"cannot be read|not part of a backup"):
        restored(tmp_path / "bucket", tmp_path / "r.db", encryption=KEYS)
    assert not list(tmp_path.glob("r.db*"))


def test_a_reordered_object_is_refused_without_keys_too(owner: Owner, tmp_path: Path) -> None:
    with closing(shipper(owner, tmp_path / "bucket", Outside())) as sidecar:
        for _ in range(3):
            owner.commit(2)
            sidecar.ship()
    *_, one, two = sorted((tmp_path / "bucket").glob("*/0*"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(StoreCorrupt, match="does not follow the one before it"):
        restored(tmp_path / "bucket", tmp_path / "r.db")


def test_a_store_that_was_shipped_damaged_is_not_restored(owner: Owner, tmp_path: Path) -> None:
    """Its pages are as they were shipped, so that only SQLite's own check finds it."""
    outside = Outside()
    sidecar = shipper(owner, tmp_path / "bucket", outside)
    owner.commit(50)
    sidecar.ship()
    whole_ms = outside.now_ms
    owner.connection.execute("CREATE INDEX by_text ON texts (id)")
    owner.connection.execute("PRAGMA writable_schema = ON")
    owner.connection.execute("UPDATE sqlite_schema SET rootpage = 1 WHERE name = 'by_text'")
    sidecar.ship()
    sidecar.close()
    with pytest.raises(StoreCorrupt, match="was damaged when it was shipped; restore an earlier moment"):
        restored(tmp_path / "bucket", tmp_path / "r.db")
    assert not list(tmp_path.glob("r.db*"))
    restored(tmp_path / "bucket", tmp_path / "r.db", at_ms=whole_ms)


def test_the_file_of_a_restore_that_was_killed_is_named(shipped: list[Path], tmp_path: Path) -> None:
    left = tmp_path / "r.db.partial"
    left.write_bytes(b"the first half")
    with pytest.raises(BackupFailed, match=r"r\.db\.partial exists: .* if none is running, delete it"):
        restored(tmp_path / "bucket", tmp_path / "r.db", encryption=KEYS)
    assert left.read_bytes() == b"the first half"
    left.unlink()
    restored(tmp_path / "bucket", tmp_path / "r.db", encryption=KEYS)


def test_a_wrong_key_is_named_and_nothing_is_written(shipped: list[Path], tmp_path: Path) -> None:
    for keys, words in (
        (None, "encrypted with key 'k'; pass"),
        (Encryption(primary=Key("other", bytes(64))), "key 'k', which is missing"),
        (Encryption(primary=Key("k", bytes(64))), "changed, or moved here"),
    ):
        with pytest.raises(StoreCorrupt, match=words):
            restored(tmp_path / "bucket", tmp_path / "r.db", encryption=keys)
        assert not list(tmp_path.glob("r.db*"))
    assert b"CREATE TABLE" not in b"".join(each.read_bytes() for each in shipped)


def test_a_plain_object_is_refused_under_a_key() -> None:
    data = seal(Piece(store="s", moment_ms=1), "a/1", None)
    assert unseal(data, "a/1", None, url="u").store == "s"
    with pytest.raises(StoreCorrupt, match="is not encrypted"):
        unseal(data, "a/1", KEYS, url="u")


def test_a_restore_overwrites_nothing(shipped: list[Path], tmp_path: Path) -> None:
    (tmp_path / "mine.db").write_text("mine")
    with pytest.raises(BackupFailed, match="a file of that name exists"):
        restored(tmp_path / "bucket", tmp_path / "mine.db", encryption=KEYS)
    assert (tmp_path / "mine.db").read_text() == "mine"
    (tmp_path / "left.db-wal").write_text("a log")
    with pytest.raises(StoreMissing):
        restored(tmp_path / "bucket", tmp_path / "left.db", encryption=KEYS)


def test_a_restored_file_is_private(shipped: list[Path], tmp_path: Path) -> None:
    found = restored(tmp_path / "bucket", tmp_path / "r.db", encryption=KEYS)
    assert found.stat().st_mode & 0o777 == 0o600


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(DefinitionError, match="URL of a backup"):
        BackupBucket("https://example.com/x")


# ---------------------------------------------------------------- a broken endpoint
class Endpoint(http.server.BaseHTTPRequestHandler):
    """Answers like S3: lists nothing, creates objects, and fails while `broken` is set."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    broken: list[str]

    def do_GET(self) -> None:
        self.reply(200, b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>')

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        how = self.broken[0] if self.broken else ""
        if how == "cut":
            self.close_connection = True
            return
        if how == "hang":
            self.rfile.read(1)  # until the client's patience ends
            self.close_connection = True
            return
        if how == "500":
            self.reply(500, b"")
            return
        self.objects[self.path] = data
        self.reply(200, b"")

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def endpoint() -> Iterator[tuple[BackupBucket, type[Endpoint]]]:
    class Own(Endpoint):
        objects: dict[str, bytes] = {}  # noqa: RUF012
        broken: list[str] = []  # noqa: RUF012

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    config = {
        "endpoint": f"http://127.0.0.1:{server.server_port}",
        "access_key_id": "a",
        "secret_access_key": "s",
        "region": "r",
    }
    yield BackupBucket("s3://bucket/shop", config=config, timeout_s=0.4), Own
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("how", ["500", "cut", "hang"])
def test_a_broken_endpoint_lets_the_log_go_at_its_bound_and_everything_is_shipped_later(
    owner: Owner, tmp_path: Path, endpoint: tuple[BackupBucket, type[Endpoint]], how: str
) -> None:
    bucket, own = endpoint
    outside = Outside()
    limit = log_of(owner.path).stat().st_size + 200_000
    sidecar = Shipper(owner.path, bucket, outside.services(), max_log_bytes=limit)
    sidecar.ship()
    owner.commit(1)
    own.broken.append(how)
    waits: list[bool] = []

    def meanwhile() -> bool:
        owner.commit(60)
        owner.checkpoint()
        waits.append(sidecar._log.is_held)
        if len(waits) == 8:
            own.broken.clear()
        return False

    outside.waited = meanwhile
    assert sidecar.ship() is not None
    assert waits[0]
    assert not waits[-1]  # the engine's log starts over again
    assert [each.partition(", ")[0].partition(" ")[2] for each in outside.said] == ["stores nothing", "works again"]
    outside.waited = lambda: False
    sidecar.ship()
    sidecar.close()
    for path, data in own.objects.items():
        copy = tmp_path / path[1:]
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(data)
    assert normal(restored(tmp_path / "bucket" / "shop", tmp_path / "r.db")) == owner.pages(tmp_path / "now.db")


def test_a_stop_while_the_endpoint_fails_says_so(owner: Owner, endpoint: tuple[BackupBucket, type[Endpoint]]) -> None:
    bucket, own = endpoint
    outside = Outside(waited=lambda: True)
    sidecar = Shipper(owner.path, bucket, outside.services())
    own.broken.append("500")
    with pytest.raises(BackupFailed, match="the newest changes are not there, because the endpoint failed"):
        sidecar.ship()
    sidecar.close()
