"""A deploy that adds a topic, schedules, a concurrency and a kept history, step by step, back and forth.

Engines of two apps share a store: the one before the deploy has none of them. No event, instant, start or kept event is
lost, and none happens twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias

import attrs
import pytest
from hypothesis import settings
from postgres_harness import SharedPostgresHarness
from returns.result import Result, Success

from perdure import (
    App,
    Client,
    Decision,
    Do,
    KeepHistory,
    Limits,
    Schedules,
    Signal,
    Task,
    Topic,
    Workflow,
    WorkflowContext,
    effect,
    every,
    program,
    step_key,
    tell,
)
from perdure.programs import sleep
from perdure.testing.cluster import Cluster, ClusterEngine


@attrs.frozen
class Price:
    cents: int


@attrs.frozen
class Make:
    day: datetime | None = None


@attrs.frozen
class Outside:
    """The imports that began, by the key of their first step."""

    imported: list[tuple[str, str]] = attrs.Factory(list[tuple[str, str]])


def note(seen: tuple[int, ...], price: Price) -> Result[Decision[tuple[int, ...]], str]:
    return Success(Decision((*seen, price.cents)))


def report(made: tuple[datetime, ...], make: Make) -> Result[Decision[tuple[datetime, ...]], str]:
    return Success(Decision(made if make.day is None else (*made, make.day)))


@effect
def begin(outside: Outside, name: str, key: str) -> Result[str, str]:
    outside.imported.append((name, key))
    return Success(name)


GO = Signal("go", int)


@program
def imported(ctx: WorkflowContext[str]) -> Do[int, str, Outside]:
    yield from begin((yield from ctx.state), (yield from step_key()))
    yield from sleep("1 s")
    return (yield from GO.receive())


NUMBERS: Any = {"state": tuple[int, ...], "event": Price, "initial": (), "decide": note, "accepted_in_events": "sender"}
notes_before = Task("notes", **NUMBERS)
notes = Task("notes", **NUMBERS, history=KeepHistory(age="30 days"))
reports = Task("reports", state=tuple[datetime, ...], event=Make, initial=(), decide=report)
imports_before = Workflow("imports", state=str, run=imported, signals=(GO,))
imports = Workflow("imports", state=str, run=imported, signals=(GO,), concurrency=1)
prices: Topic[Price] = Topic("prices", event=Price, subscribers=(notes,))
table = Schedules("table", targets=(reports,))
LIMITS = Limits(history_retention="20 minutes")

Age: TypeAlias = Literal["old", "new"]


def apps(outside: Outside) -> dict[Age, App[Any]]:
    before = App(outside, limits=LIMITS)
    return {
        "old": before.with_jobs(notes_before, reports, imports_before),
        "new": before.with_jobs(notes, reports, imports, prices, table),
    }


# ---------------------------------------------------------------- where engines run
class Fleet(Protocol):
    """Two engines, each with one of the apps."""

    ages: list[Age]

    def replace(self, place: int, age: Age, how: Literal["close", "crash"]) -> None:
        """End the engine with a number, and open one with an app instead."""

    def ask(self, place: int, call: Callable[[Client], Any]) -> Any:
        """Return the answer of the engine with a number."""

    def wait(self, reached: Callable[[], bool]) -> None:
        """Let the engines work until a condition holds."""

    def let_a_round_pass(self) -> None:
        """Let the engines delete or move old events, where time is simulated."""


@attrs.define
class Simulated:
    """Engines in a simulation, in which time passes without delay."""

    cluster: Cluster
    apps: dict[Age, App[Any]]
    ages: list[Age] = attrs.Factory(lambda: ["old", "old"])
    engines: list[ClusterEngine] = attrs.Factory(list[ClusterEngine])

    def __attrs_post_init__(self) -> None:
        self.engines = [self.cluster.open(self.apps["old"]) for _ in self.ages]

    def replace(self, place: int, age: Age, how: Literal["close", "crash"]) -> None:
        ended = self.engines[place]
        if how == "crash":
            ended.crash()
        else:
            ended.close()
            self.cluster.run_until(lambda: ended.is_over)
        self.engines[place], self.ages[place] = self.cluster.open(self.apps[age]), age

    def ask(self, place: int, call: Callable[[Client], Any]) -> Any:
        return self.cluster.run_on(self.engines[place], call)

    def wait(self, reached: Callable[[], bool]) -> None:
        for _ in range(60):
            if reached():
                return
            self.cluster.advance("1 s")
        raise AssertionError("it is not so after a minute")

    def let_a_round_pass(self) -> None:
        self.cluster.advance("11 minutes")


@attrs.define
class Real:
    """Engines in this process, on a PostgreSQL store."""

    url: str
    apps: dict[Age, App[Any]]
    runner: asyncio.Runner
    ages: list[Age] = attrs.Factory(lambda: ["old", "old"])
    open: list[tuple[AbstractAsyncContextManager[Client], Client]] = attrs.Factory(list[Any])

    def __attrs_post_init__(self) -> None:
        self.open = [self._opened(age) for age in self.ages]

    def _opened(self, age: Age) -> tuple[AbstractAsyncContextManager[Client], Client]:
        app = self.apps[age].open(self.url)
        return app, self.runner.run(app.__aenter__())

    def replace(self, place: int, age: Age, how: Literal["close", "crash"]) -> None:
        self.close(place)
        self.open[place], self.ages[place] = self._opened(age), age

    def close(self, place: int) -> None:
        self.runner.run(self.open[place][0].__aexit__(None, None, None))

    def ask(self, place: int, call: Callable[[Client], Any]) -> Any:
        async def asked() -> Any:
            return await call(self.open[place][1])

        return self.runner.run(asked())

    def wait(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not reached():  # each look is a call to an engine, so the engines work meanwhile
            assert time.monotonic() < deadline, "it is not so after a minute"

    def let_a_round_pass(self) -> None:
        """Do nothing: rounds come every ten minutes."""


# ---------------------------------------------------------------- the load, and its results
SUBSCRIBERS = (notes.address("a"), notes.address("b"))
NOTES = {"old": notes_before, "new": notes}
IMPORTS = {"old": imports_before, "new": imports}
OFTEN = {"simulated": "1 minute", "postgres": "1 s"}


@attrs.define
class Load:
    """The requests that were accepted."""

    fleet: Fleet
    often: str
    sent: list[int] = attrs.Factory(list[int])
    published: list[int] = attrs.Factory(list[int])
    started: list[str] = attrs.Factory(list[str])

    def step(self) -> None:
        for place, age in enumerate(self.fleet.ages):
            for _ in range(2):
                self._send(place)
                self._start(place)
            if age == "new":
                self._publish(place)

    def _send(self, place: int) -> None:
        number = -1 - len(self.sent)
        self.fleet.ask(place, lambda client: client.handle(NOTES[self.fleet.ages[place]]).send("a", Price(number)))
        self.sent.append(number)

    def _start(self, place: int) -> None:
        """Start an import at one engine, and send its signal at the other one."""
        id_ = f"{len(self.started)}"
        self.started.append(id_)
        here, there = (IMPORTS[self.fleet.ages[each]] for each in (place, 1 - place))
        self.fleet.ask(place, lambda client: client.handle(here).start(id_, id_))
        self.fleet.ask(1 - place, lambda client: client.handle(there).signal(id_, GO, 1))

    def _publish(self, place: int) -> None:
        if not self.published:
            timing, message = every(self.often, align="start", catch_up="all"), tell(reports, "eu").send(Make())
            self.fleet.ask(place, lambda client: client.handle(table).put("s", timing, message, tick_field="day"))
            self.fleet.ask(place, lambda client: client.handle(notes).send("b", Price(-1)))
            for address in SUBSCRIBERS:
                self.fleet.ask(place, lambda client, at=address: client.handle(prices).subscribe("eur", at))
        number = 1 + len(self.published)
        self.fleet.ask(place, lambda client: client.handle(prices).publish("eur", Price(number)))
        self.published.append(number)

    # ------------------------------------------------------------ the end
    def state(self, job: Any, id_: str) -> Any:
        return self.fleet.ask(0, lambda client: client.handle(job).get_state(id_))

    def statuses(self) -> Counter[str]:
        found = self.fleet.ask(0, lambda client: client.list(imports, limit=1_000))
        return Counter(each.report.status for each in found.instances)

    def check(self, outside: Outside) -> None:
        """Wait for the end of all that was asked for, and compare it. Each engine has the new app."""
        self.fleet.wait(lambda: len(self.state(notes, "a")) >= len(self.sent) + len(self.published))
        self.fleet.wait(lambda: len(self.state(notes, "b")) >= 1 + len(self.published))
        self.fleet.wait(lambda: self.statuses() == {"done": len(self.started)})
        self.fleet.ask(0, lambda client: client.handle(table).pause("s"))
        assert [price for price in self.state(notes, "a") if price > 0] == self.published
        assert [price for price in self.state(notes, "a") if price < 0] == self.sent
        assert self.state(notes, "b") == (-1, *self.published)
        assert sorted({name for name, _ in outside.imported}, key=int) == self.started
        assert len(set(outside.imported)) == len(self.started)  # a repeat after a crash has the first key
        self._check_instants()
        history = self.fleet.ask(0, lambda client: client.history(notes, "a", limit=1_000))
        accepted = [one for one in history if one.event.type == "job.accepted"]
        assert len(accepted) == len(self.sent) + len(self.published)
        self._check_places()

    def _check_instants(self) -> None:
        instants = self.state(reports, "eu")
        apart = instants[1] - instants[0]
        assert len(instants) > 2
        assert instants == tuple(instants[0] + number * apart for number in range(len(instants)))

    def _check_places(self) -> None:
        ended = len(self.started)
        for number in range(3):
            id_ = f"last {number}"
            self.fleet.ask(number % 2, lambda client, id_=id_: client.handle(imports).start(id_, id_))
        for number, left in enumerate(({"idle": 1, "queued": 2}, {"idle": 1, "queued": 1}, {"idle": 1})):
            expected = {"done": ended + number, **left}
            self.fleet.wait(lambda expected=expected: self.statuses() == expected)
            id_ = f"last {number}"
            self.fleet.ask(number % 2, lambda client, id_=id_: client.handle(imports).signal(id_, GO, 1))


PLAN: tuple[tuple[int, Age, Literal["close", "crash"], Literal["round", "no round"]], ...] = (
    (0, "new", "close", "round"),
    (1, "new", "crash", "no round"),
    (0, "old", "crash", "no round"),
    (1, "old", "close", "round"),
    (1, "new", "crash", "round"),
    (0, "new", "close", "no round"),
)
"""A deploy, its rollback and the deploy again: which engine ends, how, the app of the next one, and whether time for a
round of retention follows: by both apps, by the old one alone, and by both.
"""


def roll(fleet: Fleet, outside: Outside, often: str) -> None:
    load = Load(fleet, often)
    load.step()
    for place, age, how, following in PLAN:
        fleet.replace(place, age, how)
        load.step()
        if following == "round":
            fleet.let_a_round_pass()
    load.check(outside)


@pytest.mark.parametrize("seed", range(20 if settings.get_current_profile_name() == "nightly" else 1))
def test_a_simulated_deploy_and_its_rollback_lose_nothing(seed: int) -> None:
    outside = Outside()
    with Cluster(apps(outside)["new"], seed=seed, lease="4 s") as cluster:
        roll(Simulated(cluster, apps(outside)), outside, OFTEN["simulated"])


def test_a_deploy_and_its_rollback_on_postgres_lose_nothing(postgres_url: str) -> None:
    outside, harness = Outside(), SharedPostgresHarness(postgres_url)
    with asyncio.Runner() as runner:
        fleet = Real(harness.url.replace("lease=30s", "lease=4s"), apps(outside), runner)
        try:
            roll(fleet, outside, OFTEN["postgres"])
        finally:
            for place in range(2):
                fleet.close(place)
            runner.run(harness.discard())
