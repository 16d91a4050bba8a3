"""The jobs whose rows lie in the golden file. They must continue to read it: change them only as a user would."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import frozen
from reminder import Reminder
from reminder.context import ReminderContext
from world import HasOutside, Outside, Refused, say

from perdure import (
    App,
    Backoff,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    Limits,
    Migrations,
    Retry,
    Task,
    TaskContext,
    every,
    program,
    succeed,
    tell,
)


@frozen
class NoteV1:
    text: str


@frozen
class Note:
    text: str
    count: int = 0


@frozen
class Write:
    """Take a text, and have it said in an hour."""

    text: str


@frozen
class Keep:
    """Take a text, and do nothing with it."""

    text: str


@frozen
class Ring:
    """Say a text now."""

    text: str


@frozen
class Forward:
    """Tell another job."""

    job: str
    text: str


@frozen
class Stop:
    """End."""


Event = Write | Keep | Ring | Forward | Stop


def counted(old: NoteV1) -> Note:
    return Note(old.text)


@program
def on_event(ctx: TaskContext[Note], event: Event) -> Do[None, Refused, HasOutside]:
    match event:
        case Write(text):
            yield from ctx.set_state(Note(text, 1))
            yield from ctx.schedule(after="1 hour")
        case Keep(text):
            yield from ctx.set_state(Note(text, 1))
        case Ring(text):
            yield from say(text)
            yield from ctx.set_state(Note(text, 1))
        case Forward("elsewhere", text):
            yield from tell(elsewhere, "far").send(Keep(text))
        case Forward(id_, text):
            yield from tell(notes, id_).send(Ring(text))
        case Stop():
            yield from ctx.terminate("enough")


@program
def execute(ctx: TaskContext[Note]) -> Do[None, Refused, HasOutside]:
    note = yield from ctx.state
    if note.text == "end":
        yield from ctx.terminate("enough")
    yield from say(note.text)


@program
def tick(ctx: ContinuousContext[Note]) -> Do[None, Refused, HasOutside]:
    note = yield from ctx.state
    yield from say(note.text)
    yield from ctx.set_state(Note(note.text, note.count + 1))


@program
def flush(ctx: DebounceContext[Note]) -> Do[None, Refused, HasOutside]:
    note = yield from ctx.state
    yield from say(note.text)


@program
def remind(ctx: ReminderContext) -> Do[None, Refused, HasOutside]:
    text = yield from ctx.state
    yield from say(text)


def may_pass(error: Refused) -> bool:
    return error.why != "final"


RETRY = Retry(2, Backoff.constant("1 minute"), jitter=False, retry_if=may_pass)
KEPT = Retry(2, Backoff.constant("1 minute"), jitter=False, on_exhausted="park", retry_if=may_pass)
VERSIONS = Migrations(NoteV1).then(counted)
TAGS: dict[type, str] = {Write: "written", Ring: "rung"}


def task(name: str, state: Any = Note, **options: Any) -> Any:
    given: dict[str, Any] = {"on_event": on_event, "execute": execute, "retry": RETRY, "tags": TAGS}
    return Task(name, state=state, event=Event, initial=state(""), **given | options)


notes = task("notes", versions=VERSIONS)
elsewhere = task("elsewhere")
ticks = Continuous(
    "ticks",
    state=Note,
    versions=VERSIONS,
    schedule=every("1 hour", align="start", stagger=timedelta(minutes=10)),
    execute=tick,
    retry=KEPT,
)
piles = Debounce("piles", event=Note, versions=VERSIONS, flush_after="1 hour", execute=flush, retry=RETRY)
reminders = Reminder.of("reminders", remind)


@frozen
class Gone:
    """The content of a row that the jobs above cannot read."""

    nothing: str


def forget(ctx: TaskContext[Gone], event: Event) -> Any:
    return ctx.set_state(Gone("left")).bind(lambda _: ctx.schedule(after="1 hour"))


forgotten = task("notes", Gone, on_event=forget, execute=lambda _: succeed(None), retry=None)
older = task("notes", NoteV1, on_event=lambda ctx, event: ctx.set_state(NoteV1(event.text)), execute=None, retry=None)

LIMITS = Limits(message_deliveries=2, history_retention="11000 days", idempotency_ttl="36500 days")


def app(outside: Outside, *jobs: Any) -> App[Any]:
    return App(outside, limits=LIMITS).with_jobs(*(jobs or (notes, ticks, piles, reminders)))
