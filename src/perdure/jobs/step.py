"""The results of the pure core: a commit, a program or a claim that comes first, or a reason to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs
from returns.result import Result

from perdure.jobs.draft import Draft
from perdure.jobs.request import Request
from perdure.programs import Program
from perdure.runtime.run_context import Run
from perdure.values.errors import HookFailed, RequestError
from perdure.values.excerpt import fields_in_line
from perdure.values.failure import FailureRecord
from perdure.values.frozen import turn_value
from perdure.values.instance import Claim, Instance

if TYPE_CHECKING:
    from perdure.values.transition import Transition

TurnResult: TypeAlias = Result[object, RequestError | HookFailed]
"""The result for the caller of a turn, or the error."""


@turn_value
class Commit:
    """Write the transition (unless it is empty), then return this result to the caller."""

    __repr__ = fields_in_line

    transition: Transition
    result: TurnResult


@turn_value(kw_only=True)
class Execute:
    """Run a user program outside any transaction, then call ``finish`` with its exit.

    Attributes:
        hook: the user's function: ``execute``, ``on_event``, ``on_idle``, ``on_error``.
        program: the program that it returned.
        instance: the stored instance; not stored yet if its ``fence`` is None.
        draft: the draft of its context operations.
        claim: the claim of the run.
        claimed: when the claim is committed: before the program starts, before its first effect, or already.
        claiming: the transition that records the claim, if it comes before the run.
        alone: whether no other run may be claimed at the same time.
        request: the request being served.
        started_ms: when the run began.
        prior: the failure that ``on_error`` handles.
        prior_hook: the hook that failed with it.
        prior_reason: why that run is not retried; None for an event, and for a job without retries.
        form: ``plain_run`` for a run of an alarm that is special in nothing.
    """

    __repr__ = fields_in_line

    hook: str
    program: Program[Any, Any, Any]  # the services and errors of a definition are the user's own
    instance: Instance
    draft: Draft
    claim: Claim
    claimed: Literal["before_run", "before_effect", "recorded"]
    request: Request
    started_ms: int
    claiming: Transition | None = None
    alone: Literal["alone", "beside_others"] = "beside_others"
    prior: FailureRecord | None = None
    prior_hook: str = ""
    prior_reason: str | None = None
    form: Literal["plain_run", "any"] = "any"

    def recorded(self, instance: Instance) -> Execute:
        """Return the same run with its claim recorded.

        Args:
            instance: the instance as it is stored now.
        """
        return Execute(
            hook=self.hook,
            program=self.program,
            instance=instance,
            draft=self.draft,
            claim=self.claim,
            claimed="recorded",
            request=self.request,
            started_ms=self.started_ms,
            claiming=self.claiming,
            alone=self.alone,
            prior=self.prior,
            prior_hook=self.prior_hook,
            prior_reason=self.prior_reason,
            form=self.form,
        )


@attrs.frozen(kw_only=True)
class Mark:
    """Commit a claim before any code of the job runs, and then call ``begin_marked``.

    If that code ends the process, the next start finds the claim, and counts.

    Attributes:
        transition: records the claim, or counts another delivery of it.
        claim: the claim.
        before: the claim that it replaces, as it is restored if this code cannot read the instance; None for a new one.
        alone: whether no other code of a job may run at the same time.
    """

    __repr__ = fields_in_line

    transition: Transition
    claim: Claim
    before: Claim | None = None
    alone: Literal["alone", "beside_others"] = "beside_others"


@attrs.frozen
class Defer:
    """The request is decided after the run in progress is settled."""


@attrs.frozen
class RecoverFirst:
    """The claim of an abandoned run must be recovered before this request."""


Step: TypeAlias = Commit | Execute | Mark | Defer | RecoverFirst


def run_of(execute: Execute) -> Run:
    """Return the run, for the context of its code."""
    return execute.instance.address, execute.claim, execute.hook
