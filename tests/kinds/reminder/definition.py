"""Definition and context of a reminder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import attrs

from perdure import Program
from perdure.codecs import Codec, Versions
from perdure.jobs.definition import Definition, Dispatch, Plan, PostCommand
from perdure.jobs.hooks import FROM_HOOKS, HookResult, hook
from perdure.jobs.plan import build_plan
from perdure.jobs.request import CommandSpec, Request
from perdure.jobs.step import Commit, Execute, Step
from perdure.values.address import Address
from perdure.values.facts import Facts
from perdure.values.instance import Claim, Instance
from reminder import handler
from reminder.context import ReminderContext, Snooze, Wish
from reminder.handle import ReminderHandle, ReminderTeller

E = TypeVar("E")
R = TypeVar("R")


@attrs.frozen(eq=False)
class Reminder(Definition[ReminderHandle, ReminderTeller, R], Generic[R]):
    """Says a text once, when its time comes."""

    kind: ClassVar[str] = "reminder"
    name: str
    plan: Plan
    remind: Callable[..., Program[Any, Any, Any]]

    @staticmethod
    def of(
        name: str, remind: Callable[[ReminderContext], HookResult[E, R]], *, versions: Versions[str] | None = None
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
            may_continue="must_settle",
            max_run="1 minute",
            concurrency=None,
            commands=(
                CommandSpec(name="wish", command=Wish, input=Codec.of(str, what="wish"), absent="creates"),
                CommandSpec(name="snooze", command=Snooze, input=Codec.of(int, what="snooze")),
            ),
        )
        return Reminder(name, plan, hook(remind, what="remind"))

    def begin(self, address: Address, instance: Instance | None, request: Request, facts: Facts) -> Step:
        return handler.begin(self, address, instance, request, facts)

    def program(self, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
        return "remind", self.remind(ReminderContext(instance, claim))

    def succeeded(self, execute: Execute, facts: Facts) -> Commit:
        return handler.succeeded(execute, facts)

    def handle(self, dispatch: Dispatch) -> ReminderHandle:
        return ReminderHandle(self, dispatch)

    def teller(self, post: PostCommand) -> ReminderTeller:
        return ReminderTeller(post)
