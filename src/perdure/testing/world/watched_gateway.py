"""How calls reach the worker that is open, and how they are noted on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Never, Protocol, TypeAlias

import attrs
from returns.result import Result

from perdure.client.client import Client, gateway_of
from perdure.client.local_gateway import LocalGateway
from perdure.jobs.call import Call, result_of
from perdure.jobs.definition import AnyDefinition, CallError
from perdure.jobs.request import Request
from perdure.testing.world.recorded_call import Reading, Unasked
from perdure.values.address import Address, Job
from perdure.values.limits import Limits
from perdure.values.listings import HoldResult, JobCount, ListFilter, Listing, StepRecord
from perdure.values.status import Hold, InstanceStatus

Read: TypeAlias = Callable[[AnyDefinition, str], Call[Any, Any]]


class Witness(Protocol):
    """Records every request and every answer."""

    def wrote(self, call: object, asking: Unasked, /) -> None:
        """A caller made a call and has not awaited it yet."""
        ...

    def asked(self, address: Address, request: Request, /) -> int:
        """A valid request goes to the engine. Return its number."""
        ...

    def read(self, address: Address, reading: Reading, /) -> None:
        """A caller reads committed data."""
        ...

    def answered(self, number: int, result: Result[Any, Any], /) -> None:
        """A caller got an answer."""
        ...


@attrs.frozen
class WatchedGateway(LocalGateway):
    """Reaches the instances of a worker, and reports each call to the witness."""

    witness: Witness

    def request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], name: str = "request", /
    ) -> Call[Any, Any]:
        """Send a request, and note it and its answer."""
        call = Call(partial(self._watched, definition, id_, build), name)
        self.witness.wrote(call, lambda: (definition.address(id_), build(Limits())))
        return call

    async def _watched(self, job: AnyDefinition, id_: str, build: Callable[[Limits], Request]) -> Result[Any, Any]:
        numbers: list[int] = []

        def noted(limits: Limits) -> Request:
            request = build(limits)
            numbers.append(self.witness.asked(job.address(id_), request))
            return request

        result = await self._begun(job, id_, noted)
        if numbers:
            self.witness.answered(numbers[0], result)
        return result

    def status(self, definition: AnyDefinition, id_: str, /) -> Call[InstanceStatus, CallError]:
        """Read the committed status, and note that."""
        return self._noted(definition, id_, "status", super().status)

    def state(self, definition: AnyDefinition, id_: str, /) -> Call[Any, Any]:
        """Read the committed state, and note that."""
        return self._noted(definition, id_, "get_state", super().state)

    def set_hold(self, job: Job, hold: Hold, /) -> Call[HoldResult, CallError]:
        """Hold or release a job, and note that."""
        reading: Reading = "hold" if hold == "held" else "release"
        address = Address(*job, "")
        call = Call(partial(self._set_hold_noted, address, reading, job, hold), "set_hold")
        self.witness.wrote(call, lambda: (address, reading))
        return call

    async def _set_hold_noted(
        self, address: Address, reading: Reading, job: Job, hold: Hold
    ) -> Result[HoldResult, CallError]:
        self.witness.read(address, reading)
        return await self._set_hold(job, hold)

    def _noted(self, job: AnyDefinition, id_: str, reading: Reading, read: Read) -> Call[Any, Any]:
        call = Call(partial(self._read_noted, job, id_, reading, read), reading)
        self.witness.wrote(call, lambda: (job.address(id_), reading))
        return call

    async def _read_noted(self, job: AnyDefinition, id_: str, reading: Reading, read: Read) -> Result[Any, Any]:
        self.witness.read(job.address(id_), reading)
        return await result_of(read(job, id_))


@attrs.frozen
class CurrentGateway:
    """Brings the calls of a handle to the worker that is open when they are made: a handle outlives crashes."""

    jobs: Callable[[], Client]

    def request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], name: str = "request", /
    ) -> Call[Any, Any]:
        """Send a request."""
        return gateway_of(self.jobs()).request(definition, id_, build, name)

    def status(self, definition: AnyDefinition, id_: str, /) -> Call[InstanceStatus, CallError]:
        """Read the committed status."""
        return gateway_of(self.jobs()).status(definition, id_)

    def state(self, definition: AnyDefinition, id_: str, /) -> Call[Any, Any]:
        """Read the committed state, decoded."""
        return gateway_of(self.jobs()).state(definition, id_)

    def steps(self, definition: AnyDefinition, id_: str, /) -> Call[tuple[StepRecord, ...], CallError]:
        """Read the steps of an instance."""
        return gateway_of(self.jobs()).steps(definition, id_)

    def set_hold(self, job: Job, hold: Hold, /) -> Call[HoldResult, CallError]:
        """Hold or release a job."""
        return gateway_of(self.jobs()).set_hold(job, hold)

    def count(self, job: Job, /) -> Call[JobCount, CallError]:
        """Count the instances of a job by status."""
        return gateway_of(self.jobs()).count(job)

    def find(self, wanted: ListFilter, /) -> Call[Listing, CallError]:
        """Find instances."""
        return gateway_of(self.jobs()).find(wanted)

    def concurrently(self, calls: Sequence[Call[Any, Any]], /) -> Call[tuple[Result[Any, Any], ...], Never]:
        """Make several calls at the same time."""
        return gateway_of(self.jobs()).concurrently(calls)
