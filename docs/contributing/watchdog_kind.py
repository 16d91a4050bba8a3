"""A kind of job that runs after a silence: the example of "Add a kind of job"."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Generic, Never, cast

import attrs
from typing_extensions import TypeVar

from perdure import Program
from perdure.jobs.call import Call
from perdure.jobs.context import JobContext
from perdure.jobs.definition import CallError, Definition, Dispatch, PostCommand
from perdure.jobs.handle import JobHandle
from perdure.jobs.hooks import FROM_HOOKS, HookResult, RetryPolicy, hook
from perdure.jobs.plan import DEFAULT_RUN_TIMEOUT, build_plan
from perdure.jobs.request import AlarmDue, CommandSpec, Request
from perdure.jobs.run import begin_attempt, begin_run, executed, run_answer
from perdure.jobs.step import Commit, Execute, Step
from perdure.jobs.transitions import EventRecorder, answered, put, reply, stored
from perdure.values.address import Address
from perdure.values.answer import OutcomeRecord, Sent
from perdure.values.event import JobStarted
from perdure.values.instance import Claim, Instance
from perdure.values.times import Duration, duration_ms, from_ms
from perdure.values.turn_inputs import TurnInputs

E = TypeVar("E", default=Never)
R_contra = TypeVar("R_contra", contravariant=True, default=object)


@attrs.frozen
class Beat:
    """The process is alive."""


BEAT = CommandSpec(name="beat", command=Beat, absent="creates")


@attrs.frozen
class WatchdogHandle(JobHandle[datetime, E], Generic[E]):
    """The calls of a watchdog."""

    def beat(
        self, id_: str, /, *, idempotency_key: str | None = None
    ) -> Call[Sent, CallError]:
        """Report that the process is alive; the first beat creates the watch."""
        return self._send(id_, Beat(), "beat", key=idempotency_key)


@attrs.frozen
class WatchdogTeller:
    """The messages that other jobs can send to a watchdog."""

    post: PostCommand

    def beat(self) -> Program[None]:
        """Report that the process is alive, with the commit of this turn."""
        return self.post("beat")


def beaten(
    job: "Watchdog[Any, Any]",
    address: Address,
    instance: Instance | None,
    inputs: TurnInputs,
) -> Commit:
    """Move the alarm. No user code runs: this is one commit."""
    now_ms = inputs.now_ms
    fresh = Instance(address=address, created_ms=now_ms, updated_ms=now_ms)
    events = () if instance else (EventRecorder(inputs, address, 0).add(JobStarted),)
    transition = put(
        instance or fresh,
        now_ms,
        events=events,
        state=job.plan.state.encode(from_ms(now_ms)).decode(),
        alarm_ms=now_ms + job.silence_ms,
    )
    after = stored(transition)
    due_ms = None if after is None else after.due_ms
    answer = Sent(
        created=instance is None,
        status=None if after is None else after.status,
        scheduled_at=None if due_ms is None else from_ms(due_ms),
    )
    return answered(transition, answer)


def fired(
    job: "Watchdog[Any, Any]", instance: Instance, request: Request, inputs: TurnInputs
) -> Execute:
    """Begin a run after a silence, or the next attempt of a failed run."""
    if instance.pending_retry is not None:
        return begin_attempt(job, instance, instance.pending_retry, request, inputs)
    return begin_run(job, instance, request, inputs, cause="alarm")


def settled(execute: Execute, inputs: TurnInputs) -> Commit:
    """Write the draft of a run that succeeded. The next beat sets the alarm again."""
    instance, draft = execute.instance, execute.draft
    recorder = EventRecorder(inputs, instance.address, instance.run_count)
    transition = put(
        instance,
        inputs.now_ms,
        events=executed(recorder, execute, inputs),
        messages=tuple(draft.messages),
        state=draft.encoded or instance.state,
        alarm_ms=draft.alarm_ms(inputs.now_ms),
        claim=None,
        pending_retry=None,
        last_error=None,
    )
    outcome = OutcomeRecord(form="completed")
    return answered(transition, run_answer(execute, stored(transition), outcome))


@attrs.frozen(init=False, eq=False)
class Watchdog(
    Definition[WatchdogHandle[E], WatchdogTeller, R_contra], Generic[E, R_contra]
):
    """A job that runs after some time without a beat."""

    kind: ClassVar[str] = "watchdog"
    name: str
    plan: Any
    silence_ms: int
    on_silence: Callable[..., Program[Any, Any, Any]]

    def __init__(
        self,
        name: str,
        *,
        silence: Duration,
        on_silence: Callable[[JobContext[datetime]], HookResult[E, R_contra]],
        retry: RetryPolicy[E] | None = None,
    ) -> None:
        plan = build_plan(
            "watchdog",
            name,
            state=datetime,
            tags=None,
            errors=FROM_HOOKS,
            hooks={"on_silence": on_silence},
            retry=retry,
            exhausted="park",
            may_continue=False,
            run_timeout=DEFAULT_RUN_TIMEOUT,
            runs=None,
            commands=(BEAT,),
        )
        silence_ms = duration_ms(silence, what=f"silence of watchdog:{name}")
        program = hook(on_silence, what=f"on_silence of watchdog:{name}")
        cast("Any", self).__attrs_init__(name, plan, silence_ms, program)

    def begin(
        self,
        address: Address,
        instance: Instance | None,
        request: Request,
        inputs: TurnInputs,
    ) -> Step:
        """Decide a request."""
        match request.command:
            case Beat():
                return beaten(self, address, instance, inputs)
            case AlarmDue() if instance is not None:
                return fired(self, instance, request, inputs)
            case _:
                return reply(address, None)

    def program(
        self, instance: Instance, claim: Claim, command: object
    ) -> tuple[str, Program[Any, Any, Any]]:
        """Return the program of a claimed run, and the name of its hook."""
        ctx: JobContext[datetime] = JobContext(instance, claim)
        return "on_silence", self.on_silence(ctx)

    def succeeded(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit:
        """Settle a run that succeeded."""
        return settled(execute, inputs)

    def alarm_consumed(
        self, instance: Instance, claim: Claim, inputs: TurnInputs
    ) -> Instance:
        """Clear the alarm that started a failed first attempt."""
        if instance.pending_retry is None:
            return attrs.evolve(instance, alarm_ms=None)
        return instance

    def handle(self, dispatch: Dispatch) -> WatchdogHandle[E]:
        """Return the calls of this job."""
        return WatchdogHandle(self, dispatch)

    def sender(self, post: PostCommand) -> WatchdogTeller:
        """Return the messages to this job."""
        return WatchdogTeller(post)
