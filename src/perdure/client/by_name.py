"""Untyped access to a job of this process, for tools: by kind and name, with JSON in and out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import attrs
import orjson
from returns.result import Failure, Result

from perdure.client.arguments import check_timeout, check_wanted
from perdure.codecs import NewerOnly
from perdure.jobs.call import Call, mapped, result_of
from perdure.jobs.definition import AnyDefinition, CallError, Definition, Dispatch, EventError
from perdure.jobs.explanation import NO_ANSWERS, Answers, Explanation
from perdure.jobs.redaction import has_secrets
from perdure.jobs.request import ALARM, Request, Terminate, WaitFor, check_wait, within
from perdure.stores.values import LoggedEvent
from perdure.values.address import Address, check_id
from perdure.values.errors import InvalidArgument, InvalidInput, RequestError
from perdure.values.limits import Limits
from perdure.values.listings import HoldResult, InstanceOutcome, JobCount, StepRecord
from perdure.values.status import InstanceStatus
from perdure.values.status_wait import Awaited, AwaitedStatus, WaitCondition
from perdure.values.times import Duration
from perdure.values.trace import trace_context
from perdure.wire.explanation import explanation_data
from perdure.wire.operations import HISTORY, check_text


class InspectingDispatch(Dispatch, Protocol):
    """A dispatch that can also explain a request, read a history and wait for a status."""

    def explain_request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], answers: Answers, /
    ) -> Call[Explanation, CallError]:
        """Compute a request's effect. It is built, and so validated, when the explanation is awaited."""
        ...

    def shown_outcome(self, definition: AnyDefinition, id_: str, /) -> Call[InstanceOutcome | None, CallError]:
        """Read how an instance ended, without secrets."""
        ...

    def state_text(self, definition: AnyDefinition, id_: str, /) -> Call[str | None, CallError]:
        """Read the committed state as JSON, with all that newer code wrote. None if there is no instance."""
        ...

    def shown_state(self, definition: AnyDefinition, id_: str, /) -> Call[str | None, CallError]:
        """Read the committed state as JSON without secrets. None if there is no instance."""
        ...

    def until(self, address: Address, wanted: WaitCondition, timeout_ms: int, /) -> Call[Awaited, CallError]:
        """Wait until an instance has a wanted status."""
        ...

    def history(
        self, address: Address, /, *, before: int | None, limit: int
    ) -> Call[tuple[LoggedEvent, ...], CallError]:
        """Read an address's newest events, the newest first."""
        ...


