"""The journals of the memory store."""

from __future__ import annotations

from perdure.values.transition import JournalChange


class Journals:
    """Rows by incarnation; the place of a row is its index."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[int, list[str]] = {}

    def change(self, incarnation: int, change: JournalChange) -> None:
        """Append rows, after deleting the earlier ones if they are cut."""
        if change.earlier == "cut":
            self.delete(incarnation)
        if change.bodies:
            self._rows.setdefault(incarnation, []).extend(change.bodies)

    def read(self, incarnation: int, first: int, limit: int) -> tuple[str, ...]:
        """Return rows from a place on."""
        return tuple(self._rows.get(incarnation, ())[first : first + limit])

    def delete(self, incarnation: int) -> None:
        """Delete the journal of an incarnation."""
        self._rows.pop(incarnation, None)
