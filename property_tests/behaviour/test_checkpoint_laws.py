"""Checkpoints of parallel branches beside events, over a store whose reads and commits take their time and conflict.

The run ends, each word is in the journal once, and no two checkpoints are on their way at once.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from steps_kind import Hear, Progress, Steps, one, opened, read_all, rows
from world import HasOutside, Outside, StoreKind, World, play, say

from perdure import Do, program
from perdure.client.local_gateway import engine_of
from perdure.programs import gather, succeed
from perdure.testing import Delay
from perdure.values.errors import Conflict
from perdure.values.instance import Claim, Instance

WORDS = ["a", "b", "c", "d", "e", "f"]
EVENTS = ["x", "y", "z"]

DELAYS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "load"]),
        st.sampled_from(["before", "after"]),
        st.integers(0, 6),
        st.sampled_from([5, 40, 120]),
    ),
    max_size=5,
    unique_by=lambda one: (one[0], one[2]),
)
CONFLICTS = st.lists(st.integers(0, 6), max_size=3, unique=True)
MOMENTS = st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 60)), max_size=3, unique_by=lambda one: one[0])


@attrs.define
class Checked(Outside):
    """Hears that a word is saved only when a durable checkpoint holds it."""

    async def hear(self, word: str) -> Any:
        if word.startswith("saved ") and self.world is not None:
            bodies = {body for commit in self.world.commits if commit.journal for body in commit.journal.bodies}
            assert word.removeprefix("saved ") in bodies, "a branch continues before its checkpoint is durable"
        return await Outside.hear(self, word)


@program
def saying(progress: Progress, word: str) -> Do[None, Any, HasOutside]:
    yield from one(progress, word)
    yield from say(f"saved {word}")


@program
def run(words: list[str], at_once: int) -> Do[list[str], Any, HasOutside]:
    progress = Progress((yield from read_all()), words)
    while left := [word for word in progress.todo if word not in progress.said]:
        yield from gather(*(saying(progress, word) for word in left[:at_once]))
    return progress.said


@attrs.frozen(init=False, eq=False)
class SavedSteps(Steps):
    """Each branch continues after its checkpoint."""

    def program(self, instance: Instance, claim: Claim, command: object) -> Any:
        if isinstance(command, Hear):
            return super().program(instance, claim, command)
        words = self.decode_state(instance)
        return "run", succeed(None).bind(lambda _: run(words, self.at_once))


async def plays(world: World, at_once: int, state: Any, delays: Any, conflicts: Any, moments: Any) -> None:
    world.outside = Checked()
    world.outside.world = world
    steps = await opened(world, SavedSteps(at_once=at_once))
    engine_of(world.jobs).ownership_is(state)  # in doubt, each row is read from the store
    world.suspension("a")
    run = world.start(steps.start("a", WORDS))
    await world.settle()
    for operation, when, after, ms in delays:
        world.world.inject(Delay(f"store.{operation}", f"{ms} ms", when=when, call=after + 1))
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
    delays=[("load", "after", after, 40) for after in range(7)],
    conflicts=[],
    moments=[("x", 60)],
)
@example(
    kind="memory",
    seed=0,
    at_once=4,
    state="sure",
    delays=[("commit", "before", after, 120) for after in range(7)],
    conflicts=[],
    moments=[],
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
