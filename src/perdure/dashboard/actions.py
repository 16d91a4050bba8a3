"""The actions that a page offers for an instance. Pure: a function of its status and of the commands of its job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import CommandSpec, TriggerOptions

Scope: TypeAlias = Literal["call", "operate"]
Presence: TypeAlias = Literal["no", "yes", "ended", "absent"]
"""Whether the alarms of an instance are suspended; ``ended``: only its outcome is kept; ``absent``: there is none."""

OPERATIONS: Final = frozenset({"pause", "resume", "terminate"})
REASONS: Final = {"cancel": "cancelled", "terminate": "terminated"}
"""The actions whose input, if it is text, is a reason; and the word that begins the usual one."""
_UNTIL_ENDED: Final = frozenset({"pause", "resume", "cancel", "retry"})
"""The actions without an effect on an instance that has ended."""
BULK: Final = ("resume", "pause", "trigger", "flush", "retry", "cancel", "terminate")
"""The actions for several instances at once."""
MAX_BULK: Final = 100
"""Instances in one action: one page of the list."""


@attrs.frozen(kw_only=True)
class Action:
    """A request that a caller can send from a page.

    Attributes:
        name: its name.
        scope: the scope that it needs.
        takes: its input: a reason as text, whether to begin a new run, or any JSON.
        effect: whether it ends instances or discards data.
    """

    name: str
    scope: Scope
    takes: Literal["nothing", "reason", "new_run", "json"] = "nothing"
    effect: Literal["usual", "destroys"] = "usual"


def action_named(name: str, job: AnyDefinition, /) -> Action | None:
    """Return an action of a job, or None if it has none of this name."""
    spec = job.plan.offered.get(name)
    if spec is None:
        return None
    return Action(
        name=name,
        scope="operate" if name in OPERATIONS else "call",
        takes=_taken(spec),
        effect=spec.effect,
    )


def _taken(spec: CommandSpec[Any]) -> Literal["nothing", "reason", "new_run", "json"]:
    if spec.input is None:
        return "nothing"
    form: Any = spec.input.form
    if spec.name in REASONS and str in (form, *get_args(form)):
        return "reason"
    return "new_run" if form is TriggerOptions else "json"


def actions_for(job: AnyDefinition, suspended: Presence, /) -> tuple[Action, ...]:
    """Return the actions that make sense for an instance.

    Args:
        job: its definition.
        suspended: whether its alarms are suspended, it has ended, or there is no instance.
    """
    found = [action for name in job.plan.offered if (action := action_named(name, job)) is not None]
    if suspended == "absent":
        return tuple(each for each in found if job.plan.commands[each.name].absent == "creates")
    found.sort(key=lambda action: action.effect == "destroys")
    if suspended == "ended":
        return tuple(each for each in found if each.name not in _UNTIL_ENDED and not each.name.startswith("signal."))
    hidden = "resume" if suspended == "no" else "pause"
    return tuple(each for each in found if each.name != hidden)


def permitted(actions: Sequence[Action], scopes: frozenset[str], /) -> tuple[Action, ...]:
    """Return the actions that a caller may request."""
    return tuple(each for each in actions if each.scope in scopes)
