"""Creates the instances that an app declares, before the engine accepts requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.dispatcher import Dispatcher
from perdure.engine.residents import Residents
from perdure.jobs.ensured import Ensured
from perdure.runtime.record import Future, LogRecord, Runtime, SpawnedTask
from perdure.values.errors import EnsureFailed

CONCURRENCY: Final = 32
"""Declared instances that are read and created at the same time."""

PATIENCE_MS: Final = 10_000
"""How long the start of the engine waits for requests that wait for a slot or for a service."""


@attrs.define
class Ensuring:
    """Creates the declared instances that the store does not have. Existing ones remain as they are.

    Attributes:
        residents: returns the existing instances.
        runtime: creates the tasks.
        dispatcher: executes the requests.
        declared: the instances.
        tasks: the tasks that create them; the engine cancels them when it stops.
        created: how many were created so far.
    """

    residents: Residents
    runtime: Runtime
    dispatcher: Dispatcher
    declared: Sequence[Ensured]
    tasks: list[SpawnedTask[Any]] = attrs.Factory(list[SpawnedTask[Any]])
    created: int = 0
    _left: int = 0
    _over: Future[EnsureFailed | None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._over = self.runtime.future()

    async def run(self) -> None:
        """Create them. Return when each exists, or after `PATIENCE_MS`: the remaining ones are created later.

        Raises:
            EnsureFailed: one could not be created. Others remain.
        """
        if not self.declared:
            return
        self._left = len(self.declared)
        waiting = iter(self.declared)
        self.tasks.extend(
            self.runtime.spawn(self._create_each(waiting), name="declared instances")
            for _ in range(min(CONCURRENCY, self._left))
        )
        timer = self.runtime.call_later(PATIENCE_MS, self._stop_waiting)
        try:
            failed = await self._over
        finally:
            timer.cancel()
        if failed is not None:
            raise failed from failed.error

    async def _create_each(self, waiting: Iterator[Ensured]) -> None:
        for declared in waiting:
            match await self._created(declared):
                case Success(found):
                    self.created += found == "absent"
                    self._left -= 1
                case Failure(error):
                    self._fail(EnsureFailed(str(declared.address), declared.request.action, error))
            if self._left == 0:
                self._log("info", "declared instances exist", declared=len(self.declared), created=self.created)
                self._settle(None)

    async def _created(self, declared: Ensured) -> Success[Literal["absent", "exists"]] | Failure[Exception]:
        loaded = await self.residents.load(declared.address)
        if not isinstance(loaded, Success):
            return Failure(loaded.failure())
        if loaded.unwrap().instance is not None:
            return Success("exists")
        await self.dispatcher.room_for(declared.address)
        answer: Result[Any, Any] = await self.dispatcher.post(declared.job, declared.address, declared.request)
        return Success("absent") if isinstance(answer, Success) else Failure(answer.failure())

    def _fail(self, failed: EnsureFailed) -> None:
        if self._over.done():  # the engine serves by now
            self._log("error", "a declared instance was not created", job=failed.address, error=str(failed.error))
        self._settle(failed)

    def _stop_waiting(self) -> None:
        if not self._over.done():
            self._log("warning", "declared instances are created later", waiting=self._left)
        self._settle(None)

    def _settle(self, failed: EnsureFailed | None) -> None:
        if not self._over.done():
            self._over.set_result(failed)

    def _log(self, level: Literal["info", "warning", "error"], message: str, **fields: object) -> None:
        self.runtime.log(LogRecord(level, message, {"store": self.residents.store.name} | fields))
