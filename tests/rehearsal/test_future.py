"""The future of one instance: a timeline that comes true, asked without a trace in the store."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import attrs
import httpx2
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from postgres_harness import PostgresHarness
from returns.result import Result, Success
from two_versions import Begin, Hook, job, shop

from perdure import (
    App,
    Do,
    Program,
    Secret,
    Task,
    TaskContext,
    Workflow,
    WorkflowContext,
    effect,
    program,
    tell,
)
from perdure.cli.commands import run_command
from perdure.cli.instances.predictions import event_of
from perdure.cli.process import UsageError
from perdure.cli.target.at_rest import GatewayAtRest
from perdure.client.client import Client
from perdure.programs import gather, sleep
from perdure.rehearsal import (
    FromJson,
    FutureQuestion,
    InstanceTimeline,
    NoAnswers,
    ServiceAnswers,
    WhatIfEvent,
    future_of,
    read_image,
)
from perdure.rehearsal.timeline import LONGEST_MS, MOST_EVENTS, asked_future, future_at_rest
from perdure.server.api import asgi
from perdure.stores.at_rest import open_reader, read_only_store
from perdure.stores.encryption import Encryption, Key, encrypted_store
from perdure.testing import World
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidInput
from perdure.values.instance import Instance
from perdure.values.message import Message, StoredMessage
from perdure.wire.explanation import MOST_ENTRIES, MOST_READ

SUBSCRIPTION = ("subscription", "c1")
FEED = ("feed", "f1")
TRIAL = ("trial", "t1")
PLACES = (SUBSCRIPTION, FEED, TRIAL, ("hooks", "h1"), ("ledger", "all"), ("subscription", "absent"))


def filled(world: World[Any], app: App[Any]) -> None:
    world.run(world.handle(job(app, "subscription")).send("c1", Begin(1200)))
    world.advance("3 hours")
    world.run(world.handle(job(app, "feed")).start("f1", 0))
    world.run(world.handle(job(app, "trial")).start("t1", "ada@example.com"))
    world.run(world.handle(job(app, "hooks")).add("h1", Hook(2)))
    world.settle()


@pytest.fixture
def shop_app() -> App[Any]:
    return shop()


@pytest.fixture
def world(tmp_path: Path, shop_app: App[Any]) -> Iterator[World[Any]]:
    with World(shop_app, store=tmp_path / "jobs.db") as opened:
        filled(opened, shop_app)
        yield opened


def asked(world: World[Any], app: App[Any], place: tuple[str, str], **question: Any) -> InstanceTimeline:
    async def ask() -> InstanceTimeline:
        return await future_of(world.jobs, job(app, place[0]), place[1], FutureQuestion(**question))

    return world.run(ask())


def of(timeline: InstanceTimeline, kind: str) -> list[str]:
    return [each.text for each in timeline.entries if each.what == kind]


# ---------------------------------------------------------------- it comes true
@pytest.mark.parametrize("place", [SUBSCRIPTION, FEED, TRIAL, ("hooks", "h1")])
def test_the_timeline_comes_true(world: World[Any], shop_app: App[Any], place: tuple[str, str]) -> None:
    definition = job(shop_app, place[0])
    same = {"charge": lambda customer, cents: Success(f"{customer}-{cents}"), "fetch": lambda feed: Success(len(feed))}
    timeline = asked(world, shop_app, place, lasting="25 days", answers=ServiceAnswers(given=same))
    before = len(world.effects)
    world.advance("25 days")
    address = definition.address(place[1])
    happened = [
        f"{call.name}({', '.join(map(repr, call.args))})" for call in world.effects[before:] if call.address == address
    ]
    assert happened
    assert of(timeline, "effect") == happened
    row = world.instance(definition, place[1])
    assert (timeline.ends == "horizon") == (row is not None and row.due_ms is not None)


def test_a_timeline_shows_each_step_with_its_instant(world: World[Any], shop_app: App[Any]) -> None:
    timeline = asked(world, shop_app, SUBSCRIPTION, lasting="7 days")
    assert list(timeline.lines()) == [
        "2026-01-08 00:00:00  run      run 1, because of alarm",
        "2026-01-08 00:00:00  effect   charge('c1', 1200)",
        "2026-01-08 00:00:00  result   charge: ''",
        "2026-01-08 00:00:00  effect   mail('c1', 'thanks')",
        "2026-01-08 00:00:00  result   mail: None",
        '2026-01-08 00:00:00  message  send to task:ledger:all  {"customer":"c1","cents":1200}',
        '2026-01-08 00:00:00  state    {"cents":1200,"paid":1200,"card":"<secret>"}',
        "2026-01-08 00:00:00  alarm    set to 2026-01-15 00:00:00",
        "",
        "an alarm is set beyond 2026-01-08 03:00:00",
        "answered by type alone, always the same: charge, mail",
    ]


# ---------------------------------------------------------------- events and services
def test_an_event_comes_now_twice_and_late(world: World[Any], shop_app: App[Any]) -> None:
    late = WhatIfEvent(payload='{"cents":5}', after="10 days", times=2)
    timeline = asked(world, shop_app, SUBSCRIPTION, lasting="12 days", events=[late])
    assert of(timeline, "request") == ['send  {"cents":5}'] * 2
    assert len(of(timeline, "answer")) == 2
    at = [each.at_ms - timeline.begins_ms for each in timeline.entries if each.what == "request"]
    assert at == [10 * 86_400_000] * 2
    assert of(timeline, "effect") == ["charge('c1', 1200)", "mail('c1', 'thanks')"]
    now = asked(world, shop_app, SUBSCRIPTION, lasting="8 days", events=[WhatIfEvent(payload='{"cents":5}')])
    assert of(now, "effect") == ["charge('c1', 5)"]


def test_a_repeat_with_its_key_changes_nothing(world: World[Any], shop_app: App[Any]) -> None:
    keyed = WhatIfEvent(payload='{"cents":5}', times=2, idempotency_key="k-1")
    timeline = asked(world, shop_app, SUBSCRIPTION, lasting="1 day", events=[keyed])
    without = asked(world, shop_app, SUBSCRIPTION, lasting="1 day", events=[attrs.evolve(keyed, idempotency_key=None)])
    first, second = of(timeline, "answer")
    assert first == second
    assert (len(of(timeline, "alarm")), len(of(timeline, "request"))) == (1, 2)
    assert len(of(without, "request")) == 2
    once = asked(world, shop_app, SUBSCRIPTION, lasting="1 day", events=[attrs.evolve(keyed, times=1)])
    assert of(once, "state") == of(timeline, "state")


def test_a_signal_comes_or_never_comes(world: World[Any], shop_app: App[Any]) -> None:
    never = asked(world, shop_app, TRIAL)
    assert of(never, "effect")[-1] == "mail('ada@example.com', 'bye')"
    signal = WhatIfEvent(action="signal.go", payload="3", after="12 days")
    assert of(asked(world, shop_app, TRIAL, events=[signal]), "ended")[0] == "done  3"


def test_a_service_is_down_for_a_while(world: World[Any], shop_app: App[Any]) -> None:
    timeline = asked(world, shop_app, SUBSCRIPTION, answers=ServiceAnswers(down={"charge": "8 days"}))
    assert of(timeline, "result")[0].startswith("charge failed: Declined")
    assert of(timeline, "retry")[0].startswith("attempt 2 at 2026-01-08 00:0")
    assert of(timeline, "parked")[0].startswith("retries_exhausted: Declined")
    assert timeline.ends == "quiet"
    survived = asked(world, shop_app, SUBSCRIPTION, answers=ServiceAnswers(down={"charge": "6 days"}))
    assert of(survived, "retry") == []


def noted(ctx: TaskContext[int], event: int) -> Program[None, Any, Any]:
    return ctx.update_state(lambda total: total + event)


total = Task("total", state=int, event=int, initial=0, on_event=noted)


@program
def wait_a_day(ctx: TaskContext[int], event: int) -> Do[None, Any, Any]:
    yield from ctx.schedule(after="1 day")


@program
def report(ctx: TaskContext[int]) -> Do[None, Any, Any]:
    yield from tell(total, "all").send(5)


source = Task("source", state=int, event=int, initial=0, on_event=wait_a_day, execute=report)
sums: App[Any] = App(None).with_jobs(total, source)


def answer_to(asking: Any, stored: dict[Address, Any]) -> InstanceTimeline:
    wanted = next(asking)
    while True:
        try:
            wanted = asking.send({each: stored[each] for each in wanted if each in stored})
        except StopIteration as done:
            timeline: InstanceTimeline = done.value
            return timeline


def test_a_message_that_waits_is_received_or_never_comes() -> None:
    address = total.address("all")
    sent = Message(sender=source.address("s"), target=address, action="send", payload="7", sent_ms=5)
    waiting = StoredMessage(message_id=3, message=sent)

    def future(**question: Any) -> InstanceTimeline:
        question_ = FutureQuestion(**question)
        return answer_to(asked_future(sums.served, address, question_, now_ms=10, messages=[waiting]), stored)

    row = Instance(address=address, created_ms=1, updated_ms=1, incarnation=1, version=1, state="1")
    stored: dict[Address, Any] = {address: (row, ())}
    assert [(each.what, each.text) for each in future().entries] == [
        ("received", "send from task:source:s  7"),
        ("state", "8"),
    ]
    assert future(never=["send"]).entries == ()


def test_an_instance_that_a_message_reaches_is_read_with_its_own_state() -> None:
    with World(sums) as world:
        world.run(world.handle(source).send("s", 1))
        world.run(world.handle(total).send("all", 1))
        timeline = asked(world, sums, ("source", "s"))
    assert of(timeline, "message") == ["send to task:total:all  5"]
    assert timeline.read == (Address("task", "source", "s"), Address("task", "total", "all"))


@effect
def ship(_services: Any, item: str) -> Result[str, str]:
    return Success(item)


@program
def deliver(ctx: WorkflowContext[str]) -> Do[str, str, Any]:
    yield from sleep("2 days")
    return (yield from ship((yield from ctx.state)))


delivery = Workflow("delivery", state=str, run=deliver, result=str)


@program
def sell(ctx: WorkflowContext[str]) -> Do[str, Any, Any]:
    return (yield from delivery.call(f"{ctx.id}-d", (yield from ctx.state)))


sale = Workflow("sale", state=str, run=sell, result=str)
sales: App[Any] = App(None).with_jobs(delivery, sale)


def test_the_child_that_a_workflow_waits_for_is_read_with_it() -> None:
    with World(sales) as world:
        world.run(world.handle(sale).start("1", "car", wait_for="start"))
        world.settle()
        timeline = asked(world, sales, ("sale", "1"), answers=ServiceAnswers(given={"ship": FromJson('"Lima"')}))
    assert timeline.read == (delivery.address("1-d"), sale.address("1"))
    assert of(timeline, "ended")[0] == 'done  "Lima"'


# ---------------------------------------------------------------- nothing is written
QUESTIONS = st.builds(
    FutureQuestion,
    lasting=st.sampled_from(["1 minute", "3 days", "40 days"]),
    events=st.lists(
        st.builds(
            WhatIfEvent,
            payload=st.sampled_from(['{"cents":5}', '{"cents":2000}']),
            after=st.sampled_from(["0 ms", "2 days"]),
            times=st.integers(1, 2),
        ),
        max_size=2,
    ),
    answers=st.builds(
        ServiceAnswers,
        down=st.dictionaries(st.sampled_from(["charge", "fetch", "mail"]), st.sampled_from(["1 hour", "9 days"])),
        fail=st.dictionaries(st.sampled_from(["charge", "fetch", "mail"]), st.sampled_from([0.5, 1.0])),
        latency_ms=st.sampled_from([0, 700]),
    ),
    seed=st.integers(0, 5),
    most=st.sampled_from([1, 40, MOST_ENTRIES]),
)


def for_place(place: tuple[str, str], question: FutureQuestion) -> FutureQuestion:
    return question if place[0] == "subscription" else attrs.evolve(question, events=())


def contents(path: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        return list(file.iterdump())


@settings(max_examples=10, deadline=None)
@given(questions=st.lists(st.tuples(st.sampled_from(PLACES), QUESTIONS), min_size=1, max_size=4))
@example(questions=[(place, FutureQuestion(lasting="40 days")) for place in PLACES])
def test_questions_change_no_row_of_a_live_file(
    questions: list[tuple[tuple[str, str], FutureQuestion]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, app = tmp_path_factory.mktemp("live") / "jobs.db", shop()
    with World(app, store=path) as world:
        filled(world, app)
        before, effects, now = contents(path), len(world.effects), world.now_ms
        for place, question in questions:

            async def ask(place: tuple[str, str] = place, question: FutureQuestion = question) -> InstanceTimeline:
                return await future_of(world.jobs, job(app, place[0]), place[1], for_place(place, question))

            assert world.run(ask()) == world.run(ask())  # the same question has the same answer
        assert (contents(path), len(world.effects), world.now_ms) == (before, effects, now)


@pytest.mark.parametrize("store", ["memory", "postgres"])
def test_a_question_changes_no_row_of_the_other_stores(store: str, request: pytest.FixtureRequest) -> None:
    """Asked through the client of a real engine."""
    harness = PostgresHarness(request.getfixturevalue("postgres_url")) if store == "postgres" else None

    async def main() -> None:
        app = shop()
        async with app.open("memory://" if harness is None else harness.url) as jobs:
            await jobs.handle(job(app, "subscription")).send("c1", Begin(1200))
            await jobs.handle(job(app, "trial")).start("t1", "ada@example.com", wait_for="completion")
            before = await rows(jobs, app)
            for place in (SUBSCRIPTION, TRIAL):
                timeline = await future_of(jobs, job(app, place[0]), place[1])
                assert of(timeline, "effect")
            assert await rows(jobs, app) == before

    try:
        asyncio.run(main())
    finally:
        if harness is not None:
            asyncio.run(harness.discard())


async def rows(jobs: Client, app: App[Any]) -> list[Any]:
    listed = (await jobs.list()).instances
    return [listed] + [
        (
            await jobs.handle_by_name(each.address.kind, each.address.name).get_state(each.address.id),
            await jobs.history(app.served[each.address.kind, each.address.name], each.address.id),
        )
        for each in listed
    ]


# ---------------------------------------------------------------- limits and errors
def test_the_limits_of_a_question() -> None:
    FutureQuestion(lasting=f"{LONGEST_MS} ms", most=MOST_ENTRIES, instances=MOST_READ)
    FutureQuestion(events=[WhatIfEvent(times=MOST_EVENTS)])
    for wrong in (
        {"lasting": f"{LONGEST_MS + 1} ms"},
        {"lasting": "0 ms"},
        {"most": 0},
        {"most": MOST_ENTRIES + 1},
        {"instances": 0},
        {"instances": MOST_READ + 1},
        {"events": [WhatIfEvent(times=MOST_EVENTS), WhatIfEvent()]},
    ):
        with pytest.raises(DefinitionError):
            FutureQuestion(**wrong)
    with pytest.raises(DefinitionError):
        WhatIfEvent(times=MOST_EVENTS + 1)


def test_a_timeline_is_cut_at_its_limit_and_not_before(world: World[Any], shop_app: App[Any]) -> None:
    whole = asked(world, shop_app, SUBSCRIPTION, lasting="7 days")
    number = len(whole.entries)
    assert asked(world, shop_app, SUBSCRIPTION, lasting="7 days", most=number) == whole
    cut = asked(world, shop_app, SUBSCRIPTION, lasting="7 days", most=number - 1)
    assert (cut.ends, cut.entries) == ("full", whole.entries[:-1])
    assert f"cut after {number - 1} entries: ask for a shorter time" in list(cut.lines())


@pytest.mark.parametrize("instances", [1, 3, 4, 5])
def test_a_future_reads_no_more_instances_than_its_limit(instances: int) -> None:
    """A workflow waits for three children, which are read with their own rows."""

    @program
    def sell_all(ctx: WorkflowContext[str]) -> Do[None, Any, Any]:
        yield from gather(*(delivery.call(f"{ctx.id}-{n}", "car") for n in range(3)))

    fleet = Workflow("fleet", state=str, run=sell_all)
    app: App[Any] = App(None).with_jobs(delivery, fleet)
    with World(app) as world:
        world.run(world.handle(fleet).start("1", "car", wait_for="start"))
        world.settle()
        timeline = asked(world, app, ("fleet", "1"), instances=instances)
    assert len(timeline.read) == min(instances, 4)
    assert timeline.unread == (3 if instances == 1 else 4 - len(timeline.read))
    unread = f"instances that take part and were not read: {timeline.unread}; each may change this future"
    assert (unread in list(timeline.lines())) == (instances < 4)
    assert bool(of(timeline, "ended")) == (instances >= 4)


def test_a_future_of_a_queued_instance_says_that_those_before_it_are_left_out() -> None:
    @program
    def wait(ctx: WorkflowContext[str]) -> Do[None, Any, Any]:
        yield from sleep("1 hour")

    one = Workflow("one", state=str, run=wait, concurrency=1)
    app: App[Any] = App(None).with_jobs(one)
    with World(app) as world:
        for id_ in ("first", "second"):
            world.run(world.handle(one).start(id_, "x"))
        world.settle()
        first, second = (asked(world, app, ("one", id_)) for id_ in ("first", "second"))
    note = "it is queued: the instances before it are left out, and it has a place at once"
    assert [note in list(each.lines()) for each in (first, second)] == [False, True]
    assert of(second, "ended")


def test_a_future_ends_at_its_limit_of_commits() -> None:
    """The commits of another instance count as well, which has no entries here: 20 for each entry that there may be."""

    @program
    def count(ctx: TaskContext[int]) -> Do[None, Any, Any]:
        left = yield from ctx.state
        yield from ctx.set_state(left - 1)
        if left > 1:
            yield from ctx.schedule(after="1 ms")

    @program
    def begin(ctx: TaskContext[int], event: int) -> Do[None, Any, Any]:
        yield from ctx.set_state(event)
        yield from ctx.schedule(after="1 ms")

    @program
    def send(ctx: TaskContext[int], event: int) -> Do[None, Any, Any]:
        yield from tell(counter, "c").send(event)

    counter = Task("counter", state=int, event=int, initial=0, on_event=begin, execute=count)
    sender = Task("sender", state=int, event=int, initial=0, on_event=send, execute=count)
    app: App[Any] = App(None).with_jobs(counter, sender)

    def end(runs: int) -> str:
        with World(app) as world:
            event = WhatIfEvent(payload=str(runs))
            return asked(world, app, ("sender", "s"), lasting="1 hour", events=[event], most=10).ends

    # The event, the message, and two commits for each run: 200 at most.
    assert [end(runs) for runs in (98, 99, 100)] == ["quiet", "quiet", "full"]


def test_an_instance_that_never_rests_has_a_bounded_future() -> None:
    @program
    def again(ctx: TaskContext[int]) -> Do[None, Any, Any]:
        yield from ctx.schedule(after="1 ms")

    @program
    def begin(ctx: TaskContext[int], event: int) -> Do[None, Any, Any]:
        yield from ctx.schedule(after="1 ms")

    busy = Task("busy", state=int, event=int, initial=0, on_event=begin, execute=again)
    app: App[Any] = App(None).with_jobs(busy)
    with World(app) as world:
        timeline = asked(world, app, ("busy", "b"), lasting="300 days", events=[WhatIfEvent(payload="1")], most=50)
    assert (timeline.ends, len(timeline.entries)) == ("full", 50)


def test_a_question_that_does_not_fit_says_why(world: World[Any], shop_app: App[Any]) -> None:
    for place, event, error, text in (
        (SUBSCRIPTION, WhatIfEvent(action="pay"), InvalidArgument, "send, trigger"),
        (TRIAL, WhatIfEvent(payload="1"), InvalidArgument, "signal.go"),
        (SUBSCRIPTION, WhatIfEvent(payload='{"cents":"x"}'), InvalidInput, "cents"),
        (SUBSCRIPTION, WhatIfEvent(), InvalidInput, "send"),
    ):
        with pytest.raises(error, match=text):
            asked(world, shop_app, place, events=[event])
    with pytest.raises(InvalidArgument, match="send, trigger"):
        asked(world, shop_app, SUBSCRIPTION, never=["pay"])


def test_an_absent_instance_has_no_future_until_an_event_creates_it(world: World[Any], shop_app: App[Any]) -> None:
    absent = ("subscription", "absent")
    assert list(asked(world, shop_app, absent).lines()) == [
        "nothing happens until 2026-01-31 03:00:00: no alarm is due"
    ]
    created = asked(world, shop_app, absent, events=[WhatIfEvent(payload='{"cents":7}')])
    assert of(created, "effect")[0] == "charge('absent', 7)"


# ---------------------------------------------------------------- secrets
@attrs.frozen
class Card:
    number: Annotated[str, Secret]


@effect
def tokenize(_services: Any, card: Card) -> Result[Card, str]:
    return Success(card)


@program
def keep(ctx: TaskContext[Card], event: Card) -> Do[None, Any, Any]:
    card = yield from tokenize(event)
    yield from ctx.set_state(card)
    yield from ctx.schedule(after="1 day")


@program
def use(ctx: TaskContext[Card]) -> Do[None, Any, Any]:
    card = yield from ctx.state
    yield from tokenize(Card(card.number))
    yield from tell(total, card.number).send(1)


def test_a_timeline_shows_no_secret() -> None:
    cards = Task("cards", state=Card, event=Card, initial=Card(""), on_event=keep, execute=use)
    app: App[Any] = App(None).with_jobs(cards, total)
    with World(app) as world:
        world.run(world.handle(cards).send("c", Card("4000-1234")))
        text = orjson.dumps(
            asked(
                world,
                app,
                ("cards", "c"),
                events=[WhatIfEvent(payload='{"number":"5000-9876"}', after="2 days")],
                answers=ServiceAnswers(given={"tokenize": FromJson('{"number":"6000-5555"}')}),
            ).data()
        ).decode()
    for secret in ("4000-1234", "5000-9876", "6000-5555"):
        assert secret not in text
    assert "tokenize" in text


# ---------------------------------------------------------------- the command
def test_events_on_the_command_line() -> None:
    assert event_of('{"cents": 5}') == {"payload": {"cents": 5}}
    assert event_of("true") == {"payload": True}
    assert event_of("signal.go=3") == {"action": "signal.go", "payload": 3}
    assert event_of("pause") == {"action": "pause"}
    for wrong in ("{", "no action", "=3", "signal.go=x"):
        with pytest.raises(UsageError):
            event_of(wrong)


@pytest.fixture
def at_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options for a store without an engine."""
    app = shop()
    with World(app, store=tmp_path / "jobs.db") as world:
        filled(world, app)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return ["--store", f"sqlite:///{tmp_path}/jobs.db", "--app", "two_versions:shop", "--from", "2026-01-01T03:00:00Z"]


