"""Untyped access to a job in this process, for tools: by kind and name, with JSON in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal, Protocol, cast

import attrs
import orjson
from returns.result import Failure, Result, Success

from perdure.client.gateway import Gateway, JobByName
from perdure.codecs import NewerOnly
from perdure.jobs.call import Call, mapped, result_of
from perdure.jobs.definition import AnyDefinition, CallError, Definition, EventError
from perdure.jobs.explanation import NO_ANSWERS, Answers
from perdure.jobs.handle import sent_and_over
from perdure.jobs.redaction import has_secrets
from perdure.jobs.request import ALARM, Request, Terminate, WaitFor, check_wait, within
from perdure.values.address import Job
from perdure.values.errors import (
    ForkRefused,
    InstanceParked,
    InvalidArgument,
    InvalidId,
    InvalidInput,
    Undecodable,
    UnknownAction,
)
from perdure.values.excerpt import excerpt
from perdure.values.limits import Limits
from perdure.values.listings import MAX_PROBLEMS, ForkedMany, ForkProblem, InstanceOutcome, ListFilter, StepRecord
from perdure.values.status import InstanceStatus
from perdure.values.status_wait import CallEnd, Reached, UpdateReply
from perdure.values.times import Duration
from perdure.values.trace import trace_context
from perdure.wire.explanation import explanation_data
from perdure.wire.operations import FORK_MANY, check_text


class LocalDispatch(Gateway, Protocol):
    """A gateway that also reads an instance's stored state and outcome: as text, or without secrets."""

    def shown_outcome(self, definition: AnyDefinition, id_: str, /) -> Call[InstanceOutcome | None, CallError]:
        """Read how an instance ended, without secrets."""
        ...

    def state_text(self, definition: AnyDefinition, id_: str, /) -> Call[str | None, CallError]:
        """Read the committed state as JSON, with all that newer code wrote. None if there is no instance."""
        ...

    def shown_state(self, definition: AnyDefinition, id_: str, /) -> Call[str | None, CallError]:
        """Read the committed state as JSON without secrets. None if there is no instance."""
        ...


