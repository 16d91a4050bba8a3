"""Each limit of a workflow at its edge and one beyond, through the public interface. Beyond, no effect is repeated."""

from __future__ import annotations

from typing import Any

import pytest
from flows import Flow, act, number
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Success

from perdure import (
    App,
    Backoff,
    Do,
    Limits,
    Retry,
    Signal,
    Task,
    TaskContext,
    Workflow,
    WorkflowContext,
    effect,
    program,
    tell,
)
from perdure.programs import fail, gather, sleep
from perdure.testing import World
from perdure.values.answer import Done
from perdure.values.errors import InvalidInput, Overloaded
from perdure.values.outcome import Failed

LIMIT = 600
"""The limit of the worlds here, in bytes, where it is not drawn."""

text = Signal("text", str)
retry: Any = Retry(max_attempts=3, delay=Backoff.constant("1 s"), jitter=False)


def flow_of(run: Any, **options: Any) -> Flow:
    return Workflow(
        "flow", state=int, run=run, signals=(text, number), **{"retry_defects": retry, "keep": None, **options}
    )


@effect
def echo(services: object, length: int) -> FutureResult[str, str]:
    return FutureResult.from_value("x" * length)


@effect
def declining(services: object, length: int) -> FutureResult[int, str]:
    return FutureResult.from_failure("x" * length)


@program
def kept(ctx: WorkflowContext[int]) -> Do[int, str]:
    return len((yield from echo((yield from ctx.state))))


@program
def declined(ctx: WorkflowContext[int]) -> Do[int, str]:
    found = yield from declining((yield from ctx.state)).attempt()
    return 0 if isinstance(found, Success) else len(found.failure())


@program
def returning(ctx: WorkflowContext[int]) -> Do[str, str]:
    length = yield from ctx.state
    yield from act(0)
    return "x" * length


@program
def failing(ctx: WorkflowContext[int]) -> Do[int, str]:
    length = yield from ctx.state
    yield from act(0)
    yield from fail("x" * length)
    return 0


@program
def add(ctx: TaskContext[int], event: str) -> Do[None]:
    yield from ctx.update_state(lambda state: state + len(event))


counter = Task("counter", state=int, event=str, initial=0, on_event=add)


@program
def telling(ctx: WorkflowContext[int]) -> Do[int, str]:
    length = yield from ctx.state
    yield from act(0)
    yield from tell(counter, "c").send("x" * length)
    return length


@pytest.mark.parametrize(
    ("run", "names", "ends"),
    [
        (kept, "echo", Done(value=598)),
        (declined, "declining", Done(value=598)),
        (returning, "workflow:flow", Done(value="x" * 598)),
        (failing, "workflow:flow", Failed(error="x" * 598)),
        (telling, "tell task:counter:c.send", Done(value=598)),
    ],
)
def test_an_outcome_or_a_message_has_at_most_payload_bytes(run: Any, names: str, ends: object) -> None:
    job = flow_of(run)
    reason = "retries_exhausted" if run is telling else "not_retryable"  # another attempt may send a smaller message
    with World(App(None, limits=Limits(payload_bytes=LIMIT, outcome_bytes=LIMIT)).with_jobs(job, counter)) as world:
        flow = world.handle(job)
        for id_, length in (("edge", 598), ("beyond", 599)):
            world.run(flow.start(id_, length))
        world.advance("1 minute")
        assert world.run(flow.outcome("edge")) == ends
        found = world.run(flow.status("beyond"))
        assert found.parked == reason
        assert found.last_error is not None
        assert names in found.last_error.message
        assert "601" in found.last_error.message
        assert str(LIMIT) in found.last_error.message
        assert len(world.effects) == 2  # one each: no attempt repeats the effect
        world.run(flow.resume("beyond"))  # it parks again, and loops over nothing
        world.advance("1 minute")
        assert world.run(flow.status("beyond")).parked == reason


@program
def told_by_child(ctx: WorkflowContext[int]) -> Do[int, Any]:
    length = yield from ctx.state
    yield from act(0)
    return len((yield from reader.call(f"c-{ctx.id}", "x" * length)))


