"""Stores with subtle bugs, as a new one may have them: small data and friendly names do not show these."""

import asyncio
import re

import attrs
import pytest
from one_by_one import each_commit, each_load
from returns.result import Success
from sabotage import harness_of, instead, instead_async, with_commit

from perdure.stores.contract import commit_one, load_one, overlay
from perdure.stores.values import Query
from perdure.testing.conformance import CASES, RequirementViolated, check_case
from perdure.testing.conformance.assertions import answer, value
from perdure.values.address import Address
from perdure.values.message import Postponed
from perdure.values.transition import Put, Transition

BY_NAME = {case.name: case for case in CASES}
ALL = 10_000
FAR_MS = 4_000_000_000_000


# ------------------------------------------------------------------------------------------------ names


def find_like(flags, escape=re.escape):
    """Compare prefixes as SQL's LIKE does."""

    def pattern(prefix):
        return "".join({"%": ".*", "_": "."}.get(one, escape(one)) for one in prefix)

    async def find(store, query):
        found = await value(store.find(attrs.evolve(query, id_prefix="", limit=ALL)))
        begins = re.compile(pattern(query.id_prefix), flags | re.DOTALL)
        return Success(tuple(one for one in found if begins.match(one.address.id))[: query.limit])

    return instead_async("find", find)


def find_ignoring_case():
    async def find(store, query):
        found = await value(store.find(attrs.evolve(query, id_prefix="", limit=ALL)))
        prefix = query.id_prefix.lower()
        return Success(tuple(one for one in found if one.address.id.lower().startswith(prefix))[: query.limit])

    return instead_async("find", find)


def stored_under(change_id=lambda id_: id_, change_name=lambda name: name):
    """Take addresses for one another: the row keeps its address, its place does not."""

    def elsewhere(at):
        return Address(at.kind, change_name(at.name), change_id(at.id))

    def change(store):
        return overlay(
            store,
            load=each_load(lambda at, *given: load_one(store, elsewhere(at), *given)),
            history=lambda at, *given: store.history(elsewhere(at), *given),
            commit=each_commit(lambda one: commit_one(store, moved(one))),
        )

    def moved(one):
        write = one.write
        if isinstance(write, Put):
            write = Put(attrs.evolve(write.instance, address=elsewhere(one.address)))
        return attrs.evolve(one, address=elsewhere(one.address), write=write)

    return change


def keys_by_id_only(store):
    """Jobs that have instances with one id share the keys."""

    def shared(at):
        return Address("any", "any", at.id)

    async def load(at, key=None, now_ms=0):
        loaded = await value(load_one(store, at))
        held = await value(load_one(store, shared(at), key, now_ms))
        return Success(attrs.evolve(loaded, remembered=held.remembered, keys_held=held.keys_held))

    async def commit(one):
        found = await answer(commit_one(store, attrs.evolve(one, remember=())))
        if isinstance(found, Success) and one.remember:
            await value(commit_one(store, Transition(address=shared(one.address), remember=one.remember)))
        return found

    asked = instead_async("load", lambda _, *given: load(*given))(store)
    return instead_async("commit", lambda _, one: commit(one))(asked)


# ------------------------------------------------------------------------------------------------ sizes and pages


def capped(name):
    """Return pages of 100 rows at most."""
    if name == "find":
        return instead(name, lambda store, query: store.find(attrs.evolve(query, limit=min(query.limit, 100))))
    return instead(name, lambda store, *given: getattr(store, name)(*given[:-1], min(given[-1], 100)))


def cut_state(one):
    return (
        attrs.evolve(one, write=Put(attrs.evolve(one.write.instance, state=one.write.instance.state[:65_535])))
        if isinstance(one.write, Put)
        else one
    )


def cut_answer(one):
    return attrs.evolve(one, remember=tuple(attrs.evolve(kept, answer=kept.answer[:65_535]) for kept in one.remember))


def cut_payload(one):
    cut = tuple(attrs.evolve(message, payload=message.payload[:65_535]) for message in one.messages)
    return attrs.evolve(one, messages=cut)


