"""A store in a directory of JSON files: the example of "Write your own store"."""

import asyncio
import fcntl
import hashlib
import json
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from shutil import rmtree
from typing import Any

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.stores.contract import Store
from perdure.stores.rows import event_body, from_json, logged_event, to_json
from perdure.stores.values import Capabilities, Health, LoggedEvent, Query, Retention
from perdure.values.address import Address
from perdure.values.errors import Conflict, StoreCorrupt, StoreLocked, StoreUnavailable
from perdure.values.event import Event
from perdure.values.instance import Fence, Instance
from perdure.values.message import (
    Consumed,
    DeadLettered,
    MessageFate,
    Postponed,
    StoredMessage,
)
from perdure.values.transition import (
    KeepInstance,
    Loaded,
    Purge,
    Put,
    Remembered,
    Transition,
)


@attrs.frozen
class Key:
    """An idempotency key and its address."""

    address: Address
    remembered: Remembered
    ordinal: int


KINDS: dict[str, Any] = {
    "instances": Instance,
    "keys": Key,
    "messages": StoredMessage,
    "dead": StoredMessage,
    "events": dict,
    "counters": int,
}
"""The folders, and the type of their files."""

Changes = dict[tuple[str, str], Any]
"""What one transition writes: (kind, name) and the value; None deletes the file."""


@attrs.define
class Folder:
    """The directory and its rows, which are in memory while the store is open."""

    path: Path
    lock: Any
    rows: dict[str, dict[str, Any]]
    unreadable: list[str]
    closed: bool = False
    turn: asyncio.Lock = attrs.Factory(asyncio.Lock)


# Files


