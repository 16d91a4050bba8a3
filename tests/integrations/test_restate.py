"""Jobs on a Restate cluster: the table of behaviours against the real server, refusals, and the texts that travel."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
import restate_versions as versions
from hypothesis import given
from hypothesis import strategies as st
from restate_cases import CASES, DEATHS, DIFFERS, Place
from restate_cluster import Cluster, server_program
from restate_jobs import JOBS, Add, Event, Outside, Refused, counts, flows
from restate_versions import TotalBy, Work, done
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Do,
    Heartbeat,
    Limit,
    Stream,
    Task,
    TaskContext,
    Topic,
    WorkerPool,
    Workflow,
    WorkflowContext,
    attempt,
    attribute,
    effect,
    program,
    step,
)
from perdure.integrations.restate import connect_restate, restate_app
from perdure.integrations.restate.mailbox import (
    KEPT_MS,
    MAX_HELD,
    applied,
    armed,
    due_of,
    first_due,
    held_behind,
    settled,
    waits_behind,
)
from perdure.integrations.restate.wire import (
    AlarmOrder,
    CommittedRow,
    JournalRows,
    MailboxState,
    MessageOrder,
    RecoverOrder,
    RunCount,
    RunEnd,
    RunOrder,
    TurnAnswer,
    TurnRequest,
    WriteAnswer,
    WriteOrder,
    decoded,
    encoded,
)
from perdure.interpreters import Purge, Put, Transition, decode_instance
from perdure.stores.encryption import Encryption
from perdure.values.answer import Done, Sent
from perdure.values.errors import (
    DefinitionError,
    InvalidInput,
    OutcomeUnknown,
    Rejected,
    RunTimeout,
    ServerUnreachable,
)
from perdure.values.instance import Instance
from perdure.values.message import DeadLettered, Message, Postponed, StoredMessage
from perdure.values.status import FailureRecord
from perdure.values.transition import Remembered

pytestmark = pytest.mark.xdist_group("restate")  # one process starts the cluster, once

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "run-on-restate.md"

GUIDE_QUERY = GUIDE.read_text().partition("```sql\n")[2].partition("```")[0].replace("http://new-worker:9080/", "{url}")

needs_server = pytest.mark.skipif(
    server_program() is None, reason="no restate-server: set PERDURE_RESTATE_SERVER, or put it on PATH"
)


# ---------------------------------------------------------------- the behaviours, against a server
@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("restate")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def failures(cluster: Cluster) -> dict[str, str]:
    """The tracebacks of the cases that failed, by their text: those without deaths run at the same time."""
    found: dict[str, str] = {}
    most = asyncio.Semaphore(8)

    async def one(place: Place, text: str) -> None:
        async with most:
            try:
                await CASES[text](place)
            except Exception:  # noqa: BLE001 - the test of the case reports it
                found[text] = traceback.format_exc()

    async def every() -> None:
        async with connect_restate(cluster.ingress, *JOBS, admin_url=cluster.admin) as jobs:
            place = Place(jobs, cluster)
            await asyncio.gather(*(one(place, text) for text in CASES if text not in DEATHS))

    asyncio.run(every())
    return found


@needs_server
@pytest.mark.parametrize("text", [text for text in CASES if text not in DEATHS])
def test_a_behaviour(failures: dict[str, str], text: str) -> None:
    assert text not in failures, failures[text]


@needs_server
@pytest.mark.parametrize("text", DEATHS)
def test_a_death(cluster: Cluster, failures: dict[str, str], text: str) -> None:
    async def checked() -> None:
        async with connect_restate(cluster.ingress, *JOBS, admin_url=cluster.admin) as jobs:
            await CASES[text](Place(jobs, cluster))

    asyncio.run(checked())


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, application="restate_versions:old_application") as cluster:
        yield cluster


@needs_server
def test_a_newer_version_takes_over_while_requests_of_the_older_one_are_under_way(older: Cluster) -> None:
    async def checked() -> None:
        async with connect_restate(older.ingress, versions.new, versions.waits, admin_url=older.admin) as jobs:
            place, totals, waits = Place(jobs, older), jobs.handle(versions.new), jobs.handle(versions.waits)
            await waits.start("w", 0)
            await jobs.until(versions.waits, "w", "idle")
            await totals.send("before", Work("a"))
            port = older.start_further("restate_versions:new_application")
            under_way = [asyncio.ensure_future(totals.send(f"t{n}", Work("a", 3_000))) for n in range(3)]
            await place.noted("begin t", 3)
            behind = [asyncio.ensure_future(totals.send(f"t{n}", Work("b"))) for n in range(3)]
            older.register(port)
            await totals.send("before", Work("c"))
            assert not any(each.done() for each in under_way)
            assert await totals.get_state("before") == TotalBy(2, "c")
            await asyncio.gather(*under_way, *behind)
            assert [await totals.get_state(f"t{n}") for n in range(3)] == [TotalBy(2, "b")] * 3
            begun = sorted(line.split(" delivery")[0] for line in older.noted("begin t"))
            assert begun == [f"begin t{n} {event}" for n in range(3) for event in ("a old", "b new")]
            await waits.signal("w", done, 5)
            assert (await jobs.until(versions.waits, "w")).status
            assert await waits.outcome("w") == Done(value=5)
            assert len(older.noted("begin w begins")) == 1

    asyncio.run(checked())


@needs_server
def test_a_request_of_a_stopped_version_waits_and_an_operator_moves_it_to_the_newer_one(older: Cluster) -> None:
    async def checked() -> None:
        async with connect_restate(older.ingress, versions.new, admin_url=older.admin) as jobs:
            place, totals = Place(jobs, older), jobs.handle(versions.new)
            port = older.start_further("restate_versions:new_application")
            event = asyncio.ensure_future(totals.send("moved", Work("a", 3_000)))
            await place.noted("begin moved")
            older.kill_worker()
            older.register(port)
            query = GUIDE_QUERY.format(url=f"http://127.0.0.1:{port}/")
            waiting = [row["id"] for row in older.sql(query)]
            assert len(waiting) == 2
            assert not event.done()
            for each in waiting:

                async def has(status: str, each: str = each) -> bool:
                    found = older.sql(f"SELECT status FROM sys_invocation WHERE id = '{each}'")  # noqa: S608 - its own id
                    return found[0]["status"] == status

                await place.eventually(partial(has, "backing-off"))
                older.call("PATCH", f"/invocations/{each}/pause")
                await place.eventually(partial(has, "paused"))
                older.call("PATCH", f"/invocations/{each}/resume?deployment=latest")
            await event
            assert await totals.get_state("moved") == TotalBy(1, "a")
            begun = [line.split(" run=")[0] for line in older.noted("begin moved")]
            assert begun == ["begin moved a old delivery=1", "begin moved a new delivery=2"]
            assert older.sql(query) == []

    asyncio.run(checked())


def test_the_guide_says_of_each_behaviour_whether_it_holds() -> None:
    rows = re.findall(r"^\| (.+?) \| (holds|differs: .+?) \|$", GUIDE.read_text(), re.MULTILINE)
    assert dict(rows) == {text: f"differs: {DIFFERS[text]}" if text in DIFFERS else "holds" for text in CASES}


# ---------------------------------------------------------------- refusals
def wide(*, name: str = "wide", **options: Any) -> Any:
    return Task(name, state=int, event=int, initial=0, decide=lambda n, _: n, execute=lambda _: None, **options)


@attribute
def sum_of(state: int) -> int:
    return state


@asynccontextmanager
async def entered() -> Any:
    yield Outside()


@effect(limits=[Limit("mails", concurrency=1)])
def charge(_: Outside) -> Result[int, str]:
    raise AssertionError


@program
def charged(ctx: TaskContext[int], _: int) -> Do[None, str, Outside]:
    yield from ctx.set_state((yield from charge()))


@program
def charged_run(ctx: TaskContext[int]) -> Do[None, str, Outside]:
    yield from ctx.set_state(0)


@step
def paying() -> Do[int, str, Outside]:
    return (yield from charge())


@program
def stepping(_: WorkflowContext[int]) -> Do[int, str, Outside]:
    return (yield from paying())


class Sink:
    name = "sink"

    async def open(self, *_: object) -> None:
        raise AssertionError


pool: Any = WorkerPool("pool", item=int, work=lambda _: Success(None), result=None, workers=1)
served: Any = App(Outside()).with_jobs(counts)
REFUSED: dict[str, Any] = {
    "app of restate_app": "text",
    "jobs of restate_app.*at least one job": App(None),
    "kinds task, continuous, debounce, workflow; got 'pool:pool'": App(None).with_jobs(pool),
    "topic:news": App(None).with_jobs(Topic("news", event=Event, subscribers=(counts,))),
    "sinks of restate_app": served.with_sinks(Sink()),
    "encryption of restate_app": App(None, encryption=Encryption.from_environment).with_jobs(counts),
    "ensured instances of restate_app": served.ensuring(counts, "a", lambda sender: sender.send(Add())),
    "concurrency limits of task:wide": App(None).with_jobs(wide(runs=1)),
    "concurrency limits of workflow:few": App(None).with_jobs(
        Workflow("few", state=int, run=lambda ctx: ctx.state, result=int, concurrency=1)
    ),
    "attributes of task:wide": App(None).with_jobs(wide(attributes=[sum_of])),
    "heartbeats of task:wide": App(None).with_jobs(wide(heartbeats=[Heartbeat("row", int)])),
    "concurrency limits of task:named": App(None).with_jobs(wide(name="named", limits=[Limit("mails", concurrency=1)])),
    "limits of the effects of task:wide.*got 'charge'": App(Outside()).with_jobs(
        Task("wide", state=int, event=int, initial=0, on_event=charged, execute=charged_run)
    ),
    "limits of the effects of workflow:step.*got 'charge'": App(Outside()).with_jobs(
        Workflow("step", state=int, run=stepping, result=int)
    ),
    "streams of task:wide": App(None).with_jobs(wide(streams=[Stream("tokens", str)])),
}


@pytest.mark.parametrize("message", REFUSED)
def test_an_app_that_needs_an_engine_is_refused_before_it_serves(message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        restate_app(REFUSED[message])


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("sqlite:///jobs.db", {}),
        ("http+unix:///run/x.sock", {}),
        (7, {}),
        ("http://127.0.0.1:1", {"admin_url": "sqlite:///jobs.db"}),
        ("http://127.0.0.1:1", {"timeout": "0 ms"}),
        ("http://127.0.0.1:1", {"wait_timeout": "never"}),
    ],
)
def test_a_client_is_refused_wrong_arguments(url: Any, options: Any) -> None:
    async def connected() -> None:
        async with connect_restate(url, counts, **options):
            raise AssertionError

    with pytest.raises(DefinitionError):
        asyncio.run(connected())
    with pytest.raises(DefinitionError, match="twice"):
        asyncio.run(_twice())


async def _twice() -> None:
    async with connect_restate("http://127.0.0.1:1", counts, counts):
        raise AssertionError


def test_a_cluster_that_does_not_answer_is_an_error_within_the_timeout() -> None:
    async def asked() -> Any:
        async with connect_restate("http://127.0.0.1:1", counts, timeout="50 ms") as jobs:
            return await attempt(jobs.handle(counts).send("a", Add()))

    assert isinstance(asyncio.run(asked()).failure(), ServerUnreachable)


def test_calls_that_need_an_engine_are_refused_by_name() -> None:
    async def asked() -> list[Any]:
        async with connect_restate("http://127.0.0.1:1", counts, flows, timeout="50 ms") as jobs:
            task, flow = jobs.handle(counts), jobs.handle(flows)
            calls: list[Any] = [
                task.hold(),
                task.count(),
                task.count_matching(where=["n>1"]),
                flow.fork("a", "b"),
                jobs.history(counts, "a"),
                jobs.dead_letters(),
                jobs.explain(counts, "a", lambda sender: sender.send(Add())),
                jobs.list(counts),
                jobs.stopped(),
                jobs.metrics(),
                jobs.counts(),
            ]
            return [(await attempt(call)).failure() for call in calls]

    assert [type(error) for error in asyncio.run(asked())] == [InvalidInput] * 11


# ---------------------------------------------------------------- the application
def test_the_application_enters_its_services_before_it_serves() -> None:
    application = restate_app(App(entered).with_jobs(counts))
    said: list[str] = []

    async def receive() -> Any:
        said.append(f"{type(application.worker.services).__name__}")
        return {"type": "lifespan"}

    async def send(message: Any) -> None:
        said.append(message["type"])

    asyncio.run(application({"type": "lifespan"}, receive, send))
    started, stopped = "lifespan.startup.complete", "lifespan.shutdown.complete"
    assert said == ["NoneType", started, "Outside", stopped]


# ---------------------------------------------------------------- the texts
texts = st.text(max_size=8)
numbers = st.integers(0, 1 << 40)
ADDRESS = counts.address("a")
ROW = Instance(address=ADDRESS, created_ms=1, updated_ms=1)
stored_messages = st.builds(
    StoredMessage,
    message_id=numbers,
    message=st.builds(
        Message, sender=st.just(ADDRESS), target=st.just(ADDRESS), action=texts, payload=texts, sent_ms=numbers
    ),
    deliveries=numbers,
    not_before_ms=numbers,
)
answers = st.builds(TurnAnswer, form=st.sampled_from(["answer", "problem", "run", "deferred"]), body=texts)
ends = st.builds(RunEnd, form=st.sampled_from(["ended", "stopped"]), transitions=st.tuples(texts), answer=answers)
remembered = st.builds(Remembered, key=texts, action=texts, fingerprint=texts, answer=texts, expires_ms=numbers)
values = st.one_of(
    st.builds(TurnRequest, action=texts, payload=texts, key=st.none() | texts, interrupt=st.booleans()),
    answers,
    ends,
    st.builds(RunOrder, key=texts, run_id=texts, event=st.booleans(), beside=st.booleans(), row=texts),
    st.builds(RunCount, key=texts, begun=numbers, end=st.none() | ends),
    st.builds(WriteOrder, transition=texts),
    st.builds(WriteAnswer, written=st.booleans()),
    st.builds(JournalRows, first=numbers, limit=numbers, bodies=st.tuples(texts)),
    st.builds(AlarmOrder, number=numbers),
    st.builds(RecoverOrder, run_id=texts),
    st.builds(MessageOrder, message=stored_messages),
    st.builds(CommittedRow, row=st.none() | texts, existed=st.booleans()),
    st.builds(MailboxState, row=st.none() | texts, keys=st.tuples(remembered), held=st.tuples(stored_messages)),
)


@given(values)
def test_each_text_is_read_as_it_was_written_and_refused_if_it_has_more(value: Any) -> None:
    cls, text = type(value), encoded(value)
    assert decoded(cls, text) == value
    with pytest.raises(InvalidInput, match="more"):
        decoded(cls, orjson.dumps({**orjson.loads(text), "more": 1}))
    with pytest.raises(InvalidInput, match="expected 1, got 2"):
        decoded(cls, orjson.dumps({**orjson.loads(text), "format": 2}))
    with pytest.raises(InvalidInput):
        decoded(cls, text[:-1])


@pytest.mark.parametrize(
    "result",
    [
        Success(None),
        Success(Sent(created=True, status="idle", scheduled_at=None)),
        Failure(RunTimeout(5)),
        Failure(OutcomeUnknown("lost")),
    ],
)
def test_a_result_travels_as_an_answer(result: Any) -> None:
    back = TurnAnswer.of(counts, result).result(counts)
    assert type(back) is type(result)
    assert str(back) == str(result)


def test_a_typed_error_travels_as_its_class() -> None:
    answer = TurnAnswer.of(counts, Failure(Rejected(Refused("negative"))))
    back: Any = answer.result(counts)
    assert back.failure().error == Refused("negative")
    unread = attrs.evolve(answer, form="answer", body="{}").result(counts)
    assert isinstance(unread.failure(), OutcomeUnknown)


# ---------------------------------------------------------------- the mailbox
STATE = MailboxState(writer="inv")


def put(state: MailboxState, now_ms: int = 1_000, **changes: Any) -> MailboxState:
    row = ROW if state.row is None else decode_instance(state.row)
    return applied(state, Transition(address=ADDRESS, write=Put(row.changed(**changes))), now_ms)[0]


def test_one_alarm_is_armed_and_a_later_one_waits_for_it() -> None:
    state = put(STATE, alarm_ms=5_000)
    assert (state.armed_ms, state.alarms, state.sends[-1].at_ms) == (5_000, 1, 5_000)
    later = put(state, alarm_ms=9_000)
    assert (later.armed_ms, later.alarms, later.sends) == (5_000, 1, state.sends)
    fired = armed(attrs.evolve(later, armed_ms=None), str(ADDRESS), 5_000)
    assert (fired.armed_ms, fired.alarms) == (9_000, 2)
    earlier = put(state, alarm_ms=2_000)
    assert (earlier.armed_ms, earlier.alarms, earlier.sends[-1].at_ms) == (2_000, 2, 2_000)


def test_an_incarnation_is_greater_than_each_before_it_even_if_the_clock_goes_back() -> None:
    state = put(STATE, now_ms=5_000)
    assert decode_instance(state.row or "").incarnation == 5_000
    purged = applied(state, Transition(address=ADDRESS, write=Purge()), 5_000)[0]
    assert decode_instance(put(purged, now_ms=1_000).row or "").incarnation == 5_001


def test_a_mailbox_is_kept_for_repeats_and_for_its_keys() -> None:
    purged = applied(put(STATE), Transition(address=ADDRESS, write=Purge()), 1_000)[0]
    assert due_of(purged) == 1_000 + KEPT_MS
    key = Remembered(key="k", action="send", fingerprint="", answer="", expires_ms=9_000_000)
    assert due_of(attrs.evolve(purged, keys=(key,))) == 9_000_000


def message(number: int, sender: str = "b", **changes: Any) -> StoredMessage:
    sent = Message(sender=counts.address(sender), target=ADDRESS, action="send", payload="", sent_ms=1)
    return StoredMessage(message_id=number, message=sent, **changes)


def test_messages_of_one_sender_wait_in_order_and_others_do_not() -> None:
    later = Postponed(message_id=1, deliveries=1, not_before_ms=7_000, error=None)
    state = held_behind(settled(STATE, message(1), later), message(2))
    assert waits_behind(state, message(3))
    assert not waits_behind(state, message(3, "c"))
    assert first_due(state, 6_999) is None
    assert first_due(state, 7_000) == message(1, deliveries=1, not_before_ms=7_000)
    state = settled(state, message(1), attrs.evolve(later, not_before_ms=8_000))
    assert [each.message_id for each in state.held] == [1, 2]
    state = settled(state, message(1), None)
    assert first_due(state, 7_000) == message(2)


def test_the_message_after_a_thousand_is_sent_again_later() -> None:
    full = attrs.evolve(STATE, held=tuple(message(number) for number in range(MAX_HELD - 1)))
    last = held_behind(full, message(5_000))
    assert len(last.held) == MAX_HELD
    over = held_behind(last, message(5_001))
    assert over.held == last.held
    assert decoded(MessageOrder, over.sends[-1].body.encode()).message == message(5_001)
    later = Postponed(message_id=1, deliveries=1, not_before_ms=7_000, error=None)
    assert len(settled(last, message(9_000, "c"), later).held) == MAX_HELD


def test_a_dead_letter_goes_to_its_own_object_and_the_next_message_continues() -> None:
    error = FailureRecord(form="defect", error_type="HookRaised", message="boom")
    held = attrs.evolve(STATE, held=(message(1), message(2)))
    state = settled(held, message(1), DeadLettered(message_id=1, deliveries=5, error=error))
    assert [send.service for send in state.sends] == ["PerdureDeadLetters", "PerdureMailbox"]
    assert first_due(state, 0) == message(2)
