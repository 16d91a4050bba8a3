"""A history with a crash has the same outcome with the fast paths of the engine and without them.

The machine is played twice: as the task that it is, whose plain events and plain runs are decided in one step and
written in few columns; and as a kind that has none of them, so that ``begin_any`` and ``finish_any`` decide each turn.
The same requests, with the same crash, must have the same answers, rows, events and effects.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import (
    Add,
    AlarmIn,
    Break,
    End,
    Mark,
    NoAlarm,
    OnAlarm,
    Refuse,
    Say,
    Tell,
    app,
    machine,
    machine_with,
    steps,
)
from returns.result import Failure
from world import Outside, ProcessDied

from perdure import Task
from perdure.stores.values import Query
from perdure.testing import Crash, World
from perdure.values.event import Event
from perdure.values.failure import FailureRecord
from perdure.values.instance import Instance

NIGHTLY = settings.get_current_profile_name() == "nightly"


class General(Task[Any, Any, Any, Any]):
    """The same kind of job, that decides nothing in one step."""

    fast_event = None
    fast_alarm = "none"


general = machine_with(General)


@frozen
class Send:
    """Send an event."""

    to: str
    event: Any
    key: str | None = None

    def __call__(self, world: World, job: Any) -> object:
        return shown(world.attempt(world.handle(job).send(self.to, self.event, idempotency_key=self.key)))


@frozen
class Ask:
    """Make a call without an event."""

    verb: str
    to: str

    def __call__(self, world: World, job: Any) -> object:
        return shown(world.attempt(getattr(world.handle(job), self.verb)(self.to)))


@frozen
class Advance:
    """Move the clock."""

    ms: int

    def __call__(self, world: World, _: Any) -> object:
        world.advance(f"{self.ms} ms")
        return None


Act: TypeAlias = Send | Ask | Advance

deeds = st.sampled_from(
    (Add(), Add(3), Say("x"), Mark("m"), Refuse(), Break(), AlarmIn(25_000), NoAlarm(), End(), Tell("c"))
)
some = st.lists(deeds, max_size=4).map(tuple)
events = some.map(lambda given_: steps(*given_)) | st.builds(OnAlarm, st.sampled_from((0, 20)), some)
acts = st.lists(
    st.builds(Send, st.sampled_from("aab"), events)
    | st.builds(Send, st.just("a"), st.just(steps(Add())), st.sampled_from("kl"))
    | st.builds(Ask, st.sampled_from(("trigger", "pause", "resume", "terminate")), st.sampled_from("ab"))
    | st.builds(Advance, st.sampled_from((10, 100))),
    max_size=10,
)
crashes = st.none() | st.builds(
    lambda call, when: Crash("store.commit", call=call, when=when),
    st.integers(1, 12),
    st.sampled_from(("before", "after")),
)


def shown(answer: Any) -> object:
    """An answer without the texts that name an id."""
    return type(answer.failure()).__name__ if isinstance(answer, Failure) else answer.unwrap()


def of_event(event: Event) -> object:
    """An event without the ids that are drawn."""
    left_out = {"event_id", "run_id", "error"}
    return type(event).__name__, [
        (each.name, getattr(event, each.name)) for each in event.__attrs_attrs__ if each.name not in left_out
    ]


def of_row(row: Instance) -> object:
    """A row without the ids and the tracebacks in it."""
    retry, claimed = row.pending_retry, row.claim is not None or row.event_claim is not None
    waits = None if retry is None else evolve(retry, run_id="", error=of_failure(retry.error))
    return row.changed(
        pending_retry=waits, claim=None, event_claim=None, last_error=of_failure(row.last_error)
    ), claimed


def of_failure(failure: FailureRecord | None) -> FailureRecord | None:
    """A failure without its traceback."""
    return None if failure is None else evolve(failure, traceback=None)


def outcome(folder: Path, kind: str, acts: list[Act], crash: Crash | None, job: Any) -> object:
    """Play a history in a world of its own, and return everything that callers, the store and services show of it."""
    outside, answers = Outside(), list[object]()
    store = "memory://" if kind == "memory" else folder / f"{type(job).__name__}.db"
    with World(app(outside, job), store=store, requests="grouped", debug=False) as world:
        if crash is not None:
            world.inject(crash)
        for act in acts:
            try:
                answers.append(act(world, job))
            except ProcessDied:
                answers.append("died")
                world.open()
        if not world.is_open:
            world.open()
        world.clear_faults()
        world.advance("1 minute")
        rows = world.inspect(lambda found: found.find(Query()))
        logged = world.inspect(lambda found: found.events(0, 1_000))
        return answers, outside.heard, [of_row(row) for row in rows], [of_event(entry.event) for entry in logged]


@given(acts, crashes, st.sampled_from(("memory", "memory", "sqlite")))
@settings(max_examples=1_000 if NIGHTLY else 60, deadline=None)
def test_a_history_has_the_outcome_that_it_has_without_fast_paths(
    tmp_path_factory: Any, acts: list[Act], crash: Crash | None, kind: str
) -> None:
    folder: Path = tmp_path_factory.mktemp("world")
    assert outcome(folder, kind, acts, crash, machine) == outcome(folder, kind, acts, crash, general)
