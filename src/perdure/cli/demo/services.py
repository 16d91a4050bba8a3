"""The services that the demo's jobs use: they fail now and then, and write down everything they are asked for.

They are the world outside: slow, unreliable, and the only witness that the proof believes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal, TypeAlias

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.cli.demo.journal import AlreadyApplied, Called, Journal, JournalReader, ServiceRefused, Taken
from perdure.cli.demo.timing import Timing
from perdure.examples.mail import MailBounced
from perdure.examples.token_refresher import AuthDown, AuthError, Token
from perdure.examples.webhook_batcher import SinkFull, Webhook

Service: TypeAlias = Literal["auth", "mail", "sink"]

SERVICES: tuple[Service, ...] = ("auth", "mail", "sink")

MAX_REFUSALS_IN_A_ROW = 2
"""A service refuses the same caller at most so often in a row: fewer times than the jobs try again."""


@attrs.define(kw_only=True)
class Counterpart:
    """What all services share: a journal, a delay, bad days, and a memory of what they did.

    Attributes:
        journal: where calls are written down.
        dice: decides on delays and refusals.
        latency_ms: between which times it answers.
        refusal_rate: how often it refuses, 0 to 1.
        excuse: what it then says.
    """

    journal: Journal
    dice: Random
    latency_ms: tuple[float, float]
    refusal_rate: float
    excuse: str
    _done: set[str] = attrs.Factory(set[str])
    _in_a_row: Counter[str] = attrs.Factory(Counter[str])

    def remember(self) -> None:
        """Read what was done before this process began: services outlive it."""
        for entry in JournalReader(self.journal.path).new_entries():
            if isinstance(entry, Taken):
                self._done.add(entry.call)

    async def answer(self, call: str, caller: str, items: tuple[str, ...]) -> Literal["done", "refused"]:
        """Take a call: one that was carried out before, by its id, is not carried out twice."""
        self.journal.append(Called(call))
        await asyncio.sleep(self.dice.uniform(*self.latency_ms) / 1000)
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
        refused = self._in_a_row[caller] < MAX_REFUSALS_IN_A_ROW and self.dice.random() < self.refusal_rate
        self._in_a_row[caller] = self._in_a_row[caller] + 1 if refused else 0
        return refused


@attrs.frozen
class DemoSink:
    """Takes batches of webhooks; is full now and then."""

    counterpart: Counterpart

    def push(self, batch_id: str, events: tuple[Webhook, ...]) -> FutureResult[int, SinkFull]:
        """Take a batch; one that came before, by its id, is not taken twice."""
        return FutureResult(self._push(batch_id, events))

    async def _push(self, batch_id: str, events: tuple[Webhook, ...]) -> Result[int, SinkFull]:
        ids = tuple(event.event_id for event in events)
        if await self.counterpart.answer(batch_id, batch_id, ids) == "refused":
            return Failure(SinkFull(self.counterpart.excuse))
        return Success(len(events))


@attrs.frozen
class DemoMailer:
    """Sends mail: writes it down."""

    counterpart: Counterpart

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        """Send one mail; one that was sent before, by its id, is not sent twice."""
        return FutureResult(self._send(message_id, to, text))

    async def _send(self, message_id: str, to: str, text: str) -> Result[None, MailBounced]:
        if await self.counterpart.answer(message_id, message_id, (to, text)) == "refused":
            return Failure(MailBounced(to))
        return Success(None)


@attrs.define
class DemoAuth:
    """Trades refresh tokens for access tokens; answers 503 now and then. Every call is a new one."""

    counterpart: Counterpart
    issued: int = 0

    def refresh(self, refresh_token: str) -> FutureResult[Token, AuthError]:
        """Trade a refresh token for an access token."""
        return FutureResult(self._refresh(refresh_token))

    async def _refresh(self, refresh_token: str) -> Result[Token, AuthError]:
        self.issued += 1
        now = datetime.now(UTC)
        call = f"{refresh_token} {now.isoformat()} {self.issued}"
        if await self.counterpart.answer(call, refresh_token, ()) == "refused":
            return Failure(AuthDown(self.counterpart.excuse))
        return Success(Token(f"at-{self.counterpart.dice.getrandbits(32):08x}", now + timedelta(hours=1)))


@attrs.frozen(kw_only=True)
class DemoServices:
    """Everything that the three jobs need."""

    auth: DemoAuth
    mailer: DemoMailer
    sink: DemoSink


def journal_path(store: str, service: Service) -> str:
    """Say where a service writes: beside the store."""
    return f"{store}.{service}.jsonl"


def open_services(store: str, tempo: Timing, dice: Random) -> DemoServices:
    """Open the services, with their memory of earlier processes.

    Args:
        store: the path of the store; the journals lie beside it.
        tempo: how slow they are.
        dice: decides on delays and refusals.
    """

    def counterpart(service: Service, refusal_rate: float, excuse: str = "") -> Counterpart:
        opened = Counterpart(
            journal=Journal(journal_path(store, service)),
            dice=dice,
            latency_ms=tempo.latency_ms,
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
