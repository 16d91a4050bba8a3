"""A store behind `encrypted_store` keeps every requirement, and holds nothing of the plain text."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from attrs import frozen
from encrypted_harness import NEW, OLD, WITH_BOTH, WITH_NEW, WITH_OLD, EncryptedMemory, EncryptedSqlite
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Client,
    Debounce,
    DebounceContext,
    Program,
    Stream,
    Task,
    TaskContext,
    attempt,
    effect,
    fail,
    tell,
)
from perdure.cli.commands import run_command
from perdure.client.client import gateway_of
from perdure.stores.encryption import Encryption, Key
from perdure.stores.encryption.sealed_store import RecordCipher
from perdure.stores.rows import event_body
from perdure.stores.values import LoggedEvent
from perdure.testing import World
from perdure.testing.conformance import CASES, Case, check_case
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, StoredResultUnreadable, StoreUnavailable, Undecodable
from perdure.values.event import JobAccepted, JobNoted
from perdure.values.transition import Remembered, Transition

IN_PROCESS = [case for case in CASES if "kill" not in case.name]
"""A wrapper without a state has nothing of its own that a kill could cut."""


@pytest.mark.parametrize("new_harness", [EncryptedMemory, EncryptedSqlite])
@pytest.mark.parametrize("case", IN_PROCESS, ids=str)
def test_an_encrypted_store_keeps(case: Case, new_harness: Any) -> None:
    check_case(case, new_harness)


def test_the_data_of_an_event_of_a_kind_is_encrypted() -> None:
    noted = JobNoted(event_id="1", at_ms=1, address="kind:job:id", name="silence.broken", data='{"by":"a word"}')
    records = RecordCipher(WITH_NEW)
    (sealed,) = records.sealed_events([noted])
    assert "a word" not in event_body(sealed)
    (found,) = records.logged((LoggedEvent(sequence=1, event=sealed),))
    assert found.event == noted


def test_accepted_inputs_are_encrypted_in_the_log() -> None:
    header: dict[str, Any] = {
        "event_id": "1",
        "at_ms": 1,
        "address": "kind:job:id",
        "action": "send",
        "received_at_ms": 1,
    }
    records = RecordCipher(WITH_NEW)
    for accepted in (JobAccepted(**header, payload='"a word"'), JobAccepted(**header)):
        (sealed,) = records.sealed_events([accepted])
        assert "a word" not in event_body(sealed)
        (found,) = records.logged((LoggedEvent(sequence=1, event=sealed),))
        assert found.event == accepted


# ---------------------------------------------------------------- jobs that store a text in every place
@frozen
class Note:
    text: str = ""
    how: str = "keep"


@frozen
class Sad:
    why: str


spoken = Stream("spoken", str)


@effect
async def look(services: object, text: str) -> Result[None, Sad]:
    spoken.emit_now(text)
    return Success(None)


def on_event(ctx: TaskContext[Note], event: Note) -> Program[Any, Any, Any]:
    match event.how:
        case "raise":
            raise ValueError(event.text)
        case "look":
            return look(event.text)
        case "send":
            return tell(notes, "other").send(Note(event.text, "raise"))
        case "end":
            return ctx.terminate(event.text)
        case _:
            return ctx.set_state(event)


def execute(ctx: TaskContext[Note]) -> Program[Any, Sad]:
    return ctx.state.bind(lambda note: fail(Sad(note.text)))


def flush(ctx: DebounceContext[Note]) -> Program[Any, Sad]:
    return ctx.state.bind(lambda note: fail(Sad(note.text)))


notes: Any = Task(
    "notes",
    state=Note,
    event=Note,
    initial=Note(),
    on_event=on_event,
    execute=execute,
    errors=Sad,
    streams=[spoken],
    state_in_events=True,
)
batches: Any = Debounce("batches", event=Note, flush_after="1 hour", execute=flush, errors=Sad, state_in_events=True)


def app(encryption: Encryption | None) -> App[Any]:
    return App(None, encryption=encryption).with_jobs(notes, batches)


secretive, rotated, without_keys = app(WITH_OLD), app(WITH_BOTH), app(None)


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/jobs.db?durability=relaxed"


async def write_everywhere(jobs: Client, text: str) -> None:
    note, batch = jobs.handle(notes), jobs.handle(batches)
    for how in ("keep", "look", "raise", "send"):
        await attempt(note.send("a", Note(text, how), idempotency_key=how))
    await note.trigger("a", idempotency_key="run")
    await batch.add("b", Note(text))
    await batch.flush("b", idempotency_key="flush")
    await batch.add("b", Note(text))
    await note.send("c", Note(text))
    await note.terminate("c", text, idempotency_key="end")
    await note.get_state("other")


def stored_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.name != "jobs.db.lock")


@settings(max_examples=5)
@given(st.text("ghijklmnopqrstuvwxyz", min_size=12, max_size=40))
def test_nothing_of_the_plain_text_is_in_the_files(text: str) -> None:
    """The bytes of the database and of its write-ahead log, while the engine runs and after it ended."""
    with TemporaryDirectory() as name:
        folder = Path(name)

        async def use(jobs_app: App[Any]) -> bytes:
            async with jobs_app.open(url(folder)) as jobs:
                await write_everywhere(jobs, text)
                assert (await jobs.handle(notes).get_state("a")) == Note(text)
                history = f"{await jobs.history(notes, 'a')}"
                assert text in history
                page = await gateway_of(jobs).stream_page(notes.address("a"), "spoken", -1, 0)
                assert [item.value for item in page.items] == [f'"{text}"']
                return stored_bytes(folder)

        live = asyncio.run(use(secretive))
        assert b"enc:1:old:" in live
        assert text.encode() not in live
        assert text.encode() not in stored_bytes(folder)


def test_the_search_finds_plain_text_where_nothing_is_encrypted(tmp_path: Path) -> None:
    async def use() -> bytes:
        async with app(None).open(url(tmp_path)) as jobs:
            await write_everywhere(jobs, "plaintext")
            return stored_bytes(tmp_path)

    assert asyncio.run(use()).count(b"plaintext") > 20


# ---------------------------------------------------------------- keys
async def text_of(store_url: str, encryption: Encryption | None) -> Any:
    """Read the note through an engine: its text, or the problem."""
    async with app(encryption).open(store_url) as jobs:
        match await attempt(jobs.handle(notes).get_state("a")):
            case Success(note):
                return "" if note is None else note.text
            case Failure(refused):
                return refused.problems[0]


async def send(store_url: str, encryption: Encryption | None, text: str, **options: Any) -> Any:
    async with app(encryption).open(store_url) as jobs:
        return await attempt(jobs.handle(notes).send("a", Note(text), **options))


def error_of(answer: Any) -> Exception:
    return answer.failure()


def test_keys_are_rotated_at_the_next_commit(tmp_path: Path) -> None:
    store = url(tmp_path)
    asyncio.run(send(store, WITH_OLD, "first"))
    assert asyncio.run(text_of(store, WITH_BOTH)) == "first"
    assert b"enc:1:new" not in stored_bytes(tmp_path)

    async def touch() -> None:
        async with app(WITH_BOTH).open(store) as jobs:
            await jobs.handle(notes).pause("a")
            await jobs.handle(notes).resume("a")

    asyncio.run(touch())
    assert asyncio.run(text_of(store, WITH_NEW)) == "first"


def test_a_missing_key_leaves_the_instance_and_its_bytes_survive(tmp_path: Path) -> None:
    store = url(tmp_path)
    asyncio.run(send(store, WITH_OLD, "first", idempotency_key="k"))
    refused = error_of(asyncio.run(send(store, WITH_NEW, "lost")))
    assert isinstance(refused, Undecodable)
    assert "key 'old', which is missing (keys: new)" in f"{refused}"
    assert isinstance(error_of(asyncio.run(send(store, WITH_NEW, "lost"))), Undecodable)
    again = error_of(asyncio.run(send(store, WITH_NEW, "first", idempotency_key="k")))
    assert isinstance(again, StoredResultUnreadable)
    assert asyncio.run(text_of(store, WITH_BOTH)) == "first"
    asyncio.run(send(store, WITH_BOTH, "second"))
    assert asyncio.run(text_of(store, WITH_NEW)) == "second"


@pytest.mark.parametrize("encryption", [None, WITH_OLD])
def test_plain_and_encrypted_text_are_not_confused(tmp_path: Path, encryption: Encryption | None) -> None:
    store, other = url(tmp_path), WITH_OLD if encryption is None else None
    asyncio.run(send(store, encryption, "first"))
    expected = "is stored as plain text" if encryption is None else "encrypted with key 'old'; pass the keys to the app"
    assert expected in asyncio.run(text_of(store, other))
    accepting = Encryption(primary=OLD, plain="accepted")
    assert asyncio.run(text_of(store, accepting)) == "first"
    asyncio.run(send(store, accepting, "second"))
    assert asyncio.run(text_of(store, WITH_OLD)) == "second"


@pytest.mark.parametrize(
    ("written", "opened", "warning"),
    [
        (WITH_OLD, None, ["the store is encrypted and the app has no keys", "sampled=1 key:old=1"]),
        (WITH_OLD, WITH_NEW, ["the app lacks keys of the store", "sampled=1 key:old=1"]),
        (None, WITH_OLD, ["the store has plain text, which the app refuses", "sampled=1 plain=1"]),
        (None, Encryption(primary=OLD, plain="accepted"), []),
        (None, None, []),
        (WITH_OLD, WITH_BOTH, []),
    ],
)
def test_an_engine_warns_at_its_start_of_keys_that_do_not_fit(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    written: Encryption | None,
    opened: Encryption | None,
    warning: list[str],
) -> None:
    asyncio.run(send(url(tmp_path), written, "first"))
    caplog.clear()

    async def open_only() -> str:
        async with app(opened).open(url(tmp_path)) as jobs:
            return repr(jobs)

    asyncio.run(open_only())
    found = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len(found) == bool(warning)
    assert all(text in line for line in found for text in warning)


def changed(sealed: str) -> str:
    middle = len(sealed) - 10
    return sealed[:middle] + ("A" if sealed[middle] != "A" else "B") + sealed[middle + 1 :]


@pytest.mark.parametrize("tampering", ["changed", "cut", "longer", "moved", "another field"])
def test_a_text_that_was_changed_or_moved_is_refused(tmp_path: Path, tampering: str) -> None:
    store = url(tmp_path)

    async def write() -> None:
        async with secretive.open(store) as jobs:
            for id_ in ("a", "b"):
                await jobs.handle(notes).send(id_, Note(id_))

    asyncio.run(write())
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as database, database:
        rows = dict(database.execute("SELECT id, state FROM instances WHERE name = 'notes'").fetchall())
        forged = {
            "changed": changed(rows["a"]),
            "cut": rows["a"][:30],
            "longer": f"{rows['a'][:-9]}!{rows['a'][-9:]}",
            "moved": rows["b"],
            "another field": rows["a"],
        }
        sql = "UPDATE instances SET state = ? WHERE id = 'a'"
        if tampering == "another field":
            sql = "UPDATE instances SET data = ?, state = '' WHERE id = 'a'"
        database.execute(sql, (forged[tampering],))
    expected = "it was changed, or moved here, after it was encrypted with key 'old'"
    problem = asyncio.run(text_of(store, WITH_OLD))
    assert expected in problem if tampering != "another field" else problem != "a"


KILLED = """
import asyncio, sys
sys.path[:0] = sys.argv[1:3]
from test_encryption import Note, notes, rotated
async def main():
    async with rotated.open(sys.argv[3]) as jobs:
        await jobs.handle(notes).send("n-0", Note("new 0"))
        print("ready", flush=True)
        while True:
            await asyncio.gather(*(jobs.handle(notes).send(f"n-{at}", Note(f"new {at}")) for at in range(40)))
