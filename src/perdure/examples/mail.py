"""Mail: a service of two example jobs."""

from __future__ import annotations

from typing import Protocol

from attrs import frozen
from returns.future import FutureResult

from perdure import effect


@frozen
class MailBounced:
    """The mail could not be delivered."""

    address: str


class Mailer(Protocol):
    """Sends mail."""

    def send(
        self, message_id: str, to: str, text: str
    ) -> FutureResult[None, MailBounced]:
        """Send one mail; ignore a message id that was sent before."""
        ...


class HasMailer(Protocol):
    """Services with a mailer."""

    @property
    def mailer(self) -> Mailer:
        """The mailer."""
        ...


@effect
def send_mail(
    services: HasMailer, message_id: str, to: str, text: str
) -> FutureResult[None, MailBounced]:
    """Send one mail. A redelivered run repeats its id, so the mailer can skip it."""
    return services.mailer.send(message_id, to, text)
