"""The protocol of systemd, with a real datagram socket in its place."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import LogRecord
from perdure.server.systemd import MAX_STATUS_CHARACTERS, ServiceManager, watched

PID = os.getpid()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@perdure-test-{PID}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address.replace("@", "\0"))
        receiver.settimeout(10)
        yield address, receiver


def test_it_reports_the_actions_of_the_engine(manager: tuple[str, socket.socket]) -> None:
    address, receiver = manager
    service = ServiceManager.of({"NOTIFY_SOCKET": address}, PID)
    service.waiting("waiting for the lock\nof jobs.db")
    service.ready("serving 1 job")
    service.alive()
    service.stopping("x" * 10_000)
    assert receiver.recv(65_536) == b"STATUS=waiting for the lock of jobs.db"
    assert receiver.recv(65_536) == b"READY=1\nSTATUS=serving 1 job"
    assert receiver.recv(65_536) == b"WATCHDOG=1"
    assert receiver.recv(65_536) == b"STOPPING=1\nSTATUS=" + b"x" * MAX_STATUS_CHARACTERS


@pytest.mark.parametrize(
    ("environ", "watchdog_ms"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": f"{PID}"}, 30_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": f"{PID + 1}"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_a_watchdog_of_another_process_is_ignored(environ: dict[str, str], watchdog_ms: float | None) -> None:
    assert ServiceManager.of({"NOTIFY_SOCKET": "/x", **environ}, PID).watchdog_ms == watchdog_ms


@pytest.mark.parametrize(
    "environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "/no"}]
)
def test_without_a_service_manager_nothing_is_sent(environ: dict[str, str]) -> None:
    ServiceManager.of({**environ, "WATCHDOG_USEC": "1000"}, PID).ready("serving")


def test_a_sign_of_life_is_sent_only_while_the_store_answers(manager: tuple[str, socket.socket]) -> None:
    address, receiver = manager
    receiver.settimeout(0)
    logged: list[LogRecord] = []
    asked = 0

    async def scenario() -> None:
        loop, asked_again = asyncio.get_running_loop(), asyncio.Event()

        async def answers() -> None:
            nonlocal asked
            asked += 1
            if asked > 4:
                asked_again.set()
            if asked > 2:
                await asyncio.Event().wait()

        runtime = attrs.evolve(asyncio_runtime(), log=logged.append)
        service = ServiceManager(address, watchdog_ms=40)
        async with asyncio.timeout(10), watched(service, answers, runtime):
            for _ in range(2):
                assert await loop.sock_recv(receiver, 100) == b"WATCHDOG=1"
            await asked_again.wait()
        with pytest.raises(BlockingIOError):
            receiver.recv(100)

    asyncio.run(scenario())
    assert {record.message for record in logged} == {"the store does not answer: the watchdog will restart the engine"}
