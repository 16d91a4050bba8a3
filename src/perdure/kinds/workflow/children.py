"""Child workflows: the messages that start them, cancel them and report their end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import attrs
import orjson
from returns.result import Failure, Success

from perdure.codecs import Codec, Opened
from perdure.jobs.draft import Draft
from perdure.jobs.hooks import typed_error
from perdure.jobs.parts import divided
from perdure.jobs.request import within
from perdure.kinds.workflow.commands import CANCELLATION, CHILD_END, WATCH, ChildEnd, WatchCall, input_of_cancel
from perdure.kinds.workflow.header import END, FAILURE, Header, Parent, ParkedChild, Watcher
from perdure.kinds.workflow.instructions import AskInstance, AwaitPromise, CallChild, unanswered
from perdure.kinds.workflow.tree import OpenStep
from perdure.programs import Program, perform
from perdure.values.address import Address
from perdure.values.errors import InvalidInput
from perdure.values.event import JobParked, JobResumed, Parking
from perdure.values.excerpt import REFERENCE
from perdure.values.message import Message
from perdure.values.status import Defect
from perdure.values.turn_inputs import TurnInputs

if TYPE_CHECKING:
    from perdure.kinds.workflow.context import AnyWorkflow


Messages: TypeAlias = tuple[Message, ...]

_PREFIX = "child "
MAX_PARKED: Final = 20
"""The number of parked children that a workflow names: every commit writes them."""


def child_signal(run_id: str, path: str) -> str:
    """Return the name under which a child's end is stored. No signal of a definition has a colon."""
    return f"{_PREFIX}{run_id}:{path}"


def is_child_signal(name: str) -> bool:
    """Return whether a child's end is stored under a name."""
    return name.startswith(_PREFIX)


def has_secret_end(job: AnyWorkflow) -> bool:
    """Return whether a child's value or error has secrets."""
    return job.results.secret or (job.plan.errors is not None and job.plan.errors.secret)


def send_call(draft: Draft, call: CallChild | AskInstance, run_id: str, path: str) -> None:
    """Send the message that starts a child, or the wait for something of another instance.

    Raises:
        InvalidInput: see `start_child`.
    """
    if isinstance(call, CallChild):
        start_child(draft, call, run_id, path)
    else:
        send_watch(draft, call, run_id, path, "watch")


def start_child(draft: Draft, call: CallChild, run_id: str, path: str) -> None:
    """Send the message that starts a child.

    Raises:
        InvalidInput: the child's state has another type, or is too large for an instance, or for a message.
    """
    states = call.job.plan.state
    # Refused here: the child's engine would refuse the message each time, and this workflow would wait for no child.
    state = within(draft.encode(states, call.state), draft.limits.state_bytes, what=states.what)
    parent = {"address": str(draft.address), "call": child_signal(run_id, path)}
    payload = orjson.dumps({"state": orjson.Fragment(state), "parent": parent}).decode()
    draft.send(call.job.address(call.id), "start_child", payload)


def cancel_child(draft: Draft, call: CallChild, reason: str, *, interrupt: bool = False) -> None:
    """Send the message that cancels a child whose caller no longer waits, unless the call says to leave it."""
    if call.when_cancelled == "cancel":
        given = CANCELLATION.encode(input_of_cancel(reason, interrupt)).decode()
        draft.send(call.job.address(call.id), "cancel", given)


def send_watch(draft: Draft, ask: AskInstance, run_id: str, path: str, action: Literal["watch", "unwatch"]) -> None:
    """Send the message that lets this workflow wait for something of another instance, or ends that wait."""
    call = child_signal(run_id, path)
    if action == "unwatch" and ask.wants.startswith(EVENT):
        return  # the event is handled, and the reply to it is not awaited any more
    if ask.asked is not None and action == "watch":
        payload = orjson.dumps({"call": call, "value": orjson.Fragment(draft.encode(*ask.asked))}).decode()
        draft.send(ask.target, f"ask_{ask.wants.replace(' ', '.', 1)}", payload)
        return
    draft.send(ask.target, action, WATCH.encode(WatchCall(call=call, wants=ask.wants)).decode())


