"""A remote client and the tokens of its server: the same typed errors, and no secret in any text."""

import asyncio

import pytest
from returns.result import Failure, Success

from perdure import App, Client, Task, attempt, succeed
from perdure.examples.order_processor import Order, OrderEvent, OrderPlaced, decide_order
from perdure.remote import connect
from perdure.server.access import Tokens
from perdure.server.http_limits import HttpLimits
from perdure.server.serving import serving
from perdure.values.errors import AccessDenied, Overloaded, RequestError

ORDERS = Task(
    "orders", state=Order, event=OrderEvent, initial=Order(), decide=decide_order, execute=lambda _: succeed(None)
)
SECRET = "tMkZ2WZlOTG0yq0KTwmaT-iEBpnGpRZtPu4lTg3Vxfw"  # noqa: S105 - of no server
TOKENS = Tokens.parse(f"shop read,call {SECRET}")


def errors_of(token: str | None, limits: HttpLimits | None = None) -> list[tuple[RequestError | None, str]]:
    """Return the error of each call with a token, or None, and every text that the client shows."""

    async def calls(jobs: Client) -> list[tuple[RequestError | None, str]]:
        orders, found = jobs.handle(ORDERS), []
        for call in (
            orders.send("a", OrderPlaced("ada", 1)),
            orders.get_state("a"),
            jobs.list(),
            orders.terminate("a"),
            jobs.dead_letters(),
        ):
            match await attempt(call):
                case Success(_):
                    found.append((None, ""))
                case Failure(error):
                    found.append((error, f"{error}{error!r}{jobs!r}{orders!r}"))
        return found

    async def main() -> list[tuple[RequestError | None, str]]:
        async with (
            App(None).with_jobs(ORDERS).open("memory://") as owner,
            serving(owner, ["127.0.0.1:0"], tokens=TOKENS, limits=limits or HttpLimits()) as (server,),
            connect(server.urls[0], ORDERS, token=token, timeout="2 seconds") as jobs,
        ):
            return await calls(jobs)

    return asyncio.run(main())


def test_a_token_permits_its_scopes():
    found = errors_of(SECRET)
    assert [error and (type(error), error.scope, error.cause) for error, _ in found] == [
        None,
        None,
        None,
        (AccessDenied, "operate", "small_scope"),
        (AccessDenied, "operate", "small_scope"),
    ]


@pytest.mark.parametrize(("token", "cause"), [(None, "no_token"), (SECRET[::-1], "wrong_token")])
def test_a_missing_or_wrong_token_is_the_same_error_everywhere(token: str | None, cause: str):
    for error, shown in errors_of(token):
        assert isinstance(error, AccessDenied)
        assert error.cause == cause
        assert SECRET not in shown
        assert SECRET[::-1] not in shown


def test_a_client_beyond_its_rate_is_overloaded():
    found = errors_of(SECRET, HttpLimits(requests_per_second=1, burst=1))
    assert found[0][0] is None
    assert any(isinstance(error, Overloaded) for error, _ in found)
