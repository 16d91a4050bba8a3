"""The state before and after a request, also when several requests are in progress at once."""

from __future__ import annotations

import attrs

from perdure.jobs.request import Request
from perdure.values.address import Address
from perdure.values.instance import Instance


@attrs.define(eq=False)
class RequestStep:
    """One request that has not returned yet. It is filled in later, so it is not a value.

    A request that runs a hook finds the state that is stored when the hook ends, in its turn. For a request without a
    hook, only its caller is observed: if another commit was made meanwhile, its states are unknown.

    Attributes:
        address: the instance.
        event: the tag of the request.
        request: the request.
        before: the tag of the state before it.
        after: the tag of the state after its commit; None before that commit.
        run_id: the run of its hook; None when no hook has run.
        commits: the number of commits of the instance while it was in progress.
        company: whether another request of the instance, or a run of its alarm, was in progress at the same time.
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
        """Record that its hook ended. A turn with a conflict is repeated, and runs its hook again."""
        self.run_id, self.before, self.after = run_id, before, None

    def committed(self, old: Instance | None, new: Instance | None, after: str) -> None:
        """Record a commit of the instance.

        Args:
            old: the instance before.
            new: the instance after.
            after: the tag of its state.
        """
        self.commits += 1
        if self.run_id is None or self.after is not None:
            return
        if self.run_id not in run_ids(old) or self.run_id not in run_ids(new):
            self.after = after

    @property
    def is_known(self) -> bool:
        """Return whether the state before it is known."""
        return self.run_id is not None or not (self.repeats or self.commits > 1 or (self.commits == 1 and self.company))

    def left(self, stored: str) -> str | None:
        """Return the tag of the state after a request that succeeded; None when that is unknown.

        Args:
            stored: the tag of the stored state when its caller receives the result.
        """
        return stored if self.run_id is None else self.after


def run_ids(instance: Instance | None) -> frozenset[str]:
    """Return the runs that have a claim on an instance."""
    claims = () if instance is None else (instance.claim, instance.event_claim)
    return frozenset(claim.run_id for claim in claims if claim is not None)
