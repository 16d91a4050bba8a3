"""An image of a store: its instances, journals and messages at one moment, as plain values."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Final, TypeAlias

import attrs
import orjson

from perdure.stores import at_rest
from perdure.stores.at_rest import StoreReader
from perdure.stores.encryption.sealed_store import RecordCipher
from perdure.stores.rows import from_json, to_json
from perdure.values.address import Address, Job
from perdure.values.errors import StoreCorrupt
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage

MOST_INSTANCES: Final = 100_000
"""How many instances an image keeps in memory. The instances beyond it are left out, by a hash of the address."""

_HOLDS: Final = "SELECT kind, name FROM perdure.holds ORDER BY kind, name"

Matches: TypeAlias = Callable[[Address], bool]
"""Whether an instance belongs to the rehearsal."""


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
        unreadable: rows that could not be decoded, and are left out.
    """

    __repr__ = fields_in_line

    at_ms: int
    epoch: int
    instances: Mapping[Address, tuple[Instance, tuple[str, ...]]]
    messages: tuple[StoredMessage, ...] = ()
    holds: tuple[Job, ...] = ()
    total: int
    unreadable: int = 0

    def __contains__(self, address: Address) -> bool:
        return address in self.instances

    def with_only(self, chosen: Iterable[Address]) -> Image:
        """Return the image with some of its instances, and the messages that these receive.

        Args:
            chosen: the instances.
        """
        kept = {address: self.instances[address] for address in chosen}
        messages = tuple(each for each in self.messages if each.message.target in kept)
        return attrs.evolve(self, instances=kept, messages=messages)

    def to_json(self) -> bytes:
        """Encode the image, for another process."""
        return orjson.dumps(
            {
                "at_ms": self.at_ms,
                "epoch": self.epoch,
                "instances": [[to_json(one), journal] for one, journal in self.instances.values()],
                "messages": [to_json(message) for message in self.messages],
                "holds": self.holds,
                "total": self.total,
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
            unreadable=data["unreadable"],
        )


def _every(_: Address) -> bool:
    return True


def read_image(
    reader: StoreReader,
    *,
    matches: Matches = _every,
    records: RecordCipher | None = None,
    most: int = MOST_INSTANCES,
) -> Image:
    """Read an image of a store, in one read transaction.

    It takes no lock and writes nothing. Messages to instances outside of the image are left out.

    Args:
        reader: an open reader.
        matches: which instances belong to it.
        records: decrypts rows. None if the app does not encrypt.
        most: how many instances it keeps. Those beyond are left out, by a hash of the address.

    Raises:
        StoreError: the store cannot be read.
    """
    with reader.moment() as page_read:
        kept, total, unreadable, latest_ms = _instances(reader, matches, most, page_read)
        rows: dict[Address, tuple[Instance, tuple[str, ...]]] = {}
        for address, instance in sorted(kept.items(), key=lambda pair: pair[1].incarnation):
            rows[address] = instance, _journal(reader, instance)
            page_read()
        messages: list[StoredMessage] = []
        for page in at_rest.messages(reader):
            page_read()
            unreadable += sum(isinstance(row, StoreCorrupt) for row in page)
            messages += [row for row in page if not isinstance(row, StoreCorrupt) and row.message.target in rows]
        holds = tuple((kind, name) for kind, name in reader.rows(_HOLDS))
        epoch = at_rest.latest_epoch(reader)
    if records is not None:
        rows = {address: _decrypted(records, *row) for address, row in rows.items()}
        messages = [records.message(each) for each in messages]
    return Image(
        at_ms=latest_ms,
        epoch=epoch,
        instances=rows,
        messages=tuple(messages),
        holds=holds,
        total=total,
        unreadable=unreadable,
    )


def _instances(
    reader: StoreReader, matches: Matches, most: int, page_read: Callable[[], None]
) -> tuple[dict[Address, Instance], int, int, int]:
    kept: dict[Address, Instance] = {}
    last: list[tuple[int, Address]] = []  # a heap with the largest hash first
    total = unreadable = latest_ms = 0
    for page in at_rest.instances(reader):
        page_read()
        for row in page:
            if isinstance(row.instance, StoreCorrupt):
                unreadable += 1
                continue
            latest_ms = max(latest_ms, row.instance.updated_ms)
            if not matches(row.address):
                continue
            total += 1
            kept[row.address] = row.instance
            heapq.heappush(last, (-number_of(0, "image", row.address), row.address))
            if len(last) > most:
                del kept[heapq.heappop(last)[1]]
    return kept, total, unreadable, latest_ms


def _journal(reader: StoreReader, instance: Instance) -> tuple[str, ...]:
    return (at_rest.journal(reader, instance) or ()) if instance.journal_length else ()


def _decrypted(records: RecordCipher, instance: Instance, journal: tuple[str, ...]) -> tuple[Instance, tuple[str, ...]]:
    at = str(instance.address)
    return records.instance(instance), records.journal(journal, at, 0)


# ---------------------------------------------------------------- numbers that depend on their purpose
def number_of(seed: int, *parts: object) -> int:
    """Return a 64-bit number that depends on these values alone, in each process.

    A rehearsal draws its random numbers like this, never from one stream: a change to one instance must not change the
    luck of the others.
    """
    text = "\0".join(map(str, (seed, *parts)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


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
        ordered = sorted(members, key=lambda address: number_of(seed, "sample", address))
        deep.update(ordered[:sample])
    counts = Counter((each.kind, each.name) for each in image.instances)
    of_deep = Counter((each.kind, each.name) for each in deep)
    shallow = frozenset(image.instances.keys() - deep) if rest else frozenset[Address]()
    return Chosen(frozenset(deep), shallow, {job: (number, of_deep[job]) for job, number in counts.items()})
