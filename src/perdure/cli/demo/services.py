"""The services that the demo's jobs call: they fail now and then, and write every call to a journal.

They represent external systems: slow and unreliable. The proof depends on their journals alone: append-only files next
to the store.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal, TypeAlias

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.cli.demo.schedule import Timing
from perdure.codecs import Codec
from perdure.examples.mail import MailBounced
from perdure.examples.token_refresher import AuthDown, AuthError, Token
from perdure.examples.webhook_batcher import SinkFull, Webhook
from perdure.stores.sqlite.files import open_private


@attrs.frozen
class Called:
    """The service received a call."""

    call: str


@attrs.frozen
class Taken:
    """The service executed the call, with these items."""

    call: str
    items: tuple[str, ...]


@attrs.frozen
class AlreadyApplied:
    """The service had executed the call before, and did not execute it again."""

    call: str


@attrs.frozen
class ServiceRefused:
    """The service was unavailable or full."""

    call: str
    why: str


Entry: TypeAlias = Called | Taken | AlreadyApplied | ServiceRefused

_CODEC: Codec[Entry] = Codec.of(Entry, what="entry of a journal")


class Journal:
    """An append-only file. Appended entries survive if the process dies."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = open_private(path, os.O_WRONLY | os.O_APPEND)

    def append(self, entry: Entry) -> None:
        """Append one entry in one write, so that a kill cannot leave a partial entry."""
        os.write(self._file, _CODEC.encode(entry) + b"\n")


@attrs.define
class JournalReader:
    """Reads a journal that is still being written.

    Attributes:
        path: the file, which need not exist yet.
    """

    path: str
    _offset: int = 0

    def new_entries(self) -> Iterator[Entry]:
        """Yield the entries since the last call."""
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123 - read repeatedly, from an offset
                file.seek(self._offset)
                lines = file.readlines()
        except FileNotFoundError:
            return
        for line in lines:
            # Without its end, an entry is still being written: the next call reads it.
            if line.endswith(b"\n"):
                self._offset += len(line)
                yield _CODEC.decode(line)


Service: TypeAlias = Literal["auth", "mail", "sink"]

SERVICES: tuple[Service, ...] = ("auth", "mail", "sink")

MAX_REFUSALS_IN_A_ROW = 2
"""A service refuses the same caller at most this often in a row: fewer times than the jobs make attempts."""


@attrs.define(kw_only=True)
class Counterpart:
    """The parts that all services share: a journal, a latency, refusals, and a record of executed calls.

    Attributes:
        random: draws latencies and refusals.
        latency_ms: the latency range in milliseconds.
        refusal_rate: how probable a refusal is, 0 to 1.
        excuse: the reason in a refusal.
    """

    journal: Journal
    random: Random
    latency_ms: tuple[float, float]
    refusal_rate: float
    excuse: str
    _done: set[str] = attrs.Factory(set[str])
    _in_a_row: Counter[str] = attrs.Factory(Counter[str])

    def remember(self) -> None:
        """Read the calls that were executed before this process started: services outlive it."""
        for entry in JournalReader(self.journal.path).new_entries():
            if isinstance(entry, Taken):
                self._done.add(entry.call)

    async def answer(self, call: str, caller: str, items: tuple[str, ...]) -> Literal["done", "refused"]:
        """Execute a call, unless a call with its id was executed before."""
        # Before the work: a kill in between leaves a call without an answer, which the proof counts.
        self.journal.append(Called(call))
        await asyncio.sleep(self.random.uniform(*self.latency_ms) / 1000)
        if call in self._done:
            self.journal.append(AlreadyApplied(call))
            return "done"
        if self._refuses(caller):
            self.journal.append(ServiceRefused(call, self.excuse))
            return "refused"
        self._done.add(call)
        self.journal.append(Taken(call, items))
        return "done"

    def _refuses(self, caller: str) -> bool:
        refused = self._in_a_row[caller] < MAX_REFUSALS_IN_A_ROW and self.random.random() < self.refusal_rate
        self._in_a_row[caller] = self._in_a_row[caller] + 1 if refused else 0
        return refused


@attrs.frozen
class DemoSink:
    """Accepts webhook batches. Is full now and then."""

    counterpart: Counterpart

    def push(self, batch_id: str, events: tuple[Webhook, ...]) -> FutureResult[int, SinkFull]:
        """Accept a batch, unless a batch with its id was accepted before."""
        return FutureResult(self._push(batch_id, events))

    async def _push(self, batch_id: str, events: tuple[Webhook, ...]) -> Result[int, SinkFull]:
        ids = tuple(event.event_id for event in events)
        if await self.counterpart.answer(batch_id, batch_id, ids) == "refused":
            return Failure(SinkFull(self.counterpart.excuse))
        return Success(len(events))


@attrs.frozen
class DemoMailer:
    """Sends mail: writes it to its journal."""

    counterpart: Counterpart

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        """Send one mail, unless a mail with its id was sent before."""
        return FutureResult(self._send(message_id, to, text))

    async def _send(self, message_id: str, to: str, text: str) -> Result[None, MailBounced]:
        if await self.counterpart.answer(message_id, message_id, (to, text)) == "refused":
            return Failure(MailBounced(to))
        return Success(None)


@attrs.define
class DemoAuth:
    """Exchanges refresh tokens for access tokens. Answers 503 now and then. Every call is a new one."""

    counterpart: Counterpart
    issued: int = 0

    def refresh(self, refresh_token: str) -> FutureResult[Token, AuthError]:
        """Exchange a refresh token for an access token."""
        return FutureResult(self._refresh(refresh_token))

    async def _refresh(self, refresh_token: str) -> Result[Token, AuthError]:
        self.issued += 1
        now = datetime.now(UTC)
        # The instant as well: the count begins again with each process.
        call = f"{refresh_token} {now.isoformat()} {self.issued}"
        if await self.counterpart.answer(call, refresh_token, ()) == "refused":
            return Failure(AuthDown(self.counterpart.excuse))
        return Success(Token(f"at-{self.counterpart.random.getrandbits(32):08x}", now + timedelta(hours=1)))


@attrs.frozen(kw_only=True)
class DemoServices:
    """The three services that the jobs call."""

    auth: DemoAuth
    mailer: DemoMailer
    sink: DemoSink


def journal_path(store: str, service: Service) -> str:
    """Return the path to a service's journal, next to the store."""
    return f"{store}.{service}.jsonl"


def open_services(store: str, timing: Timing, random: Random) -> DemoServices:
    """Open the services, with the records that earlier processes left.

    Args:
        store: the store's path. The journals are next to it.
        timing: the timing.
        random: draws latencies and refusals.
    """

    def counterpart(service: Service, refusal_rate: float, excuse: str = "") -> Counterpart:
        opened = Counterpart(
            journal=Journal(journal_path(store, service)),
            random=random,
            latency_ms=timing.latency_ms,
            refusal_rate=refusal_rate,
            excuse=excuse,
        )
        opened.remember()
        return opened

    return DemoServices(
        auth=DemoAuth(counterpart("auth", 0.25, "503 Service Unavailable")),
        mailer=DemoMailer(counterpart("mail", 0.0)),
        sink=DemoSink(counterpart("sink", 0.25, "the sink is full")),
    )
