"""A small shop for the tests of the kit: fakes for the example jobs, which record their calls."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from attrs import define, field
from returns.future import FutureResult

from perdure import App
from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import order_processor
from perdure.examples.token_refresher import AuthError, Token, token_refresher
from perdure.examples.webhook_batcher import SinkFull, Webhook, webhook_batcher

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@define
class Shop:
    """Every service of the three example jobs, in one object."""

    sent: list[str] = field(factory=list[str])
    pushed: list[str] = field(factory=list[str])
    refreshed: int = 0

    @property
    def auth(self) -> Shop:
        return self

    @property
    def mailer(self) -> Shop:
        return self

    @property
    def sink(self) -> Shop:
        return self

    def refresh(self, refresh_token: str) -> FutureResult[Token, AuthError]:
        self.refreshed += 1
        return FutureResult.from_value(Token(f"token-{self.refreshed}", NEW_YEAR))

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        self.sent.append(text)
        return FutureResult.from_value(None)

    def push(self, batch_id: str, events: tuple[Webhook, ...]) -> FutureResult[int, SinkFull]:
        self.pushed += [event.event_id for event in events]
        return FutureResult.from_value(len(events))


app: App[Any] = App(Shop()).with_jobs(order_processor, token_refresher, webhook_batcher)
