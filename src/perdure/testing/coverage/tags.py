"""Tags: the names under which states and events are counted."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, Never, NoReturn

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.hooks import error_of
from perdure.jobs.request import Request
from perdure.testing.typed.form import Choice, OneOf, Record, read_form
from perdure.values.errors import InvalidInput
from perdure.values.instance import Instance

ABSENT: Final = "absent"
ENDED: Final = "ended"
KEPT: Final = "kept"
"""The tag of a state whose type does not distinguish states."""
SUCCEEDED: Final = "succeeded"
"""The name of a successful exit."""


def state_tag(job: AnyDefinition, instance: Instance | None) -> str:
    """Return the tag of a stored state: its class in a union, or the value of its first field of choices.

    Args:
        job: the definition.
        instance: the stored instance, or None.
    """
    if instance is None:
        return ABSENT
    if instance.left is not None or instance.suspension is not None:
        return f"{instance.status} ({instance.suspension})" if instance.status == "parked" else instance.status
    try:
        state = job.visible_state(instance)
    except InvalidInput:
        return "undecodable"
    form: Any = job.plan.state.form
    match read_form(form):
        case OneOf():
            return type(state).__name__
        case Record() as record if (field := _field_of_choices(record)) is not None:
            return _shown(getattr(state, field, KEPT))
        case _:
            return KEPT


def declared_states(job: AnyDefinition) -> tuple[str, ...]:
    """Return the tags of a job's states, as far as their type declares them."""
    form: Any = job.plan.state.form
    match read_form(form):
        case OneOf(members):
            return tuple(_named(member) for member in members)
        case Record() as record if (field := _field_of_choices(record)) is not None:
            choice = read_form({**record.required, **record.optional}[field])
            return tuple(map(_shown, choice.values)) if isinstance(choice, Choice) else ()
        case _:
            return (KEPT,)


def event_tag(job: AnyDefinition, request: Request) -> str:
    """Return the tag of a request: the class of its input where its command takes one of several, or its action."""
    codec = job.plan.commands[request.action].input if request.action in _with_events(job) else None
    return request.action if codec is None else type(codec.decode(request.payload.encode())).__name__


def declared_events(job: AnyDefinition) -> tuple[str, ...]:
    """Return the tags of all requests of a job, as far as the types declare them."""
    found: list[str] = []
    for spec in job.plan.offered.values():
        members = _with_events(job).get(spec.name)
        found += [spec.name] if members is None else members
    return (*found, "alarm")


def declared_exits(job: AnyDefinition) -> tuple[str, ...]:
    """Return the declared exits of a job's hooks, and the exhaustion of its retries."""
    found: list[str] = []
    for hook, function in job.plan.hooks.items():
        found += [f"{hook}: {SUCCEEDED}", *(f"{hook}: failure {name}" for name in _errors_of(function))]
        found.append(f"{hook}: defect")
    return (*found, *(["retry: exhausted"] if job.plan.retry is not None else []))


def _errors_of(function: object) -> list[str]:
    error: Any = error_of(function)
    if error is Any or error in (Never, NoReturn):
        return []
    form = read_form(error)
    return [_named(member) for member in (form.members if isinstance(form, OneOf) else (error,))]


def _with_events(job: AnyDefinition) -> dict[str, list[str]]:
    """Return the commands whose input is one of several classes, with the names of these classes."""
    found: dict[str, list[str]] = {}
    for spec in job.plan.commands.values():
        form = None if spec.input is None else read_form(spec.input.form)
        if isinstance(form, OneOf):
            found[spec.name] = [_named(member) for member in form.members]
    return found


def _field_of_choices(record: Record) -> str | None:
    fields: dict[str, Any] = {**record.required, **record.optional}
    return next((name for name, form in fields.items() if isinstance(read_form(form), Choice)), None)


def _shown(value: object) -> str:
    return value.name if isinstance(value, Enum) else str(value)


def _named(form: Any) -> str:  # any annotation
    return getattr(form, "__name__", None) or str(form)
