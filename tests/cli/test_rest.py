"""``perdure serve --rest-when-idle``: an engine without work leaves its database alone, and misses nothing."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from postgres_server import PrivateCluster

from perdure import Client
from perdure.cli.run import stop_signals
from perdure.remote import connect
from perdure.server.listening import listening
from perdure.values.errors import OutcomeUnknown, ServerUnreachable

SHOP = """
from perdure import App, Do, Workflow, WorkflowContext, effect, program
from perdure.programs import sleep
from returns.result import Result, Success

@effect
def say(services: object, word: str) -> Result[None, object]:
    print(word, flush=True)
    return Success(None)

@program
def remind(ctx: WorkflowContext[int]) -> Do[int, object, object]:
    yield from sleep("{pause}")
    yield from say("reminded")
    return 1

reminders = Workflow("reminders", state=int, run=remind)
app = App(None).with_jobs(reminders)
"""

IDLE = ("--rest-when-idle", "1s")


@pytest.fixture(params=["owned", "shared"])
def store(request: pytest.FixtureRequest, postgres_cluster: PrivateCluster) -> str:
    url = postgres_cluster.url
    return f"{url}{'&' if '?' in url else '?'}ownership={request.param}&schema=rest_{request.param}"


def serve(start, folder: Path, store: str, pause: str, *options: str):
    (folder / "shop.py").write_text(SHOP.replace("{pause}", pause))
    command = start("serve", "shop:app", "--store", store, "--bind", "127.0.0.1:0", *options)
    return command, command.line("listening on ").rpartition(" ")[2]


def called(url: str, act: Callable[[Client], Awaitable[Any]]) -> Any:
    async def call() -> Any:
        async with connect(url) as jobs:
            return await act(jobs)

    return asyncio.run(call())


def begin(url: str, id_: str) -> dict[str, object]:
    return called(url, lambda jobs: jobs.handle_by_name("workflow", "reminders").call("start", id_, "0"))


STRETCH_S = 1.5
SESSIONS = (  # of clients: an autovacuum worker comes and leaves
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
BEGUN = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"


async def sessions(cluster: PrivateCluster) -> tuple[int, int]:
    """Return the database's sessions beside our own, after a stretch, and how many were begun in it."""
    connection = await asyncpg.connect(cluster.url)
    try:
        # The server ends a session a moment after its client.
        while await connection.fetchval(SESSIONS):
            await connection.execute("SELECT pg_sleep(0.02)")
        before = await connection.fetchval(BEGUN)
        await connection.execute(f"SELECT pg_sleep({STRETCH_S})")
        return await connection.fetchval(SESSIONS), await connection.fetchval(BEGUN) - before
    finally:
        await connection.close()


def test_no_session_is_open_while_an_engine_rests_and_a_request_and_an_alarm_end_it(
    start, tmp_path: Path, store: str, postgres_cluster: PrivateCluster
):
    engine, url = serve(start, tmp_path, store, "5 seconds", *IDLE)
    assert "or a request: no work for 1s" in engine.line("resting until ")
    assert asyncio.run(sessions(postgres_cluster)) == (0, 0)  # so it sent no statement
    assert begin(url, "a")["status"] == "scheduled"
    engine.line("serving ")
    engine.line("resting until ")  # the workflow sleeps longer than the engine is idle
    engine.line("serving ")
    engine.line("reminded")
    engine.line("resting until ")
    engine.signal(signal.SIGTERM)
    engine.line("stopped (SIGTERM)")
    assert engine.end() == 0, engine.story


def test_a_signal_calls_the_present_opening_and_none_before():
    async def main() -> list[str]:
        called: list[str] = []
        with stop_signals() as signals:
            with signals.calling(lambda: called.append("former"), at="stop_now"):
                pass
            with signals.calling(lambda: called.append("present"), at="stop_now"):
                signals.receive(signal.SIGTERM)
                signals.receive(signal.SIGTERM)
                await signals.stop_now
                await asyncio.sleep(0)
        return called

    assert asyncio.run(main()) == ["present"]


def test_a_server_is_busy_until_its_last_request_has_ended():
    async def main() -> None:
        entered, left = asyncio.Event(), asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            entered.set()
            await left.wait()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        async with listening(slow, ["127.0.0.1:0"]) as server:
            answer = asyncio.ensure_future(asyncio.to_thread(httpx2.get, server.urls[0], timeout=60))
            await entered.wait()
            before_ms, now_ms = server.busy_ms, server.busy_ms
            assert before_ms < now_ms
            left.set()
            assert (await answer).status_code == 204
        assert server.busy_ms == server.busy_ms > now_ms

    asyncio.run(main())


def test_a_message_of_a_transaction_waits_for_the_longest_rest(
    start, tmp_path: Path, store: str, postgres_cluster: PrivateCluster
):
    engine, _ = serve(start, tmp_path, store, "1 ms", *IDLE, "--rest-at-most", "2s")
    engine.line("resting until ")

    async def enqueue_one() -> None:
        connection = await asyncpg.connect(postgres_cluster.url)
        try:
            sql = "SELECT {}.send('workflow', 'reminders', 'b', 'start', '0')"
            await connection.execute(sql.format(store.rpartition("=")[2]))
        finally:
            await connection.close()

    asyncio.run(enqueue_one())
    engine.line("reminded")


def test_the_options_are_checked_before_the_app_is_imported(start):
    sent = ("serve", "shop:app", "--store")
    for options, message in (
        (("sqlite:///jobs.db", *IDLE), "--rest-when-idle needs a PostgreSQL store"),
        (("postgresql://db/shop", "--rest-when-idle", "999ms"), "--rest-when-idle"),
        (("postgresql://db/shop", *IDLE, "--rest-at-most", "soon"), "--rest-at-most"),
        (("postgresql://db/shop", *IDLE, "--standby"), "a standby polls the store"),
    ):
        refused = start(*sent, *options)
        assert refused.end() == 2
        assert message in refused.error, refused.error


def test_an_engine_that_cannot_open_its_store_again_ends_with_1(
    start, tmp_path: Path, store: str, postgres_cluster: PrivateCluster
):
    engine, url = serve(start, tmp_path, store, "1 ms", *IDLE)
    engine.line("resting until ")
    postgres_cluster.stop("fast")
    try:
        # The process ends before the client's connection or after it.
        with pytest.raises((OutcomeUnknown, ServerUnreachable)):
            begin(url, "c")
        assert engine.end() == 1
        assert engine.error.count("trying again") == 2
    finally:
        postgres_cluster.start()
