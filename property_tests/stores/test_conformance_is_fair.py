"""The suite accepts every correct store: whether a commit survived a kill without an answer is learned, not assumed."""

import asyncio
from itertools import cycle

import attrs
import pytest
from hypothesis import settings
from one_by_one import each_commit
from returns.future import FutureResult
from returns.result import Failure

from perdure.stores.contract import commit_one, overlay
from perdure.stores.memory import MemoryBackend
from perdure.stores.values import Capabilities
from perdure.testing.conformance import KillableHarness, RequirementViolated, SqliteHarness, check_kills, check_model
from perdure.testing.conformance.assertions import answer
from perdure.testing.conformance.differential import killable, take_steps
from perdure.testing.conformance.histories import PLACES, CommitStep, InboundStep, KillStep, instance, search, steps
from perdure.values.errors import OutcomeUnknown


class UnansweredHarness:
    """A memory store that can be killed after it wrote and before it answered, or before both, in turn."""

    def __init__(self, survives=(True, False, True, True, False)):
        self.backend = MemoryBackend()
        self.survives = cycle(survives)
        self.killed = False

    async def open(self):
        self.killed = False
        store = self.backend.open()

        async def commit(transition):
            found = await answer(commit_one(store, transition)) if next(self.survives) else None
            await asyncio.sleep(0)
            if self.killed:
                return Failure(OutcomeUnknown("killed"))
            return found or await answer(commit_one(store, transition))

        capabilities = Capabilities(ownership="owned", durability="relaxed")
        return overlay(
            store, capabilities=capabilities, commit=each_commit(lambda transition: FutureResult(commit(transition)))
        )

    async def kill(self):
        self.killed = True

    async def discard(self):
        """Leave it to the garbage collector."""


PUT = CommitStep(
    at=0, fence="right", write="put", instance=instance(PLACES[0]), remember=(), targets=(), inbound=None, event_ms=()
)
AFTERWARDS = {
    "an old fence": attrs.evolve(PUT, fence="old"),
    "the fence of another address": attrs.evolve(PUT, at=1, fence="foreign"),
    "a message that was seen": attrs.evolve(
        PUT, inbound=InboundStep(of="seen", number=1, fate="consumed", not_before_ms=0)
    ),
}
UNDER_WAY = {
    "a put": (PUT,),
    "a message, and its sender's end": (
        attrs.evolve(PUT, targets=(0, 1)),
        attrs.evolve(PUT, fence="none", write="purge"),
        attrs.evolve(PUT, write="keep", targets=(0,)),
    ),
}


@pytest.mark.parametrize("survives", [(True,), (False,), (True, False, True)])
@pytest.mark.parametrize("under_way", UNDER_WAY)
@pytest.mark.parametrize("afterwards", AFTERWARDS)
def test_the_model_learns_whether_an_unanswered_commit_survived(under_way, afterwards, survives):
    harness = UnansweredHarness(survives)
    assert isinstance(harness, KillableHarness)
    history = [PUT, KillStep(commits=UNDER_WAY[under_way], lines=0), AFTERWARDS[afterwards], PUT]
    asyncio.run(take_steps(harness, history))
    asyncio.run(take_steps(UnansweredHarness(survives), history[1:]))


def test_a_survivor_that_a_later_step_brings_to_light_is_accepted():
    message_to_itself = attrs.evolve(PUT, write="keep", targets=(0,))
    consume = attrs.evolve(
        PUT, write="keep", inbound=InboundStep(of="deliverable", number=0, fate="consumed", not_before_ms=0)
    )
    for survives in ((True,), (False,)):
        history = [message_to_itself, KillStep(commits=(message_to_itself,), lines=0), consume, consume]
        asyncio.run(take_steps(UnansweredHarness(survives), history))


def test_a_store_that_loses_answers_is_accepted():
    assert check_kills(UnansweredHarness, max_examples=100)


@pytest.mark.parametrize("lines", range(30, 400, 90))
def test_sqlite_is_accepted_wherever_it_is_killed(lines):
    for under_way in UNDER_WAY.values():
        history = [KillStep(commits=under_way, lines=lines), *AFTERWARDS.values()]
        asyncio.run(take_steps(killable(SqliteHarness()), history))


def test_a_store_is_accepted_as_its_own_model():
    assert check_model(UnansweredHarness, max_examples=20)


@pytest.mark.parametrize("every", [1, 7, 40])
def test_shrinking_is_bounded_and_a_rare_failure_is_reported(every):
    runs = 0

    def take(history):
        nonlocal runs
        runs += 1
        if runs % every == 0:
            raise RequirementViolated(f"failed at run {runs}, with {len(history)} steps")

    with pytest.raises(RequirementViolated, match="failed at run"):
        search(steps(), take, max_examples=50, max_shrinks=20)
    assert runs <= every + 20


@pytest.mark.parametrize(("profile", "repeats"), [("default", True), ("fixed", True), ("explore", False)])
def test_histories_are_the_same_on_every_run_unless_the_profile_explores(profile, repeats, pytestconfig):
    if not repeats and pytestconfig.getoption("--hypothesis-seed") is not None:
        pytest.skip("a seed that is named repeats every profile")

    def drawn():
        histories = []
        search(steps(), histories.append, max_examples=5, max_shrinks=0)
        return histories

    before = settings.get_current_profile_name()
    settings.load_profile(profile)
    try:
        assert (drawn() == drawn()) == repeats
    finally:
        settings.load_profile(before)
