"""The promises of a store about one commit hold for those that are written together."""

import asyncio

import pytest
from grouped_store import Grouped
from returns.result import Success

from perdure.testing.conformance import CASES, Case, MemoryHarness, SqliteHarness, check_case, check_model
from perdure.testing.conformance.examples import address, created, put
from perdure.testing.conformance.requirement import value
from perdure.values.instance import Fence
from perdure.values.transition import Put, Transition


@pytest.mark.parametrize("new_harness", [MemoryHarness, SqliteHarness])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_store_keeps_in_groups(case: Case, new_harness):
    check_case(case, lambda: Grouped(new_harness()))


def test_the_store_agrees_with_the_model_in_groups():
    check_model(lambda: Grouped(SqliteHarness()), max_examples=25)


@pytest.mark.parametrize("new_harness", [MemoryHarness, SqliteHarness])
@pytest.mark.parametrize("wrong", [None, "b"])
def test_a_change_of_a_state_alone_is_written_as_any_other(new_harness, wrong):
    async def written(changes: str):
        harness = new_harness()
        store = await harness.open()
        try:
            return await written_to(store, changes)
        finally:
            await value(store.close())
            await harness.discard()

    async def written_to(store, changes: str):
        rows = []
        for id_ in "abc":
            await created(store, address(id_))
            rows.append((await value(store.load(address(id_)))).instance)
        transitions = []
        for row in rows:
            after = row.after_event('"new"', 9, row.alarm_ms)
            expected = Fence(row.incarnation, 7) if row.address.id == wrong else row.fence
            transitions.append(Transition(address=row.address, expected=expected, write=Put(after, changes)))
        told = asyncio.get_running_loop().create_future()
        store.commit_all(transitions, told.set_result)
        answers = [isinstance(answer, Success) for answer in await told]
        last = Put(transitions[0].write.instance.after_event('"last"', 10, None), changes)
        fence = await value(
            store.commit(Transition(address=address("a"), expected=Fence(rows[0].incarnation, 2), write=last))
        )
        stored = [(await value(store.load(address(id_)))).instance for id_ in "abc"]
        return answers, stored, fence

    answers, stored, fence = asyncio.run(written("state"))
    assert (answers, stored, fence) == asyncio.run(written("any"))
    assert answers == [True, wrong is None, True]
    assert [row.state for row in stored] == ['"last"', '"new"' if wrong is None else "{}", '"new"']


def test_a_row_that_conflicts_among_rows_that_are_overwritten_fails_alone():
    async def body():
        harness = SqliteHarness()
        store = await harness.open()
        fences = {id_: await created(store, address(id_)) for id_ in "abc"}
        wrong = Fence(fences["b"].incarnation, 7)
        changes = [put(address(id_), wrong if id_ == "b" else fences[id_], state='"new"') for id_ in "abc"]
        told = asyncio.get_running_loop().create_future()
        store.commit_all(changes, told.set_result)
        answers = await told
        states = [(await value(store.load(address(id_)))).instance.state for id_ in "abc"]
        await value(store.close())
        await harness.discard()
        return [isinstance(answer, Success) for answer in answers], states

    assert asyncio.run(body()) == ([True, False, True], ['"new"', "{}", '"new"'])