def find_with_limit_first():
    async def find(store, query):
        page = await value(store.find(Query(after=query.after, limit=query.limit)))
        meeting = {one.address for one in await value(store.find(attrs.evolve(query, limit=ALL)))}
        return Success(tuple(one for one in page if one.address in meeting))

    return instead_async("find", find)


def messages_with_limit_first():
    async def messages(store, now_ms, limit):
        page = await value(store.messages(FAR_MS, limit))
        return Success(tuple(one for one in page if one.not_before_ms <= now_ms))

    return instead_async("messages", messages)


def history_with_limit_first():
    async def history(store, at, before, limit):
        newest = [one for one in (await value(store.events(0, ALL)))[::-1] if before is None or one.sequence < before]
        return Success(tuple(one for one in newest[:limit] if one.event.address == str(at)))

    return instead_async("history", history)


def find_by_offset(store):
    """Pages begin at the place where the cursor was when its page was read."""
    places = {}

    async def find(query):
        rows = await value(store.find(attrs.evolve(query, after=None, limit=ALL)))
        begin = 0 if query.after is None else places.get(query.after, 0)
        page = rows[begin : begin + query.limit]
        places.update({one.address: begin + number + 1 for number, one in enumerate(page)})
        return Success(page)

    return instead_async("find", lambda _, query: find(query))(store)


def needs_its_cursor(name, number_of):
    """Return nothing when the row of the cursor is gone."""

    async def listed(store, after, limit):
        rows = await value(getattr(store, name)(0, ALL))
        known = after == 0 or after in {number_of(one) for one in rows}
        return Success(tuple(one for one in rows if known and number_of(one) > after)[:limit])

    return instead_async(name, listed)


def find_needs_its_cursor():
    async def find(store, query):
        if query.after is not None and (await value(load_one(store, query.after))).instance is None:
            return Success(())
        return await answer(store.find(query))

    return instead_async("find", find)


# ------------------------------------------------------------------------------------------------ concurrency


def numbers_before_the_commit(store):
    """Events get their numbers when their commit begins, which need not be the order in which they appear."""
    drawn, appeared = [0], []

    async def commit(one):
        numbers = []
        for _ in one.events:
            drawn[0] += 1
            numbers.append(drawn[0])
        for _ in range(len(one.events)):
            await asyncio.sleep(0)
        found = await answer(commit_one(store, one))
        if isinstance(found, Success):
            appeared.extend(numbers)
        return found

    async def events(after, limit):
        rows = await value(store.events(0, ALL))
        mine = [attrs.evolve(one, sequence=number) for one, number in zip(rows, appeared, strict=True)]
        page = sorted((one for one in mine if one.sequence > after), key=lambda one: one.sequence)
        return Success(tuple(page[:limit]))

    asked = instead_async("commit", lambda _, one: commit(one))(store)
    return instead_async("events", lambda _, *given: events(*given))(asked)


def loads_at_two_moments():
    async def load(store, at, key=None, now_ms=0):
        instance = (await value(load_one(store, at))).instance
        await asyncio.sleep(0)
        return Success(attrs.evolve(await value(load_one(store, at, key, now_ms)), instance=instance))

    return instead_async("load", load)


def groups_without_a_shield(store):
    """Commits that wait together are written by one task, which every caller awaits: cancelling one cancels all."""
    waiting, task = [], [None]

    async def write():
        await asyncio.sleep(0)
        group = list(waiting)
        waiting.clear()
        task[0] = None
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return {id(one): await answer(commit_one(store, one)) for one in group}

    async def commit(one):
        waiting.append(one)
        if task[0] is None:
            task[0] = asyncio.ensure_future(write())
        return (await task[0])[id(one)]

    return instead_async("commit", lambda _, one: commit(one))(store)


def keeps_the_error():
    async def commit(store, one):
        fate = one.inbound
        if isinstance(fate, Postponed) and fate.error is None:
            errors = {stored.message_id: stored.error for stored in await value(store.messages(FAR_MS, ALL))}
            one = attrs.evolve(one, inbound=attrs.evolve(fate, error=errors.get(fate.message_id)))
        return await answer(commit_one(store, one))

    return instead_async("commit", commit)


