"""Actions on instances: which ones a page offers, their explanation and confirmation, and the outcomes of several.

Pure: a function of an instance's status and its job's commands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any, Final, Literal, TypeAlias, cast, get_args

import attrs
import htpy as h
import orjson

from perdure.dashboard.page import Frame, Page, clock, code, count, form_to, hidden, instance_link, panel, table
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import CommandSpec, TriggerOptions
from perdure.values.address import Address
from perdure.wire.explanation import why_no_alarm
from perdure.wire.requests import instance_path

Scope: TypeAlias = Literal["call", "operate"]
Presence: TypeAlias = Literal["no", "yes", "ended", "absent"]
"""Whether an instance's alarms are suspended. ``ended``: only the outcome is kept. ``absent``: there is no instance."""

OPERATIONS: Final = frozenset({"pause", "resume", "terminate"})
REASONS: Final = {"cancel": "cancelled", "terminate": "terminated"}
"""The actions whose input, if it is text, is a reason, and the word that begins the usual reason."""
_UNTIL_ENDED: Final = frozenset({"pause", "resume", "cancel", "trigger"})
"""The actions without an effect on an instance that has ended."""
BULK: Final = ("resume", "pause", "trigger", "flush", "cancel", "terminate")
"""The actions for several instances at once."""
MAX_BULK: Final = 100
"""Instances in one action: one list page."""


@attrs.frozen(kw_only=True)
class Action:
    """A request that a caller can send from a page.

    Attributes:
        scope: the scope that it needs.
        takes: the input: a reason as text, whether to begin a new run, or any JSON.
        effect: whether it ends instances or discards data.
    """

    name: str
    scope: Scope
    takes: Literal["nothing", "reason", "new_run", "json"] = "nothing"
    effect: Literal["usual", "destroys"] = "usual"


def action_named(name: str, job: AnyDefinition, /) -> Action | None:
    """Return a job's action by name. None if the job has no such action."""
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
        job: the instance's definition.
        suspended: whether its alarms are suspended, it has ended, or there is no instance.
    """
    found = [action for name in job.plan.offered if (action := action_named(name, job)) is not None]
    if suspended == "absent":
        return tuple(each for each in found if job.plan.commands[each.name].absent == "creates")
    # Last: an action that destroys must not take the place of another one.
    found.sort(key=lambda action: action.effect == "destroys")
    if suspended == "ended":
        return tuple(
            each for each in found if each.name not in _UNTIL_ENDED and not each.name.startswith(("signal.", "update."))
        )
    hidden = "resume" if suspended == "no" else "pause"
    return tuple(each for each in found if each.name != hidden)


def permitted(actions: Sequence[Action], scopes: frozenset[str], /) -> tuple[Action, ...]:
    """Return the actions that a caller may request."""
    return tuple(each for each in actions if each.scope in scopes)


_AN_INSTANT_MS: Final = 10**11
"""Greater milliseconds are an instant, from 1973 on. Smaller ones are a duration."""
MAX_REASON_CHARACTERS: Final = 200
_ALWAYS: Final = frozenset({"updated_ms", "version"})
"""Fields that every commit changes."""


@attrs.frozen(kw_only=True)
class PreviewedRequest:
    """A request to one instance, and its effect.

    Attributes:
        action: the request. None for the instance's alarm, which only the engine fires.
        payload: the input as JSON.
        explanation: the effect, as ``explain`` describes it. Empty if it could not be computed.
        problem: why not.
        invalid: whether the input is not valid, so that the request is not offered.
        key: the idempotency key that the request would carry, so that a form that is sent twice counts once.
    """

    address: Address
    action: Action | None
    payload: str
    explanation: Mapping[str, object]
    problem: str = ""
    invalid: bool = False
    key: str = ""


def confirm_page(frame: Frame, view: PreviewedRequest, /) -> Page:
    """Return the page that shows a request's effect and asks before it is sent."""
    name = "alarm" if view.action is None else view.action.name
    address = view.address
    back = frame.links.instance(address)
    sends = view.action is not None and frame.may(view.action.scope) and not view.invalid
    return Page(
        title=f"{name} {address.id}",
        section="instances",
        crumbs=(("Instances", frame.links.page("/instances")), (str(address), back)),
        body=[
            _question(frame, view, view.action) if sends and view.action is not None else None,
            view.payload and panel("Input", code(view.payload, label="Input")),
            view.problem and h.p(".error", role="alert")[view.problem],
            view.invalid and h.p[h.a(".button", href=back)["Back"]],
            bool(view.explanation) and _effect(view.explanation),
            view.action is None and view.explanation.get("write") == "keep" and _no_alarm(view.explanation),
        ],
        command=f"perdure explain {quote(str(address))} {name}" + (f" {quote(view.payload)}" if view.payload else ""),
        route=f"POST {instance_path(address, 'explain', name)}",
    )