def told(watchers: Sequence[Watcher], sender: Address, found: Callable[[Watcher], ChildEnd], now_ms: int) -> Messages:
    """Return the messages that answer watchers."""
    return tuple(
        Message(
            sender=sender,
            target=Address.parse(each.address),
            action="child_ended",
            payload=CHILD_END.encode(found(each)).decode(),
            sent_ms=now_ms,
        )
        for each in watchers
    )


def leave_calls(draft: Draft, header: Header, left: list[OpenStep]) -> None:
    """Cancel the children whose callers no longer wait for them, and withdraw from other instances."""
    for each in left:
        # A child that was not started has no message to cancel.
        if each.started and isinstance(each.instruction, AskInstance):
            send_watch(draft, each.instruction, header.run_id, each.path, "unwatch")
        elif each.started:
            request = header.cancel
            reason = "the caller no longer waits" if request is None else request.reason
            cancel_child(draft, each.instruction, reason, interrupt=request is not None and request.interrupt)
    left.clear()


def report_end(sender: Address, parent: Parent, form: str, value: str, now_ms: int, *, secret: bool = False) -> Message:
    """Return the message that reports a child's end to its parent.

    Args:
        sender: the child.
        parent: the workflow that waits, and its call.
        form: how the child ended: `EndedAs`, ``exists`` or ``terminated``.
        value: see `Ended`.
        now_ms: the present.
        secret: whether the child's values have secrets.
    """
    payload = orjson.dumps({"call": parent.call, "form": form, "value": value, "secret": secret}).decode()
    target = Address.parse(parent.address)
    return Message(sender=sender, target=target, action="child_ended", payload=payload, sent_ms=now_ms)


def report_parking(sender: Address, parent: Parent, event: Parking, now_ms: int) -> Message:
    """Return the message that tells a parent that its child is parked, or was resumed.

    It has no detail: a child's error may have secrets that the parent does not know.
    """
    if isinstance(event, JobResumed):
        action, reason = "child_resumed", event.was
    else:
        action, reason = "child_parked", event.reason if isinstance(event, JobParked) else "left"
    payload = orjson.dumps({"call": parent.call, "reason": reason}).decode()
    target = Address.parse(parent.address)
    return Message(sender=sender, target=target, action=action, payload=payload, sent_ms=now_ms)


def path_of_call(header: Header, call: str) -> str | None:
    """Return the path of the call that waits for a child. None if this workflow made it before it started over."""
    # The run id changes at `start_over`: an end of a child of the earlier program must not answer a call of this one.
    prefix = child_signal(header.run_id, "")
    return call.removeprefix(prefix) if call.startswith(prefix) else None


def without_parked(header: Header, call: str) -> Header:
    """Return the header without a child that is no longer parked."""
    path = path_of_call(header, call)
    kept = tuple(each for each in header.parked if each.path != path)
    return header if len(kept) == len(header.parked) else attrs.evolve(header, parked=kept)


def with_parked(header: Header, call: str, child: str, reason: str) -> Header:
    """Return the header with a child that is parked, unless it holds `MAX_PARKED` others."""
    header, path = without_parked(header, call), path_of_call(header, call)
    # The header is written with each commit, so its size is bounded.
    if path is None or len(header.parked) >= MAX_PARKED:
        return header
    parked = ParkedChild(path=path, address=child, reason=reason)
    return attrs.evolve(header, parked=(*header.parked, parked))


def arrived_end(form: str, value: str, inputs: TurnInputs, *, secret: bool) -> tuple[str, tuple[str, ...]]:
    """Return an end as the workflow that waited stores it, or a reference, with the parts' rows."""
    # A reference here names parts that the engine did not find, or more than one commit may store.
    if value[:1] == REFERENCE or len(value) > inputs.limits.input_bytes:
        form, value = "too large", "null"
    text = orjson.dumps({"form": form, "value": value}).decode()
    # Twice: a quote in a value is escaped in the text, and an end that is no larger than a row was one row before.
    if len(text) <= 2 * inputs.limits.payload_bytes:
        return text, ()
    return divided(text, inputs, secret=secret)


