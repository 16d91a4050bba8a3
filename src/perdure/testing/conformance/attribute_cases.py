"""Cases about attributes: keys beside instances, their ranges, and how an attribute is cleared, filled and whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from perdure.stores.attributes import StoredAttributes
from perdure.stores.contract import Store, commit_one
from perdure.stores.shares import ServedCode
from perdure.stores.values import FilledPage, FilledRow, Query
from perdure.testing.conformance.assertions import failure, holds, same, value
from perdure.testing.conformance.harness import Case, NewHarness, in_harness, in_store, opened, present
from perdure.testing.conformance.histories import address, put
from perdure.testing.conformance.requirements import (
    ATTRIBUTES_COMMIT,
    ATTRIBUTES_FIND,
    CLEAR,
    CLEAR_DOUBT,
    CONFLICT_LEAVES_NOTHING,
    COUNT_MATCHES,
    DECLARE,
    DECLARE_DOUBT,
    DURABLE,
    FILL,
    FILL_OTHERS,
    KNOWN,
    PAGES,
    TEXT,
)
from perdure.testing.conformance.sharing_cases import sharing, two_openings
from perdure.values.address import Address
from perdure.values.attributes import FAILED, FOUND, AttributeKeys, KeyRange, StoredAttribute
from perdure.values.errors import Conflict
from perdure.values.instance import Fence
from perdure.values.transition import Purge, Transition

JOB: Final = ("task", "orders")
ALL: Final = 1_000
A, B = address("a"), address("b")


def _key(text: str) -> str:
    return FOUND + text


def _only(attribute: str, text: str) -> KeyRange:
    return KeyRange(attribute, _key(text), f"{_key(text)}\0")


async def _put(store: Store, at: Address, expected: Fence | None, **keys: str | None) -> Fence:
    changed = tuple((name, None if text is None else _key(text)) for name, text in keys.items())
    transition = put(at, expected)
    return await value(
        commit_one(
            store,
            Transition(address=at, expected=expected, write=transition.write, attributes=changed),
        )
    )


async def _ids(store: Store, *where: KeyRange, **conditions: object) -> list[str]:
    given: Mapping[str, object] = {"limit": ALL} | conditions
    query = Query(kind=JOB[0], name=JOB[1], where=where, **given)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - of its fields
    found = [one.address.id for one in await value(store.find(query))]
    searched = await value(store.search(query, ALL))
    same([one.address.id for one in searched.instances], found, "a search finds the same")
    if "after" not in conditions and "limit" not in conditions:
        counted = await value(present(store.attributes).count(query))
        same(counted, len(found), f"the number of instances that match {where}")
    return found


async def _whole(store: Store, declared: Mapping[str, str], rows: Sequence[FilledRow] = ()) -> None:
    """Declare attributes, clear them, and fill them with these rows."""
    attributes = present(store.attributes)
    await value(attributes.declare({JOB: declared}))
    for one in await value(attributes.known()):
        if one.state == "clearing":
            while await value(attributes.clear(JOB, one.attribute, 2)) == 2:  # noqa: PLR2004 - the limit
                pass
    filling = tuple(one for one in await value(attributes.known()) if one.state == "filling")
    page = FilledPage(generations=_generations(filling), rows=tuple(rows), rest="none")
    same(await value(attributes.fill(JOB, page)), (), "all instances are written")


def _generations(known: Sequence[StoredAttribute]) -> tuple[tuple[str, int], ...]:
    return tuple((one.attribute, one.generation) for one in known)


async def _states(attributes: StoredAttributes) -> dict[str, str]:
    return {one.attribute: one.state for one in await value(attributes.known())}


def _row(at: Address, fence: Fence, keys: AttributeKeys) -> FilledRow:
    return FilledRow(id=at.id, incarnation=fence.incarnation, version=fence.version, keys=keys)


@in_store(ATTRIBUTES_COMMIT, ATTRIBUTES_FIND, COUNT_MATCHES, CONFLICT_LEAVES_NOTHING)
async def a_commit_keeps_the_attributes_of_its_instance(store: Store) -> None:
    """They are written, changed and deleted with it, and a refused commit changes none."""
    await _whole(store, {"tenant": "1", "size": "1"})
    first = await _put(store, A, None, tenant="x", size="5", unknown="x")
    await _put(store, B, None, tenant="x", size="7")
    same(await _ids(store, _only("tenant", "x")), ["a", "b"], "both instances")
    same(await _ids(store, _only("unknown", "x")), [], "an attribute that the store does not know")
    second = await _put(store, A, first, size="9")
    same(await _ids(store, _only("size", "5")), [], "the key before")
    same(await _ids(store, _only("tenant", "x"), _only("size", "9")), ["a"], "another attribute stays")
    refused = Transition(address=A, expected=first, write=put(A, first).write, attributes=(("size", _key("0")),))
    await failure(commit_one(store, refused), Conflict, "a commit over another version")
    same(await _ids(store, _only("size", "0")), [], "the attributes of a refused commit")
    third = await _put(store, A, second, tenant=None)
    same(await _ids(store, _only("tenant", "x")), ["b"], "an instance without a value any more")
    await value(commit_one(store, put(A, third)))
    same(await _ids(store, _only("size", "9")), ["a"], "a commit without attributes leaves them")
    fourth = Fence(third.incarnation, third.version + 1)
    await value(commit_one(store, Transition(address=A, expected=fourth, write=Purge(), attributes=())))
    same(await _ids(store, _only("size", "9")), [], "the attributes of a purged instance")
    await _put(store, A, None, tenant="y")
    same(await _ids(store, _only("tenant", "y")), ["a"], "the next instance of the address")


@in_store(ATTRIBUTES_FIND, COUNT_MATCHES, PAGES, TEXT)
async def ranges_are_compared_by_code_point(store: Store) -> None:
    """Pages continue by address, and the other conditions hold as well."""
    texts = ("", "B", "a", "a\0", "a\0b", "a\1", "ab", "b", "\uffff", "\U0001f600")
    await _whole(store, {"text": "1"})
    for number, text in enumerate(texts):
        await _put(store, address(f"{number}"), None, text=text)
    for low in texts:
        for high in texts:
            wanted = KeyRange("text", _key(low), _key(high))
            expected = [str(number) for number, text in enumerate(texts) if low <= text < high]
            same(await _ids(store, wanted), expected, f"keys from {low!r} to {high!r}")
    every = KeyRange("text", FOUND, f"{FOUND}\U0010ffff")
    pages, after = list[str](), None
    while page := await _ids(store, every, limit=3, after=after):
        pages, after = pages + page, address(page[-1])
    same(pages, [str(number) for number in range(len(texts))], "pages in the order of addresses")
    same(await _ids(store, every, id_prefix="3"), ["3"], "with a prefix of ids")
    same(await _ids(store, every, status="running"), [], "with a status")
    same(await _ids(store, every, after=Address("task", "other", "")), [], "after another job")


@in_store(DECLARE, KNOWN, CLEAR, FILL, FILL_OTHERS)
async def an_attribute_is_cleared_filled_and_whole(store: Store) -> None:
    """A changed or removed one begins again, and an instance that was changed meanwhile is filled again."""
    attributes = present(store.attributes)
    fences = [await _put(store, at, None, tenant="x") for at in (A, B)]
    await value(attributes.declare({JOB: {"tenant": "1"}}))
    await value(attributes.declare({JOB: {"tenant": "1"}}))
    (known,) = await value(attributes.known())
    same((known.state, known.generation, known.fingerprint), ("clearing", 1, "1"), "a new attribute")
    same(await value(attributes.clear(JOB, "tenant", 5)), 0, "a new attribute has no keys")
    same(await _states(attributes), {"tenant": "filling"}, "after it was cleared")
    rows = [_row(at, fence, (("tenant", _key("x")),)) for at, fence in zip((A, B), fences, strict=True)]
    await _put(store, B, fences[1], tenant="y")
    first = FilledPage(generations=(("tenant", 1),), rows=tuple(rows), rest="none")
    same(await value(attributes.fill(JOB, first)), ("b",), "an instance with another version")
    same(await _states(attributes), {"tenant": "filling"}, "while an instance is not written")
    same(await _ids(store, _only("tenant", "y")), ["b"], "its commit wrote its key")
    old = FilledPage(generations=(("tenant", 9),), rows=(), rest="none")
    await value(attributes.fill(JOB, old))
    same(await _states(attributes), {"tenant": "filling"}, "after a page of another generation")
    page = FilledPage(generations=(("tenant", 1),), rows=(rows[0],), rest="some")
    same(await value(attributes.fill(JOB, page)), (), "all were written")
    (known,) = await value(attributes.known())
    same((known.state, known.position), ("filling", "a"), "after a page with a rest")
    last = FilledPage(generations=(("tenant", 1),), rows=(), rest="none")
    await value(attributes.fill(JOB, last))
    same(await _states(attributes), {"tenant": "whole"}, "after the last page")
    await value(attributes.declare({JOB: {"tenant": "1", "size": "1"}}))
    same(await _states(attributes), {"size": "clearing", "tenant": "whole"}, "another one is added")
    await value(attributes.declare({("task", "other"): {}}))
    same(await _states(attributes), {"size": "clearing", "tenant": "whole"}, "an opening that serves another job")
    await value(attributes.declare({JOB: {"tenant": "2"}}))
    same(await _states(attributes), {"size": "clearing", "tenant": "clearing"}, "changed and removed ones")
    same(await value(attributes.clear(JOB, "tenant", 1)), 1, "a portion of the keys")
    same(await value(attributes.clear(JOB, "tenant", 5)), 1, "the rest of the keys")
    same(await value(attributes.clear(JOB, "size", 5)), 0, "no keys")
    same(await _states(attributes), {"tenant": "filling"}, "a removed one is forgotten")
    same(await _ids(store, _only("tenant", "x")), [], "old keys are gone")


@in_store(KNOWN)
async def a_value_that_cannot_be_computed_is_known(store: Store) -> None:
    """It matches nothing, and says that a filter may miss its instance."""
    attributes = present(store.attributes)
    await _whole(store, {"tenant": "1"})
    failed = Transition(address=A, write=put(A).write, attributes=(("tenant", f"{FAILED}ValueError"),))
    fence = await value(commit_one(store, failed))
    same([one.failures for one in await value(attributes.known())], [True], "an attribute with a failed value")
    same(await _ids(store, KeyRange("tenant", FOUND, f"{FOUND}\U0010ffff")), [], "it matches nothing")
    await _put(store, A, fence, tenant="x")
    same([one.failures for one in await value(attributes.known())], [False], "after it was computed")


@in_harness(ATTRIBUTES_COMMIT, DECLARE, KNOWN, DURABLE)
async def attributes_survive_reopening(new_harness: NewHarness) -> None:
    """Their keys, and how far each is."""
    harness = new_harness()
    store = await harness.open()
    await _whole(store, {"tenant": "1"})
    await _put(store, A, None, tenant="x")
    before = await value(present(store.attributes).known())
    await value(store.close())
    async with opened(harness) as again:
        await value(present(again.attributes).declare({JOB: {"tenant": "1"}}))
        same(await value(present(again.attributes).known()), before, "the known attributes")
        same(await _ids(again, _only("tenant", "x")), ["a"], "the keys")
        await _put(again, B, None, tenant="x")
        same(await _ids(again, _only("tenant", "x")), ["a", "b"], "with those of the next opening")


@in_harness(DECLARE, DECLARE_DOUBT, CLEAR_DOUBT, FILL_OTHERS, needs="shared")
async def other_code_puts_attributes_in_doubt(new_harness: NewHarness) -> None:
    """While it is open nothing is cleared or filled; after its end the attribute begins again."""
    async with two_openings(new_harness) as (here, there):
        attributes = present(here.attributes)
        await value(sharing(there).heartbeat({JOB: ServedCode(1)}))
        await value(attributes.declare({JOB: {"tenant": "1"}}))
        (known,) = await value(attributes.known())
        same(known.doubt, "some", "while an engine serves the job that has declared nothing")
        await value(attributes.clear(JOB, "tenant", 5))
        same(await _states(attributes), {"tenant": "clearing"}, "nothing is cleared in doubt")
        await value(present(there.attributes).declare({JOB: {"tenant": "1"}}))
        await _whole(here, {"tenant": "1"})
        same(await _states(attributes), {"tenant": "whole"}, "when both compute the same")
        await value(present(there.attributes).declare({JOB: {"tenant": "2"}}))
        (known,) = await value(attributes.known())
        same((known.doubt, known.fingerprint), ("some", "1"), "when the other one computes another fingerprint")
        await value(attributes.declare({JOB: {"tenant": "1"}}))
        (known,) = await value(attributes.known())
        same((known.state, known.generation), ("clearing", 2), "an attribute that was spoiled begins again")
        await value(attributes.declare({JOB: {"tenant": "1"}}))
        (known,) = await value(attributes.known())
        same(known.generation, 2, "and only once")
        await value(attributes.clear(JOB, "tenant", 5))
        same(await _states(attributes), {"tenant": "clearing"}, "nothing is cleared while the other one is open")
        await value(there.close())
        await value(attributes.declare({JOB: {"tenant": "1"}}))
        await _whole(here, {"tenant": "1"})
        (known,) = await value(attributes.known())
        same((known.state, known.doubt), ("whole", "none"), "after the end of the other one")


@in_harness(DECLARE_DOUBT, needs="shared")
async def an_opening_that_came_and_went_puts_attributes_in_doubt(new_harness: NewHarness) -> None:
    """Nobody looked while it was open: its end does not hide it."""
    harness = new_harness()
    here = await harness.open()
    try:
        attributes = present(here.attributes)
        await _whole(here, {"tenant": "1"})
        there = await harness.open()
        await value(sharing(there).heartbeat({JOB: ServedCode(1)}))
        await value(there.close())
        (known,) = await value(attributes.known())
        holds(known.doubt == "some", "an opening that declared nothing has ended")
        await value(attributes.declare({JOB: {"tenant": "1"}}))
        same(await _states(attributes), {"tenant": "clearing"}, "an attribute that it may have spoiled begins again")
        other = await harness.open()
        await value(present(other.attributes).declare({("task", "other"): {}}))
        await value(sharing(other).heartbeat({("task", "other"): ServedCode(1)}))
        await _whole(here, {"tenant": "1"})
        await value(other.close())
        (known,) = await value(attributes.known())
        same((known.state, known.doubt), ("whole", "none"), "an opening that serves other jobs spoils nothing")
    finally:
        await here.close()
        await harness.discard()


ATTRIBUTE_CASES: tuple[Case, ...] = (
    a_commit_keeps_the_attributes_of_its_instance,
    ranges_are_compared_by_code_point,
    an_attribute_is_cleared_filled_and_whole,
    a_value_that_cannot_be_computed_is_known,
    attributes_survive_reopening,
    other_code_puts_attributes_in_doubt,
    an_opening_that_came_and_went_puts_attributes_in_doubt,
)
