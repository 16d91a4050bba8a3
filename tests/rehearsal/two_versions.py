"""A shop in two versions: that of today, and one with a planted mistake."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

from attrs import evolve, frozen
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Backoff,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    ItemContext,
    Limits,
    Program,
    Retry,
    Secret,
    Signal,
    Task,
    TaskContext,
    WorkerPool,
    Workflow,
    WorkflowContext,
    attribute,
    effect,
    every,
    program,
    tell,
)
from perdure.programs import fail, sleep

Mistake: TypeAlias = Literal[
    "none",
    "interval",
    "forgotten",
    "doubled",
    "diverging",
    "branch",
    "retry",
    "told",
    "amount",
    "ended",
    "parks",
    "state",
    "earlier",
    "refused",
    "late",
]
MISTAKES: tuple[Mistake, ...] = get_args(Mistake)


@frozen
class Declined:
    why: str


@effect
def charge(_services: Any, customer: str, cents: int) -> Result[str, Declined]:
    return Success(f"{customer}-{cents}")


@effect
def mail(_services: Any, to: str, text: str) -> Result[None, Declined]:
    return Success(None)


@effect
def fetch(_services: Any, feed: str) -> Result[int, Declined]:
    return Success(len(feed))


@frozen
class Subscription:
    cents: int = 0
    paid: int = 0
    card: Annotated[str, Secret] = ""


@attribute
def cents(subscription: Subscription) -> int:
    return subscription.cents


@frozen
class Begin:
    cents: int
    card: Annotated[str, Secret] = "4000-1234"


@frozen
class Paid:
    customer: str
    cents: int


@frozen
class Hook:
    n: int


@frozen
class Batch:
    n: int = 0


go = Signal("go", int)


def booked(ctx: TaskContext[int], event: Paid) -> Program[None, Any, Any]:
    return ctx.update_state(lambda total: total + event.cents)


ledger = Task("ledger", state=int, event=Paid, initial=0, on_event=booked)


def subscriptions(mistake: Mistake) -> Any:
    @program
    def on_event(ctx: TaskContext[Subscription], event: Begin) -> Do[None, Declined, Any]:
        if mistake == "refused" and event.cents < 900:
            yield from fail(Declined("too little"))
        yield from ctx.set_state(Subscription(event.cents, card=event.card))
        yield from ctx.schedule(after="4 days" if mistake == "earlier" else "7 days")

    @program
    def bill(ctx: TaskContext[Subscription]) -> Do[None, Declined, Any]:
        one = yield from ctx.state
        yield from charge(ctx.id, one.cents)
        if mistake == "doubled" and one.cents > 900:
            yield from charge(ctx.id, one.cents)
        yield from ctx.set_state(evolve(one, paid=one.paid + one.cents + (mistake == "state")))
        if one.cents > 900 and mistake != "branch":
            yield from mail(ctx.id, "thanks")
        yield from tell(ledger, "all").send(Paid(ctx.id, one.cents + (mistake == "told")))
        if mistake == "ended" and one.paid:
            yield from ctx.terminate("paid")
        if not (mistake == "forgotten" and one.paid >= one.cents):
            yield from ctx.schedule(after="7 days")

    return Task(
        "subscription",
        state=Subscription,
        event=Begin,
        initial=Subscription(),
        on_event=on_event,
        execute=bill,
        errors=Declined,
        attributes=(cents,),
        accepted_in_events="payload",
        retry=Retry(
            max_attempts=1 if mistake == "parks" else 5,
            delay=Backoff.exponential("1 hour" if mistake == "retry" else "1 minute"),
        ),
    )


def feeds(mistake: Mistake) -> Any:
    @program
    def sync(ctx: ContinuousContext[int]) -> Do[None, Declined, Any]:
        rows = yield from ctx.state
        n = yield from fetch(ctx.id + ("!" if mistake == "amount" else ""))
        yield from ctx.set_state(rows + n)

    return Continuous(
        "feed",
        state=int,
        execute=sync,
        schedule=every("36 hours" if mistake == "interval" else "2 days"),
        retry=Retry(max_attempts=3, delay=Backoff.exponential("10 seconds")),
    )


def trials(mistake: Mistake) -> Any:
    @program
    def trial(ctx: WorkflowContext[str]) -> Do[int, Declined, Any]:
        email = yield from ctx.state
        if mistake == "diverging":
            yield from charge(ctx.id, 1)
        yield from mail(email, "welcome")
        yield from sleep("10 days")
        yield from mail(email, "ten days")
        answer = yield from go.receive().timeout("10 days").attempt()
        if isinstance(answer, Failure):
            yield from mail(email, "bye")
            return 0
        return answer.unwrap()

    return Workflow("trial", state=str, run=trial, signals=(go,))


def collect(ctx: DebounceContext[Batch], event: Hook) -> Program[None, Any, Any]:
    return ctx.update_state(lambda batch: Batch(batch.n + event.n))


@program
def flush(ctx: DebounceContext[Batch]) -> Do[None, Declined, Any]:
    batch = yield from ctx.state
    yield from mail(ctx.id, f"{batch.n} hooks")


@program
def thumb(ctx: ItemContext[str]) -> Do[int, Declined, Any]:
    return (yield from fetch((yield from ctx.item)))


def shop(mistake: Mistake = "none", **limits: Any) -> App[Any]:
    """Return the shop, perhaps with a mistake."""
    return App(None, limits=Limits(**limits)).with_jobs(
        subscriptions(mistake),
        feeds(mistake),
        ledger,
        trials(mistake),
        Debounce(
            "hooks",
            event=Hook,
            state=Batch,
            initial=Batch(),
            flush_after="6 hours",
            on_event=collect,
            execute=flush,
            errors=Declined,
            runs=1 if mistake == "late" else None,
            retry=Retry(max_attempts=5, delay=Backoff.exponential("1 second")),
        ),
        WorkerPool(
            "thumbs",
            item=str,
            work=thumb,
            workers=10,
            keep="1 day",
            retry=Retry(max_attempts=3, delay=Backoff.exponential("1 second")),
        ),
    )


def job(app: App[Any], name: str) -> Any:
    """Return the definition of this name."""
    return next(each for (_, own), each in app.served.items() if own == name)
