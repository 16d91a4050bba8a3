"""Live events are consistent with the answers of callers, with the stored events and with each other."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
from collected import Collected
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import Add, Break, Event, OnAlarm, Refuse, Say, Tell, Wait, app, machine_with, steps
from returns.result import Success
from world import StoreKind, World, play

from perdure import Backoff, Retry
from perdure.values.errors import HookRaised, Rejected
from perdure.values.event import JobExecuted
from perdure.values.live_event import (
    AlarmFired,
    EngineStarted,
    EngineStopped,
    EventRejected,
    MessageDelivered,
    RequestEnded,
    RunClaimed,
    StoreCommitted,
)


@attrs.frozen
class Send:
    """Send an event to an instance, without waiting for the answer; perhaps the caller gives up at once."""

    id: str
    event: Event
    gives_up: bool = False


@attrs.frozen
class Pass:
    """Let time pass."""

    ms: int


@attrs.frozen
class Restart:
    """Let the engine stop or die, and open the next one."""

    how: str


ids = st.sampled_from(("a", "b", "c"))
plain = st.sampled_from((Add(), Say("hello"), Refuse(), Break(), Wait(300)))
tells = st.builds(Tell, ids) | st.builds(Tell, ids, st.lists(plain, min_size=1, max_size=2).map(tuple))
sequences = st.lists(plain | tells, max_size=3).map(tuple)
events = st.builds(lambda given: steps(*given), sequences) | st.builds(
    OnAlarm, st.sampled_from((0, 500, 5_000)), sequences
)
operations = st.one_of(
    st.builds(Send, ids, events, st.sampled_from((False, False, False, True))),
    st.builds(Pass, st.sampled_from((1, 400, 2_000, 30_000))),
    st.builds(Restart, st.sampled_from(("stop", "crash"))),
)
scripts = st.lists(operations, min_size=1, max_size=14)
job = machine_with(retry=Retry(2, Backoff.constant("1 second"), jitter=False))


async def follow(world: World, script: list[Any]) -> None:
    sink = Collected()
    watched = app(world.outside, job, message_deliveries=2, shutdown_timeout="1 s").with_sinks(sink)
    calls: list[Any] = []
    await world.open(watched)
    for operation in script:
        match operation:
            case Send(id_, event, gives_up):
                calls.append(world.start(world.jobs.handle(job).send(id_, event)))
                await world.settle()
                if gives_up:
                    calls[-1].cancel()
            case Pass(ms):
                await world.advance(ms=ms)
            case Restart(how):
                await (world.crash() if how == "crash" else world.close())
                await world.open(watched)
    await world.advance(minutes=10)
    await world.close()
    crashes = sum(operation == Restart("crash") for operation in script)
    check_requests(sink, calls, crashes)
    check_runs(sink)
    check_commits(sink, world, crashes)


def check_requests(sink: Collected, calls: list[Any], crashes: int) -> None:
    """Each answered request ended once, as its caller saw it; a crash ends none."""
    ended = Counter(event.outcome for event in sink.of(RequestEnded))
    answered = Counter(outcome_of(call) for call in calls if call.done() and not call.cancelled())
    if crashes == 0:
        assert ended.total() == len(calls)
        del ended["cancelled"]
        assert answered <= ended <= answered + Counter({"ok": 0})
    else:
        assert answered - Counter({"unknown": len(calls)}) <= ended
        assert ended.total() <= len(calls)
    for event in sink.of(RequestEnded):
        assert 0 <= event.waited_ms <= event.took_ms
    rejected = [event.outcome for event in sink.of(RequestEnded)].count("rejected")
    assert len(sink.of(EventRejected)) >= rejected


def outcome_of(call: Any) -> str:
    """The outcome that the caller saw."""
    result = call.result()
    if isinstance(result, Success):
        return "ok"
    match result.failure():
        case Rejected():
            return "rejected"
        case HookRaised():
            return "failed"
        case _:
            return "refused"


def check_runs(sink: Collected) -> None:
    """A run is claimed before it is executed, and an alarm does not fire before it is due."""
    claimed = set[tuple[str, int, int]]()
    for event in sink.of(RunClaimed, JobExecuted):
        delivery = (event.run_id, event.attempt, event.delivery)
        if isinstance(event, RunClaimed):
            assert delivery not in claimed
            claimed.add(delivery)
        else:
            assert delivery in claimed
    for event in sink.of(AlarmFired):
        assert event.due_ms <= event.at_ms
        assert event.lateness.total_seconds() >= 0
    times = [event.at_ms for event in sink.events]
    assert times == sorted(times)


def check_commits(sink: Collected, world: World, crashes: int) -> None:
    """Each commit is told once, each message is consumed once, and each engine that did not die stopped."""
    committed = [event for event in sink.of(StoreCommitted) if event.outcome == "committed"]
    assert {event.took_ms for event in sink.of(StoreCommitted)} <= {0}, "the store takes no time of the virtual clock"
    consumed = [event.message_id for event in sink.of(MessageDelivered) if event.outcome == "consumed"]
    assert len(consumed) == len(set(consumed))
    assert len(sink.of(EngineStarted)) == len(sink.of(EngineStopped)) + crashes
    if crashes == 0:
        assert len(committed) == len(world.commits)
    else:
        assert len(committed) <= len(world.commits)


@given(scripts)
def test_live_events_are_consistent(script: list[Any]) -> None:
    play("memory", Path(), lambda world: follow(world, script))


@settings(max_examples=20)
@given(scripts)
def test_live_events_are_consistent_on_a_file(script: list[Any]) -> None:
    kind: StoreKind = "sqlite"
    with TemporaryDirectory() as folder:
        play(kind, Path(folder), lambda world: follow(world, script))
