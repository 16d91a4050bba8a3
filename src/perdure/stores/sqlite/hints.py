"""What is known of the indexed columns of rows, so that an update need not name those that do not change."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from perdure.values.instance import Fence, Instance

Indexed: TypeAlias = tuple[int | None, int | None]  # due_ms, owner

_LIMIT = 65_536


@attrs.define
class Hints:
    """`due_ms` and `owner` of instances that were loaded or committed lately, each for one version.

    SQLite writes an index entry anew for each indexed column that SET names, changed or not: three pages instead of one
    for a transition. What a version holds never changes, so a hint for the very version that a transition expects is
    right, and one for any other version is no hint.
    """

    _known: dict[int, tuple[int, Indexed]] = attrs.Factory(dict[int, tuple[int, Indexed]])

    def keep(self, fence: Fence, instance: Instance) -> None:
        """Take note of an instance at a fence; beyond 65,536 the one that was noted first is forgotten."""
        self._known[fence.incarnation] = (fence.version, (instance.due_ms, instance.owner))
        if len(self._known) > _LIMIT:
            del self._known[next(iter(self._known))]

    def of(self, fence: Fence) -> Indexed | None:
        """Give what is known of an instance at a fence."""
        known = self._known.get(fence.incarnation)
        return known[1] if known is not None and known[0] == fence.version else None

    def forget(self, fence: Fence) -> None:
        """Drop what is known of a purged instance."""
        self._known.pop(fence.incarnation, None)
