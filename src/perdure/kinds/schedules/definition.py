"""Define schedules as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import attrs

from perdure._lazy import lazy_module
from perdure.jobs.definition import AnyDefinition, Definition, Dispatch, PostCommand, check_definition
from perdure.jobs.display import DisplayField, fields_of_plan
from perdure.jobs.hooks import FROM_HOOKS
from perdure.jobs.plan import DEFAULT_RUN_TIMEOUT, Plan, build_plan
from perdure.jobs.request import Keyword, Request
from perdure.programs import Program, succeed
from perdure.values.errors import DefinitionError, InvalidInput, RequestError
from perdure.values.times import from_ms

if TYPE_CHECKING:
    from perdure.jobs.step import Commit, Execute, Step
    from perdure.kinds.schedules import entry, handle, handler
    from perdure.kinds.schedules.handle import SchedulesHandle, SchedulesSender
    from perdure.values.address import Address, Job
    from perdure.values.instance import Claim, Instance
    from perdure.values.limits import KeepHistory
    from perdure.values.turn_inputs import TurnInputs
else:  # deciding turns and calling jobs need more modules than defining jobs
    entry = lazy_module("perdure.kinds.schedules.entry")
    handle = lazy_module("perdure.kinds.schedules.handle")
    handler = lazy_module("perdure.kinds.schedules.handler")

SHOWN_FIRINGS = 5
"""The next firings that tools show."""


@attrs.frozen(init=False, eq=False, repr=False)
class Schedules(Definition["SchedulesHandle", "SchedulesSender", object]):
    """Schedules that are data: each is an instance, which ``put`` creates and changes while engines run.

    At each instant a schedule sends a message to another instance, in one commit with its next alarm. So each
    instant fires once, over several engines, crashes, pauses and changes.

    Args:
        name: the job's name, part of the stored address: 1 to 128 printable characters, no ``:``.
        targets: the jobs to which its schedules may send, at least one. Serve them in the same app, or on the same
            store.
        history: keeps this job's events longer than the log does: `KeepHistory`. By default the log alone keeps them.

    Raises:
        DefinitionError: an argument is invalid. The message says how to fix it.
    """

    kind: ClassVar[str] = "schedule"
    name: str
    plan: Plan
    targets: dict[Job, AnyDefinition]

    def __init__(self, name: str, *, targets: Sequence[AnyDefinition], history: KeepHistory | None = None) -> None:
        if not isinstance(targets, Sequence) or not targets:  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            raise DefinitionError(f"targets of schedule:{name}", targets, "at least one definition, in a tuple")
        known = {(one.kind, one.name): one for one in map(check_definition, targets)}
        # This code reads their inputs: after a deploy that changed one, a schedule is tried again.
        inputs = [spec.input for one in known.values() for spec in one.plan.commands.values()]
        plan = build_plan(
            "schedule",
            name,
            state=entry.ScheduledMessage,
            tags=None,
            errors=FROM_HOOKS,
            hooks={},
            retry=None,
            run_timeout=DEFAULT_RUN_TIMEOUT,
            runs=None,
            commands=entry.commands_of_schedules(name, known),
            answers=entry.ANSWERS,
            kept=(entry.DATA, *(codec for codec in inputs if codec is not None)),
            history=history,
        )
        cast("Any", self).__attrs_init__(name, plan, known)

    # ------------------------------------------------------------ the pure handler
    def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
        """Decide a command or an alarm."""
        return handler.begin(self, self.targets, address, instance, request, inputs)

    def begin_unread(self, address: Address, instance: Instance, request: Request, inputs: TurnInputs) -> Step | None:
        """Let ``put`` replace a message that this code cannot read."""
        # Only `put` replaces the message: every other command needs the one that this code cannot read.
        if request.action != "put":
            return None
        return handler.begin(self, self.targets, address, instance, request, inputs)

    def program(self, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
        """Return nothing to run: a schedule has no runs."""
        return "fire", succeed(None)

    def succeeded(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit | Execute:
        """Refuse: a schedule has no runs."""
        raise TypeError(f"{self!r} has no runs")

    def rearmed(self, instance: Instance, inputs: TurnInputs) -> Instance:
        """Skip the instants inside a pause except the last one."""
        return handler.rearmed(self, instance, inputs)

    def may_rest(self, instance: Instance) -> bool:
        """Return False: a schedule always has an alarm."""
        return False

    def check_data(self, instance: Instance) -> None:
        """Decode the data, and the message as its target reads it."""
        data = handler.data_of(instance)
        try:
            handler.check_message(self.targets, handler.message_of(self, instance), data.next_ms)
        except InvalidInput:
            # `RequestError` includes it: raised as it is, so that the caller sees its problems.
            raise
        except RequestError as wrong:
            raise InvalidInput(self.plan.state.what, (str(wrong),)) from wrong

    # ------------------------------------------------------------ reading
    def display_fields(self) -> tuple[DisplayField, ...]:
        """Return the targets, and every job's fields."""
        targets = ", ".join(sorted(f"{kind}:{name}" for kind, name in self.targets))
        return (DisplayField("sends to", targets), *fields_of_plan(self.plan))

    def display_fields_of(self, instance: Instance) -> tuple[DisplayField, ...]:
        """Return a schedule's instants and its message."""
        message = handler.message_of(self, instance)
        times = [
            DisplayField("next firing" if number == 1 else f"firing {number}", from_ms(tick_ms))
            for number, tick_ms in enumerate(handler.upcoming(self, instance, SHOWN_FIRINGS), 1)
        ]
        return (
            DisplayField("schedule", str(message.schedule.schedule())),
            DisplayField("sends", f"{message.action} to {message.target}"),
            *times,
        )

    def handle_call(self, request: Request) -> tuple[str, tuple[object, ...]]:
        """Return the handle method that makes a request, and its arguments."""
        method, arguments = super().handle_call(request)
        if request.action == "put":
            return "put_message", arguments
        if request.action == "backfill":
            given = cast("entry.BackfillRange", arguments[0])
            return method, tuple(Keyword(name, value) for name, value in attrs.asdict(given).items())
        return method, arguments

    # ------------------------------------------------------------ typed access
    def handle(self, dispatch: Dispatch) -> SchedulesHandle:
        """Return the typed handle."""
        return handle.SchedulesHandle(self, dispatch)

    def sender(self, post: PostCommand) -> SchedulesSender:
        """Return the typed sender."""
        return handle.SchedulesSender(post)