def test_a_store_at_rest_is_asked_and_not_changed(
    at_rest: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert run_command(["future", "task:subscription:c1", "--for", "7 days", *at_rest]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "2026-01-08 00:00:00  run      run 1, because of alarm",
        "2026-01-08 00:00:00  effect   charge('c1', 1200)",
    ]
    supposed = ["--event", '{"cents":5}', "--twice", "--after", "2 days", "--down", "charge=20 days", "--json"]
    assert run_command(["future", "task:subscription:c1", *supposed, *at_rest]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["at"][:10] for each in found["entries"] if each["what"] == "request"] == ["2026-01-03"] * 2
    assert found["answered"] == {"charge": {"fault": 5}}
    signal = ["--event", "signal.go=3", "--answer", "mail=null", "--fail", "charge=5%"]
    signal.extend(["--latency", "1s", "--seed", "2"])
    assert run_command(["future", "workflow:trial:t1", "--never", "signal.go", *signal, *at_rest]) == 0
    assert "ended    done  3" in capsys.readouterr().out
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


def test_a_postgresql_store_at_rest_is_asked(
    at_rest: list[str], postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = PostgresHarness(postgres_url)

    async def write() -> None:
        app = shop()
        async with app.open(harness.url) as jobs:
            await jobs.handle(job(app, "subscription")).send("c1", Begin(1200))

    def image() -> Any:
        with open_reader(harness.url) as reader:
            return read_image(reader)

    try:
        asyncio.run(write())
        before = image()
        assert (
            run_command(["future", "task:subscription:c1", "--store", harness.url, "--app", "two_versions:shop"]) == 0
        )
        assert capsys.readouterr().out.count("charge('c1', 1200)") == 4
        assert image() == before
    finally:
        asyncio.run(harness.discard())


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["task:subscription:c1", "--for", "soon"], 3, "soon"),
        (["task:subscription:c1", "--event", "{"], 2, "ACTION=JSON"),
        (["task:subscription:c1", "--event", "pay"], 3, "send, trigger"),
        (["task:subscription:c1", "--down", "charge"], 2, "--down charge="),
        (["task:subscription:c1", "--down", "charge=soon"], 3, "soon"),
        (["task:subscription:c1", "--fail", "charge=7"], 2, "5% or 0.05"),
        (["task:subscription:c1", "--instances", "101"], 2, "from 1 to 100"),
        (["task:subscription:c1", "--most", "1001"], 2, "from 1 to 1,000"),
        (["task:nothing:c1"], 2, "pass --app"),
    ],
)
def test_a_bad_question_on_the_command_line_says_why(
    at_rest: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, problem: str
) -> None:
    assert run_command(["future", *arguments, *at_rest]) == code
    assert problem in capsys.readouterr().err


