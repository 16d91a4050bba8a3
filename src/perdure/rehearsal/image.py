"""An image of a store: its instances, journals and messages at one moment, as plain values."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeAlias

import attrs
import orjson

from perdure.app import App
from perdure.jobs.attributes import keys_of, types_of
from perdure.rehearsal.past import MOST_REQUESTS, NO_PAST, PastEvents, PastRequest, number_of, requests_since
from perdure.stores import at_rest
from perdure.stores.at_rest import StoreReader
from perdure.stores.encryption.sealed_store import RecordCipher
from perdure.stores.rows import from_json, to_json
from perdure.stores.snapshots import read_journals, read_snapshots
from perdure.values.address import Address, Job
from perdure.values.attributes import Attribute, Condition, checked_where, key_ranges
from perdure.values.errors import InvalidArgument, StoreCorrupt
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage
from perdure.values.times import Duration

MOST_INSTANCES: Final = 100_000
"""How many instances an image keeps in memory. The instances beyond it are left out, by a hash of the address."""

DAY_MS: Final = 86_400_000

_HOLDS: Final = "SELECT kind, name FROM perdure.holds ORDER BY kind, name"

Matches: TypeAlias = Callable[[Address], bool]
"""Whether an address belongs to the rehearsal."""

Meets: TypeAlias = Callable[[Instance], bool]
"""Whether a decrypted instance belongs to the rehearsal."""


def every(_: object) -> bool:
    """Return True: every address and every instance belongs to the rehearsal."""
    return True


def meeting(app: App[Any], job: str, where: Sequence[Condition | Attribute[Any, bool] | str]) -> Meets:
    """Return whether an instance is one of a job, and its attributes meet all conditions.

    Args:
        app: has the job, whose functions compute the attributes.
        job: the job, printed ``kind:name``.
        where: the conditions, as lists have them.

    Raises:
        InvalidArgument: there is no such job, or a condition does not fit it.
    """
    kind, _, name = job.partition(":")
    definition = app.served.get((kind, name))
    if definition is None:
        raise InvalidArgument("where", job, "a job of the app: its code knows the attributes")
    ranges = {one.attribute: one for one in key_ranges(types_of(definition), checked_where(where, "where"), job)}

    def meets(instance: Instance) -> bool:
        if (instance.address.kind, instance.address.name) != (kind, name):
            return False
        keys = dict(keys_of(definition, instance))
        return all((key := keys[one]) is not None and key in wanted for one, wanted in ranges.items())

    return meets


@attrs.frozen(kw_only=True)
class Image:
    """The contents of a store at one moment.

    Attributes:
        at_ms: the moment: the latest change in the store, in milliseconds since 1970 UTC.
        epoch: the number of the latest opening.
        instances: the instances, each with its journal.
        messages: the undelivered messages between them.
        holds: the held jobs.
        total: how many instances the store has that match the filter.
        stored: how many instances the store has.
        unreadable: rows that could not be decoded, and are left out.
        history: the requests that the instances have accepted from outside, if the image was read with them.
        covers_ms: how much time they cover, in milliseconds.
        unread: how many more requests the history has, beyond the limit.
    """

    __repr__ = fields_in_line

    at_ms: int
    epoch: int
    instances: Mapping[Address, tuple[Instance, tuple[str, ...]]]
    messages: tuple[StoredMessage, ...] = ()
    holds: tuple[Job, ...] = ()
    total: int
    stored: int = 0
    unreadable: int = 0
    history: tuple[PastRequest, ...] = ()
    covers_ms: int = 0
    unread: int = 0

    def __contains__(self, address: Address) -> bool:
        return address in self.instances

    def with_only(self, chosen: Iterable[Address]) -> Image:
        """Return the image with some of its instances, and the messages that these receive.

        Args:
            chosen: the instances.
        """
        kept = {address: self.instances[address] for address in chosen}
        # A message to an instance that is not there would create it, without its state.
        messages = tuple(each for each in self.messages if each.message.target in kept)
        return attrs.evolve(self, instances=kept, messages=messages)

    def to_json(self) -> bytes:
        """Encode the image without its history, for another process."""
        return orjson.dumps(
            {
                "at_ms": self.at_ms,
                "epoch": self.epoch,
                "instances": [[to_json(one), journal] for one, journal in self.instances.values()],
                "messages": [to_json(message) for message in self.messages],
                "holds": self.holds,
                "total": self.total,
                "stored": self.stored,
                "unreadable": self.unreadable,
            }
        )

    @classmethod
    def from_json(cls, text: bytes | str) -> Image:
        """Decode an image that another process has encoded with the same version of perdure.

        Args:
            text: the other process's `to_json`.
        """
        data = orjson.loads(text)
        rows = [
            (from_json(Instance, one, what="instance of an image"), tuple(journal))
            for one, journal in data["instances"]
        ]
        return cls(
            at_ms=data["at_ms"],
            epoch=data["epoch"],
            instances={one.address: (one, journal) for one, journal in rows},
            messages=tuple(from_json(StoredMessage, each, what="message of an image") for each in data["messages"]),
            holds=tuple((kind, name) for kind, name in data["holds"]),
            total=data["total"],
            stored=data["stored"],
            unreadable=data["unreadable"],
        )

    @classmethod
    def from_snapshot(cls, data: bytes, *, what: str, matches: Matches = every, meets: Meets = every) -> Image:
        """Read a file that ``perdure snapshot`` has written: some instances, without messages, holds and requests.

        An instance whose journal the file leaves out is left out, and counts as ``unreadable``.

        Args:
            data: the file's contents.
            what: the file's name in error messages.
            matches: which addresses belong to the image.
            meets: which instances of these belong to it.

        Raises:
            StoreCorrupt: it is not a snapshot file, or has another format.
        """
        rows, journals = read_snapshots(data, what=what), read_journals(data, what=what)
        wanted = [row for row in rows if matches(row.address) and meets(row)]
        # A workflow without its whole journal would be replayed from its beginning, and would perform every effect
        # again.
        whole = {
            row.address: (row, journal)
            for row in wanted
            # A snapshot leaves out a journal that has secrets.
            if len(journal := journals.get(str(row.address), ())) == row.journal_length
        }
        return cls(
            at_ms=max((row.updated_ms for row in rows), default=0),
            epoch=0,
            instances=whole,
            total=len(wanted),
            stored=len(rows),
            unreadable=len(wanted) - len(whole),
        )


def read_image(
    reader: StoreReader,
    *,
    matches: Matches = every,
    meets: Meets = every,
    records: RecordCipher | None = None,
    most: int = MOST_INSTANCES,
    history: Duration | None = None,
    most_requests: int = MOST_REQUESTS,
) -> Image:
    """Read an image of a store, in one read transaction.

    It takes no lock and writes nothing. Messages to instances outside of the image are left out.

    Args:
        reader: an open reader.
        matches: which addresses belong to it.
        meets: which instances of these belong to it.
        records: decrypts rows. None if the app does not encrypt.
        most: how many instances it keeps. Those beyond are left out, by a hash of the address.
        history: how far back requests from outside are read, to repeat them. None: they are not read.
        most_requests: how many of these requests it keeps. Beyond, it keeps those to some instances, by a hash.

    Raises:
        StoreError: the store cannot be read.
    """
    with reader.moment() as page_read:
        log = PastEvents(reader, records, page_read)
        past = NO_PAST if history is None else requests_since(log, history, matches, most=most_requests)
        noted = {each.address for each in past.requests}
        read = _instances(reader, _Wanted(matches, meets, records, most, noted), page_read)
        rows: dict[Address, tuple[Instance, tuple[str, ...]]] = {}
        for address, instance in sorted(read.kept.items(), key=lambda pair: pair[1].incarnation):
            rows[address] = instance, _journal(reader, instance)
            page_read()
        messages: list[StoredMessage] = []
        unreadable = read.unreadable
        for page in at_rest.messages(reader):
            page_read()
            unreadable += sum(isinstance(row, StoreCorrupt) for row in page)
            messages += [row for row in page if not isinstance(row, StoreCorrupt) and row.message.target in rows]
        holds = tuple((kind, name) for kind, name in reader.rows(_HOLDS))
        epoch = at_rest.latest_epoch(reader)
    if records is not None:
        # After the read transaction: decryption takes long, and an open snapshot keeps the log of a SQLite file from
        # shrinking.
        rows = {address: _decrypted(records, *row) for address, row in rows.items()}
        messages = [records.message(each) for each in messages]
    return Image(
        at_ms=max(read.latest_ms, past.last_ms),
        epoch=epoch,
        instances=rows,
        messages=tuple(messages),
        holds=holds,
        total=read.total,
        stored=read.stored,
        unreadable=unreadable,
        # Without those to instances that the filter or the limit left out. Those to instances that have ended since
        # stay.
        history=tuple(each for each in past.requests if each.address not in read.others),
        covers_ms=past.covers_ms,
        unread=past.left_out,
    )


@attrs.define
class _Instances:
    """The instances of an image, and the numbers that were counted while they were read."""

    kept: dict[Address, Instance] = attrs.Factory(dict[Address, Instance])
    others: set[Address] = attrs.Factory(set[Address])
    total: int = 0
    stored: int = 0
    unreadable: int = 0
    latest_ms: int = 0


@attrs.frozen
class _Wanted:
    """Which instances an image has."""

    matches: Matches
    meets: Meets
    records: RecordCipher | None
    most: int
    noted: AbstractSet[Address]  # those whose requests the history has

    def has(self, instance: Instance) -> bool:
        """Return whether the image has an instance."""
        if not self.matches(instance.address):
            return False
        # Only a filter that reads the state needs the row decrypted.
        if self.meets is every or self.records is None:
            return self.meets(instance)
        return self.meets(self.records.instance(instance))


def _instances(reader: StoreReader, wanted: _Wanted, page_read: Callable[[], None]) -> _Instances:
    read = _Instances()
    kept = read.kept
    last: list[tuple[int, Address]] = []  # a heap with the largest hash first
    for page in at_rest.instances(reader):
        page_read()
        for row in page:
            if isinstance(row.instance, StoreCorrupt):
                read.unreadable += 1
                continue
            # Of all instances, the unwanted too: it is the moment of the store.
            read.latest_ms = max(read.latest_ms, row.instance.updated_ms)
            read.stored += 1
            if not wanted.has(row.instance):
                read.others |= {row.address} & wanted.noted
                continue
            read.total += 1
            kept[row.address] = row.instance
            # Those with the smallest hashes stay. The same instances are kept whatever the order of the pages.
            heapq.heappush(last, (-number_of(0, "image", row.address), row.address))
            if len(last) > wanted.most:
                left = heapq.heappop(last)[1]
                del kept[left]
                read.others |= {left} & wanted.noted
    return read


def _journal(reader: StoreReader, instance: Instance) -> tuple[str, ...]:
    return (at_rest.journal(reader, instance) or ()) if instance.journal_length else ()


def _decrypted(records: RecordCipher, instance: Instance, journal: tuple[str, ...]) -> tuple[Instance, tuple[str, ...]]:
    at = str(instance.address)
    return records.instance(instance), records.journal(journal, at, 0)


# ---------------------------------------------------------------- samples
def share_of(number: int) -> float:
    """Return a number from [0, 1) that a 64-bit number decides."""
    return (number >> 11) / (1 << 53)


# ---------------------------------------------------------------- samples
Class: TypeAlias = tuple[str, str, int, str, int]
"""Kind, job, state version, status and journal length: instances that probably behave alike."""


def classes_of(image: Image) -> Mapping[Class, list[Address]]:
    """Return the instances by class."""
    found: defaultdict[Class, list[Address]] = defaultdict(list)
    for address, (one, journal) in image.instances.items():
        # Above 50 rows, the exact length says little, and would make a class of each workflow.
        found[address.kind, address.name, one.state_version, one.status, min(len(journal), 50)].append(address)
    return found


@attrs.frozen
class Chosen:
    """Which instances of an image are rehearsed.

    Attributes:
        deep: to the end of the rehearsal.
        shallow: for their next few runs.
        jobs: how many instances of each job the image has, and how many of them are deep.
    """

    deep: frozenset[Address]
    shallow: frozenset[Address]
    jobs: Mapping[Job, tuple[int, int]]

    def __iter__(self) -> Iterator[Address]:
        return iter(self.deep | self.shallow)


def chosen_from(image: Image, *, sample: int | None, seed: int, rest: bool) -> Chosen:
    """Choose instances: so many of each class to the end, by a hash of their address, and the others for a few runs.

    Args:
        image: the image.
        sample: how many of each class. None: all.
        seed: the seed.
        rest: whether the others are rehearsed for a few runs.
    """
    deep: set[Address] = set()
    for members in classes_of(image).values():
        # A larger sample contains the smaller one, so that a second look only adds.
        ordered = sorted(members, key=lambda address: number_of(seed, "sample", address))
        deep.update(ordered[:sample])
    counts = Counter((each.kind, each.name) for each in image.instances)
    of_deep = Counter((each.kind, each.name) for each in deep)
    shallow = frozenset(image.instances.keys() - deep) if rest else frozenset[Address]()
    return Chosen(frozenset(deep), shallow, {job: (number, of_deep[job]) for job, number in counts.items()})
