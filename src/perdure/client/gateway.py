"""The calls that handles make: requests and reads of one instance, checked and passed to the running engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.client.arguments import check_definition
from perdure.engine.collect_inputs import collect_inputs
from perdure.engine.running import RunningEngine
from perdure.jobs.definition import AnyDefinition, CallError
from perdure.jobs.explanation import Answers, Explanation, explain
from perdure.jobs.keys import check_key
from perdure.jobs.report import NOT_FOUND
from perdure.jobs.request import Request
from perdure.programs.future import answer_of, once
from perdure.values.address import check_id
from perdure.values.answer import InstanceStatus
from perdure.values.errors import InvalidInput, RequestError, Undecodable
from perdure.values.limits import Limits
from perdure.values.transition import Loaded


@attrs.frozen
class Gateway:
    """Reaches the instances of one running engine. Every call checks its arguments when it is awaited.

    Attributes:
        engine: executes the turns, and holds the store.
    """

    engine: RunningEngine

    def request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], /
    ) -> FutureResult[Any, Any]:
        """Send a request."""
        return once(self._request(definition, id_, build))

    async def _request(self, job: AnyDefinition, id_: str, build: Callable[[Limits], Request]) -> Result[Any, Any]:
        try:
            address = job.address(check_id(id_))
            request = build(self.engine.limits)
            check_key(request.idempotency_key)
        except RequestError as refused:
            return Failure(refused)
        if self.engine.limits.on_full == "block":
            await self.engine.dispatcher.room_for(address)
        answer: Result[Any, Any] = await self.engine.dispatcher.post(job, address, request)
        return answer

    def status(self, definition: AnyDefinition, id_: str, /) -> FutureResult[InstanceStatus, CallError]:
        """Read the committed status."""
        return once(
            self._read(
                definition,
                id_,
                lambda loaded: NOT_FOUND if loaded.instance is None else definition.report(loaded.instance),
            )
        )

    def state(self, definition: AnyDefinition, id_: str, /) -> FutureResult[Any, CallError]:
        """Read and decode the committed state; None if there is no instance."""
        return once(
            self._read(
                definition,
                id_,
                lambda loaded: (
                    None if loaded.instance is None else definition.visible_state(definition.present(loaded.instance))
                ),
            )
        )

    async def _read(self, job: AnyDefinition, id_: str, view: Callable[[Loaded], Any]) -> Result[Any, CallError]:
        try:
            address = job.address(check_id(id_))
        except RequestError as refused:
            return Failure(refused)
        loaded = await answer_of(self.engine.store.load(address, None, 0))
        if not isinstance(loaded, Success):
            return loaded
        try:
            return Success(view(loaded.unwrap()))
        except InvalidInput as problem:
            return Failure(Undecodable(str(address), problem.problems))

    def explain_request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], answers: Answers, /
    ) -> FutureResult[Explanation, CallError]:
        """Compute the effect of a request without applying it."""
        return once(self._explain(definition, id_, build, answers))

    async def _explain(
        self, job: AnyDefinition, id_: str, build: Callable[[Limits], Request], answers: Answers
    ) -> Result[Explanation, CallError]:
        engine = self.engine
        try:
            address = check_definition(job, of="explain").address(check_id(id_))
            request = build(engine.limits)
            check_key(request.idempotency_key)
        except RequestError as refused:
            return Failure(refused)
        found = await answer_of(engine.store.load(address, request.idempotency_key, engine.runtime.now_ms()))
        if not isinstance(found, Success):
            return Failure(found.failure())
        loaded = found.unwrap()
        inputs = collect_inputs(
            engine.runtime, engine.store, engine.limits, running=engine.dispatcher.running_at(address)
        )
        services = engine.turns.services
        return Success(explain(job, address, loaded, request, inputs=(inputs,), answers=answers, services=services))
