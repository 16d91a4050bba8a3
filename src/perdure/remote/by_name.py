"""A job of an engine in another process, by its name: JSON in and out, without its definition."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import orjson
from returns.result import Failure, Result

from perdure.client.arguments import check_history, check_text, check_timeout, check_wanted
from perdure.jobs.call import Call, result_of
from perdure.jobs.definition import CallError, EventError
from perdure.jobs.explanation import NO_ANSWERS, Answers
from perdure.jobs.keys import check_key
from perdure.jobs.request import WaitFor, check_wait
from perdure.remote.servers import ServerCall
from perdure.stores.values import LoggedEvent
from perdure.values.address import Address, check_id
from perdure.values.errors import InvalidArgument, InvalidInput, RequestError
from perdure.values.listings import HoldResult, InstanceOutcome, JobCount, StepRecord
from perdure.values.status import InstanceStatus
from perdure.values.status_wait import Awaited, AwaitedStatus
from perdure.values.times import Duration
from perdure.values.trace import trace_context
from perdure.wire.envelope import Envelope
from perdure.wire.paths import instance_path
from perdure.wire.records import record_of
from perdure.wire.steps import steps_from

if TYPE_CHECKING:
    from perdure.remote.gateway import RemoteGateway


@attrs.frozen(eq=False)
class RemoteJob:
    """The calls of a job, by the names of its actions. The server checks the names.

    Attributes:
        kind: the kind of the job.
        name: its name.
        gateway: reaches the server.
    """

    kind: str
    name: str
    gateway: RemoteGateway = attrs.field(repr=False)

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
        """Send a request; see `JobByName.call`. The error of a ``Rejected`` is a `Defect` with the name of its class.

        The message of the `Defect` is the JSON of the error, with ``<secret>`` in the place of each secret.
        """

        def build() -> Envelope:
            check_wait(action, wait_for, interrupt)
            return self._envelope(
                action,
                id_,
                payload,
                key=idempotency_key,
                wait_for=wait_for,
                interrupt=interrupt,
                trace=trace_context(trace),
            )

        return Call(partial(self._ask, build), "call")

    async def _ask(self, build: Callable[[], Envelope]) -> Result[Any, Any]:
        try:
            envelope = build()
        except RequestError as refused:
            return Failure(refused)
        return await self.gateway.ask(envelope, _unchanged)

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
        """Compute the effect of a request without applying it, on the server; see `JobByName.explain`."""
        return Call(partial(self._explain, action, id_, payload, answers, idempotency_key), "explain")

    async def _explain(
        self, action: str, id_: str, payload: str, answers: Answers, key: str | None
    ) -> Result[Any, Any]:
        try:
            if answers:
                raise InvalidArgument("answers of explain", answers, "none: use the definition to pass answers")
            envelope = self._envelope(action, id_, payload, key=_in_a_header(key))
        except RequestError as refused:
            return Failure(refused)
        path = instance_path(Address(self.kind, self.name, id_), "explain", action)
        call = ServerCall(about=str(Address(self.kind, self.name, id_)), repeat="reads")
        return await self.gateway.http("POST", path, _unchanged, call, envelope.payload, key)

    def status(self, id_: str, /) -> Call[InstanceStatus, CallError]:
        """Read the committed status."""
        return Call(partial(self._read, "status", id_, lambda answer: record_of(InstanceStatus, answer)), "status")

    def get_state(self, id_: str, /) -> Call[Any, CallError]:
        """Read the committed state as JSON-able data; None when there is no instance."""
        return Call(partial(self._read, "get_state", id_, _unchanged), "get_state")

    def shown_state(self, id_: str, /) -> Call[Any, CallError]:
        """Read the committed state as JSON-able data, with ``<secret>`` in the place of each secret."""
        return Call(partial(self._read, "shown_state", id_, _unchanged), "shown_state")

    def shown_outcome(self, id_: str, /) -> Call[InstanceOutcome | None, CallError]:
        """Read how an instance ended, without secrets; None if it has not, or if its kind does not keep that."""
        return Call(partial(self._read, "shown_outcome", id_, _outcome), "shown_outcome")

    def steps(self, id_: str, /) -> Call[tuple[StepRecord, ...], CallError]:
        """Read the steps of an instance with a journal, such as a workflow."""
        return Call(partial(self._read, "steps", id_, steps_from), "steps")

    async def _read(self, action: str, id_: str, decode: Callable[[Any], Any]) -> Result[Any, Any]:
        try:
            envelope = self._envelope(action, id_, "")
        except RequestError as refused:
            return Failure(refused)
        return await self.gateway.ask(envelope, decode)

    def until(
        self, id_: str, /, *statuses: AwaitedStatus, phases: tuple[str, ...] = (), timeout: Duration = "1 minute"
    ) -> Call[Awaited, CallError]:
        """Wait until an instance has one of these statuses or phases, or until its end; see `Client.until`."""
        return Call(partial(self._until, id_, statuses, phases, timeout), "until")

    async def _until(
        self, id_: str, statuses: tuple[str, ...], phases: tuple[str, ...], within: Duration
    ) -> Result[Awaited, CallError]:
        try:
            address = Address(self.kind, self.name, check_id(id_))
            wanted, timeout_ms = check_wanted(statuses, phases), check_timeout(within)
        except RequestError as refused:
            return Failure(refused)
        return await result_of(self.gateway.until(address, wanted, timeout_ms))

    def hold(self) -> Call[HoldResult, CallError]:
        """Hold the job; see `JobHandle.hold`."""
        return self.gateway.set_hold((self.kind, self.name), "held")

    def release(self) -> Call[HoldResult, CallError]:
        """Release the job."""
        return self.gateway.set_hold((self.kind, self.name), "released")

    def count(self) -> Call[JobCount, CallError]:
        """Count the instances of the job by status, and read whether it is held."""
        return self.gateway.count((self.kind, self.name))

    def history(
        self, id_: str, /, *, before: int | None = None, limit: int = 100
    ) -> Call[tuple[LoggedEvent, ...], CallError]:
        """Read the newest events of an address, the newest first; see `Client.history`."""
        return Call(partial(self._history, id_, before, limit), "history")

    async def _history(self, id_: str, before: int | None, limit: int) -> Result[tuple[LoggedEvent, ...], CallError]:
        try:
            address, page = Address(self.kind, self.name, check_id(id_)), check_history(before, limit)
        except RequestError as refused:
            return Failure(refused)
        return await result_of(self.gateway.history(address, *page))

    def _envelope(self, action: str, id_: str, payload: str, **given: Any) -> Envelope:
        check_text(action, what="action of a call by name")
        check_id(id_)
        check_key(given.get("key"))
        if not isinstance(payload, str):  # pyright: ignore[reportUnnecessaryIsInstance] - tools pass any object
            raise InvalidArgument(f"payload of {action}", payload, "JSON text; empty when the action takes none")
        if payload:
            try:
                orjson.loads(payload)
            except orjson.JSONDecodeError as error:
                raise InvalidInput(f"{action} of {self.kind}:{self.name}", (f"$: not JSON: {error}",)) from error
        return Envelope(
            number=0, kind=self.kind, job=self.name, id=id_, action=action, payload=payload.encode(), **given
        )


def _in_a_header(key: str | None) -> str | None:
    check_key(key)
    if key is None or (key.isprintable() and key == key.strip()):
        return key
    raise InvalidArgument("idempotency_key of explain", key, "printable text without blanks at its ends")


def _unchanged(answer: Any) -> Any:
    return answer


def _outcome(answer: Any) -> InstanceOutcome | None:
    return None if answer is None else record_of(InstanceOutcome, answer)
