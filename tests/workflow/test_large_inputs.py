"""Inputs larger than one row: the state of a new workflow and the item of a pool are stored in parts, in one commit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import pytest
from attrs import frozen
from flows import bodies
from hypothesis import example, given, settings
from hypothesis import strategies as st
from postgres_harness import PostgresHarness
from returns.result import Failure, Success

from perdure import (
    App,
    Backoff,
    Client,
    Do,
    Limits,
    Migrations,
    Retry,
    Secret,
    Signal,
    WorkerPool,
    Workflow,
    WorkflowContext,
    attribute,
    fail,
    program,
)
from perdure.cli.commands import run_command
from perdure.client.gateway import attempt
from perdure.jobs.code_fingerprint import code_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.parts import Reference, parts_in
from perdure.kinds.worker_pool.items import ItemContext, new_item
from perdure.kinds.workflow.commands import StartingSignal
from perdure.programs import sleep
from perdure.remote import connect
from perdure.server.serving import serving
from perdure.stores.encryption import Encryption, Key
from perdure.stores.url import open_store
from perdure.testing import Crash, WorkerDied, World
from perdure.values.answer import Done
from perdure.values.errors import InvalidInput, Undecodable
from perdure.values.excerpt import REFERENCE

ROW = 100
LIMITS = Limits(payload_bytes=ROW, input_bytes=4_000, journal_page=7)
LETTERS = 'abcäöüß水\U0001f600"\\'
KEY = Encryption(primary=Key("k1", bytes(range(64))))


def text_of(size: int) -> str:
    """Return a text whose parts differ."""
    return "".join(f"{number}," for number in range(size))[:size]


@program
def measuring(ctx: WorkflowContext[str]) -> Do[tuple[int, str], str]:
    text = yield from ctx.state
    yield from sleep("1 hour")
    assert (yield from ctx.state) == text
    yield from ctx.set_state("small")
    yield from sleep("1 hour")
    return len(text), text[-3:]


flow = Workflow("flow", state=str, run=measuring, keep=None)


@program
def reading(ctx: ItemContext[str]) -> Do[int, str]:
    item = yield from ctx.item
    if item.endswith("bad") and not ctx.is_retry:
        yield from fail("bad")
    yield from sleep("1 second")
    assert (yield from ctx.item) == item
    return len(item)


RETRY: Retry[Any] = Retry(2, Backoff.constant("1 minute"))
pool = WorkerPool("pool", item=str, work=reading, keep=None, retry=RETRY)


def opened(*jobs: AnyDefinition, limits: Limits = LIMITS, **options: Any) -> World:
    return World(App(None, limits=limits).with_jobs(*(jobs or (flow, pool))), **options)


def audited(world: World, job: AnyDefinition, id_: str) -> tuple[int, int, int]:
    """Return how many parts an instance has, how many nothing names, and how many names have no part."""
    row = world.instance(job, id_)
    if row is None:
        return 0, 0, 0
    stored = set(parts_in(bodies(world, job, id_)))
    named = set(Reference.of(row.state).names) if row.state.startswith(REFERENCE) else set[str]()
    return len(stored), len(stored - named), len(named - stored)


def test_a_workflow_receives_its_large_state_whole_in_each_replay() -> None:
    text = text_of(3_000)
    with opened() as world:
        assert world.run(world.handle(flow).start("f", text)).created
        assert audited(world, flow, "f") == (31, 0, 0)
        row = world.instance(flow, "f")
        assert row is not None
        assert len(row.state) < 1_200  # the names
        assert world.run(world.handle(flow).get_state("f")) == text
        for _ in range(2):
            world.restart()
            world.advance("1 hour")
        assert world.run(world.handle(flow).outcome("f")) == Done(value=(3_000, text[-3:]))
        assert world.run(world.handle(flow).get_state("f")) == "small"


def test_an_item_is_worked_on_whole_and_its_parts_go_with_it() -> None:
    kept, gone = pool, WorkerPool("gone", item=str, work=reading, keep="0 ms", retry=RETRY)
    with opened(kept, gone) as world:
        for job in (kept, gone):
            assert world.run(world.handle(job).put("i", text_of(997) + "bad")).created
            assert audited(world, job, "i") == (11, 0, 0)
            assert world.run(world.handle(job).get_state("i")) == text_of(997) + "bad"
        world.restart()
        world.advance("2 minutes")  # with one retry, which reads the item again
        assert world.run(world.handle(kept).outcome("i")) == Done(value=1_000)
        assert world.instance(gone, "i") is None
        assert world.run(world.handle(kept).terminate("i")).terminated
        assert world.run(world.handle(kept).put("i", "x")).created
        assert audited(world, kept, "i") == (0, 0, 0)


def test_on_error_reads_an_item_in_parts() -> None:
    @program
    def failing(ctx: ItemContext[str]) -> Do[int, str]:
        yield from fail((yield from ctx.item)[:3])
        return 0

    taken: list[tuple[str, int]] = []

    @program
    def take_over(ctx: ItemContext[str], error: object) -> Do[None, str]:
        taken.append((str(error), len((yield from ctx.item))))

    job = WorkerPool("failing", item=str, work=failing, on_error=take_over)
    with opened(job) as world:
        world.run(world.handle(job).put("i", text_of(500)))
        world.advance("1 minute")
        assert taken == [("0,1", 500)]


@pytest.mark.parametrize(("size", "parts"), [(ROW, 0), (ROW + 1, 2), (4_000, 40), (4_001, None)])
def test_an_input_has_at_most_input_bytes_and_a_larger_one_leaves_no_trace(size: int, parts: int | None) -> None:
    envelope = len(pool.encode_input("put", new_item("", None, None, None), 1_000))
    with opened() as world:
        answers = (
            world.run(attempt(world.handle(flow).start("f", text_of(size - 2)))),
            world.run(attempt(world.handle(pool).put("f", text_of(size - envelope)))),
        )
        for job, answer in zip((flow, pool), answers, strict=True):
            if parts is not None:
                assert isinstance(answer, Success)
            else:
                assert isinstance(answer, Failure)
                assert "expected at most 4000 bytes when encoded, got 4001" in str(answer.failure())
                assert world.instance(job, "f") is None
        assert parts is None or audited(world, flow, "f") == (parts, 0, 0)


WORD = Signal("word", str)


@program
def hearing(ctx: WorkflowContext[str]) -> Do[tuple[int, str], str]:
    text = yield from ctx.state
    word = yield from WORD.receive()
    yield from sleep("1 hour")
    assert (yield from ctx.state) == text
    return len(text), word


hears = Workflow("hears", state=str, run=hearing, signals=[WORD], keep=None)


def test_a_signal_may_start_a_workflow_with_a_large_state() -> None:
    with opened(hears) as world:
        for id_ in ("a", "b"):
            call = world.handle(hears).signal_with_start
            sent = world.run(call(id_, WORD, "one", text_of(1_000), idempotency_key=id_))
            assert (sent.found, audited(world, hears, id_)) == ("absent", (11, 0, 0))
            assert world.run(call(id_, WORD, "two", text_of(900))).found == "running"  # keeps its own state
            assert audited(world, hears, id_) == (11, 0, 0)
        world.restart()
        world.advance("1 hour")
        assert world.run(world.handle(hears).outcome("a")) == Done(value=(1_000, "one"))
        again = world.handle(hears).signal_with_start("a", WORD, "next", text_of(500), if_ended="start")
        assert world.run(again).found == "ended"
        assert audited(world, hears, "a") == (6, 0, 0)  # the parts of the earlier state went with its journal
        world.advance("2 hours")
        assert world.run(world.handle(hears).outcome("a")) == Done(value=(500, "next"))


@pytest.mark.parametrize(("size", "form"), [(ROW, Success), (ROW + 1, Failure)])
def test_the_value_of_a_signal_has_one_row_also_beside_a_large_state(size: int, form: type) -> None:
    with opened(hears) as world:
        call = world.handle(hears).signal_with_start
        absent = attempt(call("a", WORD, text_of(size - 2), text_of(2_000)))
        assert isinstance(world.run(absent), form)
        world.run(call("b", WORD, "one", "small"))
        running = world.run(attempt(call("b", WORD, text_of(size - 2), text_of(2_000))))
        assert isinstance(running, form)
        if isinstance(running, Failure):
            assert f"expected at most {ROW} bytes when encoded, got {size}" in str(running.failure())
            assert world.instance(hears, "a") is None


def test_a_start_by_a_signal_has_at_most_input_bytes() -> None:
    start = StartingSignal(state="", value="one")
    envelope = len(hears.encode_input("signal_with_start.word", start, 1_000))
    with opened(hears) as world:
        for size in (4_000, 4_001):
            found = world.run(
                attempt(world.handle(hears).signal_with_start(str(size), WORD, "one", text_of(size - envelope)))
            )
            assert isinstance(found, Success) == (size == 4_000)
        assert world.instance(hears, "4001") is None


def test_a_state_within_a_row_is_limited_by_state_bytes_and_a_message_by_payload_bytes() -> None:
    """Only the calls of clients may bring more: a message waits in one row."""

    @program
    def telling(ctx: WorkflowContext[int]) -> Do[str, str]:
        problem = yield from flow.call(f"c-{ctx.id}", text_of((yield from ctx.state))).attempt()
        return str(problem)

    teller = Workflow("teller", state=int, run=telling, keep=None)
    with opened(flow, pool, teller) as world:
        world.run(world.handle(teller).start("t", 500))
        status = world.run(world.handle(teller).status("t"))
        assert status.last_error is not None
        assert "expected at most 100 bytes when encoded" in status.last_error.message
    small = Limits(payload_bytes=ROW, state_bytes=50, input_bytes=4_000)
    with opened(limits=small) as world:
        assert isinstance(world.run(attempt(world.handle(flow).start("f", text_of(60)))), Failure)
        assert world.run(world.handle(flow).start("f", text_of(600))).created


def test_a_job_with_attributes_keeps_its_inputs_in_the_row() -> None:
    """An attribute is a function of the state, and is computed with each commit."""

    @attribute
    def size(text: str) -> int:
        return len(text)

    job = WorkerPool("sized", item=str, work=reading, attributes=[size])
    with opened(job) as world:
        refused = world.run(attempt(world.handle(job).put("i", text_of(500))))
        assert isinstance(refused, Failure)
        assert "expected at most 100 bytes" in str(refused.failure())


@given(text=st.text(alphabet=LETTERS, max_size=500), room=st.integers(8, 300))
@example(text="水" * 300, room=8)
@example(text="a" * 298, room=300)
@settings(max_examples=20)
def test_any_text_comes_back_as_it_was(text: str, room: int) -> None:
    seen: list[str] = []

    @program
    def noting(ctx: WorkflowContext[str]) -> Do[None, str]:
        seen.append((yield from ctx.state))

    job = Workflow("noting", state=str, run=noting, keep=None)
    with opened(job, limits=Limits(payload_bytes=room, journal_page=3)) as world:
        world.run(world.handle(job).start_and_wait("f", text))
        assert world.run(world.handle(job).get_state("f")) == text
        assert seen == [text]
        stored, *wrong = audited(world, job, "f")
        assert wrong == [0, 0]
        assert bool(stored) == (len(f'"{text}"'.encode()) + text.count('"') + text.count("\\") > room)


def use(world: World, text: str) -> None:
    world.run(world.handle(flow).start("f", text))
    world.run(world.handle(pool).put("f", text))
    world.advance("1 second")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 4))
def test_a_death_at_any_commit_leaves_all_parts_or_none(number: int, when: Any) -> None:
    text = text_of(1_000)
    with opened() as world:
        world.inject(Crash("store.commit", call=number, when=when))
        with pytest.raises(WorkerDied):
            use(world, text)
        world.open()
        for job in (flow, pool):
            assert audited(world, job, "f") in ((0, 0, 0), (11, 0, 0))
        # A repeat of a request whose answer was lost puts nothing twice.
        world.run(world.handle(flow).start("f", text))
        world.run(world.handle(pool).put("f", text))
        world.advance("3 hours")
        assert world.run(world.handle(flow).outcome("f")) == Done(value=(1_000, text[-3:]))
        assert world.run(world.handle(pool).outcome("f")) == Done(value=1_000)


def test_a_key_is_remembered_for_a_large_input() -> None:
    with opened() as world:
        put = world.handle(pool).put
        assert world.run(put("i", text_of(500), idempotency_key="k")).created
        world.restart()
        put = world.handle(pool).put
        assert world.run(put("i", text_of(500), idempotency_key="k")).created
        assert isinstance(world.run(attempt(put("i", text_of(501), idempotency_key="k"))), Failure)


def test_a_fork_and_a_restart_have_the_parts_that_they_need() -> None:
    @program
    def renewing(ctx: WorkflowContext[str]) -> Do[int, str]:
        text = yield from ctx.state
        yield from sleep("1 hour")
        if len(text) > 10:
            yield from ctx.start_over(text[:10])
        return len(text)

    job = Workflow("renewing", state=str, run=renewing, keep=None)
    with opened(job) as world:
        handle = world.handle(job)
        world.run(handle.start("f", text_of(500)))
        world.run(handle.fork("g", "f", step="sleep"))
        assert audited(world, job, "g") == (6, 0, 0)
        assert world.run(handle.get_state("g")) == text_of(500)
        world.advance("1 hour")
        for id_ in ("f", "g"):
            assert audited(world, job, id_) == (0, 0, 0)
        world.advance("1 hour")
        assert [world.run(handle.outcome(id_)) for id_ in ("f", "g")] == [Done(value=10)] * 2


# ---------------------------------------------------------------- tools, secrets and versions
def test_tools_show_the_size_of_a_large_state() -> None:
    size = "<502 characters of JSON in 6 parts>"
    job = Workflow("shown", state=str, run=measuring, state_in_events=True)
    with opened(job, pool) as world:
        world.run(world.handle(job).start("f", text_of(500)))
        world.run(world.handle(pool).put("f", text_of(500)))
        for each in (job, pool):
            assert world.run(world.jobs.handle_by_name(each.kind, each.name).shown_state("f")) == size
        assert getattr(world.history(job, "f")[0], "state", None) == f'"{size}"'
        assert [step.name for step in world.run(world.handle(job).steps("f"))] == ["sleep"]
        instance, rows = world.instance(job, "f"), bodies(world, job, "f")
        assert instance is not None
        job.check_journal(instance, rows)
        with pytest.raises(InvalidInput, match="1 of the 6 parts"):
            job.check_journal(instance, rows[1:])


@frozen
class Login:
    token: Annotated[str, Secret]
    text: str


def test_the_secrets_of_a_state_in_parts_are_hidden() -> None:
    @program
    def leaking(ctx: Any) -> Do[int, str]:
        login = yield from ctx.state
        raise RuntimeError(f"{login.token} is wrong")

    jobs = (Workflow("leaking", state=Login, run=leaking), WorkerPool("leaking", item=Login, work=leaking, result=int))
    with opened(*jobs) as world:
        login = Login("xyzzy-plugh", text_of(500))
        world.run(world.handle(jobs[0]).start("f", login))
        world.run(world.handle(jobs[1]).put("f", login))
        world.advance("1 minute")
        for job in jobs:
            status = world.run(world.handle(job).status("f"))
            assert status.last_error is not None
            assert "is wrong" in status.last_error.message
            assert "xyzzy" not in repr(status)
            assert job.has_secret_rows(bodies(world, job, "f"))
            assert "xyzzy" not in repr(world.history(job, "f"))


@frozen
class Counted:
    text: str
    count: int


def counted(old: str) -> Counted:
    return Counted(old, len(old))


def test_a_state_in_parts_is_upgraded_when_a_run_reads_it() -> None:
    @program
    def counting(ctx: Any) -> Do[int, str]:
        state = yield from ctx.state
        yield from sleep("1 minute")
        return state.count + 1

    versions = Migrations(str).then(counted)
    newer = (
        Workflow("flow", state=Counted, run=counting, keep=None, versions=versions, result=int),
        WorkerPool("pool", item=Counted, work=counting, keep=None, versions=versions, result=int),
    )
    with opened() as world:
        world.run(world.handle(flow).start("f", text_of(500), after="1 hour"))
        world.run(world.handle(pool).put("f", text_of(500), after="1 hour"))
        world.restart(App(None, limits=LIMITS).with_jobs(*newer))
        for job in newer:
            assert world.run(world.handle(job).get_state("f")) == counted(text_of(500))
        world.advance("3 hours")
        for job in newer:
            assert world.run(world.handle(job).outcome("f")) == Done(value=501)


class EarlierFlow(Workflow[str, tuple[int, str], str, object]):
    """As an engine that knows no states in parts: it decodes the text of the row."""

    journal_format = 2

    def draft(self, instance: Any, claim: Any, inputs: Any) -> Any:
        self.plan.state.open(self.state_of_run(instance, claim).encode())
        draft: Any = super().draft(instance, claim, inputs)
        return draft


class EarlierPool(WorkerPool[str, int, str, object]):
    """The same for items."""

    journal_format = 1

    def draft(self, instance: Any, claim: Any, inputs: Any) -> Any:
        self.plan.state.open(instance.state.encode())
        draft: Any = super().draft(instance, claim, inputs)
        return draft


def test_an_earlier_engine_leaves_them_and_a_newer_one_takes_them_up() -> None:
    earlier = (
        EarlierFlow("flow", state=str, run=measuring, keep=None),
        EarlierPool("pool", item=str, work=reading, keep=None, retry=RETRY),
    )
    assert all(code_of(old) != code_of(new) for old, new in zip(earlier, (flow, pool), strict=True))
    with opened() as world:
        world.run(world.handle(flow).start("f", text_of(500), after="1 hour"))
        world.run(world.handle(pool).put("f", text_of(500), after="1 hour"))
        world.restart(App(None, limits=LIMITS).with_jobs(*earlier))
        world.advance("2 hours")
        for job in earlier:
            status = world.run(world.handle(job).status("f"))
            assert status.left is not None
            assert status.run_count == 0
        world.restart(App(None, limits=LIMITS).with_jobs(flow, pool))
        world.advance("3 hours")
        assert world.run(world.handle(flow).outcome("f")) == Done(value=(500, text_of(500)[-3:]))
        assert world.run(world.handle(pool).outcome("f")) == Done(value=500)


def test_code_that_cannot_read_a_state_in_parts_leaves_it() -> None:
    @program
    def adding(ctx: Any) -> Do[int, str]:
        return (yield from ctx.state) + 1

    other = (
        Workflow("flow", state=int, run=adding, keep=None),
        WorkerPool("pool", item=int, work=adding, keep=None, result=int, retry=RETRY),
    )
    with opened() as world:
        world.run(world.handle(flow).start("f", text_of(500), after="1 hour"))
        world.run(world.handle(pool).put("f", text_of(500), after="1 hour"))
        world.restart(App(None, limits=LIMITS).with_jobs(*other))
        world.advance("2 hours")
        for job in other:
            assert world.run(world.handle(job).status("f")).left is not None
            read = world.run(attempt(world.handle(job).get_state("f")))
            assert isinstance(read, Failure)
            assert isinstance(read.failure(), Undecodable)
        world.restart(App(None, limits=LIMITS).with_jobs(flow, pool))
        world.advance("3 hours")
        assert world.run(world.handle(pool).outcome("f")) == Done(value=500)
        assert world.run(world.handle(flow).outcome("f")) == Done(value=(500, text_of(500)[-3:]))


@frozen
class Letter:
    text: str
    sender: str


@program
def sending(ctx: Any) -> Do[int, str]:
    letter = yield from ctx.state
    return len(letter.text)


def test_commands_know_a_state_in_parts(tmp_path: Path) -> None:
    job = Workflow("letters", state=Letter, run=sending, keep=None)
    items = WorkerPool("letters", item=Letter, work=sending, keep=None, result=int)
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    with opened(job, items, store=tmp_path / "jobs.db") as world:
        world.run(world.handle(job).start("f", Letter(text_of(300), "someone else")))
        world.run(world.handle(items).put("f", Letter(text_of(300), "someone else")))
    assert run_command(["verify", "--store", url]) == 0
    taken = tmp_path / "snapshot"
    assert run_command(["snapshot", "--store", url, "--redact", "sender", "--output", str(taken)]) == 0
    assert "someone" not in taken.read_text()


# ---------------------------------------------------------------- real stores, and callers of another process
async def _used(client: Client, text: str) -> list[object]:
    await client.handle(flow).start("f", text, after="1 hour")
    await client.handle(pool).put("f", text)
    await client.until(pool, "f")
    return [
        await client.handle(flow).get_state("f") == text,
        await client.handle(pool).get_state("f") == text,
        await client.handle(pool).outcome("f"),
    ]


@pytest.mark.parametrize("encryption", [None, KEY])
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_stores_keep_large_inputs(store: str, encryption: Encryption | None, tmp_path: Path, postgres_url: str) -> None:
    harness = PostgresHarness(postgres_url, "full") if store == "postgresql" else None
    url = f"sqlite:///{tmp_path / 'jobs.db'}" if harness is None else harness.url
    app = App(None, limits=Limits(payload_bytes=10_000), encryption=encryption).with_jobs(flow, pool)

    async def main() -> tuple[list[object], bool]:
        text = text_of(300_000)
        async with app.open(await open_store(url)) as client:
            used = await _used(client, text)
        async with app.open(await open_store(url)) as client:
            again = await client.handle(flow).get_state("f") == text
        if harness is not None:
            await harness.discard()
        return used, again

    assert asyncio.run(main()) == ([True, True, Done(value=300_000)], True)


def test_a_client_of_another_process_sends_and_reads_the_same() -> None:
    app = App(None, limits=Limits(payload_bytes=10_000, input_bytes=500_000)).with_jobs(flow, pool)

    async def main() -> tuple[list[object], list[str]]:
        async with (
            app.open("memory://") as local,
            serving(local, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], flow, pool) as remote,
        ):
            used = await _used(remote, text_of(450_000))
            refused = [await attempt(client.handle(flow).start("g", text_of(500_000))) for client in (local, remote)]
            return used, [str(each.failure()) for each in refused]

    used, refused = asyncio.run(main())
    assert used == [True, True, Done(value=450_000)]
    assert refused[0] == refused[1]
    assert "expected at most 500000 bytes" in refused[0]
