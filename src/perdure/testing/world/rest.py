"""The rest law: after all work has settled, an engine and its process hold no resources for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from perdure.client.local_gateway import engine_of
from perdure.testing.world.errors import NotAtRest

if TYPE_CHECKING:
    from perdure.testing.world.worker import Worker

AtEnd: TypeAlias = Literal["check", "leave"]
"""The end of a world's open worker: it must come to rest, or is dropped unchecked."""

PATIENCE_MS: Final = 2 * 86_400_000
"""How far the virtual clock may move until all started work has ended."""


def come_to_rest(worker: Worker) -> None:
    """Run all started work to its end, stop the engine gracefully, and check that nothing remains.

    No alarm fires and no message is delivered meanwhile. A program that has not ended after two days of virtual time is
    cancelled by the stop, as in production.

    Raises:
        NotAtRest: a caller without a result, a mailbox, a concurrency slot, a timer or a task remains.
        WorkerDied: the worker died first.
    """
    jobs = worker.jobs
    if jobs is None:
        return
    engine = engine_of(jobs)
    worker.complete(engine.stop_loops())
    reached = worker.wait_for(lambda: engine.in_flight().is_empty and not worker.unanswered, PATIENCE_MS)
    if not reached and engine.in_flight().programs == 0:
        raise NotAtRest("everything settled", (*engine.in_flight().described(), *worker.unanswered))
    if not worker.try_to_close(PATIENCE_MS):
        raise NotAtRest("the engine was stopped", (*engine.in_flight().described(), *worker.remaining))
    remains = (*engine.in_flight().described(), *worker.remaining)
    if remains:
        raise NotAtRest("the engine stopped", remains)