def _no_alarm(explanation: Mapping[str, Any]) -> h.Element:
    text = why_no_alarm(explanation.get("before"))
    return h.p(".note")[f"{text[0].upper()}{text[1:]}."]


def _question(frame: Frame, view: PreviewedRequest, action: Action) -> h.Element:
    text = "It deletes the instance and its alarm; the history stays." if action.name == "terminate" else ""
    return form_to(
        frame,
        frame.links.instance(view.address, "request", action.name),
        hidden(confirmed="yes", key=view.key),
        _new_run() if action.takes == "new_run" and not view.payload else hidden(payload=view.payload),
        h.p(".question")[f"Send the request {action.name} to {view.address}? ", text],
        action.takes == "reason" and not view.payload and [_reason(), _interrupt()],
        h.div(".toolbar")[
            _confirming(action.name, action.effect),
            h.a(".button", href=frame.links.instance(view.address), autofocus=action.effect == "destroys")["Cancel"],
        ],
    )


def _reason() -> h.Element:
    """Return the field for the caller's reason, which the history or the outcome keeps."""
    return h.label["Reason", h.input(name="reason", maxlength=str(MAX_REASON_CHARACTERS), autocomplete="off")]


def _interrupt() -> h.Element:
    """Return the choice to stop the code in progress, and not to wait until it ends."""
    return h.label[
        h.input(type="checkbox", name="interrupt", value="yes"),
        " Interrupt the code in progress: its effect may have happened",
    ]


def _new_run() -> h.Element:
    """Return the choice to begin a new run, and not a failed run's next attempt."""
    options = orjson.dumps({"new_run": True}).decode()
    return h.label[
        h.input(type="checkbox", name="payload", value=options),
        " As a new run: external systems perform the effects of a failed run again",
    ]


def _confirming(text: str, effect: str) -> h.Element:
    """Return the button that confirms. It has the focus unless it destroys: then the way back has it."""
    return h.button(class_=f"primary {effect}", type="submit", autofocus=effect != "destroys")[text]


def _effect(explanation: Mapping[str, object]) -> h.Node:
    form, limits = explanation.get("form"), explanation.get("waits_for")
    if isinstance(limits, list) and limits:
        names = ", ".join(map(str, limits))  # pyright: ignore[reportUnknownArgumentType] - of JSON
        rest = {name: value for name, value in explanation.items() if name != "waits_for"}
        return [h.p(".note")[f"The run would wait for the limit {names}."], _effect(rest)]
    match form:
        case "needs_answer":
            text = (
                f"The effect depends on the answer of the service {explanation.get('effect')}: it is not called here."
            )
            return h.p(".note")[text]
        case "waits_for_run":
            return h.p(".note")["A run is in progress: the request would wait for its end."]
        case _:
            return [
                panel("Effect", _changes(explanation), id_="effect"),
                [
                    panel(title, code(_indented(explanation[name]), label=title))
                    for name, title in (
                        ("answer", "Answer"),
                        ("problem", "Refusal"),
                        ("messages", "Messages"),
                        ("events", "Events"),
                    )
                    if explanation.get(name)
                ],
            ]


