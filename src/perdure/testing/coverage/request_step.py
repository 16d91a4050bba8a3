"""Which state a request met, and which state came of it, also when several requests are under way at once."""

from __future__ import annotations

import attrs

from perdure.jobs.request import Request
from perdure.values.address import Address
from perdure.values.instance import Instance


@attrs.define(eq=False)
class RequestStep:
    """One request that is not answered yet. It learns what it met, so it is no value.

    A request that runs a hook meets the state that is stored when the hook ends, in its turn. Of one that runs none,
    only its caller is seen: that another commit came between is enough to know nothing of it.

    Attributes:
        address: the instance.
        event: the tag of the request.
        request: as it was made.
        before: the tag of the state that it met.
        after: the tag of the state that its commit left; None before that commit.
        run_id: the run of its hook; None when no hook has run.
        commits: how many commits of the instance there were while it was under way.
        company: whether another request of the instance was under way with it.
        repeats: whether an earlier request had its idempotency key.
    """

    address: Address
    event: str
    request: Request
    before: str
    repeats: bool
    after: str | None = None
    run_id: str | None = None
    commits: int = 0
    company: bool = False

    def ran(self, run_id: str, before: str) -> None:
        """Its hook ended. A turn that met a conflict is taken again, and runs its hook again."""
        self.run_id, self.before, self.after = run_id, before, None

    def committed(self, old: Instance | None, new: Instance | None, after: str) -> None:
        """The instance was written.

        Args:
            old: what was stored.
            new: what is stored now.
            after: its tag.
        """
        self.commits += 1
        if self.run_id is None or self.after is not None:
            return
        if self.run_id not in run_ids(old) or self.run_id not in run_ids(new):
            self.after = after

    @property
    def is_known(self) -> bool:
        """Whether it is known which state it met."""
        return self.run_id is not None or not (self.repeats or self.commits > 1 or (self.commits == 1 and self.company))

    def left(self, stored: str) -> str | None:
        """Give the tag of the state that came of it, once it succeeded; None when that is not known.

        Args:
            stored: the tag of what is stored when its caller has the answer.
        """
        return stored if self.run_id is None else self.after


def run_ids(instance: Instance | None) -> frozenset[str]:
    """Give the runs that have a claim on an instance."""
    claims = () if instance is None else (instance.claim, instance.event_claim)
    return frozenset(claim.run_id for claim in claims if claim is not None)