@program
def reading(ctx: WorkflowContext[str]) -> Do[str]:
    return (yield from ctx.state)


reader = Workflow("reader", state=str, run=reading, keep=None)


def test_the_state_of_a_child_has_at_most_payload_bytes_with_the_address_of_its_parent() -> None:
    job = flow_of(told_by_child)
    with World(App(None, limits=Limits(payload_bytes=LIMIT)).with_jobs(job, reader)) as world:
        flow = world.handle(job)
        for id_, length in (("small", 400), ("large", 599)):
            world.run(flow.start(id_, length))
        world.advance("1 minute")
        assert world.run(flow.outcome("small")) == Done(value=400)
        found = world.run(flow.status("large"))
        assert found.parked == "retries_exhausted"
        assert found.last_error is not None
        assert "child reader:c-large" in found.last_error.message
        assert len(world.effects) == 2


@program
def receiving(ctx: WorkflowContext[int]) -> Do[int]:
    count = yield from ctx.state
    yield from sleep("1 hour")
    total = 0
    for _ in range(count):
        total += len((yield from text.receive()))
    return total


@given(inbox=st.integers(1, 5), size=st.integers(2, 60))
@settings(max_examples=20)
def test_signals_up_to_the_inbox_and_to_their_size(inbox: int, size: int) -> None:
    job = flow_of(receiving, inbox=inbox)
    with World(App(None, limits=Limits(payload_bytes=size, journal_page=2)).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("f", inbox))
        assert isinstance(world.error_of(flow.signal("f", text, "x" * (size - 1))), InvalidInput)
        for _ in range(inbox):
            assert world.run(flow.signal("f", text, "x" * (size - 2))).accepted
        assert isinstance(world.error_of(flow.signal("f", text, "")), Overloaded)
        world.advance("1 hour")
        assert world.run(flow.outcome("f")) == Done(value=inbox * (size - 2))


@program
def stating(ctx: WorkflowContext[str]) -> Do[str, str]:
    state = yield from ctx.state
    yield from act(0)
    yield from ctx.set_state(state + "y")
    yield from sleep("1 hour")
    return (yield from ctx.state)


@given(size=st.integers(20, 80))
@settings(max_examples=20)
def test_the_state_at_the_start_and_later_has_at_most_state_bytes(size: int) -> None:
    """Also when the first state and the present one are both as large as may be: the header holds the first one."""
    job = Workflow("stating", state=str, run=stating, retry_defects=retry, keep=None)
    with World(App(None, limits=Limits(state_bytes=size)).with_jobs(job)) as world:
        flow = world.handle(job)
        assert isinstance(world.error_of(flow.start("refused", "x" * (size - 1))), InvalidInput)
        assert world.run(flow.status("refused")).status == "not_found"
        for id_, length in (("edge", size - 3), ("beyond", size - 2)):
            world.run(flow.start(id_, "x" * length))
        world.advance("1 hour")
        assert world.run(flow.outcome("edge")) == Done(value="x" * (size - 3) + "y")
        found = world.run(flow.status("beyond"))
        assert found.parked == "retries_exhausted"
        assert found.last_error is not None
        assert f"got {size + 1}" in found.last_error.message
        assert len(world.effects) == 2


@effect
def broken(services: object, number: int) -> FutureResult[int, str]:
    raise ValueError(f"{number} {'x' * 1_000}")


@program
def all_broken(ctx: WorkflowContext[int]) -> Do[int, str]:
    count = yield from ctx.state
    return sum((yield from gather(*map(broken, range(count)), limit=count)))


def test_many_steps_that_fail_together_are_parked_and_their_row_stays_small() -> None:
    job = flow_of(all_broken)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("f", 200))
        world.advance("1 minute")
        assert world.run(world.handle(job).status("f")).parked == "retries_exhausted"
        row = world.instance(job, "f")
        assert row is not None
        assert len(row.data) < 400_000
        assert len(world.effects) == 600


