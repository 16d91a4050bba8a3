"""The law of the dry run: with the same answers, version and facts, the real turn commits the same transitions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import hypothesis.strategies as st
from hypothesis import given
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure import App, Client, attempt
from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import (
    Cancelled,
    Delivered,
    OrderPlaced,
    PaymentReceived,
    Shipped,
    order_processor,
)
from perdure.examples.token_refresher import AuthDown, Token, TokenState, token_refresher
from perdure.examples.webhook_batcher import SinkFull, Webhook, webhook_batcher
from perdure.jobs.call import Call
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.explanation import Asked, Explained, explain, request_of
from perdure.programs import PASS, ServiceCall
from perdure.programs.future import answer_of
from perdure.runtime.record import Runtime
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import Store, load_one, overlay
from perdure.stores.memory import memory_store
from perdure.stores.values import Query
from perdure.values.instance import Instance
from perdure.values.limits import Limits
from perdure.values.transition import Put, Transition
from perdure.values.turn_inputs import TurnInputs

LIMITS = Limits()
STATE = TokenState("old", "r", datetime(2026, 1, 1, tzinfo=UTC))


@attrs.define
class Outside:
    """Every service: it answers as drawn, and remembers its answers."""

    drawn: list[bool]
    answered: list[tuple[str, Result[Any, Any]]] = attrs.Factory(list)

    mailer = auth = sink = property(lambda self: self)

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        return self._answer("send_mail", Success(None), Failure(MailBounced(to)))

    def refresh(self, refresh_token: str) -> FutureResult[Token, Any]:
        return self._answer("refresh", Success(Token("fresh", STATE.expires_at)), Failure(AuthDown("away")))

    def push(self, batch_id: str, events: tuple[Webhook, ...]) -> FutureResult[int, SinkFull]:
        return self._answer("push", Success(len(events)), Failure(SinkFull("full")))

    def _answer(self, effect: str, good: Result[Any, Any], bad: Result[Any, Any]) -> FutureResult[Any, Any]:
        answer = bad if self.drawn and self.drawn.pop() else good
        self.answered.append((effect, answer))
        return FutureResult.from_result(answer)


@attrs.define
class Recorded:
    """The random value and the id that the engine draws during a step, and its commits.

    All decisions of a step draw the same ones: a decision draws only the numbers that it reads, so the order of draws
    does not name their decisions.
    """

    simulation: Simulation
    commits: list[Transition] = attrs.Factory(list[Transition])
    jitter: float = 0.0
    id_base: int = 0

    def runtime(self) -> Runtime:
        return attrs.evolve(self.simulation.runtime, random=lambda: self.jitter, new_id=lambda: self.id_base)

    def begin_step(self) -> TurnInputs:
        self.jitter, self.id_base = self.simulation.runtime.random(), self.simulation.runtime.new_id()
        return TurnInputs(
            now_ms=self.simulation.now_ms, jitter=self.jitter, id_base=self.id_base, epoch=1, limits=LIMITS
        )

    def store(self, store: Store) -> Store:
        def commit(transitions: Any, answered: Any) -> None:
            self.commits.extend(transitions)
            store.commit(transitions, answered)

        assert store.epoch == 1
        return overlay(store, commit=commit)


RealCall = Callable[[Client], Call[Any, Any]]


@attrs.frozen
class Step:
    """A request, as it is explained and as it is made."""

    name: str
    job: AnyDefinition
    asked: Asked[Any]
    call: RealCall

    def _repr_pretty_(self, printer: Any, cycle: object) -> None:
        printer.text(f"{self.job.name}: {self.name}")  # a definition at length, twelve times, is too much to read


def order(event: Any) -> Step:
    return Step(
        str(event),
        order_processor,
        lambda job: job.send(event),
        lambda jobs: jobs.handle(order_processor).send("1", event),
    )


def named(job: Any, action: str) -> Step:
    """One of the calls that take nothing."""
    asked: Any = action if action in ("pause", "resume") else lambda teller: getattr(teller, action)()
    return Step(action, job, asked, lambda jobs: getattr(jobs.handle(job), action)("1"))


WEBHOOK = Webhook("1", "paid", "{}")
STEPS: list[Step] = [
    *map(order, (OrderPlaced("ada", 100), PaymentReceived(50), PaymentReceived(100), Shipped("T"), Delivered())),
    order(Cancelled("no")),
    *(named(order_processor, action) for action in ("trigger", "pause", "resume", "terminate")),
    Step(
        "add",
        webhook_batcher,
        lambda job: job.add(WEBHOOK),
        lambda jobs: jobs.handle(webhook_batcher).add("1", WEBHOOK),
    ),
    *(named(webhook_batcher, action) for action in ("flush", "clear", "pause", "resume")),
    Step(
        "start",
        token_refresher,
        lambda job: job.start(STATE),
        lambda jobs: jobs.handle(token_refresher).start("1", STATE),
    ),
    *(named(token_refresher, action) for action in ("trigger", "terminate", "pause", "resume")),
]


MOST_DECISIONS = 20
"""Of one request."""

PAUSES_MS = (0, 998, 999, 1_000, 4_999, 9_999, 29_999, 59_999, 299_999, 1_799_999)
"""By how much time passes after a request: to just before, and to, an instant at which alarms are due."""


@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(PAUSES_MS)), min_size=1, max_size=12),
    st.lists(st.booleans()),
    st.integers(0, 1_000),
)
def test_the_real_turn_commits_the_explained_changes(steps, refusals, seed):
    simulation, outside = Simulation(seed=seed), Outside(list(refusals))
    recorded = Recorded(simulation)

    async def main() -> None:
        store = recorded.store(memory_store())
        app = App(outside, limits=LIMITS).with_jobs(order_processor, webhook_batcher, token_refresher)
        async with app.open(store, runtime=recorded.runtime()) as jobs:
            for step, pause_ms in steps:
                await until_nothing_runs(simulation, store)
                await one_step(recorded, outside, store, jobs, step)
                await simulation.runtime.sleep(pause_ms)

    simulation.run(main())


async def until_nothing_runs(simulation: Simulation, store: Store) -> None:
    """Wait for an instant at which no alarm is due and no run is claimed.

    Values drawn, answered and committed at such an instant is the request's own: nothing else can begin before it is
    over, because services answer at once, and time does not advance until every task waits for it.
    """
    await simulation.runtime.sleep(1)
    while any(is_busy(instance, simulation.now_ms) for instance in await instances_of(store)):
        await simulation.runtime.sleep(1)


async def instances_of(store: Store) -> tuple[Instance, ...]:
    return (await answer_of(store.find(Query(limit=1_000)))).unwrap()


def is_busy(instance: Instance, now_ms: int) -> bool:
    return instance.owner is not None or (instance.due_ms is not None and instance.due_ms <= now_ms)


async def one_step(recorded: Recorded, outside: Outside, store: Store, jobs: Client, step: Step) -> None:
    job, asked, call = step.job, step.asked, step.call
    address = job.address("1")
    loaded = (await answer_of(load_one(store, address, None, 0))).unwrap()
    for seen in (recorded.commits, outside.answered):
        seen.clear()
    inputs = recorded.begin_step()
    result = await attempt(call(jobs))
    commits = [transition for transition in recorded.commits if transition.address == address]
    explanation = explain(
        job,
        address,
        loaded,
        request_of(job, asked, key=None, max_bytes=LIMITS.payload_bytes),
        inputs=(inputs,) * MOST_DECISIONS,
        answers=in_turn(list(outside.answered)),
        incarnation=incarnation_in(commits),
    )
    assert isinstance(explanation, Explained)
    explained = [each for each in (explanation.claim, explanation.transition) if each is not None]
    own = [each for each in explained if not each.is_empty]
    assert len(commits) >= len(own)
    assert all(is_explained(commit, each) for commit, each in zip(commits, own, strict=False))
    assert all(is_of_an_alarm(first) for first in commits[len(own) :][:1])
    assert type(result) is type(explanation.result)


def in_turn(answered: list[tuple[str, Result[Any, Any]]]) -> Callable[[ServiceCall], object]:
    def answer(call: ServiceCall) -> object:
        if answered and answered[0][0] == call.name:
            return answered.pop(0)[1]
        return PASS

    return answer


def is_explained(commit: Transition, explained: Transition) -> bool:
    """Whether it is the explained transition, perhaps with the claim of a run that is due at once."""
    if commit == explained:
        return True
    events = commit.events[: len(explained.events)]
    return is_of_an_alarm(commit) and attrs.evolve(commit, write=explained.write, events=events) == explained


def is_of_an_alarm(transition: Transition) -> bool:
    """Whether it is the claim of an alarm: one that is due at once may fire before the caller has its answer."""
    claim = transition.write.instance.claim if isinstance(transition.write, Put) else None
    return claim is not None and claim.cause == "alarm"


def incarnation_in(commits: list[Transition]) -> int:
    """The number that the store assigned to a new instance."""
    given = [each.expected.incarnation for each in commits if each.expected is not None]
    given += [each.write.instance.incarnation for each in commits if isinstance(each.write, Put)]
    return next((number for number in given if number), 1)
