"""One commit for the acceptance of a job and the claim of its run equals the two that it replaces."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from returns.result import Success

from perdure import Do, Limits, Task, TaskContext, program
from perdure.jobs.request import ALARM
from perdure.jobs.step import Commit, Execute
from perdure.jobs.transitions import accepted_instance, as_found, put, with_claim
from perdure.jobs.turn import begin
from perdure.stores.contract import commit_one, load_one
from perdure.stores.memory import memory_store
from perdure.testing.conformance.assertions import answer
from perdure.values.event import JobStarted
from perdure.values.instance import Instance
from perdure.values.transition import Loaded, Put, Transition
from perdure.values.turn_inputs import TurnInputs

NOW_MS = 1_000


@program
def on_event(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.set_state(event)


@program
def execute(ctx: TaskContext[int]) -> Do[None]:
    yield from ctx.set_state(0)


job = Task("job", state=int, event=int, initial=0, on_event=on_event, execute=execute)
AT = job.address("a")


def inputs() -> TurnInputs:
    return TurnInputs(now_ms=NOW_MS, jitter=0.0, id_base=1 << 64, epoch=1, running=(), limits=Limits())


async def stored(*transitions: Transition) -> Instance:
    """The row after these commits."""
    store = memory_store()
    for transition in transitions:
        assert isinstance(await answer(commit_one(store, transition)), Success)
    row = (await answer(load_one(store, AT, None, 0))).unwrap().instance
    assert row is not None
    return row


@given(
    state=st.integers(-(2**63), 2**63 - 1),
    due_ms=st.integers(0, NOW_MS),
    events=st.integers(0, 5),
    earlier=st.sampled_from(["none", "stored"]),
)
def test_the_row_and_the_events_are_those_of_two_commits(state: int, due_ms: int, events: int, earlier: str) -> None:
    new = Instance(address=AT, created_ms=1, updated_ms=1, state="0", event_count=events)
    history = (put(new, 1),) if earlier == "stored" else ()
    before = asyncio.run(stored(*history)) if history else new
    logged = (JobStarted(event_id="e", address=str(AT), at_ms=NOW_MS, run_count=0),)
    accepting = put(before, NOW_MS, state=str(state), alarm_ms=due_ms, events=logged)
    commit = Commit(accepting, Success(None))
    after = asyncio.run(stored(*history, accepting))
    alarm = begin(job, AT, Loaded(instance=after), ALARM, inputs())
    assert isinstance(alarm, Execute)
    assert alarm.claiming is not None
    expected = asyncio.run(stored(*history, accepting, alarm.claiming))

    accepted = accepted_instance(commit, NOW_MS)
    assert accepted is not None
    run = begin(job, AT, Loaded(instance=as_found(accepted)), ALARM, inputs())
    assert isinstance(run, Execute)
    transition = with_claim(commit, run)
    assert transition is not None
    assert isinstance(transition.write, Put)
    assert transition.write.instance.fence == (after if history else accepted).fence
    found = asyncio.run(stored(*history, transition))
    assert found.version == expected.version - 1
    assert found.changed(version=expected.version) == expected
    assert transition.events == accepting.events + alarm.claiming.events


@given(due_ms=st.none() | st.integers(NOW_MS + 1, 2 * NOW_MS))
def test_a_job_that_is_not_due_begins_no_run(due_ms: int | None) -> None:
    new = Instance(address=AT, created_ms=1, updated_ms=1, state="0")
    assert accepted_instance(Commit(put(new, NOW_MS, alarm_ms=due_ms), Success(None)), NOW_MS) is None
