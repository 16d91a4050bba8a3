"""Definition and context of a reminder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import attrs

from perdure import Program
from perdure.codecs import Codec, Migrations
from perdure.jobs.definition import Definition, Dispatch, PostCommand
from perdure.jobs.display import DisplayField
from perdure.jobs.hooks import FROM_HOOKS, HookResult, hook
from perdure.jobs.plan import Plan, build_plan
from perdure.jobs.request import CommandSpec, Request
from perdure.jobs.step import Commit, Execute, Step
from perdure.values.address import Address
from perdure.values.instance import Claim, Instance
from perdure.values.turn_inputs import TurnInputs
from reminder import handler
from reminder.context import ReminderContext, Snooze, Wish
from reminder.handle import ReminderHandle, ReminderSender

E = TypeVar("E")
R = TypeVar("R")


@attrs.frozen(eq=False)
class Reminder(Definition[ReminderHandle, ReminderSender, R], Generic[R]):
    """Says a text once, when its time comes."""

    kind: ClassVar[str] = "reminder"
    name: str
    plan: Plan
    remind: Callable[..., Program[Any, Any, Any]]

    @staticmethod
    def of(
        name: str, remind: Callable[[ReminderContext], HookResult[E, R]], *, versions: Migrations[str] | None = None
    ) -> Reminder[R]:
        plan = build_plan(
            "reminder",
            name,
            state=str,
            tags=None,
            versions=versions,
            errors=FROM_HOOKS,
            hooks={"remind": remind},
            retry=None,
            exhausted="park",
            may_continue=False,
            run_timeout="1 minute",
            runs=None,
            commands=(
                CommandSpec(name="wish", command=Wish, input=Codec.of(str, what="wish"), absent="creates"),
                CommandSpec(name="snooze", command=Snooze, input=Codec.of(int, what="snooze")),
            ),
        )
        return Reminder(name, plan, hook(remind, what="remind"))

    def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
        return handler.begin(self, address, instance, request, inputs)

    def program(self, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
        return "remind", self.remind(self.context(instance, claim))

    def context(self, instance: Instance, claim: Claim, **inputs: object) -> ReminderContext:
        given: dict[str, Any] = inputs
        return ReminderContext(instance, claim, **given)

    def display_fields(self) -> tuple[DisplayField, ...]:
        return (DisplayField("purpose", "says a text once"), *super().display_fields())

    def may_rest(self, instance: Instance) -> bool:
        return False  # it waits for its time until it is gone

    def succeeded(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit:
        return handler.succeeded(execute, inputs)

    def handle(self, dispatch: Dispatch) -> ReminderHandle:
        return ReminderHandle(self, dispatch)

    def sender(self, post: PostCommand) -> ReminderSender:
        return ReminderSender(post)
