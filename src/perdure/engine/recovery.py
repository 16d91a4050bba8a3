"""Recovers abandoned runs: before the engine accepts requests, and on a shared store whenever an engine has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from returns.future import FutureResult
from returns.result import Success

from perdure.engine.dispatcher import Dispatcher
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import RECOVER, REDECODE, Request
from perdure.programs.container import result_inside
from perdure.stores.journals import read_journal
from perdure.stores.store import Query, Store
from perdure.values.address import Address
from perdure.values.errors import InvalidInput
from perdure.values.instance import Instance
from perdure.values.limits import Limits


@attrs.frozen
class Recovery:
    """Puts a recovery at the head of the mailbox of every instance that needs one.

    Attributes:
        store: returns the instances with a claim, and those that could not be decoded.
        dispatcher: executes the turns.
        jobs: the served definitions; instances of other jobs are ignored.
        is_own: whether this engine decodes an undecodable instance again; on a shared store, those of its share.
        recovers: whether this engine recovers the claims of a row that the store returned.
        limits: the engine's limits.
    """

    store: Store
    dispatcher: Dispatcher
    jobs: Mapping[tuple[str, str], AnyDefinition]
    is_own: Callable[[Address], bool] = lambda _: True
    recovers: Callable[[Instance], bool] = lambda _: True
    limits: Limits = Limits()

    async def run(self) -> int:
        """Post the recoveries.

        Returns:
            The number of abandoned runs.

        Raises:
            StoreError: the store failed.
        """
        recovered = await self.claims()
        await self.undecodable()
        return recovered

    async def undecodable(self) -> None:
        """Decode instances again that this engine, or an older one, could not decode.

        Raises:
            StoreError: the store failed.
        """
        last: Address | None = None
        page = self.limits.recovery_page
        while rows := await _page(lambda: self.store.find(Query(suspension="undecodable", after=last, limit=page))):  # noqa: B023
            own = [row for row in rows if self.is_own(row.address)]
            self._post(tuple([row for row in own if await self._is_followed(row)]), REDECODE)
            last = rows[-1].address

    async def _is_followed(self, row: Instance) -> bool:
        """Return whether the code of a job may be able to continue from the journal of a row; it is not run."""
        job = self.jobs.get((row.address.kind, row.address.name))
        if job is None or job.keeps_journal == "no":
            return True
        rows = await read_journal(self.store, row, self.limits.journal_page)
        try:
            job.check_journal(row, rows.value_or(()))
        except InvalidInput:
            return not isinstance(rows, Success)
        return True

    async def claims(self) -> int:
        """Post the recoveries of abandoned runs only, and return their number.

        Raises:
            StoreError: the store failed.
        """
        recovered = 0
        after, page = 0, self.limits.recovery_page
        while rows := await _page(lambda: self.store.claimed(after, page)):  # noqa: B023 - awaited at once
            recovered += self._post(tuple(filter(self.recovers, rows)), RECOVER)
            after = rows[-1].incarnation
        return recovered

    def _post(self, rows: tuple[Instance, ...], request: Request) -> int:
        posted = 0
        for row in rows:
            job = self.jobs.get((row.address.kind, row.address.name))
            if job is not None:
                self.dispatcher.post(job, row.address, request, counts=0)
                posted += 1
        return posted


async def _page(read: Callable[[], FutureResult[tuple[Instance, ...], Any]]) -> tuple[Instance, ...]:
    answer = result_inside(await read())
    if isinstance(answer, Success):
        rows: tuple[Instance, ...] = answer.unwrap()
        return rows
    raise answer.failure()
