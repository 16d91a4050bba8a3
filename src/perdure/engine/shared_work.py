"""The work of one engine on a shared store: what it reads of the store, and when it looks again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from returns.future import FutureResult
from returns.result import Success

from perdure.engine.checkpoints import RunLost
from perdure.engine.membership import Membership
from perdure.engine.perform import Perform
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.step import Execute
from perdure.programs.future import settled
from perdure.runtime.record import Runtime
from perdure.stores.contract import Sharing, Store
from perdure.stores.values import DuePosition
from perdure.values.address import Address, Job
from perdure.values.errors import OutcomeUnknown, StoreError
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage

ALARM_POLL_MS: Final = 500
"""How often alarms are read again, because other engines set alarms too."""

MESSAGE_POLL_MS: Final = 200
"""How often messages are read again, because other engines and transactions of the user send messages too."""

NOTIFIED_POLL_MS: Final = 1_000
"""The same where the store notifies the engine of the transactions of the user."""

WRITER_FIRST_MS: Final = 1_000
"""How long a message is left to the engine that wrote it."""

SOON_MS: Final = 1_000
"""An alarm that is due this soon is fired by the engine that set it, whatever its share."""


def membership_of(
    store: Store, runtime: Runtime, jobs: Mapping[Job, AnyDefinition]
) -> tuple[Membership | None, Runtime]:
    """Return the membership of an engine, None if it owns its store, and its runtime: with the clock of a shared store.

    Args:
        store: an open store.
        runtime: the only interface to time.
        jobs: the definitions that the engine serves.
    """
    if store.sharing is None:
        return None, runtime
    served = {job: definition.plan.state_version for job, definition in jobs.items()}
    membership = Membership(store.sharing, store.epoch, runtime, served)
    # One clock decides for all engines when an alarm is due.
    return membership, attrs.evolve(runtime, now_ms=membership.now_ms)


def work_of(store: Store, membership: Membership | None) -> Store:
    """Return the store as the loops of one engine read it: with the due alarms and the messages of its share only.

    The loops never ask when there will be more: other engines write too, so they look again periodically.

    Args:
        store: the store.
        membership: knows the share; None for an owned store, which the loops read completely.
    """
    if store.sharing is None or membership is None:
        return store
    work = _Work(store.sharing, membership)
    return attrs.evolve(
        store,
        due=work.due,
        due_except=work.due_except,
        next_alarm=work.unknown,
        messages=work.messages,
        next_message=work.unknown,
        claimed=work.abandoned,
    )


def left_work_of(store: Store, membership: Membership) -> Store:
    """Return the store as an engine reads it that recovers all abandoned claims, whatever its share.

    Args:
        store: the store.
        membership: knows the other engines.
    """
    sharing = membership.sharing

    def abandoned(after_incarnation: int, limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        return sharing.abandoned(after_incarnation, limit, membership.everything, membership.others)

    return attrs.evolve(store, claimed=abandoned)


@attrs.frozen
class _Work:
    sharing: Sharing
    membership: Membership

    def due(
        self, now_ms: int, limit: int, after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        return self.sharing.due(now_ms, limit, self.membership.share, after)

    def due_except(
        self, now_ms: int, limit: int, jobs: tuple[Job, ...], after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        return self.sharing.due(now_ms, limit, self.membership.share.without(jobs), after)

    def messages(self, now_ms: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        membership = self.membership
        return self.sharing.messages(now_ms, limit, membership.share, membership.others, now_ms - WRITER_FIRST_MS)

    def abandoned(self, after_incarnation: int, limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        membership = self.membership
        return self.sharing.abandoned(after_incarnation, limit, membership.share, membership.others)

    def unknown(self, after_ms: int, /) -> FutureResult[int | None, StoreError]:
        return settled(Success(None))


def handles_alarm(membership: Membership, address: Address, due_ms: int | None, now_ms: int) -> bool:
    """Return whether this engine fires an alarm that it has just set.

    The engine of the share may read an alarm that is due soon too late. If both fire it, the fence lets one of them
    through.
    """
    return due_ms is None or due_ms <= now_ms + SOON_MS or address in membership.share


def while_leased(perform: Perform, membership: Membership | None) -> Perform:
    """Return a function that performs effects only while the lease is good: another engine may perform them already."""
    if membership is None:
        return perform

    def guarded(instruction: object, services: Any, execute: Execute) -> object:
        if not membership.may_act():
            raise RunLost(OutcomeUnknown("the lease of this engine has ended: another engine takes the run over"))
        return perform(instruction, services, execute)

    return guarded


async def every(runtime: Runtime, delay_ms: float, act: Callable[[], object]) -> None:
    """Call a function periodically, until the task is cancelled."""
    while True:
        await runtime.sleep(delay_ms)
        act()
