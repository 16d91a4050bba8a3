"""Checkpoints of parallel branches beside events, over a store whose reads and commits take their time and conflict.

The run ends, each word is in the journal once, and no two checkpoints are on their way at once.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from steps_kind import Steps, opened, rows
from world import StoreKind, World, play

from perdure.client.in_process import engine_of
from perdure.values.errors import Conflict

WORDS = ["a", "b", "c", "d", "e", "f"]
EVENTS = ["x", "y", "z"]

DELAYS = st.lists(
    st.tuples(st.sampled_from(["commit", "load"]), st.integers(0, 6), st.sampled_from([5, 40, 120])), max_size=5
)
CONFLICTS = st.lists(st.integers(0, 6), max_size=3, unique=True)
MOMENTS = st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 60)), max_size=3, unique_by=lambda one: one[0])


async def plays(world: World, at_once: int, state: Any, delays: Any, conflicts: Any, moments: Any) -> None:
    steps = await opened(world, Steps(at_once=at_once))
    engine_of(world.jobs).ownership_is(state)  # in doubt, each row is read from the store
    world.suspension("a")
    run = world.start(steps.start("a", WORDS))
    await world.settle()
    for operation, after, ms in delays:
        world.slow(operation, ms=ms, after=after)
    for after in () if moments else conflicts:  # of an event, it would come after an effect
        world.fail("commit", Conflict("steps:words:a"), after=after)
    heard = []
    for word, _ in moments:
        world.suspension(word)
        heard.append(world.start(steps.hear("a", word)))
    await world.settle()
    world.release("a")
    for word, ms in moments:
        await world.advance(ms=ms)
        world.release(word)
    await world.advance(minutes=10)
    assert run.done(), "the run waits forever"
    assert run.result().unwrap().outcome is not None
    assert all(call.result().unwrap() is not None for call in heard)
    journal = await rows(world, steps)
    assert Counter(journal) == Counter(WORDS)
    said = [word for word in world.outside.heard if word in WORDS]
    assert Counter(said) == Counter(WORDS), "a word is said again"


@example(
    kind="memory",
    seed=0,
    at_once=1,
    state="in_doubt",
    delays=[("load", after, 40) for after in range(7)],
    conflicts=[],
    moments=[("x", 60)],
)
@settings(max_examples=40)
@given(
    kind=st.sampled_from(["memory", "memory", "sqlite"]),
    seed=st.integers(0, 99),
    at_once=st.integers(1, 4),
    state=st.sampled_from(["sure", "in_doubt"]),
    delays=DELAYS,
    conflicts=CONFLICTS,
    moments=MOMENTS,
)
def test_each_word_has_one_row_and_the_run_ends(
    *, kind: StoreKind, seed: int, at_once: int, state: Any, delays: Any, conflicts: Any, moments: Any
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        play(kind, Path(folder), lambda world: plays(world, at_once, state, delays, conflicts, moments), seed=seed)