def name_of(*parts: object) -> str:
    """Return the name of a row's file."""
    text = json.dumps([str(part) for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def encode(value: Any) -> str:
    """Return the text of a row."""
    if isinstance(value, LoggedEvent):
        event: Any = value.event
        fields = {
            "type_": event.type,
            "address": event.address,
            "at_ms": event.at_ms,
            "body": event_body(event),
        }
        return json.dumps({"sequence": value.sequence, **fields})
    return to_json(value)


def decode(kind: str, text: str, what: str) -> Any:
    """Return the row of a text, or raise `StoreCorrupt`."""
    if kind == "events":
        return logged_event(**json.loads(text))
    return from_json(KINDS[kind], text, what=what)


def open_folder(path: Path) -> Folder:
    """Read the directory, lock it until the process dies, and increment the epoch."""
    for kind in KINDS:
        (path / kind).mkdir(parents=True, exist_ok=True)
    lock = (path / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise StoreLocked(f"json://{path}", "another process") from error
    folder = Folder(path, lock, {kind: {} for kind in KINDS}, [])
    read_all(folder)
    change(folder, {("counters", "epoch"): folder.rows["counters"].get("epoch", 0) + 1})
    return folder


def read_all(folder: Folder) -> None:
    """Finish the last commit, then read every row."""
    finish(folder.path)
    for kind in KINDS:
        for file in (folder.path / kind).iterdir():
            try:
                row = decode(kind, file.read_text(), str(file))
            except StoreCorrupt:
                folder.unreadable.append(file.stem)
            else:
                folder.rows[kind][file.stem] = row


def change(folder: Folder, changes: Changes) -> None:
    """Write changes to the disk, then show them in memory."""
    write(folder.path, changes)
    show(folder, changes)


def show(folder: Folder, changes: Changes) -> None:
    """Apply changes to the rows in memory."""
    for (kind, name), value in changes.items():
        if value is None:
            folder.rows[kind].pop(name, None)
        else:
            folder.rows[kind][name] = value


def write(path: Path, changes: Changes) -> None:
    """Commit changes: rename a journal into its place, then apply it."""
    lines = [
        [kind, name, None if value is None else encode(value)]
        for (kind, name), value in changes.items()
    ]
    draft = path / "journal.tmp"
    draft.write_text(json.dumps(lines))
    draft.replace(path / "journal.json")  # the commit
    finish(path)


def finish(path: Path) -> None:
    """Apply the journal, if there is one. Applying it twice does no harm."""
    journal = path / "journal.json"
    if not journal.exists():
        return
    for kind, name, text in json.loads(journal.read_text()):
        file = path / kind / f"{name}.json"
        if text is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(text)
    journal.unlink()


# Commit


def next_number(folder: Folder, changes: Changes, counter: str) -> int:
    """Draw the next number of a sequence, which the same transition stores."""
    last = folder.rows["counters"].get(counter, 0)
    number: int = changes.get(("counters", counter), last) + 1
    changes["counters", counter] = number
    return number


def decide(folder: Folder, transition: Transition) -> Changes | Conflict:
    """Return the files that a transition changes, or the conflict that forbids it."""
    at = transition.address
    changes: Changes = {}
    stored = folder.rows["instances"].get(name_of(at))
    fence = stored and stored.fence
    if transition.write != KeepInstance() and fence != transition.expected:
        return Conflict(str(at))
    fate = transition.inbound
    if fate is not None and not settle(folder, changes, fate):
        return Conflict(str(at))
    new = transition.new_keys
    if new is not None and any(recall(folder, at, key, new.at_ms) for key in new.keys):
        return Conflict(str(at))
    for message in transition.messages:
        number = next_number(folder, changes, "message")
        sent = StoredMessage(message_id=number, message=message)
        changes["messages", str(number)] = sent
    for remembered in transition.remember:
        store_key(folder, changes, at, remembered)
    append(folder, changes, transition.events)
    put_or_purge(folder, changes, transition, stored)
    return changes


def recall(folder: Folder, at: Address, key: str, now_ms: int) -> Remembered | None:
    """Return the answer of a key that has not expired."""
    found = folder.rows["keys"].get(name_of(at, key))
    expired = found is None or found.remembered.expires_ms <= now_ms
    return None if expired else found.remembered


def store_key(
    folder: Folder, changes: Changes, at: Address, remembered: Remembered
) -> None:
    """Number a key, and empty the answer of the one that is too many keys older."""
    name = name_of(at, remembered.key)
    stored = {name_of(at, one.remembered.key): one for one in keys_of(folder, at)}
    stored |= {name: one for (kind, name), one in changes.items() if kind == "keys"}
    held = {one.ordinal: one for one in stored.values()}
    ordinal = stored[name].ordinal if name in stored else max(held, default=0) + 1
    changes["keys", name] = Key(at, remembered, ordinal)
    older = held.get(ordinal - remembered.full_answers)
    if older is not None:
        emptied = attrs.evolve(older.remembered, answer="")
        changes["keys", name_of(at, emptied.key)] = Key(at, emptied, older.ordinal)


def keys_of(folder: Folder, at: Address) -> list[Key]:
    """Return the keys of an address."""
    return [one for one in folder.rows["keys"].values() if one.address == at]


def append(folder: Folder, changes: Changes, events: Sequence[Event]) -> None:
    """Append events to the log."""
    for event in events:
        number = next_number(folder, changes, "event")
        changes["events", str(number)] = LoggedEvent(sequence=number, event=event)


def settle(folder: Folder, changes: Changes, fate: MessageFate) -> bool:
    """Consume, postpone or dead-letter the inbound message; False if it is gone."""
    name = str(fate.message_id)
    stored = folder.rows["messages"].get(name)
    if stored is None:
        return False
    match fate:
        case Consumed():
            changes["messages", name] = None
        case Postponed(attempts=attempts, not_before_ms=not_before_ms):
            later = attrs.evolve(stored, attempts=attempts, not_before_ms=not_before_ms)
            later = attrs.evolve(later, error=fate.error, codes=fate.codes)
            changes["messages", name] = later
        case DeadLettered(attempts=attempts, error=error):
            changes["messages", name] = None
            changes["dead", name] = attrs.evolve(
                stored, attempts=attempts, not_before_ms=0, error=error, codes=()
            )
    return True


def put_or_purge(
    folder: Folder, changes: Changes, transition: Transition, stored: Instance | None
) -> None:
    """Replace the instance, or delete it with its messages to itself."""
    at = transition.address
    match transition.write:
        case Put(instance=instance):
            changes["instances", name_of(at)] = attrs.evolve(
                instance,
                incarnation=stored.incarnation
                if stored
                else next_number(folder, changes, "incarnation"),
                version=stored.version + 1 if stored else 1,
            )
        case Purge(own_messages=own_messages):
            changes["instances", name_of(at)] = None
            if own_messages == "dropped":
                drop_own(folder, changes, at)
        case KeepInstance():
            pass


def drop_own(folder: Folder, changes: Changes, at: Address) -> None:
    """Delete the messages of an instance to itself, those of this transition too."""
    for kind in ("messages", "dead"):
        new = {name: row for (of, name), row in changes.items() if of == kind}
        for name, row in {**folder.rows[kind], **new}.items():
            if row is not None and row.message.sender == row.message.target == at:
                changes[kind, name] = None


async def commit(folder: Folder, transition: Transition) -> Result[Fence, Conflict]:
    """Decide, write in a thread, show, answer."""
    changes = decide(folder, transition)
    if isinstance(changes, Conflict):
        return Failure(changes)
    await asyncio.to_thread(write, folder.path, changes)
    show(folder, changes)
    written = changes.get(("instances", name_of(transition.address)))
    return Success(Fence(0, 0) if written is None else written.fence)


# Read


def load(folder: Folder, request: Any) -> Result[Loaded, StoreCorrupt]:
    """Return an instance, the remembered answer, and the number of its keys."""
    at, key = request.address, request.idempotency_key
    if name_of(at) in folder.unreadable:
        return Failure(StoreCorrupt(str(at), "its file is not the JSON of an instance"))
    instance = folder.rows["instances"].get(name_of(at))
    if key is None:
        return Success(Loaded(instance=instance))
    remembered = recall(folder, at, key, request.now_ms)
    held = [one.ordinal for one in keys_of(folder, at)]
    number = max(held) - min(held) + 1 if held else 0
    return Success(Loaded(instance=instance, remembered=remembered, keys_held=number))


def due(
    folder: Folder, now_ms: int, limit: int, after: tuple[int, int] | None = None
) -> list[Instance]:
    """Return the due instances after a position, the earliest first."""
    found = [
        ((one.due_ms, one.incarnation), one)
        for one in folder.rows["instances"].values()
        if one.due_ms is not None and one.due_ms <= now_ms
    ]
    found.sort(key=lambda each: each[0])
    return [one for place, one in found if after is None or place > after][:limit]


def next_alarm(folder: Folder, after_ms: int) -> int | None:
    """Return the earliest alarm after an instant."""
    alarms = [one.due_ms for one in folder.rows["instances"].values()]
    later = [each for each in alarms if each is not None and each > after_ms]
    return min(later, default=None)


def claimed(folder: Folder, after: int, limit: int) -> list[Instance]:
    """Return a page of the claimed instances, by incarnation."""
    found = [
        one
        for one in folder.rows["instances"].values()
        if one.owner is not None and one.incarnation > after
    ]
    return sorted(found, key=lambda one: one.incarnation)[:limit]


def left_to(
    folder: Folder, codes: Mapping[tuple[str, str], str], limit: int
) -> list[Instance]:
    """Return the instances that code other than that of their job left."""
    found = []
    for one in folder.rows["instances"].values():
        code = codes.get((one.address.kind, one.address.name))
        if one.left is not None and code is not None and code not in one.left.codes:
            found.append(one)
    return found[:limit]


def in_order(rows: dict[str, Any]) -> list[Any]:
    """Return numbered rows by their numbers."""
    return [rows[name] for name in sorted(rows, key=int)]


def heads_of(folder: Folder) -> list[StoredMessage]:
    """Return the oldest message of each sender and target."""
    heads: dict[tuple[Address, Address], StoredMessage] = {}
    for stored in in_order(folder.rows["messages"]):
        heads.setdefault((stored.message.sender, stored.message.target), stored)
    return list(heads.values())


def messages(folder: Folder, now_ms: int, limit: int) -> list[StoredMessage]:
    """Return the oldest messages whose time has come."""
    return [one for one in heads_of(folder) if one.not_before_ms <= now_ms][:limit]


def messages_left_to(
    folder: Folder, codes: Mapping[tuple[str, str], str], limit: int
) -> list[StoredMessage]:
    """Return the oldest messages that code other than that of their target left."""
    found = []
    for one in heads_of(folder):
        target = one.message.target
        code = codes.get((target.kind, target.name))
        if one.codes and code is not None and code not in one.codes:
            found.append(one)
    return found[:limit]


def next_message(folder: Folder, after_ms: int) -> int | None:
    """Return the earliest instant after this one at which a message can be sent."""
    instants_ms = [one.not_before_ms for one in folder.rows["messages"].values()]
    return min((each for each in instants_ms if each > after_ms), default=None)


def dead_letters(folder: Folder, after_id: int, limit: int) -> list[StoredMessage]:
    """Return a page of the dead letters, by id."""
    dead = in_order(folder.rows["dead"])
    return [one for one in dead if one.message_id > after_id][:limit]


def find(folder: Folder, query: Query) -> list[Instance]:
    """Return a page of the instances that a query selects, by address."""
    found = sorted(folder.rows["instances"].values(), key=lambda one: one.address)
    return [one for one in found if is_selected(one, query)][: query.limit]


def is_selected(one: Instance, query: Query) -> bool:
    """Whether a query selects an instance."""
    job = (one.address.kind, one.address.name)
    wanted = (
        (query.kind, one.address.kind),
        (query.name, one.address.name),
        (query.status, one.status),
    )
    before_ms = query.due_before_ms
    return (
        all(asked is None or asked == is_ for asked, is_ in wanted)
        and (query.jobs is None or job in query.jobs)
        and job not in query.except_jobs
        and one.address.id.startswith(query.id_prefix)
        and (before_ms is None or (one.due_ms is not None and one.due_ms < before_ms))
        and (query.after is None or one.address > query.after)
    )


def events(folder: Folder, after: int, limit: int) -> list[LoggedEvent]:
    """Return a page of the log, the oldest first."""
    log = in_order(folder.rows["events"])
    return [one for one in log if one.sequence > after][:limit]


def history(
    folder: Folder, at: Address, before: int | None, limit: int
) -> list[LoggedEvent]:
    """Return a page of the events of an address, the newest first."""
    log = reversed(in_order(folder.rows["events"]))
    mine = [one for one in log if one.event.address == str(at)]
    return [one for one in mine if before is None or one.sequence < before][:limit]


# Maintain


def redrive(folder: Folder, message_id: int, events: Sequence[Event] = ()) -> str:
    """Turn a dead letter back into a message, and log events."""
    stored = folder.rows["dead"].get(str(message_id))
    if stored is None:
        return "not_found"
    living = attrs.evolve(stored, not_before_ms=0)
    name = str(message_id)
    changes: Changes = {("dead", name): None, ("messages", name): living}
    append(folder, changes, events)
    change(folder, changes)
    return "redriven"


def prune(folder: Folder, retention: Retention) -> int:
    """Delete expired keys, old dead letters and old events."""
    going = [
        ("keys", name)
        for name, one in folder.rows["keys"].items()
        if one.remembered.expires_ms <= retention.now_ms
    ]
    for name, one in folder.rows["dead"].items():
        if one.message.sent_ms < retention.dead_letters_since_ms:
            going.append(("dead", name))
    log = in_order(folder.rows["events"])
    for place, one in enumerate(log):
        is_new = one.event.at_ms >= retention.events_since_ms
        if is_new and len(log) - place <= retention.max_events:
            break
        going.append(("events", str(one.sequence)))
    going = going[: retention.limit]
    change(folder, dict.fromkeys(going))
    return len(going)


def health(folder: Folder) -> Health:
    """Report a closed store and unreadable rows."""
    if folder.closed:
        return Health(state="failed", detail="the store is closed")
    unreadable = ", ".join(folder.unreadable)
    return Health(state="degraded" if unreadable else "ok", detail=unreadable)


async def close(folder: Folder) -> Result[None, Any]:
    """Refuse further operations and release the lock."""
    folder.closed = True
    folder.lock.close()
    return Success(None)


# The record

NEEDED = [field.name for field in attrs.fields(Store) if field.default is attrs.NOTHING]
OPERATIONS = [name for name in NEEDED if name in globals()]
WRITING = ("commit", "redrive", "prune", "close")


def start(folder: Folder, name: str, *given: Any) -> asyncio.Task[Result[Any, Any]]:
    """Start an operation in a task of its own, which no caller can cancel."""

    async def run() -> Result[Any, Any]:
        async with folder.turn if name in WRITING else nullcontext():
            if folder.closed and name not in ("close", "health"):
                return Failure(StoreUnavailable(name, "it is closed"))
            found = globals()[name](folder, *given)
            found = await found if isinstance(found, Coroutine) else found
            if isinstance(found, Result):
                return found
            return Success(tuple(found) if isinstance(found, list) else found)

    return asyncio.ensure_future(run())


def operation(folder: Folder, name: str) -> Callable[..., Any]:
    """Return one function of the record."""

    def send(requests: Sequence[Any], tell: Callable[[list[Any]], None]) -> None:
        answers = asyncio.gather(*(start(folder, name, one) for one in requests))
        answers.add_done_callback(lambda done: tell(done.result()))

    if name in ("load", "commit"):
        return send
    return lambda *given: FutureResult(asyncio.shield(start(folder, name, *given)))


def open_json(path: Path) -> Store:
    """Open a directory as a store, and create it if it is absent."""
    folder = open_folder(path)
    operations: dict[str, Any] = {name: operation(folder, name) for name in OPERATIONS}
    return Store(
        name=f"json://{path}",
        epoch=folder.rows["counters"]["epoch"],
        capabilities=Capabilities(ownership="owned", durability="relaxed"),
        **operations,
    )


async def open_url(url: str, runtime: object) -> Store:  # noqa: ARG001 - it never waits
    """Open `json:///a/folder`: the entry point of the scheme."""
    return open_json(Path(url.removeprefix("json://")))


class JsonHarness:
    """A temporary directory, for the conformance suite."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="json-store-"))

    async def open(self) -> Store:
        """Open the store over the same data."""
        return open_json(self.path)

    async def discard(self) -> None:
        """Delete the data."""
        rmtree(self.path, ignore_errors=True)

    async def damage(self, address: Address) -> None:
        """Make one row unreadable."""
        (self.path / "instances" / f"{name_of(address)}.json").write_text("{")
