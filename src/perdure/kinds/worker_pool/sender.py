"""The messages of other jobs to a worker pool."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

import attrs

from perdure.jobs.definition import PostCommand
from perdure.kinds.worker_pool.commands import new_item
from perdure.programs import Program
from perdure.values.times import Duration

V_contra = TypeVar("V_contra", contravariant=True)


@attrs.frozen
class PoolSender(Generic[V_contra]):
    """The messages that other jobs can send to a worker pool."""

    post: PostCommand

    def put(
        self,
        item: V_contra,
        /,
        *,
        after: Duration | None = None,
        at: datetime | None = None,
        head_start: Duration | None = None,
    ) -> Program[None]:
        """Put an item with the commit of this turn; an item of this id that is there already is left unchanged."""
        return self.post("put", new_item(item, after, at, head_start))

    def cancel(self) -> Program[None]:
        """Delete the item, unless its work has begun."""
        return self.post("cancel")

    def terminate(self, reason: str = "terminated", /) -> Program[None]:
        """Terminate the item."""
        return self.post("terminate", reason)