def test_effects_without_an_answer_are_named() -> None:
    @effect
    def undeclared(_services: Any):  # type: ignore[no-untyped-def]
        return Success(None)

    @program
    def execute(ctx: TaskContext[int]) -> Do[None, Any, Any]:
        yield from undeclared()

    task = Task("bare", state=int, event=int, initial=0, on_event=wait_a_day, execute=execute)
    app: App[Any] = App(None).with_jobs(task)
    with World(app) as world:
        world.run(world.handle(task).send("b", 1))
        with pytest.raises(NoAnswers, match="undeclared"):
            asked(world, app, ("bare", "b"))


def test_answers_that_nothing_asks_for_are_named(world: World[Any], shop_app: App[Any]) -> None:
    answers = ServiceAnswers(down={"chrage": "1 day", "charge": "1 hour"}, given={"fetch": FromJson("3")})
    timeline = asked(world, shop_app, SUBSCRIPTION, lasting="8 days", answers=answers)
    assert timeline.not_called == ("chrage", "fetch")
    assert "not called: chrage, fetch" in list(timeline.lines())


# ---------------------------------------------------------------- over HTTP, and of an encrypted store
def test_a_server_answers_a_question(shop_app: App[Any]) -> None:
    async def main() -> list[httpx2.Response]:
        served = asgi(shop_app, "memory://")
        path = "/v1/jobs/task/subscription/instances/c1"
        async with served.lifespan():
            transport = httpx2.ASGITransport(served)
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
                await client.post(f"{path}/send", json={"cents": 1200})
                before = (await client.get(path)).json()
                bodies: list[Any] = [
                    {"lasting": "8 days", "events": [{"payload": {"cents": 7}}], "down": {"charge": "1 hour"}},
                    {"lasting": "soon"},
                    {"events": [{"action": "pay"}]},
                    {"nonsense": 1},
                    *({"instances": number} for number in (0, MOST_READ + 1)),
                ]
                answers = [await client.post(f"{path}/future", content=b"")]
                answers += [await client.post(f"{path}/future", json=body) for body in bodies]
                assert (await client.get(path)).json() == before
                return answers

    plain, asked_, *wrong = asyncio.run(main())
    assert plain.status_code == 200, plain.text
    assert next(each["text"] for each in plain.json()["entries"] if each["what"] == "effect") == "charge('c1', 1200)"
    assert [each["text"] for each in asked_.json()["entries"] if each["what"] == "effect"] == ["charge('c1', 7)"]
    assert [each.status_code for each in wrong] == [422] * 5
    assert "an action: send" in wrong[1].text
    assert all("instances of a future" in each.text and "1 to 100" in each.text for each in wrong[3:])


