"""The job that lessons 1 to 3 of the tutorial write."""

from typing import Protocol

from attrs import evolve, frozen
from returns.result import Failure, Result, Success

from perdure import Continuous, ContinuousContext, Do, effect, every, program


@frozen
class AuthDown:
    detail: str


@frozen
class AuthRevoked:
    detail: str


@frozen
class MailBounced:
    address: str


class Auth(Protocol):
    async def refresh(
        self, refresh_token: str
    ) -> Result[str, AuthDown | AuthRevoked]: ...


class Mail(Protocol):
    async def send_mail(self, to: str, text: str) -> Result[None, MailBounced]: ...


class AuthAndMail(Auth, Mail, Protocol):
    pass


@effect
async def refresh(
    services: Auth, refresh_token: str
) -> Result[str, AuthDown | AuthRevoked]:
    return await services.refresh(refresh_token)


@effect
async def send_mail(services: Mail, to: str, text: str) -> Result[None, MailBounced]:
    return await services.send_mail(to, text)


@frozen
class TokenState:
    access_token: str
    refresh_token: str


@program
def refresh_token(
    ctx: ContinuousContext[TokenState],
) -> Do[None, MailBounced, AuthAndMail]:
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
