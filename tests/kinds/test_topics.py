"""``docs/how-to/publish-to-a-topic.md``: a topic sends each event to each subscriber once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from postgres_harness import PostgresHarness
from returns.result import Result, Success

from perdure import (
    App,
    Debounce,
    DebounceContext,
    Decision,
    Do,
    Limits,
    Schedules,
    Secret,
    Task,
    TaskContext,
    Topic,
    Workflow,
    WorkflowContext,
    program,
    tell,
)
from perdure.jobs.messages import plain_action, subscribed_action
from perdure.jobs.suspension import check_readable
from perdure.kinds.topic import SubscriberPage, TopicPublished, TopicSubscribed, TopicUnsubscribed
from perdure.kinds.topic.handler import SENT_BYTES, data_of
from perdure.stores.contract import commit_one
from perdure.testing import JobMachine, WorkerDied, World
from perdure.testing.cluster import Cluster
from perdure.testing.conformance.histories import ERROR, FAR_MS, settled_by
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidInput, Overloaded, Undecodable, UnknownAction
from perdure.values.message import Postponed
from perdure.values.times import to_ms


@attrs.frozen
class Price:
    cents: int


@attrs.frozen
class Forget:
    """Another event of the same task."""


@program
def note(ctx: TaskContext[tuple[int, ...]], event: Price | Forget) -> Do[None]:
    match event:
        case Price(cents):
            yield from ctx.update_state(lambda seen: (*seen, cents))
        case Forget():
            yield from ctx.terminate()


def append_size(sizes: tuple[int, ...], text: str) -> Result[Decision[tuple[int, ...]], str]:
    return Success(Decision((*sizes, len(text))))


notes = Task("notes", state=tuple[int, ...], event=Price | Forget, initial=(), on_event=note)


@program
def watch(ctx: WorkflowContext[int]) -> Do[tuple[int, int]]:
    most = yield from ctx.state
    cheap = yield from prices.receive("eur", where=lambda price: price.cents < most)
    following = yield from prices.receive("eur")
    return cheap.cents, following.cents


prices: Topic[Price] = Topic("prices", event=Price, subscribers=lambda: (notes, watcher, batches, copies))
watcher = Workflow("watcher", state=int, run=watch, signals=(prices.signal,))


@program
def flush(ctx: DebounceContext[Price]) -> Do[None]:
    price = yield from ctx.state
    yield from tell(notes, f"batch {ctx.id}").send(price)


batches = Debounce("batches", event=Price, flush_after="1 minute", execute=flush)
copies: Topic[Price] = Topic("copies", event=Price, subscribers=(notes,))
sizes = Task("sizes", state=tuple[int, ...], event=str, initial=(), decide=append_size)
texts: Topic[str] = Topic("texts", event=str, subscribers=(sizes,))
JOBS = (notes, prices, watcher, batches, copies)
app = App(None).with_jobs(*JOBS)


def limited(**limits: Any) -> App[None]:
    return App(None, limits=Limits(**limits)).with_jobs(*JOBS)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param != "postgres":
        yield {"memory": "memory://", "sqlite": tmp_path / "jobs.db"}[request.param]
        return
    harness = PostgresHarness(request.getfixturevalue("postgres_url"), "full")
    try:
        yield harness.url
    finally:
        asyncio.run(harness.discard())


def begin(world: World, *ids: str) -> None:
    """Create tasks, and subscribe them."""
    for id_ in ids:
        world.run(world.handle(notes).send(id_, Price(0)))
        world.run(world.handle(prices).subscribe("eur", notes.address(id_)))


def publish(world: World, *cents: int) -> None:
    for each in cents:
        world.run(world.handle(prices).publish("eur", Price(each)))


def seen(world: World, id_: str) -> tuple[int, ...]:
    return world.run(world.handle(notes).get_state(id_)) or ()


def outcome(world: World, job: Workflow[Any, Any, Any, Any], id_: str) -> Any:
    ended: Any = world.run(world.handle(job).outcome(id_))
    return ended.value


def subscribers(world: World) -> tuple[str, ...]:
    return world.run(world.handle(prices).subscribers("eur")).subscribers


# ---------------------------------------------------------------- publish, subscribe, unsubscribe
def test_each_subscriber_receives_each_event_once_in_order(store: Any) -> None:
    with World(app, store=store) as world:
        handle = world.handle(prices)
        assert world.run(handle.publish("eur", Price(1))) == TopicPublished(subscribers=0)
        begin(world, "a")
        again = world.run(handle.subscribe("eur", notes.address("a")))
        assert again == TopicSubscribed(created=False, subscribers=1, status="idle")
        assert world.run(handle.publish("eur", Price(2))) == TopicPublished(subscribers=1, status="idle")
        begin(world, "b")
        world.restart()
        publish(world, 3, 4)
        world.settle()
        left = world.run(handle.unsubscribe("eur", notes.address("a")))
        assert left == TopicUnsubscribed(removed=True, subscribers=1, status="idle")
        publish(world, 5)
        world.settle()
        assert (seen(world, "a"), seen(world, "b")) == ((0, 2, 3, 4), (0, 3, 4, 5))
        assert not world.run(handle.unsubscribe("eur", notes.address("a"))).removed
        assert not world.run(handle.unsubscribe("usd", notes.address("a"))).removed


def test_each_id_is_a_topic_of_its_own() -> None:
    with World(app) as world:
        begin(world, "a")
        assert world.run(world.handle(prices).publish("usd", Price(1))).subscribers == 0
        assert world.run(world.handle(prices).subscribers("usd")) == SubscriberPage()


def test_a_key_publishes_once() -> None:
    with World(app) as world:
        begin(world, "a")
        for _ in range(2):
            done = world.run(world.handle(prices).publish("eur", Price(1), idempotency_key="k"))
            assert done == TopicPublished(subscribers=1, status="idle")
        world.settle()
        assert seen(world, "a") == (0, 1)


def test_debounces_workflows_and_other_topics_subscribe() -> None:
    with World(app) as world:
        handle = world.handle(prices)
        begin(world, "a")
        world.run(handle.subscribe("eur", batches.address("b")))
        world.run(handle.subscribe("eur", copies.address("eur")))
        world.run(world.handle(copies).subscribe("eur", notes.address("a")))
        world.run(world.handle(watcher).start("w", 10, wait_for="start"))
        world.settle()
        publish(world, 20, 9, 30)
        world.settle()
        assert seen(world, "a") in {(0, 20, 20, 9, 9, 30, 30), (0, 20, 9, 20, 9, 30, 30), (0, 20, 9, 30, 20, 9, 30)}
        assert outcome(world, watcher, "w") == (9, 30)
        world.advance("1 minute")
        publish(world, 40)  # the debounce that has flushed begins its next batch
        world.advance("1 minute")
        assert seen(world, "batch b") == (30, 40)


@program
def publish_twice(ctx: TaskContext[int], event: Price) -> Do[None]:
    yield from tell(prices, "eur").publish(event)
    yield from tell(prices, "eur").publish(Price(event.cents + 1))


publisher = Task("publisher", state=int, event=Price, initial=0, on_event=publish_twice)


@program
def join(ctx: TaskContext[tuple[int, ...]], event: Price) -> Do[None]:
    if event.cents == 0:
        yield from tell(own, "eur").subscribe()
    elif event.cents < 0:
        yield from tell(own, "eur").unsubscribe()
    yield from ctx.update_state(lambda state: (*state, event.cents))


members = Task("members", state=tuple[int, ...], event=Price, initial=(), on_event=join)
own: Topic[Price] = Topic("own", event=Price, subscribers=(members,))


def test_programs_publish_and_subscribe_with_their_commit() -> None:
    with World(App(None).with_jobs(*JOBS, publisher, members, own)) as world:
        begin(world, "a")
        world.run(world.handle(publisher).send("p", Price(5)))
        world.settle()
        assert seen(world, "a") == (0, 5, 6)
        handle = world.handle(members)
        world.run(handle.send("m", Price(0)))
        world.settle()
        world.run(world.handle(own).publish("eur", Price(7)))
        world.settle()
        world.run(handle.send("m", Price(-1)))
        world.settle()
        world.run(world.handle(own).publish("eur", Price(8)))
        world.settle()
        assert world.run(handle.get_state("m")) == (0, 7, -1)


# ---------------------------------------------------------------- subscribers that are gone
def test_a_subscriber_that_is_gone_is_removed_and_not_created_again(store: Any) -> None:
    with World(app, store=store) as world:
        begin(world, "a", "b")
        world.run(world.handle(prices).subscribe("eur", notes.address("never")))
        world.run(world.handle(watcher).start("w", 10, wait_for="start"))
        world.settle()
        world.run(world.handle(watcher).cancel("w", "enough"))
        world.run(world.handle(notes).send("b", Forget()))
        world.settle()
        publish(world, 1)
        world.settle()
        assert subscribers(world) == ("task:notes:a",)
        assert world.run(world.handle(notes).status("b")).status == "not_found"
        assert world.run(world.handle(notes).status("never")).status == "not_found"
        assert world.run(world.jobs.dead_letters()) == ()
        noted = [event.data for event in world.history(prices, "eur") if event.type == "job.noted"]
        assert sum("subscriber" in data for data in noted) == 3


def test_a_late_notice_ends_no_subscription_that_was_made_again() -> None:
    with World(app) as world:
        begin(world, "a")
        row = world.instance(prices, "eur")
        assert row is not None
        stale = world.run(world.handle(prices).get_state("eur"))
        assert stale is not None
        named = world.jobs.handle_by_name("topic", "prices")
        begin(world, "a")
        old = stale["task:notes:a"].renewed
        answer: Any = world.run(named.call("unsubscribe", "eur", f'{{"subscriber": "task:notes:a", "renewed": {old}}}'))
        assert not answer["removed"]
        assert subscribers(world) == ("task:notes:a",)


def test_a_late_notice_ends_no_subscription_of_a_later_topic_with_this_id() -> None:
    with World(app) as world:
        begin(world, "a")
        before = world.run(world.handle(prices).get_state("eur"))
        assert before is not None
        world.run(world.handle(prices).terminate("eur"))
        world.advance("1 ms")
        begin(world, "a")
        named = world.jobs.handle_by_name("topic", "prices")
        late = f'{{"subscriber": "task:notes:a", "renewed": {before["task:notes:a"].renewed}}}'
        answer: Any = world.run(named.call("unsubscribe", "eur", late))
        assert (answer["removed"], subscribers(world)) == (False, ("task:notes:a",))


# ---------------------------------------------------------------- bounds
def test_a_commit_holds_as_many_messages_as_a_turn_may_send() -> None:
    ids = tuple("abcdefghij")
    with World(limited(messages_per_turn=3)) as world:
        begin(world, *ids)
        done = world.run(world.handle(prices).publish("eur", Price(1)))
        assert done == TopicPublished(subscribers=10, waiting=1, status="scheduled")
        begin(world, "late")
        publish(world, 2, 3)
        world.settle()
        assert {seen(world, id_) for id_ in ids} == {(0, 1, 2, 3)}
        assert seen(world, "late") == (0, 2, 3)
        assert world.run(world.handle(prices).status("eur")).status == "idle"
        noted = [event.data for event in world.history(prices, "eur") if event.type == "job.noted"]
        assert len(noted) == 12
        assert all(data.startswith(('{"messages":3', '{"messages":2', '{"messages":1,')) for data in noted)


def test_an_event_that_waits_is_sent_to_its_subscribers_alone() -> None:
    with World(app) as world:
        handle = world.handle(prices)
        begin(world, "a", "b")
        world.run(handle.pause("eur"))
        publish(world, 1)
        world.run(handle.unsubscribe("eur", notes.address("a")))
        begin(world, "a", "b")  # a subscribes after the event, b again
        publish(world, 2)
        world.run(handle.resume("eur"))
        world.settle()
        assert (seen(world, "a"), seen(world, "b")) == ((0, 0, 2), (0, 0, 1, 2))


@pytest.mark.parametrize("kept_back", ["pause", "hold"])
def test_events_of_a_paused_topic_wait_up_to_a_limit(kept_back: str) -> None:
    small: Topic[Price] = Topic("small", event=Price, subscribers=(notes,), max_waiting=2)
    with World(App(None).with_jobs(notes, small)) as world:
        handle = world.handle(small)
        world.run(world.handle(notes).send("a", Price(0)))
        world.run(handle.subscribe("s", notes.address("a")))
        world.run(handle.pause("s") if kept_back == "pause" else handle.hold())
        assert [world.run(handle.publish("s", Price(each))).waiting for each in (1, 2)] == [1, 2]
        refused = world.error_of(handle.publish("s", Price(3)))
        assert isinstance(refused, Overloaded)
        assert (refused.what, refused.limit) == ("queue of events of topic:small:s", 2)
        assert seen(world, "a") == (0,)
        world.run(handle.resume("s") if kept_back == "pause" else handle.release())
        world.settle()
        world.run(handle.publish("s", Price(4)))
        world.settle()
        assert seen(world, "a") == (0, 1, 2, 4)


def test_events_that_wait_have_a_limit_in_bytes() -> None:
    with World(limited(state_bytes=80)) as world:
        begin(world, "a")
        world.run(world.handle(prices).pause("eur"))
        size = len('{"cents":10}')
        publish(world, *[10] * (80 // size))
        refused = world.error_of(world.handle(prices).publish("eur", Price(10)))
        assert isinstance(refused, Overloaded)
        assert "in bytes" in str(refused)


def test_one_event_that_waits_may_be_large_and_two_may_not() -> None:
    with World(App(None, limits=Limits(state_bytes=80)).with_jobs(sizes, texts)) as world:
        topic = world.handle(texts)
        world.run(topic.subscribe("t", sizes.address("s")))
        world.run(topic.pause("t"))
        assert world.run(topic.publish("t", "x" * 100)).waiting == 1
        refused = world.error_of(topic.publish("t", "y"))
        assert isinstance(refused, Overloaded)
        assert "in bytes" in str(refused)


def test_a_commit_holds_some_megabytes_of_a_large_event_and_the_alarm_sends_the_others() -> None:
    event = "x" * (SENT_BYTES // 17 - 2)  # with its quotes, 17 fit exactly
    ids = tuple(f"s{number}" for number in range(20))
    with World(App(None).with_jobs(sizes, texts)) as world:
        for id_ in ids:
            world.run(world.handle(sizes).send(id_, ""))
            world.run(world.handle(texts).subscribe("t", sizes.address(id_)))
        world.run(world.handle(texts).pause("t"))
        for _ in range(2):
            world.run(world.handle(texts).publish("t", event))
        world.run(world.handle(texts).resume("t"))
        world.settle()
        assert {world.run(world.handle(sizes).get_state(id_)) for id_ in ids} == {(0, len(event), len(event))}
        sent = [event.data for event in world.history(texts, "t") if event.type == "job.noted"]
        assert [data.partition(",")[0] for data in sent[::-1]] == ['{"messages":17', '{"messages":17', '{"messages":6']


def test_a_topic_has_a_limit_of_subscribers() -> None:
    pair: Topic[Price] = Topic("pair", event=Price, subscribers=(notes,), max_subscribers=2)
    with World(App(None).with_jobs(notes, pair)) as world:
        handle = world.handle(pair)
        for id_ in "aba":
            world.run(handle.subscribe("s", notes.address(id_)))
        refused = world.error_of(handle.subscribe("s", notes.address("c")))
        assert isinstance(refused, Overloaded)
        assert (refused.what, refused.limit) == ("subscribers of topic:pair:s", 2)
        world.run(handle.unsubscribe("s", notes.address("a")))
        assert world.run(handle.subscribe("s", notes.address("c"))).subscribers == 2


def test_subscribers_are_limited_by_the_bytes_of_a_state() -> None:
    with World(limited(state_bytes=200)) as world:
        world.run(world.handle(prices).subscribe("eur", notes.address("a")))
        refused = world.error_of(world.handle(prices).subscribe("eur", notes.address("b" * 200)))
        assert isinstance(refused, InvalidInput)
        assert subscribers(world) == ("task:notes:a",)


@given(st.lists(st.tuples(st.sampled_from('abcé"'), st.booleans()), max_size=12))
@example([("a", True), ("b", True), ("a", False), ("a", True), ("b", True)])
@example([("a", True), ("a", False), ("b", True)])
def test_the_stored_subscriptions_are_those_that_were_made(steps: list[tuple[str, bool]]) -> None:
    with World(app) as world:
        expected: list[str] = []
        for id_, joins in steps:
            handle, address = world.handle(prices), notes.address(id_)
            if joins:
                world.run(handle.subscribe("eur", address))
                expected += [] if str(address) in expected else [str(address)]
            else:
                world.run(handle.unsubscribe("eur", address))
                expected = [each for each in expected if each != str(address)]
        assert list(subscribers(world)) == expected
        world.restart()
        assert list(world.run(world.handle(prices).get_state("eur")) or ()) == expected


def test_subscribers_are_read_by_pages() -> None:
    with World(app) as world:
        handle = world.handle(prices)
        for id_ in "abcde":
            world.run(handle.subscribe("eur", notes.address(id_)))
        found, after, pages = [], 0, 0
        while True:
            page = world.run(handle.subscribers("eur", after=after, limit=2))
            found += page.subscribers
            pages += 1
            assert page.total == 5
            if page.next is None:
                break
            after = page.next
        assert found == [f"task:notes:{id_}" for id_ in "abcde"]
        assert pages == 3
        assert len(world.run(handle.subscribers("eur", limit=1_000)).subscribers) == 5
        for wrong in ({"limit": 0}, {"limit": 1_001}, {"after": -1}):
            assert isinstance(world.error_of(handle.subscribers("eur", **wrong)), InvalidInput)


# ---------------------------------------------------------------- errors
def test_wrong_subscribers_and_events_are_typed_errors() -> None:
    with World(app) as world:
        handle = world.handle(prices)
        other = world.error_of(handle.subscribe("eur", Address("task", "others", "a")))
        assert isinstance(other, InvalidInput)
        assert "expected an instance of debounce:batches, task:notes" in str(other)
        untyped: Any = handle
        assert isinstance(world.error_of(untyped.publish("eur", 7)), InvalidInput)
        with pytest.raises(InvalidArgument, match=r"orders.address\('7'\)"):
            untyped.subscribe("eur", "task:notes:a")
        named = world.jobs.handle_by_name("topic", "prices")
        for text in ("{}", '{"subscriber": "notes"}'):
            assert isinstance(world.error_of(named.call("subscribe", "eur", text)), InvalidInput)
        assert world.run(world.handle(prices).status("eur")).status == "not_found"


def topic(*jobs: Any, event: Any = Price, **options: Any) -> Any:
    return Topic("t", event=event, subscribers=jobs, **options)


def test_a_definition_names_its_mistake() -> None:
    by_other_type = Topic("t", event=Forget, subscribers=(notes,)).signal
    wrong_signal = Workflow("w", state=int, run=watch, signals=(by_other_type,))
    mistakes: tuple[tuple[Any, str], ...] = (
        (topic, "at least one definition"),
        (lambda: topic(7), "a definition"),
        (lambda: topic(notes, event=int), "event type includes the topic's"),
        (lambda: topic(batches, event=Price | Forget), "event type includes the topic's"),
        (lambda: topic(watcher), r"signals=\(t.signal,\)"),
        (lambda: topic(wrong_signal), r"signals=\(t.signal,\)"),
        (lambda: topic(Schedules("s", targets=(notes,))), "jobs that take events"),
        (lambda: topic(notes, max_subscribers=0), "max_subscribers"),
        (lambda: Topic("a:b", event=Price, subscribers=lambda: (notes,)), "name of a topic job"),
        (lambda: Topic("t", event=complex, subscribers=lambda: (notes,)), "event of topic:t"),
        (lambda: App(None).with_jobs(Topic("t", event=int, subscribers=lambda: (notes,))), "event type"),
    )
    for make, expected in mistakes:
        with pytest.raises(DefinitionError, match=expected):
            make()


def test_topics_that_lead_back_are_refused() -> None:
    first: Any = Topic("first", event=Price, subscribers=lambda: (second,))
    second: Any = Topic("second", event=Price, subscribers=lambda: (third,))
    third: Any = Topic("third", event=Price, subscribers=lambda: (first, notes))
    for each in (first, second, third):
        with pytest.raises(DefinitionError, match="do not send back"):
            App(None).with_jobs(each)


def test_an_action_for_a_subscription_is_read_again() -> None:
    assert plain_action(subscribed_action(7, "signal.a")) == ("signal.a", 7)
    for text in ("send", "signal.a:b", "subscribed:x:send", "subscribed:7"):
        assert plain_action(text) == (text, None)
    with pytest.raises(UnknownAction):  # as code without topics reads it, which leaves the message to other code
        notes.parse(subscribed_action(7, "send"), '{"type": "Price", "cents": 1}')


# ---------------------------------------------------------------- workflows
def test_a_workflow_subscribes_once_and_drops_events_that_do_not_match() -> None:
    with World(app) as world:
        world.run(world.handle(watcher).start("w", 10, wait_for="start"))
        world.settle()
        publish(world, 20, 30)
        world.restart()
        publish(world, 9)
        world.settle()
        publish(world, 8)
        world.settle()
        assert outcome(world, watcher, "w") == (9, 8)
        steps = [step.name for step in world.run(world.handle(watcher).steps("w"))]
        assert steps == ["tell topic:prices:eur.subscribe", *["signal prices:eur"] * 4]


@program
def patient(ctx: WorkflowContext[int]) -> Do[tuple[int, ...]]:
    found = []
    for _ in range(2):
        outcome = yield from later.receive("x").timeout("1 day").attempt()
        found.append(outcome.map(lambda price: price.cents).value_or(-1))
    yield from tell(later, "x").unsubscribe()
    outcome = yield from later.receive("x").timeout("1 day").attempt()
    return (*found, outcome.map(lambda price: price.cents).value_or(-1))


later: Topic[Price] = Topic("later", event=Price, subscribers=lambda: (patients,))
patients = Workflow("patients", state=int, run=patient, signals=(later.signal,))


def test_a_wait_for_an_event_may_have_a_limit_and_subscribes_again_after_the_end() -> None:
    with World(App(None).with_jobs(later, patients)) as world:
        world.run(world.handle(patients).start("p", 0, wait_for="start"))
        world.advance("25 hours")
        world.run(world.handle(later).publish("x", Price(1)))
        world.settle()
        world.restart()
        world.run(world.handle(later).publish("x", Price(2)))
        world.settle()
        assert outcome(world, patients, "p") == (-1, 1, 2)
        steps = [step.name for step in world.run(world.handle(patients).steps("p"))]
        assert steps.count("tell topic:later:x.subscribe") == 2


# ---------------------------------------------------------------- laws
STEPS = st.lists(
    st.sampled_from(["publish", "subscribe a", "subscribe b", "unsubscribe a", "pause", "resume", "settle"]),
    max_size=10,
)


@attrs.define
class Model:
    """The events that each subscriber must have received."""

    members: list[str] = attrs.Factory(list[str])
    paused: bool = False
    waiting: list[tuple[int, list[str]]] = attrs.Factory(list[Any])
    got: dict[str, list[int]] = attrs.Factory(dict[str, list[int]])

    def publish(self, cents: int) -> None:
        if self.members:
            self.waiting.append((cents, list(self.members)))
        self.send()

    def send(self) -> None:
        while self.waiting and not self.paused:
            cents, members = self.waiting.pop(0)
            for member in members:
                self.got.setdefault(member, []).append(cents)

    def leave(self, member: str) -> None:
        self.members = [each for each in self.members if each != member]
        self.waiting = [(cents, [each for each in to if each != member]) for cents, to in self.waiting]


def play(world: World, drawn: list[str], model: Model, first: int = 0) -> None:
    handle, exists = world.handle(prices), world.run(world.handle(prices).status("eur")).status != "not_found"
    for number, step in enumerate(drawn, first):
        action, _, id_ = step.partition(" ")
        key = f"{number} {step}"
        match action:
            case "publish":
                world.run(handle.publish("eur", Price(number), idempotency_key=key))
                model.publish(number)
            case "subscribe":
                world.run(handle.subscribe("eur", copies.address(id_), idempotency_key=key))
                exists = True
                if id_ not in model.members:
                    model.members.append(id_)
            case "unsubscribe":
                world.run(handle.unsubscribe("eur", copies.address(id_), idempotency_key=key))
                model.leave(id_)
            case "pause":
                world.run(handle.pause("eur"))
                model.paused = exists
            case "resume":
                world.run(handle.resume("eur"))
                model.paused = False
                model.send()
            case _:
                world.settle()


@settings(max_examples=25)
@given(STEPS, st.integers(1, 60), st.sampled_from(["memory://", "sqlite"]), st.integers(1, 3))
@example(["subscribe a", "subscribe b", "publish", "publish", "settle", "publish"], 12, "memory://", 1)
@example(["subscribe a", "publish", "pause", "publish", "subscribe b", "publish", "resume"], 20, "sqlite", 1)
@example(["subscribe a", "subscribe b", "pause", "publish", "unsubscribe a", "resume"], 30, "memory://", 2)
def test_a_crash_anywhere_loses_and_repeats_no_event(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[str], die_at: int, store: str, most: int
) -> None:
    """All that is repeated after the crash has its key, so the outcome is that of a run without one."""
    place: Any = tmp_path_factory.mktemp("topics") / "jobs.db" if store == "sqlite" else store
    fresh = limited(messages_per_turn=most)
    with World(fresh, store=place) as world:
        for id_ in "ab":  # a copy of the topic for each: it takes events, whether it exists or not
            world.run(world.handle(notes).send(id_, Price(-1)))
            world.run(world.handle(copies).subscribe(id_, notes.address(id_)))
        # Pauses and resumes have no key here: they are played once, without a crash between.
        keyed = [step for step in drawn if step not in {"pause", "resume"}]
        model = Model()
        world.crash_after(die_at)
        try:
            play(world, keyed, Model())
            world.crash()
        except WorkerDied:
            pass
        world.open(fresh)
        play(world, keyed, model)
        world.settle()
        for id_ in "ab":
            assert list(seen(world, id_)[1:]) == model.got.get(id_, [])


@settings(max_examples=25)
@given(STEPS, st.integers(1, 3))
@example(["subscribe a", "publish", "pause", "publish", "subscribe b", "publish", "resume"], 1)
@example(["subscribe a", "subscribe b", "pause", "publish", "unsubscribe a", "subscribe a", "publish", "resume"], 1)
@example(["subscribe a", "subscribe b", "pause", "publish", "publish", "publish", "resume", "settle"], 3)
def test_pauses_and_small_commits_send_the_events_of_a_model(drawn: list[str], most: int) -> None:
    with World(limited(messages_per_turn=most)) as world:
        model = Model()
        for id_ in "ab":
            world.run(world.handle(notes).send(id_, Price(-1)))
            world.run(world.handle(copies).subscribe(id_, notes.address(id_)))
        for number, step in enumerate(drawn):
            world.settle()  # so that an event of several commits is sent before the next step
            play(world, [step], model, number)
        world.run(world.handle(prices).resume("eur"))
        model.paused = False
        model.send()
        world.settle()
        for id_ in "ab":
            assert list(seen(world, id_)[1:]) == model.got.get(id_, [])


@settings(max_examples=8)
@given(st.integers(0, 1_000), st.sampled_from(["none", "first", "second", "freeze"]))
@example(1, "first")
@example(2, "freeze")
def test_engines_of_a_shared_store_send_each_event_once(seed: int, fault: str) -> None:
    with Cluster(limited(messages_per_turn=2), seed=seed, lease="4 s") as cluster:
        engines = {"first": cluster.open(), "second": cluster.open()}
        first, second = engines["first"], engines["second"]
        for id_ in "abc":
            cluster.run_on(first, lambda client, id_=id_: client.handle(notes).send(id_, Price(0)))
            cluster.run_on(second, lambda client, id_=id_: client.handle(prices).subscribe("eur", notes.address(id_)))
        published = []
        for number in range(1, 7):
            if number == 4 and fault in engines:
                engines[fault].crash()
            elif number == 4 and fault == "freeze":
                first.freeze("7 s")
            each = first if number % 2 and first.is_up and fault != "freeze" else second
            each = each if each.is_up else first
            cluster.run_on(each, lambda client, number=number: client.handle(prices).publish("eur", Price(number)))
            published.append(number)
        cluster.advance("20 s")
        left = second if second.is_up else first
        for id_ in "abc":
            found = cluster.run_on(left, lambda client, id_=id_: client.handle(notes).get_state(id_))
            assert found == (0, *published)


TestTopics = JobMachine(job=prices, beside=(notes, watcher, batches, copies), services=lambda: None).TestCase
TestTopics.settings = settings(max_examples=6, stateful_step_count=12, deadline=None)


# ---------------------------------------------------------------- deploys
fewer: Topic[Price] = Topic("prices", event=Price, subscribers=(copies,))
without_notes = App(None).with_jobs(notes, fewer, copies)


def test_a_subscriber_whose_job_is_no_longer_listed_waits_for_code_that_lists_it() -> None:
    with World(app) as world:
        begin(world, "a")
        world.run(world.handle(prices).pause("eur"))
        publish(world, 1)
        world.run(world.handle(prices).resume("eur"))
        world.restart(without_notes)
        world.settle()
        row = world.instance(fewer, "eur")
        assert row is not None
        if seen(world, "a") == (0,):  # the resumption's alarm may have been before the restart
            assert row.left is not None
        with pytest.raises(InvalidInput, match="which the definition lists"):  # `perdure check` says it before
            check_readable(fewer, row)
        assert isinstance(world.error_of(world.handle(fewer).publish("eur", Price(2))), Undecodable)
        world.restart(app)
        world.settle()
        publish(world, 3)
        world.settle()
        assert seen(world, "a") == (0, 1, 3)
        world.restart(without_notes)
        assert isinstance(world.error_of(world.handle(fewer).publish("eur", Price(4))), Undecodable)
        assert world.run(world.handle(fewer).unsubscribe("eur", notes.address("a"))).removed
        world.run(world.handle(fewer).resume("eur"))
        assert world.run(world.handle(fewer).publish("eur", Price(5))).subscribers == 0


def test_engines_with_both_versions_send_each_event_once() -> None:
    with Cluster(app, seed=3, lease="4 s") as cluster:
        old, new = cluster.open(app=without_notes), cluster.open()
        cluster.run_on(new, lambda client: client.handle(notes).send("a", Price(0)))
        cluster.run_on(new, lambda client: client.handle(prices).subscribe("eur", notes.address("a")))
        for number in range(1, 5):
            cluster.run_on(new, lambda client, number=number: client.handle(prices).publish("eur", Price(number)))
        cluster.advance("10 s")
        assert cluster.run_on(old, lambda client: client.handle(notes).get_state("a")) == (0, 1, 2, 3, 4)


CODE_OF_NOTES_WITHOUT_TOPICS = "da70291a51223a2f"
"""The fingerprint that `notes` has in a version of this library without topics."""


def test_an_event_that_a_version_without_topics_left_arrives_at_once() -> None:
    """The definition of the subscriber is the same in both versions."""
    with World(app) as world:
        begin(world, "a")
        world.restart(App(None).with_jobs(prices, watcher, batches, copies))
        publish(world, 1)
        world.settle()
        [event] = world.inspect(lambda store: store.messages(FAR_MS, 10))
        left = Postponed(
            message_id=event.message_id,
            deliveries=0,
            not_before_ms=to_ms(world.now) + 60_000,
            error=ERROR,
            codes=(CODE_OF_NOTES_WITHOUT_TOPICS,),
        )
        world.inspect(lambda store: commit_one(store, settled_by(notes.address("a"), left)))
        world.restart(app)
        world.advance("1 s")
        assert seen(world, "a") == (0, 1)


# ---------------------------------------------------------------- tools
@attrs.frozen
class Login:
    password: Annotated[str, Secret]


logins = Task("logins", state=int, event=Login, initial=0, decide=lambda state, event: Success(Decision(state + 1)))
secrets: Topic[Login] = Topic("secrets", event=Login, subscribers=(logins,))


def test_secrets_in_events_that_wait_are_hidden() -> None:
    with World(App(None).with_jobs(logins, secrets)) as world:
        world.run(world.handle(secrets).subscribe("s", logins.address("a")))
        world.run(world.handle(secrets).pause("s"))
        world.run(world.handle(secrets).publish("s", Login("hunter2")))
        row = world.instance(secrets, "s")
        assert row is not None
        assert "hunter2" in row.data
        hidden = secrets.redacted_data(row, lambda _: "***")
        assert "hunter2" not in hidden.data
        assert len(data_of(hidden).waiting) == 1


def test_tools_show_the_subscribers() -> None:
    with World(app) as world:
        begin(world, *"abcdef")
        row = world.instance(prices, "eur")
        assert row is not None
        fields = {field.label: field.value for field in prices.display_fields_of(row)}
        assert fields["subscribers"] == "6"
        assert str(fields["first subscribers"]).endswith("task:notes:e, …")
        assert fields["events that wait"] == "0"
        labels = {field.label: field.value for field in prices.display_fields()}
        assert labels["sends to"] == "debounce:batches, task:notes, topic:copies, workflow:watcher"
