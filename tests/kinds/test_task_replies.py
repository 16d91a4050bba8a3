"""A task's event handler replies: to a caller in its answer, and to a workflow that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import attrs
import orjson
import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres_harness import PostgresHarness
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Decision,
    Defect,
    Do,
    Limits,
    Reply,
    Secret,
    Task,
    TaskContext,
    TaskErrorContext,
    Workflow,
    WorkflowContext,
    effect,
    fail,
    program,
)
from perdure.programs import race, sleep
from perdure.remote import connect
from perdure.server.serving import serving
from perdure.testing import JobMachine, WorkerDied, World
from perdure.testing.cluster import Cluster
from perdure.values.answer import Done, Sent
from perdure.values.errors import (
    DefinitionError,
    HookRaised,
    InvalidArgument,
    Rejected,
    StoredResultUnreadable,
    UnknownAction,
)
from perdure.values.outcome import Failed, Replied
from perdure.values.status_wait import NotReplied
from perdure.wire.openapi import openapi


@frozen
class Draw:
    cents: int


@frozen
class Close:
    pass


@frozen
class Short:
    total: int


@frozen
class Receipt:
    total: int
    number: str


@attrs.define
class Bank:
    """Attributes:
    paid: the amounts.
    """

    paid: list[int] = attrs.Factory(list[int])


@effect
def pay(services: Bank, cents: int) -> FutureResult[str, Short]:
    services.paid.append(cents)
    return FutureResult.from_value(f"nr {cents}")


receipt = Reply("receipt", Receipt)
last = Reply("last", int)


@program
def draw(ctx: TaskContext[int], event: Draw | Close) -> Do[None, Short, Bank]:
    total = yield from ctx.state
    if isinstance(event, Close):
        yield from last.send(total)
        yield from ctx.terminate("closed")
        return
    if event.cents > total:
        yield from fail(Short(total))
    yield from ctx.set_state(total - event.cents)
    if event.cents:
        number = yield from pay(event.cents)
        yield from receipt.send(Receipt(total - event.cents, number))


accounts = Task("accounts", state=int, event=Draw | Close, initial=100, on_event=draw, replies=(receipt, last))
older = Task("accounts", state=int, event=Draw | Close, initial=100, on_event=draw, errors=Short)


@program
def buy(ctx: WorkflowContext[int]) -> Do[str, Short | Defect]:
    first = yield from accounts.ask("ann", Draw((yield from ctx.state)), receipt)
    second = yield from accounts.ask("ann", Draw(1), receipt)
    return f"{first.total}, {second.total}"


purchases = Workflow("purchases", state=int, run=buy)


def app_of(*jobs: Any, bank: Bank | None = None, **options: Any) -> App[Any]:
    return App(Bank() if bank is None else bank, **options).with_jobs(*(jobs or (accounts, purchases)))


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


# ---------------------------------------------------------------- a caller
def test_an_event_returns_a_typed_reply_or_a_typed_error_and_a_repeat_the_same(store: Any) -> None:
    bank = Bank()
    with World(app_of(bank=bank), store=store) as world:
        account = world.handle(accounts)
        assert world.run(account.ask("ann", Draw(30), receipt, idempotency_key="1")) == Receipt(70, "nr 30")
        refused = world.error_of(account.ask("ann", Draw(71), receipt, idempotency_key="2"))
        assert isinstance(refused, Rejected)
        assert refused.error == Short(70)
        assert world.run(account.ask("ann", Draw(10), receipt, idempotency_key="3")) == Receipt(60, "nr 10")
        world.crash()
        world.open()
        account = world.handle(accounts)
        assert world.run(account.ask("ann", Draw(30), receipt, idempotency_key="1")) == Receipt(70, "nr 30")
        assert bank.paid == [30, 10]
        assert world.run(account.ask("ann", Close(), last, idempotency_key="4")) == 60  # of an instance that it ended
        assert world.run(account.get_state("ann")) is None
        assert world.run(account.ask("ann", Close(), last, idempotency_key="4")) == 60


def test_send_answers_as_ever_and_an_event_without_the_reply_is_handled() -> None:
    with World(app_of()) as world:
        account = world.handle(accounts)
        sent: Sent = world.run(account.send("ann", Draw(30)))
        assert sent == Replied(
            created=True, status="idle", scheduled_at=None, replies={"receipt": {"total": 70, "number": "nr 30"}}
        )
        assert "nr 30" not in repr(sent)  # the type is not known there, and so no secret
        for event, reply in ((Draw(0), receipt), (Draw(5), last)):
            none = world.error_of(account.ask("ann", event, reply))
            assert isinstance(none, NotReplied)
            assert (none.address, none.reply) == ("task:accounts:ann", reply.name)
            assert "its changes are durable" in str(none)
        assert world.run(account.get_state("ann")) == 65


def test_a_job_without_replies_answers_the_bytes_that_it_did() -> None:
    with World(App(Bank()).with_jobs(older)) as world:
        world.run(world.handle(older).send("ann", Draw(0), idempotency_key="1"))
        answer = world.run(
            world.jobs.handle_by_name("task", "accounts").call("send", "ann", '{"type":"Draw","cents":0}')
        )
        assert answer == {"type": "Sent", "created": False, "status": "idle", "scheduled_at": None}


def test_a_pure_decider_and_on_error_reply() -> None:
    def decide(total: int, cents: int) -> Result[Decision[int], Short]:
        if cents > total:
            return Failure(Short(total))
        return Success(Decision(total - cents, messages=(last.send(1), last.send(total - cents))))

    def on_error(ctx: TaskErrorContext[int, int], error: Short | Defect) -> Any:
        return last.send(-1)

    job = Task("pure", state=int, event=int, initial=10, decide=decide, on_error=on_error, replies=[last])
    with World(App(None).with_jobs(job)) as world:
        assert world.run(world.handle(job).ask("a", 3, last)) == 7  # the last call wins
        assert world.run(world.handle(job).ask("a", 8, last)) == -1
        assert world.run(world.handle(job).get_state("a")) == 7


def test_a_reply_has_the_limit_of_an_input_and_one_above_it_changes_nothing() -> None:
    @program
    def fill(ctx: TaskContext[int], size: int) -> Do[None]:
        yield from ctx.set_state(size)
        yield from last.send(7)
        yield from text.send("x" * size)

    text = Reply("text", str)
    job = Task("texts", state=int, event=int, initial=0, on_event=fill, replies=(text, last))
    with World(App(None, limits=Limits(payload_bytes=100)).with_jobs(job)) as world:
        texts = world.handle(job)
        assert world.run(texts.ask("a", 97, text)) == "x" * 97  # with its quotation marks and the other reply
        refused = world.error_of(texts.ask("a", 98, text, idempotency_key="1"))
        assert isinstance(refused, HookRaised)
        assert "reply text: expected at most 99 bytes when encoded, got 100" in str(refused)
        assert world.run(texts.get_state("a")) == 97


def test_a_reply_that_is_not_declared_or_has_another_type_is_a_defect_and_changes_nothing() -> None:
    other = Reply("last", str)

    @program
    def wrong(ctx: TaskContext[int], which: int) -> Do[None]:
        yield from ctx.set_state(5)
        sent = (lambda: other.send("x"), lambda: receipt.send(Receipt(1, "1")), lambda: last.send("1"))  # type: ignore[arg-type]
        yield from sent[which]()

    job = Task("wrong", state=int, event=int, initial=0, on_event=wrong, replies=(last,))
    with World(App(None).with_jobs(job)) as world:
        for which, text in enumerate(("'last'", "'receipt'", "expected int")):
            refused = world.error_of(world.handle(job).send("a", which))
            assert isinstance(refused, HookRaised)
            assert text in str(refused)
        assert world.run(world.handle(job).get_state("a")) is None
        with pytest.raises(HookRaised):
            world.run(world.handle(job).send("a", 1))


def test_declarations_and_arguments_are_checked() -> None:
    options: dict[str, Any] = {"state": int, "event": int, "initial": 0, "on_event": lambda ctx, _: ctx.set_state(1)}
    many = tuple(Reply(f"r{number}", int) for number in range(17))
    assert Task("a", **options, replies=many[:16]).plan.replies.keys() == {f"r{number}" for number in range(16)}
    for wrong in (many, last, ("last",), (last, Reply("last", str))):
        with pytest.raises(DefinitionError):
            Task("a", **options, replies=wrong)
    for name, form in (("a:b", int), ("", int), ("a", lambda: 1)):
        with pytest.raises(DefinitionError):
            Reply(name, form)
    with World(app_of()) as world:
        for reply in ("receipt", Reply("receipt", Receipt), Reply("other", int)):
            refused = world.error_of(world.handle(accounts).ask("a", Draw(1), reply))  # type: ignore[arg-type]
            assert isinstance(refused, InvalidArgument)
            assert "receipt, last" in str(refused)
        with pytest.raises(DefinitionError):
            accounts.ask("a", Draw(1), Reply("other", int))


def test_only_the_program_of_an_event_replies() -> None:
    @program
    def act(ctx: TaskContext[int], _: object = None) -> Do[None]:
        yield from last.send(1)

    job = Task("idle", state=int, event=int, initial=0, on_event=lambda ctx, _: ctx.set_state(1), execute=act,
               on_idle=act, replies=(last,))  # fmt: skip
    with World(App(None).with_jobs(job)) as world:
        assert world.run(world.handle(job).ask("a", 1, last)) == 1  # on_idle belongs to the event's turn
        assert world.run(world.handle(job).trigger("a")).triggered  # and here nothing waits for it


# ---------------------------------------------------------------- a workflow
def test_a_workflow_asks_a_task_and_receives_the_reply_or_the_error(store: Any) -> None:
    bank = Bank()
    with World(app_of(bank=bank), store=store) as world:
        flows = world.handle(purchases)
        assert world.run(flows.start_and_wait("1", 30)) == Done("70, 69")
        assert world.run(flows.start_and_wait("2", 70)) == Failed(Short(69))
        silent = world.run(flows.start_and_wait("3", 0))
        assert isinstance(silent, Failed)
        assert "its handler sent no reply" in str(silent.error)
        assert bank.paid == [30, 1]
        assert [step.name for step in world.run(flows.steps("1"))] == [
            "await task:accounts:ann send receipt",
            "await task:accounts:ann send receipt",
        ]
        # The workflow has the error: it is no rejected message.
        assert not [each for each in world.history(purchases, "2") if each.type == "message.rejected"]


@settings(max_examples=40)
@given(st.integers(1, 60), st.sampled_from(["memory://", "sqlite"]))
def test_a_workflow_asks_once_whatever_dies(tmp_path_factory: pytest.TempPathFactory, die_at: int, place: str) -> None:
    bank = Bank()
    store: Any = tmp_path_factory.mktemp("replies") / "jobs.db" if place == "sqlite" else place
    with World(app_of(bank=bank), store=store) as world:
        world.crash_after(die_at)
        try:
            world.run(world.handle(purchases).start_and_wait("1", 30))
            world.crash()
        except WorkerDied:
            pass
        world.open()
        assert world.run(world.handle(purchases).start_and_wait("1", 30)) == Done("70, 69")
        assert world.run(world.handle(accounts).get_state("ann")) == 69
        assert len(bank.paid) <= 3  # an effect in progress may be performed again
        # A recovered event is one that its sender sent.
        assert not [each for each in world.history(accounts, "ann") if each.type == "job.failed"]


@settings(max_examples=10)
@given(st.integers(0, 1_000), st.sampled_from(["none", "first", "second"]))
def test_engines_of_a_shared_store_answer_each_call_once(seed: int, crash: str) -> None:
    with Cluster(app_of(), seed=seed) as cluster:
        engines = {"first": cluster.open(), "second": cluster.open()}
        for each in range(5):
            engine = engines["second" if each % 2 else "first"]
            cluster.run_on(engine, lambda client, each=each: client.handle(purchases).start(f"{each}", 10))
        if crash != "none":
            engines[crash].crash()
        cluster.advance("3 minutes")
        left = engines["second" if crash == "first" else "first"]
        assert cluster.run_on(left, lambda client: client.handle(accounts).get_state("ann")) == 45
        ends = [cluster.run_on(left, lambda client, n=n: client.handle(purchases).outcome(f"{n}")) for n in range(5)]
        assert all(isinstance(end, Done) for end in ends)


def test_a_wait_that_is_over_leaves_the_event_and_a_late_reply() -> None:
    @program
    def slow(ctx: TaskContext[int], cents: int) -> Do[None]:
        yield from ctx.set_state(cents)
        yield from sleep("5 seconds")
        yield from last.send(cents)

    job = Task("slow", state=int, event=int, initial=0, on_event=slow, replies=(last,))

    @program
    def impatient(ctx: WorkflowContext[int]) -> Do[str, Any]:
        found = yield from race(job.ask("a", 7, last).map(str), sleep("1 second").map(lambda _: "late"))
        yield from sleep("1 minute")
        return found

    flow = Workflow("impatient", state=int, run=impatient, result=str)
    with World(App(None).with_jobs(job, flow)) as world:
        assert world.run(world.handle(flow).start_and_wait("1", 0, timeout="1 hour")) == Done("late")
        assert world.run(world.handle(job).get_state("a")) == 7
        assert world.run(world.jobs.dead_letters()) == ()
        assert world.run(world.jobs.left_messages()) == ()  # it does not withdraw: a task has no wait


def test_an_interrupted_handler_replies_nothing() -> None:
    @program
    def slow(ctx: TaskContext[int], cents: int) -> Do[None]:
        yield from last.send(cents)
        yield from sleep("5 seconds")

    job = Task("slow", state=int, event=int, initial=0, on_event=slow, replies=(last,))
    with World(App(None).with_jobs(job)) as world:
        asked = world.start(world.handle(job).ask("a", 7, last))
        world.settle()
        world.run(world.handle(job).terminate("a", interrupt=True))
        found = asked.result()
        assert isinstance(found, Failure)
        assert isinstance(found.failure(), NotReplied)


def test_a_handler_that_raises_is_delivered_again_and_replies_after_a_redrive() -> None:
    broken = [True]

    @program
    def handle(ctx: TaskContext[int], cents: int) -> Do[None]:
        yield from ctx.set_state(cents)
        if broken:
            raise RuntimeError("a bug")
        yield from last.send(cents)

    job = Task("broken", state=int, event=int, initial=0, on_event=handle, replies=(last,))

    @program
    def asking(ctx: WorkflowContext[int]) -> Do[int, Any]:
        return (yield from job.ask("a", 7, last))

    flow = Workflow("asking", state=int, run=asking, result=int)
    with World(App(None, limits=Limits(message_deliveries=2)).with_jobs(job, flow)) as world:
        world.run(world.handle(flow).start("1", 0))
        world.advance("1 minute")
        assert world.run(world.handle(flow).outcome("1")) is None
        (dead,) = world.run(world.jobs.dead_letters())
        broken.clear()
        world.run(world.jobs.redrive(dead.message_id))
        assert world.run(world.handle(flow).start_and_wait("1", 0)) == Done(7)


# ---------------------------------------------------------------- versions beside each other
def test_code_without_the_reply_leaves_a_call_to_newer_code_and_refuses_its_answers(store: Any) -> None:
    with World(app_of(), store=store) as world:
        world.run(world.handle(accounts).ask("ann", Draw(1), receipt, idempotency_key="1"))
        world.crash()
        world.open(app_of(older, purchases))
        # After a rollback: the key's answer has a reply that this code does not know. It is not handled twice.
        refused = world.error_of(world.handle(older).send("ann", Draw(1), idempotency_key="1"))
        assert isinstance(refused, StoredResultUnreadable)
        assert world.run(world.handle(older).send("ann", Draw(0), idempotency_key="2")).status == "idle"
        world.run(world.handle(purchases).start("1", 9))
        world.settle()
        assert world.run(world.handle(purchases).outcome("1")) is None
        world.crash()
        world.open(app_of())
        world.advance("2 minutes")
        assert world.run(world.handle(purchases).outcome("1")) == Done("90, 89")
        assert world.run(world.handle(accounts).ask("ann", Draw(1), receipt, idempotency_key="1")) == Receipt(
            99, "nr 1"
        )
        # An answer of older code has no reply, and the event is not handled again.
        assert isinstance(
            world.error_of(world.handle(accounts).ask("ann", Draw(0), receipt, idempotency_key="2")), NotReplied
        )


def test_other_processes_ask_and_an_older_client_reads_the_answer_as_it_did() -> None:
    async def main() -> Any:
        async with (
            app_of().open("memory://") as local,
            serving(local, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], accounts) as newer,
            connect(server.urls[0], older) as client,
        ):
            typed = await newer.handle(accounts).ask("ann", Draw(30), receipt, idempotency_key="1")
            again = await newer.handle(accounts).ask("ann", Draw(30), receipt, idempotency_key="1")
            sent = await client.handle(older).send("ann", Draw(30), idempotency_key="1")
            named = await newer.handle_by_name("task", "accounts").call("send", "ann", '{"type":"Draw","cents":1}')
            return typed, again, sent, named

    typed, again, sent, named = asyncio.run(main())
    assert typed == again == Receipt(70, "nr 30")
    assert sent == Sent(created=True, status="idle", scheduled_at=None)
    assert named["replies"] == {"receipt": {"total": 69, "number": "nr 1"}}


@frozen
class Known:
    total: int
    extra: str = ""


@frozen
class Unknown:
    total: int


def test_older_code_keeps_members_of_newer_code_in_a_reply() -> None:
    def job(state: Any) -> tuple[Task[Any, int], Reply[Any]]:
        shown = Reply("shown", state)

        @program
        def show(ctx: TaskContext[Any], event: int) -> Do[None]:
            if event:
                yield from ctx.set_state(state(event, "new") if state is Known else state(event))
            yield from shown.send((yield from ctx.state))

        return Task("kept", state=state, event=int, initial=state(0), on_event=show, replies=(shown,)), shown

    (newer, _), (before, _) = job(Known), job(Unknown)
    with World(App(None).with_jobs(newer)) as world:
        world.run(world.handle(newer).send("a", 5))
        world.crash()
        world.open(App(None).with_jobs(before))
        named = world.run(world.jobs.handle_by_name("task", "kept").call("send", "a", "0"))
        assert named["replies"] == {"shown": {"total": 5, "extra": "new"}}


# ---------------------------------------------------------------- tools
def test_the_description_of_the_interface_has_the_types_of_the_replies() -> None:
    schemas = openapi((accounts,), title="Bank", version="1")["components"]["schemas"]
    answer = schemas["accounts_Sent"]
    assert answer["properties"]["type"] == {"type": "string", "const": "Sent"}
    replies = answer["properties"]["replies"]["properties"]
    assert replies["receipt"] == {"$ref": "#/components/schemas/Receipt"}
    assert replies["last"]["type"] == "integer"


def test_only_a_workflow_sends_a_call() -> None:
    with World(app_of()) as world:
        named = world.jobs.handle_by_name("task", "accounts")
        payload = orjson.dumps({"call": "x", "value": {"type": "Draw", "cents": 1}}).decode()
        assert isinstance(world.error_of(named.call("ask_send.receipt", "ann", payload)), UnknownAction)
        assert "ask_send.receipt" not in named.actions
        assert world.run(world.handle(accounts).get_state("ann")) is None


@frozen
class Token:
    token: Annotated[str, Secret]


def test_a_secret_reply_reaches_the_caller_alone() -> None:
    token = Reply("token", Token)

    @program
    def issue(ctx: TaskContext[int], event: int) -> Do[None]:
        yield from ctx.set_state(event)
        yield from token.send(Token("hunter2-hunter2"))

    job = Task("tokens", state=int, event=int, initial=0, on_event=issue, replies=(token,))

    @program
    def use(ctx: WorkflowContext[int]) -> Do[int, Any]:
        found = yield from job.ask("a", 1, token)
        yield from sleep("1 hour")
        return len(found.token)

    flow = Workflow("uses", state=int, run=use, result=int)
    with World(App(None).with_jobs(job, flow)) as world:
        assert world.run(world.handle(job).ask("a", 1, token)) == Token("hunter2-hunter2")
        explained = world.run(world.jobs.handle_by_name("task", "tokens").explain("send", "a", "1"))
        world.run(world.handle(flow).start("1", 0))
        world.settle()
        steps = [each.value for each in world.run(world.handle(flow).steps("1"))]
        assert '"<secret>"' in steps
        shown = [explained, steps, world.history(job, "a"), world.trace]
        assert "hunter2" not in "".join(map(repr, shown))
        assert explained["answer"]["replies"] == {"token": {"token": "<secret>"}}


test_machine = JobMachine(
    job=Task("machine", state=int, event=int, initial=0, replies=(last,),
             decide=lambda total, cents: Success(Decision(total + cents, messages=(last.send(total + cents),)))),
    services=object,
    types={int: st.integers(0, 9)},
).TestCase  # fmt: skip