@pytest.mark.parametrize("instances", [1, 2, MOST_READ])
def test_a_server_reads_no_more_instances_than_the_question_allows(instances: int) -> None:
    """The subscription's message reaches the ledger, which has a state: read or not."""

    async def main() -> Any:
        served = asgi(shop(), "memory://")
        async with served.lifespan():
            transport = httpx2.ASGITransport(served)
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
                path = "/v1/jobs/task/subscription/instances/c1"
                await client.post(f"{path}/send", json={"cents": 1200})
                ledger_ = {"customer": "c0", "cents": 5}
                await client.post("/v1/jobs/task/ledger/instances/all/send", json=ledger_)
                over = await client.post(f"{path}/future", json={"lasting": "8 days", "instances": instances})
                return over.json()

    found = asyncio.run(main())
    assert found["unread"] == (1 if instances == 1 else 0)


def test_an_encrypted_store_at_rest_is_asked(tmp_path: Path) -> None:
    keys = Encryption(primary=Key("1", b"k" * 64))
    app = App(None, encryption=keys).with_jobs(*shop().served.values())
    url = f"sqlite:///{tmp_path}/jobs.db"

    async def write() -> None:
        async with app.open(url) as jobs:
            await jobs.handle(job(app, "subscription")).send("c1", Begin(1200))

    asyncio.run(write())
    with open_reader(url) as reader:
        gateway = GatewayAtRest(encrypted_store(read_only_store(reader), keys), app.served)
        address = job(app, "subscription").address("c1")
        row = reader.wait(gateway.load(address)).unwrap().instance
        assert row is not None
        timeline = future_at_rest(gateway, reader.wait, address, FutureQuestion(), now_ms=row.updated_ms)
    assert of(timeline, "effect")[0] == "charge('c1', 1200)"
