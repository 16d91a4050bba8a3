"""The error for a migration that loses data, with a readable message."""

from __future__ import annotations

import attrs

from perdure.values.excerpt import fields_in_line


@attrs.frozen(str=False, kw_only=True)
class MigrationLosesData(AssertionError):
    """A stored row is not converted correctly to the current version.

    Attributes:
        job: the job, printed ``kind:name``.
        stored: the version and the state as stored.
        read: the state as this code reads it; None where it cannot.
        row: the row: its status, or the snapshot's id.
        problem: the problem, and how to fix it.
    """

    __repr__ = fields_in_line

    job: str
    stored: str
    read: str | None
    row: str
    problem: str

    def __str__(self) -> str:
        read = "not at all" if self.read is None else self.read
        return (
            f"{self.job} loses data when it reads a stored row\n"
            f"  stored:  {self.stored}\n  read:    {read}\n  row:     {self.row}\n  problem: {self.problem}"
        )