@pytest.mark.parametrize(("failing", "full"), [(19, 19), (20, 20), (21, 20), (40, 20)])
@pytest.mark.parametrize("attempts", [1, 2])
def test_twenty_steps_that_fail_together_keep_their_tracebacks(failing: int, full: int, attempts: int) -> None:
    job = flow_of(all_broken)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("f", failing))
        while len(world.effects) < attempts * failing:
            world.advance("100 ms")
        steps = world.run(world.handle(job).steps("f"))
        errors = [step.error for step in steps if step.error is not None]
        assert [len(errors), sum(bool(error.traceback) for error in errors)] == [failing, full]


@program
def four_acts() -> Do[int, str]:
    number = 0
    for _ in range(4):
        number = yield from act(number)
    return number


@pytest.mark.parametrize(("most", "ends"), [(5, True), (4, False)])
def test_max_steps_counts_no_note_of_a_wait_beside_steps(most: int, *, ends: bool) -> None:
    @program
    def waiting(_: WorkflowContext[int]) -> Do[int, str]:
        return (yield from gather(sleep("1 second"), four_acts()))[1]

    job = flow_of(waiting, max_steps=most)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("f", 0))
        world.advance("1 minute")
        found = world.run(world.handle(job).status("f"))
        assert (found.status, found.parked) == (("done", None) if ends else ("parked", "not_retryable"))


@given(children=st.integers(1, 6), beyond=st.booleans(), chunk=st.integers(1, 3), apart=st.booleans())
@settings(max_examples=20)
def test_max_steps_counts_each_child_once(*, children: int, beyond: bool, chunk: int, apart: bool) -> None:
    @program
    def resting(ctx: WorkflowContext[int]) -> Do[int]:
        yield from sleep("1 minute")
        return (yield from ctx.state)

    child = Workflow("child", state=int, run=resting)

    @program
    def calling(ctx: WorkflowContext[int]) -> Do[int, Any]:
        calls = [child.call(f"{ctx.id}-{each}", each) for each in range((yield from ctx.state))]
        return sum((yield from gather(*calls, limit=1 if apart else 100)))

    job = flow_of(calling, max_steps=children)
    with World(App(None, limits=Limits(replay_chunk=chunk, journal_page=chunk)).with_jobs(job, child)) as world:
        world.run(world.handle(job).start("f", children + 3 * beyond, wait_for="start"))
        world.advance("30 seconds")
        world.crash()
        world.open()
        world.advance("10 minutes")
        found, started = world.run(world.handle(job).status("f")), world.run(world.handle(child).count())
        if beyond:
            assert found.last_error is not None
            assert (found.parked, found.last_error.error_type) == ("not_retryable", "JournalFull")
            assert sum(started.by_status.values()) == children + (not apart)
        else:
            assert world.run(world.handle(job).outcome("f")) == Done(value=sum(range(children)))


@given(most=st.integers(1, 6), chunk=st.integers(1, 3), signals=st.integers(0, 3))
@settings(max_examples=20)
def test_max_steps_counts_answers_and_no_signal_that_waits(most: int, chunk: int, signals: int) -> None:
    @program
    def counting(ctx: WorkflowContext[int]) -> Do[int, str]:
        steps, count = (yield from ctx.state), 0
        yield from sleep("1 second")
        for _ in range(steps):
            count = yield from act(count)
        return count

    job = flow_of(counting, max_steps=most)
    with World(App(None, limits=Limits(replay_chunk=chunk, journal_page=chunk)).with_jobs(job)) as world:
        flow = world.handle(job)
        for id_, steps in (("edge", most - 1), ("beyond", most)):  # and the sleep
            world.run(flow.start(id_, steps))
            for _ in range(signals):
                assert world.run(flow.signal(id_, text, "waits")).accepted
        world.advance("1 minute")
        assert world.run(flow.outcome("edge")) == Done(value=most - 1)
        found = world.run(flow.status("beyond"))
        assert found.parked == "not_retryable"
        assert found.last_error is not None
        assert found.last_error.error_type == "JournalFull"
