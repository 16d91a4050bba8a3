"""What an upgrade loses, told so that a person sees it."""

from __future__ import annotations

import attrs


@attrs.frozen(str=False, kw_only=True)
class MigrationLosesData(AssertionError):
    """A stored row does not come through the chain of versions as it should.

    Attributes:
        job: the job, printed ``kind:name``.
        stored: the version and the state as stored.
        read: the state as this code reads it; None where it cannot.
        row: in which row it lay: its status, or the snapshot's id.
        problem: what is wrong, and what to do.
    """

    job: str
    stored: str
    read: str | None
    row: str
    problem: str

    def __str__(self) -> str:
        read = "not at all" if self.read is None else self.read
        return (
            f"{self.job} loses something when it reads what is stored\n"
            f"  stored:  {self.stored}\n  read:    {read}\n  row:     {self.row}\n  problem: {self.problem}"
        )
