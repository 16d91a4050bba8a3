"""The job that lessons 1 to 3 of the tutorial write."""

from typing import Protocol

from attrs import evolve, frozen
from returns.result import Failure, Result, Success

from perdure import Continuous, ContinuousContext, Do, effect, every, program


@frozen
class AuthDown:
    """The authorization server did not respond."""

    detail: str


@frozen
class AuthRevoked:
    """The user revoked the access."""

    detail: str


@frozen
class MailBounced:
    """The mail could not be delivered."""

    address: str


class Auth(Protocol):
    """Services with an authorization server."""

    async def refresh(self, refresh_token: str) -> Result[str, AuthDown | AuthRevoked]:
        """Exchange a refresh token for an access token."""
        ...


class Mail(Protocol):
    """Services that send mail."""

    async def send_mail(self, to: str, text: str) -> Result[None, MailBounced]:
        """Send one mail."""
        ...


class AuthAndMail(Auth, Mail, Protocol):
    """Both."""


@effect
async def refresh(
    services: Auth, refresh_token: str
) -> Result[str, AuthDown | AuthRevoked]:
    """Exchange a refresh token for an access token."""
    return await services.refresh(refresh_token)


@effect
async def send_mail(services: Mail, to: str, text: str) -> Result[None, MailBounced]:
    """Send one mail."""
    return await services.send_mail(to, text)


@frozen
class TokenState:
    """The stored state of one user's tokens."""

    access_token: str
    refresh_token: str


@program
def refresh_token(
    ctx: ContinuousContext[TokenState],
) -> Do[None, MailBounced, AuthAndMail]:
    """Refresh the token, or report why it cannot be refreshed."""
    state = yield from ctx.state
    match (yield from refresh(state.refresh_token).attempt()):
        case Success(token):
            yield from ctx.set_state(evolve(state, access_token=token))
        case Failure(error):
            yield from send_mail("ops@example.com", f"{ctx.id}: {error.detail}")
            if isinstance(error, AuthRevoked):
                yield from ctx.terminate("revoked")


token_refresher = Continuous(
    "token-refresher",
    state=TokenState,
    schedule=every("30 minutes"),
    execute=refresh_token,
)
