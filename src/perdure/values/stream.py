"""The rows of a stream: groups of chunks, as runs append and readers find them, and the items that readers see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import attrs
import orjson

from perdure.values.address import Address
from perdure.values.errors import InvalidArgument, InvalidInput
from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.frozen import frozen
from perdure.values.instance import Claim

TOO_LARGE: Final = b""
"""Replaces a chunk that no row can hold."""

StreamForm: TypeAlias = Literal["chunk", "again", "dropped"]
"""The form of an item: a ``chunk``, the mark that a step begins ``again``, or the place of ``dropped`` chunks."""


@frozen(kw_only=True)
class StreamGroup:
    """Chunks that one delivery of a run appends to a stream together: one row.

    Attributes:
        owner: the epoch in the run's claim.
        skipped: offsets before this group that have no chunks: they were dropped before they were stored.
        count: offsets in this group, at least 1.
        size: bytes in this group.
        body: the chunks, as `encoded_group` writes them.
        max_chunks: how many chunks the stream keeps.
        max_bytes: how many bytes it keeps.
    """

    __repr__ = fields_in_line

    address: Address
    incarnation: int
    owner: int
    run_id: str
    attempt: int
    deliveries: int
    stream: str
    count: int
    size: int
    body: str = attrs.field(repr=size_only)
    max_chunks: int
    max_bytes: int
    number: int = 0
    skipped: int = 0

    def is_of(self, claim: Claim | None) -> bool:
        """Return whether the delivery with this claim appends the group."""
        return claim is not None and (
            claim.owner == self.owner
            and claim.run_id == self.run_id
            and claim.attempt == self.attempt
            and claim.deliveries == self.deliveries
        )


@frozen
class StoredGroup:
    """A stored group.

    Attributes:
        first: the offset of its first chunk.
        last: the offset of its last chunk.
    """

    __repr__ = fields_in_line

    first: int
    last: int
    body: str = attrs.field(repr=size_only)


@frozen(kw_only=True)
class StreamItem:
    """One item that a reader sees. The values of a stream without its type are JSON text.

    Attributes:
        offset: its place in the stream. A reader continues after it.
        step: the step that emitted it, or that begins again. Empty outside of workflows.
        value: the chunk as JSON. Empty for the other forms.
        count: how many chunks were dropped. 0 for the other forms.
    """

    __repr__ = fields_in_line

    form: StreamForm
    offset: int
    step: str = ""
    value: str = attrs.field(default="", repr=size_only)
    count: int = 0


@frozen(kw_only=True)
class StreamPage:
    """The items that a reader gets at once.

    Attributes:
        items: the items, in order.
        after: the offset after which the reader continues.
        state: whether more may follow now: the instance is not ``there`` yet, ``runs``, or is at its ``end``.
    """

    __repr__ = fields_in_line

    items: tuple[StreamItem, ...]
    after: int
    state: Literal["absent", "runs", "end"]


def encoded_group(step: str, values: Sequence[bytes], *, again: bool) -> str:
    """Encode a group.

    Args:
        step: the step that emits.
        values: the encoded chunks, and `TOO_LARGE` for those that are dropped.
        again: whether a mark comes first, which has an offset of its own.
    """
    group: dict[str, object] = {"step": step, "again": again}
    group["values"] = [orjson.Fragment(each) if each else None for each in values]
    # Only if there are some. Earlier code, which does not read this, then refuses the group by the type of its values.
    if TOO_LARGE in values:
        group["dropped"] = [place for place, each in enumerate(values) if not each]
    return orjson.dumps(group).decode()


def items_of(groups: Sequence[StoredGroup], after: int, *, what: str) -> tuple[StreamItem, ...]:
    """Decode groups, and say where chunks are missing.

    Args:
        groups: successive groups.
        after: the reader's offset.
        what: names the stream in errors.

    Raises:
        InvalidInput: a group cannot be decoded.
    """
    found: list[StreamItem] = []
    for group in groups:
        if group.first > after + 1:
            found.append(StreamItem(form="dropped", offset=group.first - 1, count=group.first - after - 1))
        found += (item for item in _items(group, what) if item.offset > after)
        after = group.last
    return tuple(found)


def server_sent(item: StreamItem) -> bytes:
    """Return an item as a server-sent event, whose id is the offset."""
    data: dict[str, object] = {"step": item.step}
    if item.form == "chunk":
        data["value"] = orjson.Fragment(item.value)
    elif item.form == "dropped":
        data = {"count": item.count}
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (item.offset, item.form.encode(), orjson.dumps(data))


def offset_of(text: str) -> int:
    """Return the offset in a request for the items after it.

    Raises:
        InvalidArgument: there is none.
    """
    if text == "-1" or (text.isascii() and text.isdecimal() and len(text) < 19):  # noqa: PLR2004 - 64 bits
        return int(text)
    raise InvalidArgument("after", text, "the offset of the last item that the reader has, or -1")


def _items(group: StoredGroup, what: str) -> list[StreamItem]:
    try:
        parsed: Any = orjson.loads(group.body)
        step, again, values = parsed["step"], parsed["again"], parsed["values"]
        marks = [StreamItem(form="again", offset=group.first, step=step)] if again else []
        first, dropped = group.first + len(marks), frozenset(parsed.get("dropped", ()))
        chunks = (
            StreamItem(form="dropped", offset=first + place, count=1)
            if place in dropped
            else StreamItem(form="chunk", offset=first + place, step=step, value=orjson.dumps(value).decode())
            for place, value in enumerate(values)
        )
        found = [*marks, *chunks]
    except (orjson.JSONDecodeError, KeyError, TypeError) as problem:
        raise InvalidInput(what, (f"offsets {group.first} to {group.last}: not chunks: {problem}",)) from problem
    return found
