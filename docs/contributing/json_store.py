"""A store in a directory of JSON files: the example of "Write your own store"."""

import asyncio
import fcntl
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree
from typing import Any

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.stores.contract import Store
from perdure.stores.rows import event_body, from_json, logged_event, to_json
from perdure.stores.values import Capabilities, Health, LoggedEvent, Query, Retention
from perdure.values.address import Address, Job
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
    "holds": Address,
    "counters": int,
}
"""The folders, and the type of their files."""

Changes = dict[tuple[str, str], Any]
"""What one transition writes: (kind, name) and the value; None deletes the file."""


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


def locked(path: Path) -> Any:
    """Lock a directory until the process dies."""
    lock = (path / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise StoreLocked(f"json://{path}", "another process") from error
    return lock


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


# The store


def in_order(rows: dict[str, Any]) -> list[Any]:
    """Return numbered rows by their numbers."""
    return [rows[name] for name in sorted(rows, key=int)]


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


def in_thread(work: Callable[..., Any]) -> Callable[..., FutureResult[Any, Any]]:
    """Make an operation: it runs in the store's thread, after all that came before."""

    async def run(store: "JsonStore", *given: Any) -> Result[Any, Any]:
        if store.closed:
            return Failure(StoreUnavailable(work.__name__, "it is closed"))
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(store.thread, work, store, *given)
        return Success(tuple(found) if isinstance(found, list) else found)

    return lambda store, *given: FutureResult(run(store, *given))


class JsonStore(Store):
    """A directory and its rows, which are in memory while the store is open."""

    capabilities = Capabilities(ownership="owned", durability="relaxed")

    def __init__(self, path: Path) -> None:
        """Read the directory, lock it until the process dies, and count the opening."""
        for kind in KINDS:
            (path / kind).mkdir(parents=True, exist_ok=True)
        self.name, self.path, self.closed = f"json://{path}", path, False
        self.lock = locked(path)
        self.rows: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        self.unreadable: list[str] = []
        self.thread = ThreadPoolExecutor(max_workers=1)
        self.read_all()
        self.epoch = self.rows["counters"].get("epoch", 0) + 1
        self.change({("counters", "epoch"): self.epoch})

    def batch(self, work: Any, requests: Sequence[Any], answered: Any) -> None:
        """Run a batch in the thread, and call back with an answer for each request."""
        if self.closed:
            closed = Failure(StoreUnavailable(work.__name__, "it is closed"))
            answered([closed] * len(requests))
            return
        run = asyncio.get_running_loop().run_in_executor
        done = run(self.thread, lambda: [work(each) for each in requests])
        done.add_done_callback(lambda done: answered(done.result()))

    def load(self, requests: Sequence[Any], answered: Any) -> None:
        """Read instances and remembered answers."""
        self.batch(self.load_one, requests, answered)

    def commit(self, transitions: Sequence[Transition], answered: Any) -> None:
        """Write transitions, one after the other."""
        self.batch(self.commit_one, transitions, answered)

    def read_all(self) -> None:
        """Finish the last commit, then read every row."""
        finish(self.path)
        for kind in KINDS:
            for file in (self.path / kind).iterdir():
                try:
                    row = decode(kind, file.read_text(), str(file))
                except StoreCorrupt:
                    self.unreadable.append(file.stem)
                else:
                    self.rows[kind][file.stem] = row

    def change(self, changes: Changes) -> None:
        """Write changes to the disk, then show them in memory."""
        write(self.path, changes)
        self.show(changes)

    def show(self, changes: Changes) -> None:
        """Apply changes to the rows in memory."""
        for (kind, name), value in changes.items():
            if value is None:
                self.rows[kind].pop(name, None)
            else:
                self.rows[kind][name] = value

    # Commit
    def next_number(self, changes: Changes, counter: str) -> int:
        """Draw the next number of a sequence, which the same transition stores."""
        last = self.rows["counters"].get(counter, 0)
        number: int = changes.get(("counters", counter), last) + 1
        changes["counters", counter] = number
        return number

    def decide(self, transition: Transition) -> Changes | Conflict:
        """Return the files that a transition changes, or a conflict."""
        at = transition.address
        changes: Changes = {}
        stored = self.rows["instances"].get(name_of(at))
        fence = stored and stored.fence
        if transition.write != KeepInstance() and fence != transition.expected:
            return Conflict(str(at))
        fates: list[MessageFate] = [Consumed(one) for one in transition.consumed]
        fates += [transition.inbound] if transition.inbound else []
        if not all(self.settle(changes, fate) for fate in fates):
            return Conflict(str(at))
        new = transition.new_keys
        if new is not None and any(self.recall(at, key, new.at_ms) for key in new.keys):
            return Conflict(str(at))
        for message in transition.messages:
            number = self.next_number(changes, "message")
            sent = StoredMessage(message_id=number, message=message)
            changes["messages", str(number)] = sent
        for remembered in transition.remember:
            self.store_key(changes, at, remembered)
        self.append(changes, transition.events)
        self.put_or_purge(changes, transition, stored)
        return changes

    def recall(self, at: Address, key: str, now_ms: int) -> Remembered | None:
        """Return the answer of a key that has not expired."""
        found = self.rows["keys"].get(name_of(at, key))
        expired = found is None or found.remembered.expires_ms <= now_ms
        return None if expired else found.remembered

    def store_key(self, changes: Changes, at: Address, remembered: Remembered) -> None:
        """Number a key, and empty the answer of the one that is too many keys older."""
        name = name_of(at, remembered.key)
        stored = {name_of(at, one.remembered.key): one for one in self.keys_of(at)}
        stored |= {name: one for (kind, name), one in changes.items() if kind == "keys"}
        held = {one.ordinal: one for one in stored.values()}
        ordinal = stored[name].ordinal if name in stored else max(held, default=0) + 1
        changes["keys", name] = Key(at, remembered, ordinal)
        older = held.get(ordinal - remembered.full_answers)
        if older is not None:
            emptied = attrs.evolve(older.remembered, answer="")
            changes["keys", name_of(at, emptied.key)] = Key(at, emptied, older.ordinal)

    def keys_of(self, at: Address) -> list[Key]:
        """Return the keys of an address."""
        return [one for one in self.rows["keys"].values() if one.address == at]

    def append(self, changes: Changes, events: Sequence[Event]) -> None:
        """Append events to the log."""
        for event in events:
            number = self.next_number(changes, "event")
            changes["events", str(number)] = LoggedEvent(sequence=number, event=event)

    def settle(self, changes: Changes, fate: MessageFate) -> bool:
        """Consume, postpone or dead-letter the inbound message; False if it is gone."""
        name = str(fate.message_id)
        stored = self.rows["messages"].get(name)
        if stored is None:
            return False
        match fate:
            case Consumed():
                changes["messages", name] = None
            case Postponed(deliveries=deliveries, not_before_ms=not_before_ms):
                later = attrs.evolve(
                    stored, deliveries=deliveries, not_before_ms=not_before_ms
                )
                later = attrs.evolve(later, error=fate.error, codes=fate.codes)
                changes["messages", name] = later
            case DeadLettered(deliveries=deliveries, error=error):
                changes["messages", name] = None
                changes["dead", name] = attrs.evolve(
                    stored,
                    deliveries=deliveries,
                    not_before_ms=0,
                    error=error,
                    codes=(),
                )
        return True

    def put_or_purge(
        self, changes: Changes, transition: Transition, stored: Instance | None
    ) -> None:
        """Replace the instance, or delete it with its messages to itself."""
        at = transition.address
        match transition.write:
            case Put(instance=instance):
                changes["instances", name_of(at)] = attrs.evolve(
                    instance,
                    incarnation=stored.incarnation
                    if stored
                    else self.next_number(changes, "incarnation"),
                    version=stored.version + 1 if stored else 1,
                )
            case Purge(own_messages=own_messages):
                changes["instances", name_of(at)] = None
                if own_messages == "dropped":
                    self.drop_own(changes, at)
            case KeepInstance():
                pass

    def drop_own(self, changes: Changes, at: Address) -> None:
        """Delete the messages of an instance to itself, also new ones."""
        for kind in ("messages", "dead"):
            new = {name: row for (of, name), row in changes.items() if of == kind}
            for name, row in {**self.rows[kind], **new}.items():
                if row is not None and row.message.sender == row.message.target == at:
                    changes[kind, name] = None

    def commit_one(self, transition: Transition) -> Result[Fence, Conflict]:
        """Decide, write, show, answer."""
        changes = self.decide(transition)
        if isinstance(changes, Conflict):
            return Failure(changes)
        self.change(changes)
        written = changes.get(("instances", name_of(transition.address)))
        return Success(Fence(0, 0) if written is None else written.fence)

    # Read
    def load_one(self, request: Any) -> Result[Loaded, StoreCorrupt]:
        """Return an instance, the remembered answer, and the number of its keys."""
        at, key = request.address, request.idempotency_key
        if name_of(at) in self.unreadable:
            return Failure(
                StoreCorrupt(str(at), "its file is not the JSON of an instance")
            )
        instance = self.rows["instances"].get(name_of(at))
        if key is None:
            return Success(Loaded(instance=instance))
        remembered = self.recall(at, key, request.now_ms)
        held = [one.ordinal for one in self.keys_of(at)]
        number = max(held) - min(held) + 1 if held else 0
        return Success(
            Loaded(instance=instance, remembered=remembered, keys_held=number)
        )

    @in_thread
    def due(
        self,
        now_ms: int,
        limit: int,
        after: tuple[int, int] | None = None,
        except_jobs: tuple[Job, ...] = (),
    ) -> list[Instance]:
        """Return the due instances after a position, the earliest first."""
        found = sorted(
            ((one.due_ms, one.incarnation), one)
            for one in self.rows["instances"].values()
            if one.due_ms is not None
            and one.due_ms <= now_ms
            and (one.address.kind, one.address.name) not in except_jobs
        )
        return [one for place, one in found if after is None or place > after][:limit]

    @in_thread
    def next_alarm(self, after_ms: int) -> int | None:
        """Return the earliest alarm after an instant."""
        alarms = [one.due_ms for one in self.rows["instances"].values()]
        later = [each for each in alarms if each is not None and each > after_ms]
        return min(later, default=None)

    @in_thread
    def claimed(self, after: int, limit: int) -> list[Instance]:
        """Return a page of the claimed instances, by incarnation."""
        found = [
            one
            for one in self.rows["instances"].values()
            if one.owner is not None and one.incarnation > after
        ]
        return sorted(found, key=lambda one: one.incarnation)[:limit]

    @in_thread
    def left_to(
        self, codes: Mapping[tuple[str, str], str], limit: int
    ) -> list[Instance]:
        """Return the instances that code other than that of their job left."""
        found = []
        for one in self.rows["instances"].values():
            code = codes.get((one.address.kind, one.address.name))
            if one.left is not None and code is not None and code not in one.left.codes:
                found.append(one)
        return found[:limit]

    def heads_of(self) -> list[StoredMessage]:
        """Return the oldest message of each sender and target."""
        heads: dict[tuple[Address, Address], StoredMessage] = {}
        for stored in in_order(self.rows["messages"]):
            heads.setdefault((stored.message.sender, stored.message.target), stored)
        return list(heads.values())

    @in_thread
    def messages(
        self, now_ms: int, limit: int, except_jobs: tuple[Job, ...] = ()
    ) -> list[StoredMessage]:
        """Return the oldest messages whose time has come, not those to some jobs."""
        found = [one for one in self.heads_of() if one.not_before_ms <= now_ms]
        others = [
            one
            for one in found
            if (one.message.target.kind, one.message.target.name) not in except_jobs
        ]
        return others[:limit]

    @in_thread
    def messages_left_to(
        self, codes: Mapping[tuple[str, str], str], limit: int
    ) -> list[StoredMessage]:
        """Return the oldest messages that code other than that of their target left."""
        found = []
        for one in self.heads_of():
            target = one.message.target
            code = codes.get((target.kind, target.name))
            if one.codes and code is not None and code not in one.codes:
                found.append(one)
        return found[:limit]

    @in_thread
    def next_message(self, after_ms: int) -> int | None:
        """Return the earliest instant after this one at which a message can be sent."""
        instants_ms = [one.not_before_ms for one in self.rows["messages"].values()]
        return min((each for each in instants_ms if each > after_ms), default=None)

    @in_thread
    def dead_letters(self, after_id: int, limit: int) -> list[StoredMessage]:
        """Return a page of the dead letters, by id."""
        dead = in_order(self.rows["dead"])
        return [one for one in dead if one.message_id > after_id][:limit]

    @in_thread
    def find(self, query: Query) -> list[Instance]:
        """Return a page of the instances that a query selects, by address."""
        found = sorted(self.rows["instances"].values(), key=lambda one: one.address)
        return [one for one in found if is_selected(one, query)][: query.limit]

    @in_thread
    def events(self, after: int, limit: int) -> list[LoggedEvent]:
        """Return a page of the log, the oldest first."""
        log = in_order(self.rows["events"])
        return [one for one in log if one.sequence > after][:limit]

    @in_thread
    def history(self, at: Address, before: int | None, limit: int) -> list[LoggedEvent]:
        """Return a page of the events of an address, the newest first."""
        log = reversed(in_order(self.rows["events"]))
        mine = [one for one in log if one.event.address == str(at)]
        return [one for one in mine if before is None or one.sequence < before][:limit]

    # Maintain
    @in_thread
    def redrive(self, message_id: int, events: Sequence[Event] = ()) -> str:
        """Turn a dead letter back into a message, and log events."""
        stored = self.rows["dead"].get(str(message_id))
        if stored is None:
            return "not_found"
        living = attrs.evolve(stored, not_before_ms=0)
        name = str(message_id)
        changes: Changes = {("dead", name): None, ("messages", name): living}
        self.append(changes, events)
        self.change(changes)
        return "redriven"

    @in_thread
    def prune(self, retention: Retention) -> int:
        """Delete expired keys, old dead letters and old events."""
        going = [
            ("keys", name)
            for name, one in self.rows["keys"].items()
            if one.remembered.expires_ms <= retention.now_ms
        ]
        for name, one in self.rows["dead"].items():
            if one.message.sent_ms < retention.dead_letters_since_ms:
                going.append(("dead", name))
        log = in_order(self.rows["events"])
        for place, one in enumerate(log):
            is_new = one.event.at_ms >= retention.events_since_ms
            if is_new and len(log) - place <= retention.max_events:
                break
            going.append(("events", str(one.sequence)))
        going = going[: retention.limit]
        self.change(dict.fromkeys(going))
        return len(going)

    @in_thread
    def holds(self) -> list[Job]:
        """Return the held jobs."""
        return sorted((one.kind, one.name) for one in self.rows["holds"].values())

    @in_thread
    def set_hold(self, job: Job, hold: str) -> str:
        """Hold or release a job."""
        name = name_of(*job)
        if (name in self.rows["holds"]) == (hold == "held"):
            return "unchanged"
        row = Address(*job, "") if hold == "held" else None
        self.change({("holds", name): row})
        return "changed"

    def health(self) -> FutureResult[Health, Any]:
        """Report a closed store and unreadable rows."""
        detail = "the store is closed" if self.closed else ", ".join(self.unreadable)
        state = "failed" if self.closed else "degraded" if detail else "ok"
        return FutureResult.from_value(Health(state=state, detail=detail))

    def close(self) -> FutureResult[None, Any]:
        """Refuse further operations, wait for the others, and release the lock."""
        self.closed = True
        released = self.thread.submit(self.lock.close)

        async def waited() -> Result[None, Any]:
            await asyncio.shield(asyncio.wrap_future(released))
            return Success(None)

        return FutureResult(waited())


async def open_url(url: str, runtime: object) -> Store:  # noqa: ARG001 - it never waits
    """Open `json:///a/folder`: the entry point of the scheme."""
    return JsonStore(Path(url.removeprefix("json://")))


class JsonHarness:
    """A temporary directory, for the conformance suite."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="json-store-"))

    async def open(self) -> Store:
        """Open the store over the same data."""
        return JsonStore(self.path)

    async def discard(self) -> None:
        """Delete the data."""
        rmtree(self.path, ignore_errors=True)

    async def damage(self, address: Address) -> None:
        """Make one row unreadable."""
        (self.path / "instances" / f"{name_of(address)}.json").write_text("{")