@attrs.frozen
class NamedJob:
    """A job's calls, by its actions' names.

    Attributes:
        definition: the job.
        dispatch: the interface to the engine.
    """

    definition: Definition[Any, Any, Any]  # of any handle, sender and services
    dispatch: InspectingDispatch

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.definition.kind}:{self.definition.name}>"

    @property
    def actions(self) -> tuple[str, ...]:
        """The names of the actions that ``call`` takes."""
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
        """Send a request.

        Args:
            action: such as ``send``.
            id_: the instance.
            payload: the input as JSON text. Empty when the action takes none.
            idempotency_key: a repeat with this key gets the first answer.
            wait_for: when a call that runs user code is answered: at its ``completion`` or at its ``start``.
            interrupt: whether ``terminate`` cancels a run in progress.
            trace: the caller's trace context, as the header ``traceparent``. By default the current one.

        Returns:
            The answer as JSON-able data.
        """
        job, answers = self.definition, self.definition.plan.answers
        build = builder(job, action, payload, idempotency_key, wait_for, interrupt=interrupt, trace=trace)
        sent = self.dispatch.request(job, id_, build, f"call of {job.kind}:{job.name}")
        return mapped(sent, lambda answer: orjson.loads(answers.encode(answer)))

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
        """Compute a request's effect without applying it, as JSON-able data. See `Client.explain`.

        Args:
            action: such as ``send``. Or ``alarm``, its alarm if it is due.
            id_: the instance.
            payload: the input as JSON text. Empty when the action takes none.
            answers: the answers of services, by the effect's name.
            idempotency_key: of the request.
        """
        build: Callable[[Limits], Request] = (
            _alarm if action == ALARM.action else builder(self.definition, action, payload, idempotency_key)
        )
        explanation = self.dispatch.explain_request(self.definition, id_, build, answers)
        return mapped(explanation, lambda explained: explanation_data(self.definition, explained))

    def status(self, id_: str, /) -> Call[InstanceStatus, CallError]:
        """Read the committed status."""
        return self.dispatch.status(self.definition, id_)

    def get_state(self, id_: str, /) -> Call[Any, CallError]:
        """Read the committed state as JSON-able data. None when there is no instance."""
        text = self.dispatch.state_text(self.definition, id_)
        return mapped(text, lambda state: None if state is None else orjson.loads(state))

    def shown_state(self, id_: str, /) -> Call[Any, CallError]:
        """Read the committed state as JSON-able data, with ``<secret>`` in each secret's place."""
        text = self.dispatch.shown_state(self.definition, id_)
        return mapped(text, lambda state: None if state is None else orjson.loads(state))

    def shown_outcome(self, id_: str, /) -> Call[InstanceOutcome | None, CallError]:
        """Read how an instance ended, without secrets. None if it has not, or if its kind does not keep that."""
        return self.dispatch.shown_outcome(self.definition, id_)

    def steps(self, id_: str, /) -> Call[tuple[StepRecord, ...], CallError]:
        """Read the steps of an instance with a journal, such as a workflow."""
        return self.dispatch.steps(self.definition, id_)

    def until(
        self, id_: str, /, *statuses: AwaitedStatus, phases: tuple[str, ...] = (), timeout: Duration = "1 minute"
    ) -> Call[Awaited, CallError]:
        """Wait until an instance has one of these statuses or phases, or until its end. See `Client.until`."""
        return Call(partial(self._until, id_, statuses, phases, timeout), "until")

    async def _until(
        self, id_: str, statuses: tuple[str, ...], phases: tuple[str, ...], within: Duration
    ) -> Result[Awaited, CallError]:
        try:
            address = self.definition.address(check_id(id_))
            wanted, timeout_ms = check_wanted(statuses, phases), check_timeout(within)
        except RequestError as refused:
            return Failure(refused)
        return await result_of(self.dispatch.until(address, wanted, timeout_ms))

    def hold(self) -> Call[HoldResult, CallError]:
        """Hold the job. See `JobHandle.hold`."""
        return self.dispatch.set_hold((self.definition.kind, self.definition.name), "held")

    def release(self) -> Call[HoldResult, CallError]:
        """Release the job."""
        return self.dispatch.set_hold((self.definition.kind, self.definition.name), "released")

    def count(self) -> Call[JobCount, CallError]:
        """Count the job's instances by status, and read whether it is held."""
        return self.dispatch.count((self.definition.kind, self.definition.name))

    def history(
        self, id_: str, /, *, before: int | None = None, limit: int = 100
    ) -> Call[tuple[LoggedEvent, ...], CallError]:
        """Read an address's newest events, the newest first. See `Client.history`."""
        return Call(partial(self._history, id_, before, limit), "history")

    async def _history(self, id_: str, before: int | None, limit: int) -> Result[tuple[LoggedEvent, ...], CallError]:
        try:
            address, page = self.definition.address(check_id(id_)), HISTORY.checked({"before": before, "limit": limit})
        except RequestError as refused:
            return Failure(refused)
        return await result_of(self.dispatch.history(address, **page))


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
        bare: the payload without defaults. See `CommandSpec.accept`.

    Returns:
        A function of the limits, which raises a ``RequestError`` for an argument that is not valid.
    """

    def build(limits: Limits) -> Request:
        check_text(action, what="action of a call by name")
        if not isinstance(payload, str):  # pyright: ignore[reportUnnecessaryIsInstance] - tools pass any object
            got = type(payload) if has_secrets(job) else payload
            raise InvalidArgument(f"payload of {action}", got, "JSON text; empty when the action takes none")
        check_wait(action, wait_for, interrupt)
        spec = job.plan.commands.get(action)
        named = f"{action} of {job.kind}:{job.name}"
        of = named if spec is None or spec.input is None else spec.input.what
        within(payload.encode(), limits.payload_bytes, what=of)
        try:
            request = job.parse(action, payload, bare=bare, idempotency_key=key)
        except InvalidInput as wrong:
            if payload and not _is_json(payload):  # a client of another process checks that, and knows no types
                raise InvalidInput(named, wrong.problems) from wrong
            if isinstance(wrong, NewerOnly):  # or the caller has made a mistake: JSON does not tell
                raise InvalidInput(wrong.what, wrong.problems) from None
            raise
        command = request.command
        if interrupt:
            if not isinstance(command, Terminate):
                expected = "False: only terminate takes it; cancel of a workflow takes it in the payload"
                raise InvalidArgument(f"interrupt of {action}", interrupt, expected)
            command = attrs.evolve(command, when="interrupt")
        return attrs.evolve(request, command=command, wait_for=wait_for, trace=trace_context(trace))

    return build


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
