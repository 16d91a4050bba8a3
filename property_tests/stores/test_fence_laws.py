"""One fence is right at any moment: every other that the address ever had is a conflict."""

import asyncio

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.result import Failure

from perdure.stores.contract import commit_one
from perdure.testing.conformance import MemoryHarness, SqliteHarness
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.harness import opened
from perdure.testing.conformance.histories import address, put
from perdure.values.errors import Conflict
from perdure.values.transition import Purge, Transition

AT = address("a")


async def check(new_harness, steps) -> None:
    async with opened(new_harness()) as store:
        known, current = [None], None
        for step in steps:
            for wrong in known:
                if wrong != current:
                    found = await answer(commit_one(store, put(AT, wrong)))
                    assert isinstance(found, Failure), f"{wrong} was taken where {current} is right"
                    assert isinstance(found.failure(), Conflict)
            if step == "put":
                current = await value(commit_one(store, put(AT, current)))
                known.append(current)
            elif current is not None:
                await value(commit_one(store, Transition(address=AT, expected=current, write=Purge())))
                current = None


@pytest.mark.parametrize("new_harness", [MemoryHarness, SqliteHarness])
@given(steps=st.lists(st.sampled_from(["put", "put", "purge"]), max_size=12))
@example(steps=["put", "purge", "put", "put"])
@settings(max_examples=25)
def test_every_fence_but_the_present_one_is_a_conflict(new_harness, steps):
    asyncio.run(check(new_harness, steps))
