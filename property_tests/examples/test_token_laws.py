"""A token stays fresh through outages, and a revoked one is given up for good."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from returns.future import FutureResult
from world import World, play

from perdure import App
from perdure.examples.mail import MailBounced
from perdure.examples.token_refresher import AuthDown, AuthError, AuthRevoked, Token, TokenState, token_refresher

START = datetime(2026, 1, 1, tzinfo=UTC)


@define
class Server:
    """Answers with the given results, then with fresh tokens."""

    answers: list[AuthError | None]
    calls: int = 0
    mails: list[str] = field(factory=list)

    @property
    def auth(self) -> "Server":
        return self

    @property
    def mailer(self) -> "Server":
        return self

    def refresh(self, refresh_token: str) -> FutureResult[Token, AuthError]:
        self.calls += 1
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            return FutureResult.from_failure(answer)
        return FutureResult.from_value(Token(f"token-{self.calls}", START + timedelta(hours=self.calls)))

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        self.mails.append(text)
        return FutureResult.from_value(None)


answers = st.lists(st.sampled_from([None, None, AuthDown("no route"), AuthRevoked("gone")]), max_size=12)


def expected(given_answers: list[AuthError | None], runs: int) -> tuple[int, int | None, bool]:
    """How often the server is called in some runs, which call returned the token, and whether it was given up."""
    left, calls, token = list(given_answers), 0, None
    for _ in range(runs):
        for _ in range(3):
            calls += 1
            match left.pop(0) if left else None:
                case None:
                    token = calls
                    break
                case AuthRevoked():
                    return calls, token, True
    return calls, token, False


@given(answers, st.integers(1, 5))
def test_a_token_is_fresh_until_it_is_revoked(given_answers, runs):
    """One run in thirty minutes; three attempts of each while the server is down; a revoked token ends it."""

    async def scenario(world: World) -> None:
        server = Server(list(given_answers))
        jobs = (await world.open(App(server).with_jobs(token_refresher))).handle(token_refresher)
        await world.run(jobs.start("ada", TokenState("old", "r-1", START)))
        for _ in range(runs - 1):
            await world.advance(minutes=30, s=20)
        await world.advance(s=20)
        calls, token, is_over = expected(given_answers, runs)
        assert server.calls == calls
        assert len(server.mails) == is_over
        state = await world.run(jobs.get_state("ada"))
        if is_over:
            assert state is None
        else:
            assert state.access_token == ("old" if token is None else f"token-{token}")
            assert state.expires_at == (START if token is None else START + timedelta(hours=token))

    play("memory", Path(), scenario)
