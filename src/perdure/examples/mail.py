"""Mail: a service that two of the example jobs need."""

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

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        """Send one mail; one that was sent before, by its id, is not sent twice."""
        ...


class HasMailer(Protocol):
    """Services with a mailer."""

    @property
    def mailer(self) -> Mailer:
        """Sends mail."""
        ...


@effect
def send_mail(services: HasMailer, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
    """Send one mail. A run that is delivered again gives the same id, so that nobody is written to twice."""
    return services.mailer.send(message_id, to, text)