@attrs.frozen(eq=False, repr=False)
class NamedJob(JobByName):
    """Calls to a job in this process."""

    gateway: LocalDispatch
    definition: Definition[Any, Any, Any]  # of any handle, sender and services

    @property
    def actions(self) -> tuple[str, ...]:
        """The action names that ``call`` takes."""
        return tuple(self.definition.plan.offered)

    def call(
        self,
        action: str,
        id_: str,
        /,
        payload: str = "",
        *,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "completion",
        interrupt: bool = False,
        trace: str | None = None,
    ) -> Call[Any, EventError[Any]]:
        """Send a request."""
        job, answers = self.definition, self.definition.plan.answers
        build = builder(job, action, payload, idempotency_key, wait_for, interrupt=interrupt, trace=trace)
        sent = self.gateway.request(job, id_, build, f"call of {job.kind}:{job.name}")
        return mapped(sent, lambda answer: orjson.loads(answers.encode(answer)))

    def call_and_wait(
        self,
        action: str,
        id_: str,
        /,
        payload: str = "",
        *,
        timeout: Duration = "1 minute",
        idempotency_key: str | None = None,
        trace: str | None = None,
    ) -> Call[CallEnd, EventError[Any]]:
        """Send a request, and wait until its work is over."""
        # Only until the start: the wait for the end follows, and has its own time limit.
        send = partial(self.call, action, id_, payload, idempotency_key=idempotency_key, wait_for="start", trace=trace)
        return Call(partial(self._call_and_wait, action, id_, send, timeout, idempotency_key), "call_and_wait")

    async def _call_and_wait(
        self, action: str, id_: str, send: Callable[[], Call[Any, Any]], longest: Duration, key: str | None
    ) -> Result[CallEnd, Any]:
        job, of = self.definition, "call_and_wait"
        over = await sent_and_over(
            self.gateway, job, action, id_, send, longest=longest, key=key, of=of, ticket_of=_ticket_of
        )
        if not isinstance(over, Success):
            return Failure(over.failure())
        answer, awaited = over.unwrap()
        form: Literal["reached", "not_reached"] = "reached" if isinstance(awaited, Reached) else "not_reached"
        outcome = await result_of(self.shown_outcome(id_))
        ended = outcome.map(lambda found: CallEnd(form=form, answer=answer, status=awaited.status, outcome=found))
        ticket = _ticket_of(answer)
        if ticket is None:
            return ended
        if not isinstance(ended, Success):
            return ended
        reply: Result[UpdateReply, Any] = Success(UpdateReply(form="unanswered"))
        if ticket:
            reply = await result_of(self.reply(id_, ticket))
        return reply.map(lambda found: attrs.evolve(ended.unwrap(), reply=found))

    def explain(
        self,
        action: str,
        id_: str,
        /,
        payload: str = "",
        *,
        answers: Answers = NO_ANSWERS,
        idempotency_key: str | None = None,
    ) -> Call[Any, CallError]:
        """Compute a request's effect without applying it."""
        build: Callable[[Limits], Request] = (
            _alarm if action == ALARM.action else builder(self.definition, action, payload, idempotency_key)
        )
        explanation = self.gateway.explain_request(self.definition, id_, build, answers)
        return mapped(explanation, lambda explained: explanation_data(self.definition, explained))

    def status(self, id_: str, /) -> Call[InstanceStatus, CallError]:
        """Read the committed status."""
        return self.gateway.status(self.definition, id_)

    def get_state(self, id_: str, /) -> Call[Any, CallError]:
        """Read the committed state as JSON-able data. None when there is no instance."""
        text = self.gateway.state_text(self.definition, id_)
        return mapped(text, lambda state: None if state is None else orjson.loads(state))

    def shown_state(self, id_: str, /) -> Call[Any, CallError]:
        """Read the committed state as JSON-able data, with ``<secret>`` in place of each secret."""
        text = self.gateway.shown_state(self.definition, id_)
        return mapped(text, lambda state: None if state is None else orjson.loads(state))

    def shown_outcome(self, id_: str, /) -> Call[InstanceOutcome | None, CallError]:
        """Read how an instance ended, without secrets. None if it has not, or if its kind does not keep that."""
        return self.gateway.shown_outcome(self.definition, id_)

    def steps(self, id_: str, /) -> Call[tuple[StepRecord, ...], CallError]:
        """Read an instance's steps, if it has a journal, such as a workflow."""
        return self.gateway.steps(self.definition, id_)


def _ticket_of(answer: Any) -> str | None:
    """Return the ticket of an update's answer, empty if no workflow accepted it. None for another request."""
    return cast("dict[str, Any]", answer).get("ticket") if isinstance(answer, dict) else None


def _alarm(_: Limits) -> Request:
    return ALARM


