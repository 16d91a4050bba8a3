"""Jobs that notice by themselves when anything is lost, applied twice or out of order.

Every client numbers its steps. An account takes a client's deposits only one after the other, sends them to its ledger,
which does the same, and records every step out of order: such a note remains for ever. Whatever reaches outside is
noted there, with the run that did it and the mark that the program saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol

from attrs import evolve, field, frozen
from returns.result import Result

from perdure import (
    App,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    Task,
    TaskContext,
    every,
    program,
    tell,
)
from perdure.client.client import Client
from perdure.jobs.call import Call
from perdure.jobs.context import JobContext
from perdure.jobs.definition import CallError
from perdure.programs import effect, sleep

ACCOUNTS = tuple(f"account-{number}" for number in range(4))
BAGS = tuple(f"bag-{number}" for number in range(3))
PULSE = "the-pulse"
KEYLESS = "keyless"
"""Prefix of the names of clients without keys. They never repeat an unanswered request."""


@frozen
class Happened:
    """Something that reached outside.

    Attributes:
        work: name of the work.
        run_id: of the run that did it.
        mark: attempt and delivery, as the program saw them.
        is_retry: whether the program could see that it may be a repeat.
    """

    work: str
    run_id: str
    mark: str
    is_retry: bool


class Outside(Protocol):
    """Where programs reach: it outlives every process."""

    def note(self, happened: Happened) -> Result[None, Any]: ...


@effect
def note(outside: Outside, happened: Happened) -> Result[None, Any]:
    """Let it happen."""
    return outside.note(happened)


def reach_outside(ctx: JobContext[Any], work: str) -> Any:
    """Do something outside, under the name of this run."""
    return note(Happened(work, ctx.run_id, f"{ctx.attempt}.{ctx.delivery}", ctx.is_retry))


@frozen
class Entry:
    """The ``number``-th that a client deposits here.

    Attributes:
        asked: ``until_answered``: every number arrives; ``once``: an unanswered one may be missing.
    """

    client: str
    number: int
    asked: Literal["until_answered", "once"] = "until_answered"


@frozen
class Book:
    """The steps received so far.

    Attributes:
        last: the newest number of each client.
        problems: steps out of order: an earlier step was lost, or it was applied twice.
        left_out: steps that never arrived, as ``client:number``, of clients that send once.
        rings: how many alarms fired.
    """

    last: dict[str, int] = field(factory=dict)
    problems: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    rings: int = 0

    def take(self, entry: Entry) -> Book:
        """Take an entry, or the problem with it."""
        before = self.last.get(entry.client, 0)
        if entry.number == before + 1 or (entry.number > before and entry.asked == "once"):
            skipped = tuple(f"{entry.client}:{number}" for number in range(before + 1, entry.number))
            return evolve(self, last=self.last | {entry.client: entry.number}, left_out=self.left_out + skipped)
        return evolve(self, problems=(*self.problems, f"{entry.client}: {entry.number} after {before}"))


@program
def deposit(ctx: TaskContext[Book], entry: Entry) -> Do[None, Any, Outside]:
    """Take it, and tell the ledger; every third with an effect, every fifth sets an alarm."""
    if entry.number % 3 == 0:
        yield from reach_outside(ctx, f"receipt {ctx.id} {entry.client} {entry.number}")
        yield from sleep("1 ms")
    yield from ctx.update_state(lambda book: book.take(entry))
    yield from tell(ledger, ctx.id).send(entry)
    if entry.number % 5 == 0:
        yield from ctx.schedule(after="20 ms")


@program
def ring(ctx: TaskContext[Book]) -> Do[None, Any, Outside]:
    """Count the alarm."""
    yield from reach_outside(ctx, f"ring {ctx.id}")
    yield from ctx.update_state(lambda book: evolve(book, rings=book.rings + 1))


@program
def post(ctx: TaskContext[Book], entry: Entry) -> Do[None]:
    """Take a message of an account."""
    yield from ctx.update_state(lambda book: book.take(entry))


@frozen
class Bag:
    """Letters that wait to be sent, as ``client:number``."""

    letters: tuple[str, ...] = ()


@program
def put_in(ctx: DebounceContext[Bag], letter: str) -> Do[None]:
    """Put a letter into the bag."""
    yield from ctx.update_state(lambda bag: Bag((*bag.letters, letter)))


@program
def send_off(ctx: DebounceContext[Bag]) -> Do[None, Any, Outside]:
    """Send the letters."""
    bag = yield from ctx.state
    yield from reach_outside(ctx, f"letters {','.join(bag.letters)}")
    yield from sleep("1 ms")


@frozen
class Beats:
    """How often the pulse beat."""

    count: int = 0


@program
def beat(ctx: ContinuousContext[Beats]) -> Do[None, Any, Outside]:
    """Beat once."""
    yield from reach_outside(ctx, f"beat {ctx.run_count}")
    yield from ctx.update_state(lambda beats: Beats(beats.count + 1))


account = Task("account", state=Book, event=Entry, initial=Book(), on_event=deposit, execute=ring)
ledger = Task("ledger", state=Book, event=Entry, initial=Book(), on_event=post)
mailbag = Debounce(
    "mailbag", event=str, state=Bag, initial=Bag(), flush_after="40 ms", max_events=4, on_event=put_in, execute=send_off
)
pulse = Continuous("pulse", state=Beats, schedule=every("25 ms"), execute=beat)


def bank(outside: Outside) -> App[Outside]:
    """Return the app."""
    return App(outside).with_jobs(account, ledger, mailbag, pulse)


# ---------------------------------------------------------------- steps of a client
@frozen
class Step:
    """The ``number``-th thing that a client does: a deposit, or every fourth time a letter."""

    client: str
    number: int

    @property
    def kind(self) -> Literal["deposit", "letter"]:
        """The name of the step."""
        return "letter" if self.number % 4 == 0 else "deposit"

    @property
    def account(self) -> str:
        """Where it is deposited."""
        return ACCOUNTS[self._deposits_before % len(ACCOUNTS)]

    @property
    def entry(self) -> Entry:
        """The deposit."""
        number = self._deposits_before // len(ACCOUNTS) + 1
        return Entry(self.client, number, "until_answered" if self.key else "once")

    @property
    def letter(self) -> str:
        """The letter."""
        return f"{self.client}:{self.number}"

    @property
    def key(self) -> str | None:
        """Its idempotency key, if its client passes one: with it, the step may be repeated."""
        return None if self.client.startswith(KEYLESS) else f"{self.client}:{self.number}"

    @property
    def _deposits_before(self) -> int:
        return self.number - 1 - self.number // 4


def take_step(jobs: Client, step: Step) -> Call[Any, CallError]:
    """Return the call of a step."""
    if step.kind == "letter":
        return jobs.handle(mailbag).add(BAGS[step.number // 4 % len(BAGS)], step.letter, idempotency_key=step.key)
    return jobs.handle(account).send(step.account, step.entry, idempotency_key=step.key)


def steps_of(client: str, after: int, upto: int) -> Iterator[Step]:
    """Return the steps of a client after one, up to another."""
    return (Step(client, number) for number in range(after + 1, upto + 1))
