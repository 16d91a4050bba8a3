"""The demo's worker process: owns the store, runs the jobs, reads commands from its standard input.

It ends on the command ``Stop``, when its input ends (so that it never outlives its parent), or when it is killed. It
answers ``InspectStore`` with an instance summary.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import TypeAlias, assert_never, cast

import attrs
from returns.result import Failure, Success

from perdure.app import App
from perdure.cli.demo.protocol import (
    ANSWERS,
    COMMANDS,
    Accepted,
    Answer,
    Command,
    InspectStore,
    InstanceRow,
    JobCounts,
    JobName,
    Ready,
    Refusal,
    Seen,
    SendEvent,
    StartToken,
    StartWork,
    Stop,
    Unsettled,
)
from perdure.cli.demo.schedule import CUSTOMERS, PacedJobs, Timing, at_pace, receipts
from perdure.cli.demo.services import DemoServices, open_services
from perdure.client.client import Client, gateway_of
from perdure.client.gateway import attempt
from perdure.client.local_gateway import engine_of
from perdure.examples.incoming import IncomingOrder, IncomingWebhook
from perdure.examples.mail import Receipt
from perdure.examples.order_processor import IllegalTransition, Order
from perdure.examples.token_refresher import TokenState
from perdure.examples.webhook_batcher import Batch
from perdure.jobs.definition import EventError
from perdure.programs.container import result_inside
from perdure.runtime.record import Future
from perdure.stores.contract import Store
from perdure.stores.sqlite import open_sqlite
from perdure.values.errors import EngineClosed, HookFailed, OutcomeUnknown, Overloaded, Rejected, RequestError
from perdure.values.listings import Listed

PAGE = 1_000
LONG_AGO = datetime.min.replace(tzinfo=UTC)


async def summarize(jobs: Client, number: int, rows: int) -> Seen:
    """Count all instances, and list each job's instances that changed last.

    Args:
        jobs: the open engine's client.
        number: the command's number.
        rows: how many instances to list for each job.
    """
    found = await _all(jobs)
    counts: list[JobCounts] = []
    shown: list[InstanceRow] = []
    for _, name in engine_of(jobs).jobs:
        own = [listed for listed in found if listed.address.name == name]
        counts.append(JobCounts(cast("JobName", name), dict(Counter(str(listed.status) for listed in own))))
        newest = sorted(own, key=_changed_at, reverse=True)[:rows]
        shown += [await _row(jobs, listed) for listed in sorted(newest, key=_address)]
    return Seen(number, tuple(counts), tuple(shown))


async def _all(jobs: Client) -> list[Listed]:
    found: list[Listed] = []
    while True:
        after = found[-1].address if found else None
        page = await jobs.list(after=after, limit=PAGE)
        found += page
        if len(page) < PAGE:
            return found


async def _row(jobs: Client, listed: Listed) -> InstanceRow:
    address, report = listed.address, listed.report
    definition = engine_of(jobs).jobs[address.kind, address.name]
    state: object = await gateway_of(jobs).state(definition, address.id)
    due = report.next_run_at
    return InstanceRow(
        job=cast("JobName", address.name),
        id=address.id,
        state=_in_words(state),
        status=str(listed.status),
        due_in_ms=None if due is None else round((due - datetime.now(UTC)).total_seconds() * 1000),
        attempt=report.attempt,
        count=report.run_count if address.kind == "continuous" else report.event_count,
    )


def _in_words(state: object) -> str:
    match state:
        case Batch(events):
            return f"{len(events)} collected"
        case Order(status="pending", amount=amount, paid=paid):
            return f"pending, {paid / 100:.2f} of {amount / 100:.2f}"
        case Order(status=words) | Receipt(customer=words) | str(words):
            return words
        case TokenState(access_token=token):
            return token or "no token yet"
        case _:
            return ""


def _changed_at(listed: Listed) -> datetime:
    return listed.report.updated_at or LONG_AGO


def _address(listed: Listed) -> str:
    return str(listed.address)


MAX_LINE_BYTES = 1_048_576
MAX_LEFT_BEHIND = 1_000

Ended: TypeAlias = Success[object] | Failure[EventError[object]]
"""A call's result."""

OpenServices: TypeAlias = Callable[[str, Timing, Random], DemoServices]


