"""A request that fails says whether it may have been applied."""

import asyncio
import subprocess
import sys
from contextlib import suppress

import pytest
from returns.result import Success

from perdure import Decision, Task
from perdure.client.attempt import attempt
from perdure.remote import connect, connect_sync
from perdure.remote.batching import CallBatcher
from perdure.remote.channel import AnswerLost, ClientClosed, NotSent
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.values.errors import EngineClosed, OutcomeUnknown, ServerUnreachable, UnknownJob
from perdure.wire.envelope import Envelope

total = Task("total", state=int, event=int, initial=0, decide=lambda state, event: Success(Decision(state + event)))
other = Task("total", state=int, event=int, initial=0, decide=lambda state, event: Success(Decision(state - event)))


def with_responses(*responses, timeout):
    """Send a keyed request to a server that answers so; b"" closes the connection. Return error and count."""

    async def main():
        count, left = 0, list(responses)

        async def serve(reader, writer):
            nonlocal count
            with suppress(asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                count += 1
                writer.write(left.pop(0))
                if not left:
                    listening.close()
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with listening, connect(url, total, timeout=timeout) as jobs:
            return (await attempt(jobs.handle(total).send("a", 1, idempotency_key="k"))).failure(), count

    return asyncio.run(main())


def test_a_lost_answer_stays_in_doubt_when_the_server_does_not_come_back():
    error, count = with_responses(b"", timeout="100 ms")
    assert (type(error), count) == (OutcomeUnknown, 1)


@pytest.mark.parametrize("status", [b"301 Moved", b"404 Not Found", b"413 Too Large"])
def test_a_server_that_is_not_an_engine_is_named_without_repeats(status):
    response = b"HTTP/1.1 %s\r\nContent-Length: 5\r\n\r\nnginx" % status
    error, count = with_responses(response, response, timeout="30 seconds")
    assert (type(error), count) == (ServerUnreachable, 1)
    assert "nginx" in error.reason


def test_a_request_that_waited_for_a_connection_was_not_sent():
    async def main():
        released = asyncio.Event()

        async def post(_: bytes):
            await released.wait()
            yield b""

        batcher = CallBatcher(post, 1, asyncio_runtime())
        envelope = Envelope(number=0, kind="task", job="total", id="a", action="send")
        sent = asyncio.ensure_future(batcher.call(envelope, 60))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        failures = await asyncio.gather(sent, batcher.call(envelope, 60), return_exceptions=True)
        released.set()
        return [type(failure) for failure in failures]

    assert asyncio.run(main()) == [AnswerLost, NotSent]


def test_a_request_that_waits_when_the_client_closes_is_not_sent():
    async def main():
        posted: list[bytes] = []

        async def post(lines: bytes):
            posted.append(lines)
            await asyncio.Event().wait()
            yield b""

        batcher = CallBatcher(post, 1, asyncio_runtime())
        envelope = Envelope(number=0, kind="task", job="total", id="a", action="send")
        calls = []
        for _ in range(2):
            calls.append(asyncio.ensure_future(batcher.call(envelope, 60_000)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await batcher.close()
        failures = await asyncio.gather(*calls, batcher.call(envelope, 60_000), return_exceptions=True)
        return [type(failure) for failure in failures], len(posted)

    assert asyncio.run(main()) == ([AnswerLost, ClientClosed, ClientClosed], 1)


def test_a_client_that_is_closed_refuses_every_call():
    closed = EngineClosed("this client is closed: its block has ended")

    async def main():
        async with connect("http://127.0.0.1:9", total) as jobs:
            pass
        calls = (jobs.handle(total).send("a", 1, idempotency_key="k"), jobs.health())
        return [str((await attempt(call)).failure()) for call in calls]

    with connect_sync("http://127.0.0.1:9", total) as sync:
        pass
    calls = (sync.handle(total).send("a", 1, idempotency_key="k"), sync.health())
    assert asyncio.run(main()) == [str(sync.attempt(call).failure()) for call in calls] == [str(closed)] * 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "this client did not receive task:total (received: none)"),
        ((other,), "this client received another definition of task:total (received: task:total)"),
    ],
)
def test_a_definition_that_the_client_did_not_receive_is_named(given, said):
    with connect_sync("http://127.0.0.1:9", *given) as jobs, pytest.raises(UnknownJob) as refused:
        jobs.handle(total)
    assert str(refused.value) == f"{said}; pass its definition: connect(url, ..., definition)"


def test_without_the_extra_the_missing_module_is_named():
    code = "import sys; sys.modules['httpx2'] = None; from perdure.remote import connect_sync\n"
    code += "with connect_sync('http://127.0.0.1:9'): pass"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert "httpx2" in ended.stderr
    assert "connect_sync: expected the extra 'client': pip install 'perdure[client]'; got ModuleNotFoundError" in (
        ended.stderr
    )
