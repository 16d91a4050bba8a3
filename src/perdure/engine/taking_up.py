"""Takes up instances and messages that other code left: at the start, and on a shared store periodically."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NoReturn

import attrs
from returns.result import Failure, Success

from perdure.engine.dispatcher import Dispatcher
from perdure.engine.outbox import Outbox
from perdure.engine.turn_outcome import TurnAnswer
from perdure.engine.wake import Wake
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import TAKE_UP, TakeUp
from perdure.programs.future import answer_of
from perdure.runtime.record import Future, LogRecord, Runtime
from perdure.stores.contract import Store
from perdure.stores.snapshots import read_journal
from perdure.values.address import Address, Job
from perdure.values.errors import InvalidInput
from perdure.values.instance import Instance
from perdure.values.limits import Limits

POLL_MS: Final = 500
"""How often an engine of a shared store looks for instances that engines of other code have left."""


@attrs.define(eq=False)
class TakingUp:
    """The loop that tries the instances that other code left and this code did not.

    Each attempt changes the mark: this code continues the instance, or its fingerprint joins those that left it. So the
    loop tries each instance once, and a query costs no more for those that this code left.

    Attributes:
        store: returns the instances that other code left.
        runtime: the only interface to time.
        dispatcher: executes the turns.
        outbox: delivers the messages that other code left.
        jobs: the served definitions.
        codes: the fingerprint of each.
        limits: the engine's limits.
        others: whether engines of other code may write the store at the same time.
    """

    store: Store
    runtime: Runtime
    dispatcher: Dispatcher
    outbox: Outbox
    jobs: Mapping[Job, AnyDefinition]
    codes: Mapping[Job, str]
    limits: Limits
    others: bool
    _wake: Wake = attrs.field(init=False)
    _posted: dict[Address, Future[TurnAnswer]] = attrs.Factory(dict[Address, "Future[TurnAnswer]"])

    def __attrs_post_init__(self) -> None:
        self._wake = Wake(self.runtime)

    async def run(self) -> NoReturn:
        """Take up instances until the task is cancelled. An engine that owns its store looks until none is left."""
        while True:
            found = await self._look()
            if found == "nothing" and not self.others:
                await Wake(self.runtime).wait_until(None)
            if found != "nothing" and self._posted:
                await self._wake.wait_until(self.runtime.now_ms() + POLL_MS)
            if found != "page" or self._posted:
                await self.runtime.sleep(POLL_MS)

    async def _look(self) -> Literal["page", "some", "nothing"]:
        """Try left instances; return whether they were a full page, some or none."""
        offered = await self.outbox.deliver_left(self.codes)
        limit = self.limits.recovery_page
        match await answer_of(self.store.left_to(self.codes, limit + len(self._posted))):
            case Success(rows):
                for row in rows:
                    if row.address not in self._posted:
                        await self._try(row)
                return "page" if len(rows) >= limit else "some" if rows or offered else "nothing"
            case Failure(error):
                self.runtime.log(LogRecord("warning", "left instances not read", {"error": str(error)}))
                return "some"
            case unexpected:
                raise TypeError(f"a store returns Success or Failure, not {unexpected!r}")

    async def _try(self, row: Instance) -> None:
        job, address = self.jobs[row.address.kind, row.address.name], row.address
        problem = await self._diverged(job, row)
        request = TAKE_UP if problem is None else attrs.evolve(TAKE_UP, command=TakeUp(problem))
        answer = self._posted[address] = self.dispatcher.post(job, address, request, counts=0)
        answer.add_done_callback(lambda _: self._tried(address))

    def _tried(self, address: Address) -> None:
        del self._posted[address]
        if not self._posted:
            self._wake.ring()

    async def _diverged(self, job: AnyDefinition, row: Instance) -> InvalidInput | None:
        """Return why the code of a job cannot continue from the journal of a row; it performs nothing."""
        if job.keeps_journal == "no":
            return None
        rows = await read_journal(self.store, row, self.limits.journal_page)
        if not isinstance(rows, Success):
            return None  # the run reads it again
        try:
            job.check_journal(row, rows.unwrap())
        except InvalidInput as problem:
            return problem
        return None
