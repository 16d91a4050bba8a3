"""The pure core's results: a commit, a program or a claim that comes first, or a reason to wait.

An event in the common case is a `FastEvent`: its draft, and the claim that it needs only at its first effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import attrs
from returns.result import Result

from perdure.codecs import Codec, Opened
from perdure.jobs.context import Alarm
from perdure.jobs.draft import Draft
from perdure.jobs.request import Request, run_id_of
from perdure.programs import Program
from perdure.runtime.run_context import Run
from perdure.values.errors import HookFailed, RequestError
from perdure.values.excerpt import fields_in_line
from perdure.values.failure import FailureRecord
from perdure.values.frozen import turn_value
from perdure.values.instance import Claim, Instance
from perdure.values.limits import Limits
from perdure.values.transition import Transition
from perdure.values.turn_inputs import printed_id

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
        is_fast_run: whether this is an alarm's run in the common case.
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
    is_fast_run: bool = False

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
            is_fast_run=self.is_fast_run,
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
        name: the step's name.
        instruction: the program's instruction, with its arguments.
        line: the program line that waits for it, as ``file:number``. None if it is unknown.
        request: the action whose request answers it, such as ``signal.approval``. None if no caller does.
    """

    __repr__ = fields_in_line

    path: str
    name: str
    instruction: object
    line: str | None = None
    request: str | None = None


def event_claim(request: Request, *, owner: int, run_id: str, now_ms: int, creates: bool) -> Claim:
    """Return an event's claim.

    Args:
        request: the event's request.
        owner: the engine's epoch.
        run_id: the run's id.
        now_ms: the clock.
        creates: whether the event creates the instance.
    """
    inbound = request.inbound
    return Claim(
        owner=owner,
        cause="event",
        run_id=run_id,
        claimed_ms=now_ms,
        attempt=request.attempt,
        created="here" if creates else "before",
        action=request.action,
        payload=request.payload,
        key=request.idempotency_key,
        message_id=inbound.message_id if inbound else None,
        message_sender=str(inbound.sender) if inbound else None,
        # An event that is recovered after a crash has no request any more: its origin is in the claim alone.
        by=request.by,
    )


HOOK: Final = "on_event"

_KEEP: Final = Alarm.keep


@attrs.define(init=False, repr=False)
class FastEvent(Draft):
    """An event in the common case: its draft, and the delivery that its context shows.

    Most such events need no claim. It is made when the handler has an effect, or reads the run id.

    Args:
        codec: checks and encodes the state.
        instance: the stored instance, or the one that the event creates.
        request: the request.
        state: the decoded state.
        now_ms: the clock.
        limits: the engine's limits.
        epoch: the number under which this engine opened the store.
        new_id: draws this decision's first id. The others count up from it.
        opened: the state with the members that newer code wrote. None if there are none.
    """

    instance: Instance
    request: Request
    _claim: Claim | None
    _epoch: int
    _new_id: Callable[[], int]
    _id_base: int | None

    def __init__(  # noqa: PLR0917 - keywords take longer, and only `begin_fast_event` calls it
        self,
        codec: Codec[Any],
        instance: Instance,
        request: Request,
        state: object,
        now_ms: int,
        limits: Limits,
        epoch: int,
        new_id: Callable[[], int],
        opened: Opened[Any] | None,
    ) -> None:
        self.address = instance.address
        self.state = state
        self.codec = codec
        self.current_alarm_ms = instance.alarm_ms
        self.now_ms = now_ms
        self.limits = limits
        self.encoded = None
        self.alarm = _KEEP
        self.messages = []
        self.inspection = None
        self.opened = opened
        # Assigned here: calling the generated `__init__` takes longer, and this runs for each event.
        self.received = request.command
        self.left = None
        self.instance = instance
        self.request = request
        self._claim = None
        self._epoch = epoch
        self._new_id = new_id
        self._id_base = None

    @property
    def creates(self) -> bool:
        """Whether the event creates the instance."""
        return not self.instance.version

    def id(self, offset: int = 0) -> str:
        """Return an id for this decision, as `TurnInputs.id` does."""
        # Drawn when it is first read: most events log nothing, have no effect and need no id.
        if self._id_base is None:
            self._id_base = self._new_id()
        return printed_id(self._id_base + offset)

    @property
    def claim(self) -> Claim:
        """The run's claim, if it is needed."""
        if self._claim is None:
            self._claim = event_claim(
                self.request,
                owner=self._epoch,
                run_id=run_id_of(self.address, self.request, self.id),
                now_ms=self.now_ms,
                creates=self.creates,
            )
        return self._claim

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.claim.run_id

    @property
    def attempt(self) -> int:
        """The first one."""
        return 1

    @property
    def deliveries(self) -> int:
        """Always one for an event."""
        return 1

    def run(self, program: Program[Any, Any, Any]) -> Execute:
        """Return the same as a run, because it is special after all.

        It does not hold its program, which holds its context and so the event: that would be a reference cycle.
        """
        return Execute(
            hook=HOOK,
            program=program,
            instance=self.instance,
            draft=self,
            claim=self.claim,
            claimed="before_effect",
            request=self.request,
            started_ms=self.now_ms,
        )
