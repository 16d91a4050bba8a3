"""Worker pools: many work items, some at a time."""

from typing import TYPE_CHECKING

from perdure.kinds.worker_pool.definition import PoolBatch as PoolBatch
from perdure.kinds.worker_pool.definition import WorkerPool as WorkerPool
from perdure.kinds.worker_pool.items import Drained as Drained
from perdure.kinds.worker_pool.items import ItemCancelled as ItemCancelled
from perdure.kinds.worker_pool.items import ItemContext as ItemContext
from perdure.kinds.worker_pool.items import ItemPut as ItemPut
from perdure.kinds.worker_pool.items import ItemTriggered as ItemTriggered
from perdure.kinds.worker_pool.items import PoolProgress as PoolProgress
from perdure.kinds.worker_pool.items import PutMany as PutMany
from perdure.kinds.worker_pool.items import Waiting as Waiting
from perdure.values.answer import Done as Done

if TYPE_CHECKING:
    from perdure.kinds.worker_pool.batch import BatchChanged as BatchChanged
    from perdure.kinds.worker_pool.batch import BatchContext as BatchContext
    from perdure.kinds.worker_pool.batch import BatchFailure as BatchFailure
    from perdure.kinds.worker_pool.batch import BatchProgress as BatchProgress
    from perdure.kinds.worker_pool.handle import BatchHandle as BatchHandle
    from perdure.kinds.worker_pool.handle import BatchSender as BatchSender
    from perdure.kinds.worker_pool.handle import PoolHandle as PoolHandle
    from perdure.kinds.worker_pool.handle import PoolSender as PoolSender
    from perdure.values.outcome import Failed as Failed
else:
    from perdure._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "perdure.kinds.worker_pool.batch": (
                "BatchChanged",
                "BatchContext",
                "BatchFailure",
                "BatchProgress",
            ),
            "perdure.kinds.worker_pool.handle": ("BatchHandle", "BatchSender", "PoolHandle", "PoolSender"),
            "perdure.values.outcome": ("Failed",),
        },
    )

__all__ = [
    "BatchChanged",
    "BatchContext",
    "BatchFailure",
    "BatchHandle",
    "BatchProgress",
    "BatchSender",
    "Done",
    "Drained",
    "Failed",
    "ItemCancelled",
    "ItemContext",
    "ItemPut",
    "ItemTriggered",
    "PoolBatch",
    "PoolHandle",
    "PoolProgress",
    "PoolSender",
    "PutMany",
    "Waiting",
    "WorkerPool",
]
