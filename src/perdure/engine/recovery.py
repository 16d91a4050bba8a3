"""Recovers abandoned runs: before the engine accepts requests, and on a shared store whenever an engine has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from returns.future import FutureResult
from returns.result import Success

from perdure.engine.dispatcher import Dispatcher
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import RECOVER
from perdure.programs.container import result_inside
from perdure.stores.contract import Store
from perdure.values.instance import Instance
from perdure.values.limits import Limits


@attrs.frozen
class Recovery:
    """Puts a recovery at the head of the mailbox of every instance that needs one.

    Attributes:
        store: returns the instances with a claim.
        dispatcher: executes the turns.
        jobs: the served definitions; instances of other jobs are ignored.
        recovers: whether this engine recovers the claims of a row that the store returned.
        limits: the engine's limits.
    """

    store: Store
    dispatcher: Dispatcher
    jobs: Mapping[tuple[str, str], AnyDefinition]
    recovers: Callable[[Instance], bool] = lambda _: True
    limits: Limits = Limits()

    async def claims(self) -> int:
        """Post the recoveries of abandoned runs, and return their number.

        Raises:
            StoreError: the store failed.
        """
        recovered = 0
        after, page = 0, self.limits.recovery_page
        while rows := await _page(lambda: self.store.claimed(after, page)):  # noqa: B023 - awaited at once
            recovered += self._post(tuple(filter(self.recovers, rows)))
            after = rows[-1].incarnation
        return recovered

    def _post(self, rows: tuple[Instance, ...]) -> int:
        posted = 0
        for row in rows:
            job = self.jobs.get((row.address.kind, row.address.name))
            if job is not None:
                self.dispatcher.post(job, row.address, RECOVER, counts=0)
                posted += 1
        return posted


async def _page(read: Callable[[], FutureResult[tuple[Instance, ...], Any]]) -> tuple[Instance, ...]:
    answer = result_inside(await read())
    if isinstance(answer, Success):
        rows: tuple[Instance, ...] = answer.unwrap()
        return rows
    raise answer.failure()
