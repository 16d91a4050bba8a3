"""The promises of a store about one commit hold for those that are written together."""

import asyncio

import pytest
from grouped_store import Grouped
from returns.result import Success

from perdure.stores.contract import commit_one, load_one
from perdure.testing.conformance import CASES, Case, MemoryHarness, SqliteHarness, check_case, check_model
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, created, put
from perdure.values.instance import Fence, Instance
from perdure.values.transition import Put, Transition


@pytest.mark.parametrize("new_harness", [MemoryHarness, SqliteHarness])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_store_keeps_in_groups(case: Case, new_harness):
    check_case(case, lambda: Grouped(new_harness()))


def test_the_store_agrees_with_the_model_in_groups():
    check_model(lambda: Grouped(SqliteHarness()), max_examples=25)


@pytest.mark.parametrize("new_harness", [MemoryHarness, SqliteHarness])
@pytest.mark.parametrize("old", [None, "b"])
def test_a_change_of_a_state_alone_is_written_as_any_other(new_harness, old):
    """``old`` is a row that another writer has changed since it was read."""

    async def written(changes: str):
        harness = new_harness()
        store = await harness.open()
        try:
            return await written_to(store, changes)
        finally:
            await value(store.close())
            await harness.discard()

    def change(row: Instance, state: str, changes: str) -> Transition:
        after = row.after_event(state, 9, row.alarm_ms)
        return Transition(address=row.address, expected=row.fence, write=Put(after, changes), before=row)

    async def written_to(store, changes: str):
        rows = []
        for id_ in "abc":
            await created(store, address(id_))
            rows.append((await value(load_one(store, address(id_)))).instance)
            if id_ == old:
                await value(commit_one(store, change(rows[-1], '"other"', "any")))
        told = asyncio.get_running_loop().create_future()
        store.commit([change(row, '"new"', changes) for row in rows], told.set_result)
        answers = [isinstance(answer, Success) for answer in await told]
        row = (await value(load_one(store, address("a")))).instance
        fence = await value(commit_one(store, change(row, '"last"', changes)))
        stored = [(await value(load_one(store, address(id_)))).instance for id_ in "abc"]
        return answers, stored, fence

    answers, stored, fence = asyncio.run(written("state"))
    assert (answers, stored, fence) == asyncio.run(written("any"))
    assert answers == [True, old is None, True]
    assert [row.state for row in stored] == ['"last"', '"new"' if old is None else '"other"', '"new"']


def test_a_row_that_conflicts_among_rows_that_are_overwritten_fails_alone():
    async def body():
        harness = SqliteHarness()
        store = await harness.open()
        fences = {id_: await created(store, address(id_)) for id_ in "abc"}
        wrong = Fence(fences["b"].incarnation, 7)
        changes = [put(address(id_), wrong if id_ == "b" else fences[id_], state='"new"') for id_ in "abc"]
        told = asyncio.get_running_loop().create_future()
        store.commit(changes, told.set_result)
        answers = await told
        states = [(await value(load_one(store, address(id_)))).instance.state for id_ in "abc"]
        await value(store.close())
        await harness.discard()
        return [isinstance(answer, Success) for answer in answers], states

    assert asyncio.run(body()) == ([True, False, True], ['"new"', "{}", '"new"'])