def _changes(explanation: Mapping[str, object]) -> h.Node:
    before, after = explanation.get("before"), explanation.get("after")
    old, new = _leaves(before), _leaves(after)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name) and name not in _ALWAYS]
    rows = [h.tr[h.th(scope="row")[name], h.td[_short(name, old)], h.td[_short(name, new)]] for name in names]
    write = {"put": "The instance is stored.", "purge": "The instance is deleted."}.get(
        str(explanation.get("write")), "Nothing is written."
    )
    return [h.p[write], table(["Field", "Before", "After"], rows, caption="Changes", empty="No field changes.")]


def _leaves(value: object, under: str = "") -> Mapping[str, object]:
    """Return nested objects' members, by their path such as ``pending_retry.attempt``."""
    if not isinstance(value, dict):
        return {under: value} if under else {}
    found: dict[str, object] = {}
    for name, member in cast("Mapping[str, object]", value).items():
        found.update(_leaves(member, f"{under}.{name}" if under else name))
    return found


def _short(name: str, members: Mapping[str, object]) -> h.Node:
    value = members.get(name)
    if value is None:
        return h.span(".none")["-"]
    if isinstance(value, int) and name.endswith("_ms") and value > _AN_INSTANT_MS:
        return clock(value)
    return h.code(".value")[orjson.dumps(value).decode()]


def _indented(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


@attrs.frozen(kw_only=True)
class BulkAction:
    """One action for several instances.

    Attributes:
        key: the text that each request's idempotency key begins with.
    """

    action: str
    addresses: tuple[Address, ...]
    key: str


def bulk_page(frame: Frame, view: BulkAction, /) -> Page:
    """Return the page that asks before an action for several instances."""
    back = frame.links.page("/instances")
    noun = count(len(view.addresses), "instance")
    destroys = "destroys" if view.action in {"terminate", "clear", "cancel"} else "usual"
    return Page(
        title=f"{view.action} {noun}",
        section="instances",
        crumbs=(("Instances", back),),
        body=[
            h.ul(".addresses")[[h.li[instance_link(frame, each)] for each in view.addresses]],
            form_to(
                frame,
                frame.links.page("/bulk"),
                hidden(confirmed="yes", action=view.action, key=view.key),
                [hidden(address=str(each)) for each in view.addresses],
                h.p(".question")[f"Send the request {view.action} to {noun}?"],
                view.action in REASONS and [_reason(), _interrupt()],
                h.div(".toolbar")[
                    _confirming(f"{view.action} {noun}", destroys),
                    h.a(".button", href=back, autofocus=destroys == "destroys")["Cancel"],
                ],
            ),
        ],
        command=_bulk_command(view),
    )


def _bulk_command(view: BulkAction) -> str:
    """Return the command for the first instances: one that takes several, or one for each."""
    named = [quote(str(each)) for each in view.addresses[:3]]
    more = " …" if len(view.addresses) > len(named) else ""
    if view.action in {"trigger", "flush"}:
        return "; ".join(f"perdure {view.action} {each}" for each in named) + more
    return f"perdure {view.action} {' '.join(named)}{more}"


@attrs.frozen(kw_only=True)
class ActionOutcome:
    """One request's outcome.

    Attributes:
        subject: the instance or the message.
        result: what the engine answered.
        form: whether it was done.
    """

    subject: str
    result: str
    form: str


def outcomes_page(title: str, outcomes: Sequence[ActionOutcome], back: str, section: str, /) -> Page:
    """Return the page with each request's outcome."""
    rows = [
        h.tr[
            h.th(scope="row")[each.subject],
            h.td[h.span(class_=f"event {'good' if each.form == 'done' else 'bad'}")[each.form]],
            h.td[each.result],
        ]
        for each in outcomes
    ]
    done = sum(each.form == "done" for each in outcomes)
    return Page(
        title=title,
        section=section,
        body=[
            h.p(role="status")[f"{done} of {len(outcomes)} done."],
            table(["Subject", "Outcome", "Answer"], rows, caption="Outcomes", empty="Nothing was requested."),
            h.p[h.a(".button", href=back)["Back to the list"]],
        ],
    )
