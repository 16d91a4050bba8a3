"""The pure core's results: a commit, a program or a claim that comes first, or a reason to wait."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, TypeAlias, final

import attrs
from returns.result import Result

from perdure.jobs.draft import Draft
from perdure.jobs.request import Request, run_id_of
from perdure.programs import Program
from perdure.runtime.tasks import Run
from perdure.values.errors import HookFailed, RequestError
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import turn_value
from perdure.values.instance import Claim, Instance
from perdure.values.status import FailureRecord
from perdure.values.transition import Transition
from perdure.values.turn_inputs import TurnInputs

TurnResult: TypeAlias = Result[object, RequestError | HookFailed]
"""The result for the caller of a turn, or the error."""


@final
@turn_value
class Commit:
    """Write the transition (unless it is empty), then return this result to the caller."""

    __repr__ = fields_in_line

    transition: Transition
    result: TurnResult


@final
@turn_value(kw_only=True)
class Execute:
    """Run a user program outside any transaction, then call ``finish`` with its exit.

    Attributes:
        hook: the user's function: ``execute``, ``on_event``, ``on_idle``, ``on_error``.
        program: the program that it returned.
        instance: the stored instance. Not stored yet if its ``fence`` is None.
        draft: the draft for its context operations.
        claim: the run's claim.
        claimed: when the claim is committed: before the program starts, before its first effect, or already.
        claiming: the transition that records the claim, if it comes before the run.
        alone: whether no other run may be claimed at the same time.
        request: the request being served.
        started_ms: when the run began.
        prior: the failure that ``on_error`` handles.
        prior_hook: the hook that failed with it.
        prior_reason: why that run is not retried. None for an event, and for a job without retries.
        is_row: whether ``instance`` is the row as it is stored, so that a write over it may name the few columns that
            it changes. An upgraded state, or data that a kind changed before the run, is not stored yet.
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
    is_row: bool = False

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
            is_row=True,  # the claim wrote all that this instance changes
        )


@attrs.frozen(kw_only=True)
class Mark:
    """Commit a claim before any job code runs, and then call ``begin_marked``.

    If that code ends the process, the next start finds the claim, and counts.

    Attributes:
        transition: records the claim, or counts another delivery.
        claim: the claim.
        before: the claim that it replaces, as it is restored if this code cannot read the instance. None for a new one.
        alone: whether no other job code may run at the same time.
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
    """An abandoned run's claim must be recovered before this request."""


Step: TypeAlias = Commit | Execute | Mark | Defer | RecoverFirst


def run_of(execute: Execute) -> Run:
    """Return the run, for the context of its code."""
    return execute.instance.address, execute.claim, execute.hook


@attrs.frozen(kw_only=True)
class NextStep:
    """A step that a program waits for after a journal replay.

    Attributes:
        path: the step's position in its program.
        line: the program line that waits for it, as ``file:number``. None if it is unknown.
        request: the action whose request answers it, such as ``signal.approval``. None if no caller does.
    """

    __repr__ = fields_in_line

    path: str
    name: str
    instruction: object
    line: str | None = None
    request: str | None = None


def event_claim(request: Request, before: Instance, inputs: TurnInputs, *, creates: bool) -> Claim:
    """Return an event's claim. Its run's id is made when it is first read.

    Args:
        request: the event's request.
        before: the instance.
        inputs: the epoch, the clock and the run's id.
        creates: whether the event creates the instance.
    """
    # Spelled out, because each event has a claim: the generated `__init__` would need the id of the run.
    claim: Any = _new(Claim)
    claim.name_run = partial(run_id_of, before.address, request, inputs.id)
    claim.owner = inputs.epoch
    claim.cause = "event"
    claim.claimed_ms = inputs.now_ms
    claim.attempt = request.attempt
    claim.deliveries = 1
    claim.recoveries = 0
    claim.created = "here" if creates else "before"
    claim.action = request.action
    claim.payload = request.payload
    claim.key = request.idempotency_key
    inbound = request.inbound
    claim.message_id = inbound.message_id if inbound else None
    claim.message_sender = str(inbound.sender) if inbound else None
    claim.uncounted = 0
    claim.trace = None
    # An event that is recovered after a crash has no request any more: its origin is in the claim alone.
    claim.by = request.by
    made: Claim = claim
    return made


_new = object.__new__