def builder(
    job: AnyDefinition,
    action: str,
    payload: str,
    key: str | None = None,
    wait_for: WaitFor = "completion",
    *,
    interrupt: bool = False,
    trace: str | None = None,
    by: str | None = None,
    bare: str = "",
) -> Callable[[Limits], Request]:
    """Return the function that builds a request from its encoded form.

    Args:
        job: the definition.
        action: the action's name.
        payload: the input as JSON text. Empty when the action takes none.
        key: the idempotency key.
        wait_for: when the request is answered.
        interrupt: whether ``terminate`` cancels a run in progress.
        trace: the caller's trace context. One that is not valid is ignored.
        by: the caller's token name.
        bare: the payload without defaults. See `CommandSpec.accept`.

    Returns:
        A function that takes the limits, and raises a ``RequestError`` for an argument that is not valid.
    """

    def build(limits: Limits) -> Request:
        # Checked inside the call: an error of the arguments is the call's result, like every other.
        check_text(action, what="action of a call by name")
        if not isinstance(payload, str):  # pyright: ignore[reportUnnecessaryIsInstance] - tools pass any object
            # The value itself may be the secret: its type is enough for the message.
            got = type(payload) if has_secrets(job) else payload
            raise InvalidArgument(f"payload of {action}", got, "JSON text; empty when the action takes none")
        check_wait(action, wait_for, interrupt)
        spec = job.plan.commands.get(action)
        named = f"{action} of {job.kind}:{job.name}"
        of = named if spec is None or spec.input is None else spec.input.what
        # Before it is parsed: the limit protects from parsing megabytes.
        within(payload.encode(), job.max_input(action, limits.payload_bytes, limits.input_bytes), what=of)
        try:
            request = job.parse(
                action,
                payload,
                bare=bare,
                idempotency_key=key,
                wait_for=wait_for,
                trace=trace_context(trace),
                by=by,
            )
        except InvalidInput as wrong:
            if payload and not _is_json(payload):  # a client of another process checks that, and knows no types
                raise InvalidInput(named, wrong.problems) from wrong
            if isinstance(wrong, NewerOnly):  # or the caller has made a mistake: JSON does not tell
                raise InvalidInput(wrong.what, wrong.problems) from None
            raise
        if not interrupt:
            return request
        if not isinstance(request.command, Terminate):
            expected = "False: only terminate takes it; cancel of a workflow takes it in the payload"
            raise InvalidArgument(f"interrupt of {action}", interrupt, expected)
        return attrs.evolve(request, command=attrs.evolve(request.command, when="interrupt"))

    return build


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


# ---------------------------------------------------------------- many forks
async def fork_page(job: NamedJob, wanted: Mapping[str, Any]) -> Result[ForkedMany, CallError]:
    """Fork a page with workflows that match a filter, one after the other: a fork may copy 64 MiB.

    An id that ends with the suffix belongs to a fork, and is not forked: it may match the filter as well. An error that
    concerns one workflow does not stop the others. Every other error does, and a repeat finds the forks that exist.

    Args:
        job: the workflow's job.
        wanted: the operation's arguments, checked.

    Raises:
        UnknownAction: the job's instances cannot be forked.
    """
    kind, name = job.job
    if FORK_MANY.needs not in job.definition.plan.commands:
        raise UnknownAction(f"{kind}:{name}", "fork_many", job.actions)
    page = await result_of(job.gateway.find(_page_of(job.job, wanted)))
    if not isinstance(page, Success):
        return Failure(page.failure())
    listing, suffix = page.unwrap(), wanted["suffix"]
    ids = [each.address.id for each in listing if not each.address.id.endswith(suffix)]
    done = ForkedMany(matched=len(ids), after=listing.after, complete=listing.complete)
    for id_ in () if wanted["dry_run"] else ids:
        forked = await result_of(_fork(job, id_, wanted))
        if isinstance(forked, Success):
            number = "created" if forked.unwrap().created else "existed"
            done = attrs.evolve(done, **{number: getattr(done, number) + 1})
            continue
        error = forked.failure()
        if not isinstance(error, OF_ONE_WORKFLOW):
            return Failure(error)
        problem = ForkProblem(id=id_, message=excerpt(str(error)))
        # Bounded: the answer names examples, and counts all.
        done = attrs.evolve(done, refused=done.refused + 1, problems=(*done.problems, problem)[:MAX_PROBLEMS])
    return Success(done)


OF_ONE_WORKFLOW: Final = (ForkRefused, InvalidId, Undecodable, InstanceParked)
"""Errors that say nothing about the next workflow."""


def _page_of(job: Job, wanted: Mapping[str, Any]) -> ListFilter:
    return ListFilter(
        kind=job[0],
        name=job[1],
        status=wanted["status"],
        id_prefix=wanted["id_prefix"],
        where=wanted["where"],
        after=wanted["after"],
        limit=wanted["limit"],
    )


def _fork(job: NamedJob, id_: str, wanted: Mapping[str, Any]) -> Call[Any, Any]:
    given = {"source": id_, **{name: wanted[name] for name in ("step", "signals", "accept_undone")}}
    build = builder(job.definition, "fork", orjson.dumps(given).decode())
    return job.gateway.request(job.definition, id_ + wanted["suffix"], build, "fork_many")
