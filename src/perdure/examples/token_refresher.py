"""A continuous job that keeps an access token fresh, in do-notation."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, TypeAlias

from attrs import evolve, frozen
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import (
    Backoff,
    Continuous,
    ContinuousContext,
    Do,
    Retry,
    effect,
    every,
    fail,
    program,
)
from perdure.examples.mail import HasMailer, send_mail


@frozen
class TokenState:
    """The stored state of one user's tokens."""

    access_token: str
    refresh_token: str
    expires_at: datetime


@frozen
class Token:
    """The response of the authorization server."""

    access_token: str
    expires_at: datetime


@frozen
class AuthDown:
    """The authorization server did not respond: a retry may succeed."""

    detail: str


@frozen
class AuthRevoked:
    """The refresh token was revoked: a retry cannot succeed."""

    detail: str


AuthError: TypeAlias = AuthDown | AuthRevoked


class AuthApi(Protocol):
    """The authorization server."""

    def refresh(self, refresh_token: str) -> FutureResult[Token, AuthError]:
        """Exchange a refresh token for an access token."""
        ...


class HasAuth(Protocol):
    """Services with an authorization server."""

    @property
    def auth(self) -> AuthApi:
        """The authorization server."""
        ...


class Alerting(HasAuth, HasMailer, Protocol):
    """Both: an intersection is a protocol that inherits."""


@effect
def refresh(services: HasAuth, refresh_token: str) -> FutureResult[Token, AuthError]:
    """Exchange a refresh token for an access token."""
    return services.auth.refresh(refresh_token)


def refreshed(state: TokenState, token: Token) -> TokenState:
    """Return the state with a new access token."""
    return evolve(state, access_token=token.access_token, expires_at=token.expires_at)


@program
def refresh_token(ctx: ContinuousContext[TokenState]) -> Do[None, AuthError, Alerting]:
    """Refresh the token. Terminate the instance when it was revoked."""
    state = yield from ctx.state
    match (yield from refresh(state.refresh_token).attempt()):
        case Success(token):
            yield from ctx.set_state(refreshed(state, token))
        case Failure(AuthRevoked(detail)):
            text = f"{ctx.id}: {detail}"
            yield from send_mail(ctx.run_id, "ops@example.com", text).attempt()
            yield from ctx.terminate("revoked")
        case Failure(error):
            yield from fail(error)


def is_transient(error: AuthError) -> bool:
    """Whether a retry may succeed."""
    return isinstance(error, AuthDown)


token_refresher = Continuous(
    "token-refresher",
    state=TokenState,
    schedule=every("30 minutes"),
    execute=refresh_token,
    retry=Retry(
        max_attempts=3,
        delay=Backoff.exponential("1 second", max="30 seconds"),
        retry_if=is_transient,
    ),
)
