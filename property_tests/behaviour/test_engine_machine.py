"""The complete engine against a model: acknowledged events are there, exactly once, whatever crashes in between."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from machine import Add, Mark, OnAlarm, Plain, Tell, app, machine, steps
from world import ProcessDied, StoreKind, World, completed

from perdure.stores.values import Query

IDS = st.sampled_from("abc")
EFFECTS = st.sampled_from(["with", "without"])


class EngineMachine(RuleBasedStateMachine):
    """Machines that add to each other's totals, under an engine that is crashed, closed and opened again."""

    kind: ClassVar[StoreKind] = "memory"

    @initialize(seed=st.integers(0, 2**16))
    def opens(self, seed: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(self.kind, Path(self.folder.name), seed)
        self.totals: Counter[str] = Counter()
        self.words = 0
        self.play(self.world.open(app(self.world.outside)))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.play(self.world.leave())
            self.folder.cleanup()

    def play(self, work: Any) -> Any:
        return completed(work)

    @property
    def jobs(self) -> Any:
        return self.world.jobs.handle(machine)

    def adding(self, amount: int, effects: str) -> tuple[Plain, ...]:
        self.words += 1
        return (Mark(f"word-{self.words}"), Add(amount)) if effects == "with" else (Add(amount),)

    # ------------------------------------------------------------ requests
    @rule(id_=IDS, amount=st.integers(1, 9), effects=EFFECTS)
    def send(self, id_: str, amount: int, effects: str) -> None:
        self.play(self.world.run(self.jobs.send(id_, steps(*self.adding(amount, effects)))))
        self.totals[id_] += amount

    @rule(from_=IDS, to=IDS, amount=st.integers(1, 9), effects=EFFECTS)
    def tell(self, from_: str, to: str, amount: int, effects: str) -> None:
        self.play(self.world.run(self.jobs.send(from_, steps(Tell(to, self.adding(amount, effects))))))
        self.totals[from_] += 0
        self.totals[to] += amount

    @rule(id_=IDS, amount=st.integers(1, 9), seconds=st.integers(0, 5), effects=EFFECTS)
    def schedule(self, id_: str, amount: int, seconds: int, effects: str) -> None:
        """Set an alarm, and wait for it."""
        self.play(self.world.run(self.jobs.send(id_, OnAlarm(seconds * 1_000, self.adding(amount, effects)))))
        self.play(self.world.advance(s=seconds))
        self.totals[id_] += amount

    @rule(calls=st.lists(st.tuples(IDS, st.integers(1, 9), EFFECTS), min_size=2, max_size=6))
    def send_at_once(self, calls: list[tuple[str, int, str]]) -> None:
        requests = [self.jobs.send(id_, steps(*self.adding(amount, effects))) for id_, amount, effects in calls]
        assert all(answer.unwrap() for answer in self.play(self.world.all(*requests)))
        for id_, amount, _ in calls:
            self.totals[id_] += amount

    # ------------------------------------------------------------ ends of processes
    @rule(id_=IDS, to=IDS, amount=st.integers(1, 9), effects=EFFECTS, place=st.integers(0, 12))
    def crash_during_a_request(self, id_: str, to: str, amount: int, effects: str, place: int) -> None:
        """Die somewhere on the way, open again, and repeat the request with its key."""
        key = f"key-{self.words}-{len(self.world.commits)}"
        event = steps(*self.adding(amount, effects), Tell(to, (Add(100),)))
        boundary = self.world.process.boundary
        boundary.die_at = len(boundary.crash_points) + place
        with suppress(ProcessDied):
            self.play(self.world.run(self.jobs.send(id_, event, idempotency_key=key)))
        self.play(self.world.crash())
        self.play(self.world.open(app(self.world.outside)))
        self.play(self.world.run(self.jobs.send(id_, event, idempotency_key=key)))
        self.play(self.world.advance(s=2))
        self.totals[id_] += amount
        self.totals[to] += 100

    @rule()
    def close_and_open(self) -> None:
        self.play(self.world.close())
        self.play(self.world.open(app(self.world.outside)))

    # ------------------------------------------------------------ what always holds
    @invariant()
    def everything_acknowledged_is_there_once(self) -> None:
        self.play(self.world.settle())
        found = {
            id_: state.total for id_ in self.totals if (state := self.play(self.world.run(self.jobs.get_state(id_))))
        }
        assert found == dict(self.totals)

    @invariant()
    def nothing_is_left_half_done(self) -> None:
        rows = self.play(self.world.inspect(lambda store: store.find(Query())))
        assert all(row.claim is None and row.event_claim is None for row in rows)
        assert self.play(self.world.messages()) == ()
        heard = Counter(self.world.outside.heard)
        assert max(heard.values(), default=1) == 1, "user code ran twice and could not see it"


class EngineOnSqliteMachine(EngineMachine):
    """The same over a file."""

    kind = "sqlite"


TestEngineInMemory = EngineMachine.TestCase
TestEngineInMemory.settings = settings(max_examples=50, stateful_step_count=15)
TestEngineOnSqlite = EngineOnSqliteMachine.TestCase
TestEngineOnSqlite.settings = settings(max_examples=10, stateful_step_count=15)
