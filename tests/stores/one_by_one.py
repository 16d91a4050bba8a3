"""Functions of one request as the functions of a store, which take batches; and a batch that a test awaits."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from returns.future import FutureResult

from perdure.programs.future import answer_of
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import Runtime
from perdure.runtime.tasks import start_eagerly
from perdure.stores.contract import Store
from perdure.stores.values import LoadRequest
from perdure.values.transition import Transition


async def committed(store: Store, transitions: Sequence[Transition]) -> Sequence[Any]:
    """Commit a batch, as the engine does."""
    told: asyncio.Future[Sequence[Any]] = asyncio.get_running_loop().create_future()
    store.commit(transitions, told.set_result)
    return await told


def each_commit(
    commit: Callable[[Transition], FutureResult[Any, Any]], runtime: Runtime | None = None
) -> Callable[..., None]:
    """Return the function ``commit`` of a store that commits each transition of a batch by itself."""

    async def one_by_one(transitions: Sequence[Transition], answered: Any) -> None:
        answered([await answer_of(commit(transition)) for transition in transitions])

    def batch(transitions: Sequence[Transition], answered: Any) -> None:
        start_eagerly(one_by_one(transitions, answered), runtime or asyncio_runtime(), name="commit each")

    batch.__module__ = commit.__module__  # the suite kills a store at the lines of the module that defines its commit
    return batch


def each_load(load: Callable[..., FutureResult[Any, Any]], runtime: Runtime | None = None) -> Callable[..., None]:
    """Return the function ``load`` of a store that loads each address of a batch by itself."""

    async def one_by_one(requests: Sequence[LoadRequest], answered: Any) -> None:
        found = [load(each.address, each.idempotency_key, each.now_ms) for each in requests]
        answered([await answer_of(each) for each in found])

    def batch(requests: Sequence[LoadRequest], answered: Any) -> None:
        start_eagerly(one_by_one(requests, answered), runtime or asyncio_runtime(), name="load each")

    return batch
