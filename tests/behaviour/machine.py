"""A task of scripted steps: its events are lists of steps, and so is the action of its alarm."""

from __future__ import annotations

from typing import Any, TypeAlias, assert_never

from attrs import evolve, frozen
from world import HasOutside, Outside, Refused, die, say

from perdure import App, Do, Limits, Program, Task, TaskContext, fail, program, tell
from perdure.programs import sleep
from perdure.values.address import Address


@frozen
class Add:
    """Add to the total."""

    amount: int = 1


@frozen
class Say:
    """Make an external call."""

    word: str


@frozen
class Mark:
    """Say a word, with the attempt and the delivery it is said in."""

    word: str


@frozen
class Refuse:
    """Fail with the typed error."""

    why: str = "no"


@frozen
class Break:
    """Raise an undeclared exception."""

    why: str = "bug"


@frozen
class Wait:
    """Let time pass."""

    ms: int


@frozen
class AlarmIn:
    """Set the alarm."""

    after_ms: int


@frozen
class NoAlarm:
    """Cancel the alarm."""


@frozen
class End:
    """Terminate."""

    reason: str = "done"


@frozen
class Note:
    """Keep the values of the context."""


Plain: TypeAlias = Add | Say | Mark | Refuse | Break | Wait | AlarmIn | NoAlarm | End | Note


@frozen
class Tell:
    """Send steps to another machine, or to itself."""

    id: str
    steps: tuple[Plain, ...] = (Add(),)


@frozen
class Call:
    """Tell another machine something that is not an event."""

    id: str
    action: str


Step: TypeAlias = Plain | Tell | Call


@frozen
class Steps:
    """The event: take these steps."""

    steps: tuple[Step, ...]


@frozen
class Seen:
    """The observations of a hook."""

    run_id: str
    attempt: int
    delivery: int
    is_retry: bool
    event_count: int
    run_count: int


@frozen
class Total:
    """The state."""

    total: int = 0
    on_alarm: tuple[Step, ...] = ()
    seen: tuple[Seen, ...] = ()
    text: str = ""


@frozen
class OnAlarm:
    """The event: set the alarm, and the steps that it runs."""

    after_ms: int
    steps: tuple[Step, ...] = (Add(),)


Event: TypeAlias = Steps | OnAlarm


@program
def on_event(ctx: TaskContext[Total], event: Event) -> Do[None, Refused, HasOutside]:
    match event:
        case OnAlarm(after_ms, steps):
            yield from ctx.update_state(lambda state: evolve(state, on_alarm=steps))
            yield from ctx.schedule(after=f"{after_ms} ms")
        case Steps(steps):
            yield from take(ctx, steps)


@program
def execute(ctx: TaskContext[Total]) -> Do[None, Refused, HasOutside]:
    state = yield from ctx.state
    yield from take(ctx, state.on_alarm)


@program
def take(ctx: TaskContext[Total], steps: tuple[Step, ...]) -> Do[None, Refused, HasOutside]:
    for step in steps:
        yield from _take_one(ctx, step)


def _take_one(ctx: TaskContext[Total], step: Step) -> Program[Any, Refused, HasOutside]:  # noqa: C901, PLR0911, PLR0912 - one case a step
    match step:
        case Add(amount):
            return ctx.update_state(lambda state: evolve(state, total=state.total + amount))
        case Say(word):
            return say(word)
        case Mark(word):
            return say(f"{word}#{ctx.attempt}.{ctx.delivery}")
        case Refuse(why):
            return fail(Refused(why))
        case Break(why):
            return die(RuntimeError(why))
        case Wait(ms):
            return sleep(f"{ms} ms")
        case AlarmIn(after_ms):
            return ctx.schedule(after=f"{after_ms} ms")
        case NoAlarm():
            return ctx.cancel_schedule()
        case End(reason):
            return ctx.terminate(reason)
        case Note():
            return ctx.update_state(lambda state: evolve(state, seen=(*state.seen, _seen(ctx))))
        case Tell(id_, steps):
            return tell(machine, id_).send(Steps(steps))
        case Call(id_, "trigger"):
            return tell(machine, id_).trigger()
        case Call(id_, _):
            return tell(machine, id_).terminate("told to")
        case _:
            assert_never(step)


def _seen(ctx: TaskContext[Total]) -> Seen:
    return Seen(ctx.run_id, ctx.attempt, ctx.delivery, ctx.is_retry, ctx.event_count, ctx.run_count)


def steps(*given: Step) -> Steps:
    """Make the event that takes these steps."""
    return Steps(given)


def at(id_: str) -> Address:
    """The address of a machine."""
    return machine.address(id_)


Machine: TypeAlias = Task[Total, Event, Refused, HasOutside]


def machine_with(
    kind: type[Task[Any, Any, Any, Any]] = Task, **options: Any
) -> Task[Total, Event, Refused, HasOutside]:
    """Define the machine with further options, such as a retry, or with another class."""
    given: dict[str, Any] = {"initial": Total(), "on_event": on_event, "execute": execute}
    return kind("machine", state=Total, event=Event, **given | options)


machine = machine_with()


def app(outside: Outside, *definitions: Any, **limits: int) -> App[Any]:
    """Make an app of the machine, or of these definitions."""
    return App(outside, limits=Limits(**limits)).with_jobs(*(definitions or (machine,)))