@attrs.frozen
class CommandHandler:
    """Executes commands, and writes their answers as they complete."""

    jobs: Client
    served: PacedJobs

    async def take(self, command: SendEvent | StartToken | StartWork | InspectStore) -> None:
        """Execute a command and write the answer."""
        match command:
            case SendEvent(number):
                write_answer(_settled(number, await self._send(command)))
            case StartToken(number):
                write_answer(_settled(number, await self._start_token(command.owner)))
            case StartWork(number):
                write_answer(_settled(number, await self._start_work()))
            case InspectStore(number, rows):
                write_answer(await summarize(self.jobs, number, rows))
            case _:
                assert_never(command)

    async def _send(self, command: SendEvent) -> Ended:
        incoming = command.incoming
        match incoming:
            case IncomingWebhook(id=key):
                batcher = self.jobs.handle(self.served.webhook_batcher)
                return await attempt(batcher.add(incoming.contact, incoming.event, idempotency_key=key))
            case IncomingOrder(id=key):
                orders = self.jobs.handle(self.served.order_processor)
                return await attempt(orders.send(incoming.order, incoming.event, idempotency_key=key))
            case _:
                assert_never(incoming)

    async def _start_token(self, owner: str) -> Ended:
        state = TokenState(access_token="", refresh_token=f"rt-{owner}", expires_at=datetime.now(UTC))
        tokens = self.jobs.handle(self.served.token_refresher)
        return await attempt(tokens.start(owner, state, wait_for="start"))

    async def _start_work(self) -> Ended:
        flows = self.jobs.handle(self.served.welcome)
        for customer in CUSTOMERS:
            started = await attempt(flows.start(customer, customer))
            if not isinstance(started, Success):
                return started
        put = await attempt(self.jobs.handle(self.served.receipts).put_many(receipts()))
        return put if isinstance(put, Success) else Failure(OutcomeUnknown(str(put.failure())))


def _settled(number: int, answer: Ended) -> Answer:
    match answer:
        case Success():
            return Accepted(number)
        case Failure(Rejected(IllegalTransition(status, event))):
            return Refusal(number, f"an order that is {status} accepts no {event}")
        case Failure(EngineClosed() | Overloaded() as later):
            return Unsettled(number, str(later))
        case Failure(RequestError() | HookFailed() as refusal):
            return Refusal(number, str(refusal))
        case Failure(error):
            return Unsettled(number, str(error))


def write_answer(answer: Answer | Ready) -> None:
    """Write one line. A broken pipe is ignored: the input's end shows that the parent has ended."""
    with suppress(BrokenPipeError):
        sys.stdout.buffer.write(ANSWERS.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


async def serve(path: str, timing: Timing, seed: int, open_outside: OpenServices) -> int:
    """Open the store, and read commands until ``Stop``, or until the engine stops by itself.

    Returns:
        The exit code.
    """
    services = open_outside(path, timing, Random(f"{seed}"))  # noqa: S311 - a reproducible demo, not for secrets
    served = at_pace(timing.pace)
    app = App(services).with_jobs(
        served.token_refresher, served.webhook_batcher, served.order_processor, served.receipts, served.welcome
    )
    store = await open_sqlite(path)
    # Before the engine opens: it recovers them.
    left_behind = await _left_behind(store)
    async with app.open(store) as jobs:
        write_answer(Ready(os.getpid(), left_behind))
        taking = asyncio.create_task(_take_commands(CommandHandler(jobs, served)), name="commands")
        by_itself = asyncio.ensure_future(_result(engine_of(jobs).stopped))
        await asyncio.wait({taking, by_itself}, return_when=asyncio.FIRST_COMPLETED)
        if not taking.done():
            taking.cancel()
            return 1
        by_itself.cancel()
        taking.result()
        return 0


async def _take_commands(handler: CommandHandler) -> None:
    async with asyncio.TaskGroup() as tasks:
        async for command in _commands():
            if isinstance(command, Stop):
                break
            # A task each: one slow call must not keep the others from being read. The group waits for those under way.
            tasks.create_task(handler.take(command))


async def _result(stopped: Future[str]) -> str:
    return await stopped


async def _left_behind(store: Store) -> int:
    """Return how many instances a dead process has claimed."""
    claimed = result_inside(await store.claimed(0, MAX_LEFT_BEHIND))
    return len(claimed.unwrap())


async def _commands() -> AsyncIterator[Command]:
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    while line := await reader.readline():
        yield COMMANDS.decode(line)


def main(arguments: Sequence[str], open_outside: OpenServices = open_services) -> int:
    """Run the worker.

    Args:
        arguments: the store's path, the demo's length in seconds, and the seed for its random choices.
        open_outside: opens the services.

    Returns:
        The exit code.
    """
    path, seconds, seed = arguments
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    return asyncio.run(serve(path, Timing(float(seconds)), int(seed), open_outside))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
