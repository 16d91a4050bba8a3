"""What the pure core answers: a commit, a program to run first, or a reason to wait."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs
from returns.result import Result

from perdure.jobs.draft import Draft
from perdure.jobs.request import Request
from perdure.programs import Program
from perdure.values.errors import HookFailed, RequestError
from perdure.values.excerpt import fields_in_line
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim, Instance
from perdure.values.transition import Transition
from perdure.values.turn_value import turn_value

TurnResult: TypeAlias = Result[object, RequestError | HookFailed]
"""What the caller of a turn gets: an answer, or why there is none."""


@turn_value
class Commit:
    """Write the transition (unless it is empty), then give the caller this result."""

    __repr__ = fields_in_line

    transition: Transition
    result: TurnResult


@turn_value(kw_only=True)
class Execute:
    """Run a program of the user outside any transaction, then call ``finish`` with its exit.

    Attributes:
        hook: the user's function: ``execute``, ``on_event``, ``on_idle``, ``on_error``.
        program: what it gave.
        instance: what is stored while it runs; not stored yet when its ``fence`` is None.
        draft: what its context operations act on.
        claim: who runs it, for what.
        claimed: when the claim must be committed: before the program starts, or before its first external effect; or
            that it is recorded already.
        claiming: the transition that records the claim, when it comes before the run.
        alone: whether nothing else may be claimed beside this run.
        request: what is being served.
        started_ms: when the run began.
        prior: the failure that this hook answers to (``on_error``).
        prior_hook: the user's function that failed with it.
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

    def recorded(self, instance: Instance) -> Execute:
        """Give the same run, once its claim is recorded.

        Args:
            instance: what is stored now.
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
        )


@attrs.frozen
class Defer:
    """The request can be decided only when the run in progress is settled."""


@attrs.frozen
class RecoverFirst:
    """A run that nobody runs any more has a claim: it must be recovered before this request."""


Step: TypeAlias = Commit | Execute | Defer | RecoverFirst