SUBTLE = {
    "prefixes know the wildcards of LIKE": (find_like(0), "a_prefix_is_compared_by_code_point"),
    "prefixes are compared as LIKE does": (find_like(re.IGNORECASE), "a_prefix_is_compared_by_code_point"),
    "prefixes ignore case": (find_ignoring_case(), "a_prefix_is_compared_by_code_point"),
    "ids lose their trailing blanks": (stored_under(lambda id_: id_.rstrip(" ")), "every_address_is_its_own"),
    "ids ignore case": (stored_under(str.lower), "every_address_is_its_own"),
    "ids are cut at 255 characters": (stored_under(lambda id_: id_[:255]), "every_address_is_its_own"),
    "names ignore case": (stored_under(change_name=str.lower), "every_address_is_its_own"),
    "names lose their trailing blanks": (stored_under(change_name=str.rstrip), "every_address_is_its_own"),
    "jobs with one id share their keys": (keys_by_id_only, "a_key_belongs_to_its_whole_address"),
    "a state is cut at 65,535 characters": (with_commit(cut_state), "large_values_are_returned_unchanged"),
    "an answer is cut at 65,535 characters": (with_commit(cut_answer), "large_values_are_returned_unchanged"),
    "a payload is cut at 65,535 characters": (with_commit(cut_payload), "large_values_are_returned_unchanged"),
    "find returns 100 rows at most": (capped("find"), "a_page_of_instances_is_full"),
    "due returns 100 rows at most": (capped("due"), "a_page_of_instances_is_full"),
    "claimed returns 100 rows at most": (capped("claimed"), "a_page_of_instances_is_full"),
    "messages returns 100 rows at most": (capped("messages"), "a_page_of_rows_is_full"),
    "dead_letters returns 100 rows at most": (capped("dead_letters"), "a_page_of_rows_is_full"),
    "events returns 100 rows at most": (capped("events"), "a_page_of_rows_is_full"),
    "history returns 100 rows at most": (capped("history"), "a_page_of_rows_is_full"),
    "find limits before it filters": (find_with_limit_first(), "a_limit_counts_what_meets_the_conditions"),
    "messages limits before it filters": (messages_with_limit_first(), "a_limit_counts_what_meets_the_conditions"),
    "history limits before it filters": (history_with_limit_first(), "a_limit_counts_what_meets_the_conditions"),
    "find pages by offset": (find_by_offset, "a_page_continues_after_an_instance_that_is_gone"),
    "find needs the row of its cursor": (find_needs_its_cursor(), "a_page_continues_after_an_instance_that_is_gone"),
    "claimed needs the row of its cursor": (
        needs_its_cursor("claimed", lambda one: one.incarnation),
        "a_page_continues_after_an_instance_that_is_gone",
    ),
    "dead_letters needs the row of its cursor": (
        needs_its_cursor("dead_letters", lambda one: one.message_id),
        "a_page_continues_after_a_row_that_is_gone",
    ),
    "events needs the row of its cursor": (
        needs_its_cursor("events", lambda one: one.sequence),
        "a_page_continues_after_a_row_that_is_gone",
    ),
    "an error stays when a message is postponed": (keeps_the_error(), "a_fate_replaces_the_one_before"),
    "event numbers are drawn before the commit": (numbers_before_the_commit, "a_sink_misses_no_event"),
    "a load reads at two moments": (loads_at_two_moments(), "a_load_reads_one_moment"),
    "a cancelled caller cancels its group": (groups_without_a_shield, "a_cancelled_caller_affects_no_other"),
}


@pytest.mark.parametrize("bug", SUBTLE)
def test_a_subtle_bug_is_caught(bug):
    change, name = SUBTLE[bug]
    with pytest.raises(RequirementViolated) as caught:
        check_case(BY_NAME[name], harness_of(change))
    assert set(caught.value.requirements) <= set(BY_NAME[name].requirements)
    assert len(str(caught.value).splitlines()) <= 30, "a failure fits one screen"
    assert max(map(len, str(caught.value).splitlines())) <= 400, "and its lines can be read"