def answer_of_ask(ask: AskInstance | AwaitPromise, stored: str, known: Callable[[Opened[Any]], Any]) -> Any:
    """Return the answer of another instance, or the outcome of a promise, from its stored form.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    if isinstance(ask, AwaitPromise):
        return ask.promise.outcome_of(stored, known)
    return ask.opened(*_end_in(stored), known)


def _end_in(stored: str) -> tuple[str, str]:
    """Return a stored end's form and value. An earlier engine has stored a reference, and not the value."""
    ended: dict[str, str] = orjson.loads(stored)
    return ("too large", "null") if ended["value"][:1] == REFERENCE else (ended["form"], ended["value"])


def answer_of_child(call: CallChild, stored: str, known: Callable[[Opened[Any]], Any]) -> Any:
    """Return a call's answer from the child's stored end.

    Args:
        call: the call.
        stored: the end.
        known: returns the value of a result that was opened.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    job = cast("AnyWorkflow", call.job)
    form, value = _end_in(stored)
    match form:
        case "done":
            # `open`: the child may run newer code than its parent.
            return Success(known(job.results.open(value.encode())))
        case "failed":
            return Failure(failure_of(job, value, known))
        case "cancelled" | "terminated":
            return Failure(Defect("ChildCancelled", orjson.loads(value)))
        case "too large":
            return Failure(unanswered(Address(job.kind, job.name, call.id), "does not say how it ended", form))
        case "exists":
            child = f"{job.kind}:{job.name}:{call.id}"
            fix = "choose an id of its own for each call, such as f'{ctx.run_id}-box'"
            return Failure(Defect("ChildExists", f"{child} exists: another call, or an earlier run, started it; {fix}"))
        case _:
            raise InvalidInput(f"end of child {job.name}:{call.id}", (f"unknown form {form!r}",))


def answer_of_end(
    job: AnyWorkflow, address: Address, form: str, value: str, known: Callable[[Opened[Any]], Any]
) -> Success[Any] | Failure[Any]:
    """Return the answer of a wait for a workflow's end.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    match form:
        case "done":
            return Success(known(job.results.open(value.encode())))
        case "failed":
            return Failure(failure_of(job, value, known))
        case "cancelled" | "terminated":
            return Failure(Defect("WorkflowCancelled", orjson.loads(value)))
        case _:
            return Failure(unanswered(address, "does not say how it ended", form))


def failure_of(job: AnyWorkflow, value: str, known: Callable[[Opened[Any]], Any] = attrgetter("value")) -> object:
    """Return the typed error of a workflow that failed.

    Args:
        job: the workflow's definition.
        value: the value of its `Ended`.
        known: returns an error that was opened.
    """
    return typed_error(FAILURE.decode(value.encode()), job.plan.errors, known)


EVENT: Final = "send "
"""Begins the wish for the reply to an event."""


def ask_event(
    address: Address, name: str, replies: Codec[Any], errors: Codec[Any] | None, event: tuple[Codec[Any], Any]
) -> Program[Any, Any]:
    """Return the program that sends an event to a task, and waits for the reply.

    Args:
        address: the task's instance.
        name: the reply's name.
        replies: the reply's codec.
        errors: the typed errors' codec. None if the task has none.
        event: the event, with its codec.
    """

    def opened(form: str, value: str, known: Callable[[Opened[Any]], Any]) -> Success[Any] | Failure[Any]:
        match form:
            case "done":
                return Success(known(replies.open(value.encode())))
            case "failed":
                return Failure(typed_error(FAILURE.decode(value.encode()), errors, known))
            case _:
                return Failure(unanswered(address, f"does not send the reply {name!r}", form))

    return perform(AskInstance(address, f"{EVENT}{name}", opened, event))


def await_item(address: Address, results: Codec[Any], errors: Codec[Any] | None) -> Program[Any, Any]:
    """Return the program that waits for the end of a pool's item.

    Args:
        address: the item.
        results: the results' codec.
        errors: the typed errors' codec. None if the pool has none.
    """

    def opened(form: str, value: str, known: Callable[[Opened[Any]], Any]) -> Success[Any] | Failure[Any]:
        match form:
            case "done":
                return Success(known(results.open(value.encode())))
            case "failed" if value != "null":
                return Failure(typed_error(FAILURE.decode(value.encode()), errors, known))
            case "terminated":
                return Failure(Defect("ItemCancelled", orjson.loads(value)))
            case _:
                return Failure(unanswered(address, "does not say how it ended", form))

    return perform(AskInstance(address, END, opened))
