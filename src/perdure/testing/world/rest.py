"""The law of rest: when everything has settled, an engine has nothing in hand, and its process holds nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from perdure.client.client import gateway_of
from perdure.testing.world.errors import NotAtRest

if TYPE_CHECKING:
    from perdure.testing.world.worker import Worker

AtEnd: TypeAlias = Literal["check", "leave"]
"""What becomes of the worker that is open when a world ends: it must come to rest, or is left where it is."""

PATIENCE_MS: Final = 2 * 86_400_000
"""How far the virtual clock may move until everything that has begun is over."""


def come_to_rest(worker: Worker) -> None:
    """Let everything that has begun come to its end, stop the engine gracefully, and check that nothing remains.

    No alarm is fired and no message is delivered meanwhile. A program that has not ended after two days of virtual time
    is cancelled by the stop, as in production.

    Raises:
        NotAtRest: something remains: a caller without an answer, a mailbox, a place at a gate, a timer, a task.
        WorkerDied: the worker died first.
    """
    jobs = worker.jobs
    if jobs is None:
        return
    engine = gateway_of(jobs).engine
    worker.complete(engine.stop_loops())
    reached = worker.wait_for(lambda: engine.in_flight().is_empty and not worker.unanswered, PATIENCE_MS)
    if not reached and engine.in_flight().programs == 0:
        raise NotAtRest("everything settled", (*engine.in_flight().described(), *worker.unanswered))
    if not worker.try_to_close(PATIENCE_MS):
        raise NotAtRest("the engine was told to stop", (*engine.in_flight().described(), *worker.remaining))
    remains = (*engine.in_flight().described(), *worker.remaining)
    if remains:
        raise NotAtRest("the engine stopped", remains)
