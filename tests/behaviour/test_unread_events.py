"""While the log keeps no events and no sink listens, a turn makes only those of failures, for the engine's log."""

from typing import Any, cast

import pytest
from machine import Add, Break, Step, machine, steps
from machine import app as machine_app
from world import World, on_each_store

from perdure.jobs.step import Commit, Execute
from perdure.jobs.turn import begin, finish
from perdure.kinds.task.context import SendCommand
from perdure.programs.drivers import run_to_first_effect
from perdure.programs.interpreter import interpret
from perdure.values.event import JobFailed, JobStarted
from perdure.values.transition import Loaded
from perdure.values.turn_inputs import TurnInputs


def events_of(step: Step, *, wants_events: bool) -> list[type]:
    """The classes of the events of a turn that creates an instance."""
    inputs = TurnInputs(now_ms=1_000, jitter=0, id_base=1, epoch=1, wants_events=wants_events)
    request = machine.parse("send", machine.encode_input("send", steps(step), 10_000))
    assert isinstance(request.command, SendCommand)
    execute = cast("Execute", begin(machine, machine.address("a"), Loaded(), request, inputs))
    ended: Any = run_to_first_effect(interpret(execute.program, None, (execute.draft,)))
    commit = finish(machine, execute, ended, inputs)
    assert isinstance(commit, Commit)
    return [type(event) for event in commit.transition.events]


@pytest.mark.parametrize(
    ("step", "wants_events", "expected"),
    [
        (Add(), True, [JobStarted]),
        (Add(), False, []),
        (Break(), True, [JobFailed]),
        (Break(), False, [JobFailed]),
    ],
)
def test_only_failures_are_made_if_events_are_unread(*, step: Step, wants_events: bool, expected: list[type]) -> None:
    assert events_of(step, wants_events=wants_events) == expected


@on_each_store
async def test_a_failure_is_logged_without_history_and_sink(world: World) -> None:
    jobs = (await world.open(machine_app(world.outside, history_events=0))).handle(machine)
    await world.run(jobs.send("a", steps(Add())))
    await world.error_of(jobs.send("a", steps(Break())))
    assert world.logs.count("run failed") == 1
    assert await world.history(machine.address("a")) == []
