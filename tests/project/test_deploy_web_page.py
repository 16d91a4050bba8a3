"""The page on deploying both tiers, as its reader does it: real processes, a reverse proxy, and no refused request."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest

pytest.importorskip("uvicorn")

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "deploy-web-and-engines.md").read_text(encoding="utf-8")
FILES = dict(
    re.findall(r"^```\{code-block\} python\n:caption: (\w+\.py)\n\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
)
(SECOND,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ACCOUNTS = [f"account-{number}" for number in range(8)]
CALLERS = 2
PAUSE_S = 0.02
"""Between two requests of a caller: the machine of the tests also starts processes."""


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
    return port


@attrs.define(eq=False)
class Tier:
    """The processes of one tier, each at its port, and the command that starts one."""

    command: list[str]
    ready: str
    folders: dict[str, Path]
    environment: dict[str, str]
    ports: list[int] = attrs.Factory(lambda: [free_port(), free_port()])
    running: dict[int, asyncio.subprocess.Process] = attrs.Factory(dict[int, asyncio.subprocess.Process])

    async def start(self, port: int, version: str) -> None:
        """Start a process, and wait until it is ready."""
        self.running[port] = await asyncio.create_subprocess_exec(
            *(part.format(port=port) for part in self.command),
            cwd=self.folders[version],
            env={**os.environ, **self.environment, "PYTHONPATH": str(self.folders[version])},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{port}{self.ready}"
        async with httpx2.AsyncClient() as client:
            while True:
                assert self.running[port].returncode is None, f"{self.command[2]} of {version} ended"
                with suppress(httpx2.TransportError):
                    if (await client.get(url)).status_code == httpx2.codes.OK:
                        return
                await elapsed(PAUSE_S)

    async def replace(self, version: str) -> None:
        """Replace the processes, one after the other."""
        for port in self.ports:
            await self.stop(port)
            await self.start(port, version)

    async def stop(self, port: int) -> None:
        """Stop a process as an operator does."""
        process = self.running.pop(port)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() in {0, -signal.SIGTERM}

    async def close(self) -> None:
        """Stop all processes."""
        await asyncio.gather(*(self.stop(port) for port in list(self.running)))


async def elapsed(seconds: float) -> None:
    """Wait on the clock that the processes share."""
    await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=seconds)


@attrs.define(eq=False)
class Proxy:
    """A reverse proxy: it passes a request to the next process if one does not take it, or loses it."""

    ports: list[int]
    passed_on: int = 0
    _turn: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; the connection ends with it."""
        head = await reader.readuntil(b"\r\n\r\n")
        self._turn += 1
        answer = b""
        for at in range(2 * len(self.ports)):
            answer = await self._asked(self.ports[(self._turn + at) % len(self.ports)], head)
            if answer:
                break
            self.passed_on += 1
        writer.write(answer or b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def _asked(self, port: int, head: bytes) -> bytes:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            answer = await reader.read(-1)
            writer.close()
            return answer
        return b""


@attrs.define(eq=False)
class Callers:
    """Callers of the proxy, who pay and look, one request after the other."""

    url: str
    paid: Counter[str] = attrs.Factory(Counter[str])
    answered: int = 0
    refused: list[str] = attrs.Factory(list[str])

    async def call(self, name: int) -> None:
        """Make requests until the task is cancelled."""
        async with httpx2.AsyncClient(timeout=60) as client:
            for number in range(1_000_000):
                account = ACCOUNTS[number % len(ACCOUNTS)]
                path = f"{self.url}/accounts/{account}"
                self.note(await client.put(f"{path}/payments/{name}-{number}", params={"cents": 1}, headers=CLOSE))
                self.paid[account] += 1
                self.note(await client.get(path, headers=CLOSE))
                await elapsed(PAUSE_S)

    def note(self, reply: Any) -> None:
        """Count an answer."""
        self.answered += 1
        if reply.status_code != httpx2.codes.OK:
            self.refused.append(f"{reply.request.method} {reply.status_code}: {reply.text[:300]}")

    @asynccontextmanager
    async def calling(self) -> AsyncGenerator[None]:
        """Call as long as the block runs; finish the requests in progress."""
        tasks = [asyncio.create_task(self.call(name)) for name in range(CALLERS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


CLOSE = {"Connection": "close"}


def versions(folder: Path) -> dict[str, Path]:
    """Write the files of both versions."""
    for version, jobs in (("first", FILES["payments.py"]), ("second", SECOND)):
        (folder / version).mkdir()
        (folder / version / "payments.py").write_text(jobs)
        (folder / version / "payments_web.py").write_text(FILES["payments_web.py"])
    return {version: folder / version for version in ("first", "second")}


def test_both_tiers_are_replaced_and_rolled_back_and_no_request_is_refused(postgres_url: str, tmp_path: Path) -> None:
    folders = versions(tmp_path)
    store = f"{postgres_url}{'&' if '?' in postgres_url else '?'}schema=deploy_page&ownership=shared&lease=5s"
    serve = [sys.executable, "-m", "perdure", "serve", "payments:app", "--bind", "127.0.0.1:{port}"]
    engines = Tier(serve, "/ready", folders, {"PERDURE_STORE": store})
    urls = ",".join(f"http://127.0.0.1:{port}" for port in engines.ports)
    uvicorn = [sys.executable, "-m", "uvicorn", "payments_web:web", "--port", "{port}"]
    web = Tier(uvicorn, "/openapi.json", folders, {"ENGINES": urls})
    proxy = Proxy(web.ports)

    async def main() -> tuple[Callers, dict[str, int]]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(lambda: asyncio.gather(engines.close(), web.close()))
            await engines.start(engines.ports[0], "first")  # it makes the tables
            await asyncio.gather(
                engines.start(engines.ports[1], "first"), *(web.start(port, "first") for port in web.ports)
            )
            listening = await stack.enter_async_context(await asyncio.start_server(proxy.serve, "127.0.0.1", 0))
            callers = Callers(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
            async with callers.calling():
                await engines.replace("second")  # older web processes call newer engines
                await web.replace("second")
                await engines.replace("first")  # newer web processes call older engines
                await web.replace("first")
                await web.replace("second")  # the other order forwards: the web tier first
                await engines.replace("second")
                await web.replace("first")  # the other order backwards
                await engines.replace("first")
            async with httpx2.AsyncClient() as client:
                totals = {id_: (await client.get(f"{callers.url}/accounts/{id_}")).json() for id_ in ACCOUNTS}
            return callers, totals

    callers, totals = asyncio.run(main())
    assert callers.refused == []
    assert callers.answered > 100  # while each process was replaced
    assert proxy.passed_on > 0
    for account, total in totals.items():
        assert callers.paid[account] <= total <= callers.paid[account] + CALLERS  # one may have been cancelled