asyncio.run(main())
"""


def test_a_kill_during_a_rotation_leaves_every_instance_readable(tmp_path: Path) -> None:
    store = url(tmp_path)

    async def write() -> None:
        async with secretive.open(store) as jobs:
            await asyncio.gather(*(jobs.handle(notes).send(f"n-{at}", Note(f"old {at}")) for at in range(40)))

    async def read() -> set[str]:
        async with rotated.open(store) as jobs:
            return {(await jobs.handle(notes).get_state(f"n-{at}")).text for at in range(40)}

    asyncio.run(write())
    here = str(Path(__file__).parent)
    with subprocess.Popen([sys.executable, "-c", KILLED, here, here, store], stdout=subprocess.PIPE) as child:  # noqa: S603
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGKILL)
    found = asyncio.run(read())
    assert {text.split()[1] for text in found} == {str(at) for at in range(40)}
    assert "new 0" in found


# ---------------------------------------------------------------- the surface
def test_keys_are_read_from_lines_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# of the shop\n{NEW.line}\n\n{OLD.line}\n", encoding="utf-8")
    read = Encryption.from_file(path)
    assert read == WITH_BOTH
    for shown in (f"{read!r}", f"{NEW!r}", f"{secretive!r}"):
        assert NEW.line.partition(":")[2][:8] not in shown
    for wrong in ("", "k", "k:", "k:AAAA", f"a b:{NEW.line[4:]}", f"{NEW.line},{NEW.line}"):
        with pytest.raises(DefinitionError) as refused:
            Encryption.from_text(wrong)
        assert NEW.line[4:20] not in f"{refused.value}"


def test_keys_are_read_from_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_KEYS", f"{NEW.line},{OLD.line}")
    read = Encryption.from_environment(plain="accepted")
    assert (read.primary, read.older, read.plain) == (NEW, (OLD,), "accepted")
    monkeypatch.setenv("MY_KEYS", OLD.line)
    assert Encryption.from_environment("MY_KEYS") == Encryption(primary=OLD)
    monkeypatch.delenv("MY_KEYS")
    with pytest.raises(DefinitionError, match="the environment variable MY_KEYS"):
        Encryption.from_environment("MY_KEYS")


def test_a_world_keeps_plain_data_and_reads_no_keys() -> None:
    def no_keys() -> Encryption:
        raise AssertionError("the keys of production are not here")

    with World(App(None, encryption=no_keys).with_jobs(notes)) as world:
        world.run(world.handle(notes).send("a", Note("x")))
        assert world.instance(notes, "a").state == '{"text":"x","how":"keep"}'


def test_the_command_line_reads_an_encrypted_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(send(url(tmp_path), WITH_OLD, "plaintext"))
    store = ["--store", f"sqlite:///{tmp_path}/jobs.db"]
    assert run_command(["verify", *store]) == 0
    assert run_command(["stats", *store]) == 0
    assert "encrypted     1 with old" in capsys.readouterr().out
    assert run_command(["check", f"{__name__}:rotated", *store]) == 0
    plain = tmp_path / "plain.json"
    assert run_command(["snapshot", *store, "--output", str(plain)]) == 2
    assert "encrypted with key 'old'" in capsys.readouterr().err
    assert run_command(["snapshot", *store, "--output", str(plain), "--app", f"{__name__}:secretive"]) == 0
    assert "plaintext" in plain.read_text()
    assert run_command(["show", "task:notes:a", *store, "--state"]) == 0
    assert "enc:1:old:" in capsys.readouterr().out
    assert run_command(["show", "task:notes:a", *store, "--app", f"{__name__}:without_keys"]) == 2
    assert run_command(["list", *store, "--app", f"{__name__}:without_keys"]) == 0
    assert run_command(["show", "task:notes:a", *store, "--app", f"{__name__}:secretive"]) == 0
    assert '"text": "plaintext"' in capsys.readouterr().out
    assert run_command(["history", "task:notes:a", *store, "--app", f"{__name__}:secretive", "--json"]) == 0
    assert "plaintext" in capsys.readouterr().out
    assert run_command(["key", "k1"]) == 0
    assert Key.parse(capsys.readouterr().out.splitlines()[-1]).id == "k1"


def test_a_text_that_cannot_be_encrypted_costs_no_neighbour_its_commit() -> None:
    """No text of JSON has half a surrogate, but a reason or a note may."""

    def noted(id_: str, data: str) -> Transition:
        address = Address("task", "notes", id_)
        event = JobNoted(event_id=id_, address=str(address), at_ms=1, run_count=0, name="note", data=data)
        return Transition(address=address, events=(event,))

    async def main() -> None:
        store, answers = await EncryptedMemory().open(), list[Any]()
        assert store.commit is not None
        store.commit([noted("a", "fine"), noted("b", "\ud800"), noted("c", "fine")], answers.extend)
        assert [type(answer) for answer in answers] == [Success, Failure, Success]
        assert isinstance(answers[1].failure(), StoreUnavailable)
        store.commit([noted("b", "\ud800")], answers.extend)
        assert isinstance(answers[3].failure(), StoreUnavailable)

    asyncio.run(main())


@pytest.mark.parametrize("field", ["fingerprint", "answer"])
def test_equal_answers_of_a_key_look_different_when_it_is_used_again(field: str) -> None:
    """A reader of the file does not learn that the same request came again after its key had expired."""
    first, again = (
        Remembered(key="k", action="send", fingerprint="f" * 64, answer='{"status":"idle"}', expires_ms=expires_ms)
        for expires_ms in (1_000, 2_000)
    )
    sealed = [
        RecordCipher(WITH_NEW).seal(Transition(address=Address("task", "job", "a"), remember=(each,))).remember[0]
        for each in (first, again)
    ]
    assert None not in sealed
    assert getattr(sealed[0], field) != getattr(sealed[1], field)
