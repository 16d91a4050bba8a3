"""A continuous job's definition: recurring work on a schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Never, TypeVar, cast

import attrs
from typing_extensions import TypeForm
from typing_extensions import TypeVar as DefaultTypeVar

from perdure._lazy import lazy_module
from perdure.codecs import Codec, Migrations
from perdure.jobs.definition import Definition, Dispatch, PostCommand
from perdure.jobs.display import DisplayField, fields_of_plan, report_status
from perdure.jobs.hooks import FROM_HOOKS, FromHooks, HookResult, RetryPolicy, hook
from perdure.jobs.plan import DEFAULT_RUN_TIMEOUT, AcceptedInEvents, Plan, build_plan
from perdure.jobs.request import TRIGGER_OPTIONS, CommandSpec, Request
from perdure.kinds.continuous.context import ContinuousContext, Recurrence, StartCommand, TriggerCommand
from perdure.programs import Program
from perdure.values.answer import RunAnswer
from perdure.values.errors import DefinitionError
from perdure.values.schedule import Cron, Every, Schedule, describe_catch_up
from perdure.values.times import Duration, from_ms

if TYPE_CHECKING:
    from perdure.jobs.step import Commit, Execute, Step
    from perdure.jobs.streams import Heartbeat, Stream
    from perdure.kinds.continuous import handle, handler
    from perdure.kinds.continuous.handle import ContinuousHandle, ContinuousSender
    from perdure.values.address import Address
    from perdure.values.attributes import Attribute
    from perdure.values.instance import Claim, Instance
    from perdure.values.limits import KeepHistory, Limit, LimitUse
    from perdure.values.status import InstanceStatus
    from perdure.values.turn_inputs import TurnInputs
else:  # deciding turns and calling jobs need more modules than defining jobs
    handle = lazy_module("perdure.kinds.continuous.handle")
    handler = lazy_module("perdure.kinds.continuous.handler")

S = TypeVar("S")
E = DefaultTypeVar("E", default=Never)
R_contra = DefaultTypeVar("R_contra", contravariant=True, default=object)


@attrs.frozen(init=False, eq=False, repr=False)
class Continuous(Definition["ContinuousHandle[S, E]", "ContinuousSender[S]", R_contra], Generic[S, E, R_contra]):
    """A job that runs on a schedule until it is terminated.

    A failed run never stops the schedule: it is recorded, retried if there is a policy, and the next tick runs.

    Args:
        name: the job's name, part of the stored address: 1 to 128 printable characters, no ``:``. Renaming it orphans
            stored instances. Renaming a variable does not.
        state: the state's type.
        schedule: ``every("30 minutes")`` or ``cron("0 9 * * 1-5", tz="Europe/Berlin")``.
        execute: the hook that runs.
        start_immediately: whether ``start`` runs immediately, or waits for the first tick.
        retry: a run's durable retry.
        errors: the errors' type, used to store and send them. By default read from the ``execute`` annotation. Pass it
            if that cannot be read, such as for a ``functools.partial``.
        tags: stable names for union members, instead of their class names.
        versions: the state's older types, and the functions that upgrade them. By default there are none.
        run_timeout: a run's time limit, by default 15 minutes.
        runs: at most this many concurrent runs of this job in an engine, 1 to 100,000. By default the engine's own
            limit.
        state_in_events: whether ``job.started`` and ``job.executed`` carry the state as JSON. By default no event holds
            your data.
        max_deaths: how many process deaths during one run park it, 1 to 1,000. From the third delivery on a run has the
            engine for itself; below 3, a run may be parked for deaths that another one caused.
        accepted_in_events: ``sender``: the history says who sent which request, and when. ``payload``: also the input
            as JSON, without secrets. By default ``nothing``.
        history: keeps this job's events longer than the log does: `KeepHistory`. By default the log alone keeps them.
        attributes: values that the store keeps beside each state, to find instances by them: up to 16 functions that
            `attribute` declares.
        limits: limits with a name that its runs share with other jobs and effects: `Limit`, or `Limit.by` with a
            function of an instance's id.
        streams: the streams to which its effects emit, at most 16.
        heartbeats: the heartbeats that its effects send, at most 16.

    Raises:
        DefinitionError: an argument is invalid. The message says how to fix it.
    """

    kind: ClassVar[str] = "continuous"
    run_now: ClassVar[str | None] = "trigger"
    name: str
    plan: Plan
    recurrence: Recurrence

    def __init__(
        self,
        name: str,
        *,
        state: TypeForm[S],
        schedule: Schedule,
        execute: Callable[[ContinuousContext[S]], HookResult[E, R_contra]],
        start_immediately: bool = True,
        retry: RetryPolicy[E] | None = None,
        errors: TypeForm[E] | FromHooks = FROM_HOOKS,
        tags: Mapping[type, str] | None = None,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
        versions: Migrations[S] | None = None,
        runs: int | None = None,
        state_in_events: bool = False,
        accepted_in_events: AcceptedInEvents = "nothing",
        history: KeepHistory | None = None,
        max_deaths: int = 3,
        attributes: Sequence[Attribute[S, Any]] = (),
        limits: Sequence[Limit | LimitUse[[str]]] = (),
        streams: Sequence[Stream[Any]] = (),
        heartbeats: Sequence[Heartbeat[Any]] = (),
    ) -> None:
        plan = build_plan(
            "continuous",
            name,
            state=state,
            tags=tags,
            errors=errors,
            hooks={"execute": execute},
            retry=retry,
            exhausted="continue",
            may_continue=True,
            run_timeout=run_timeout,
            runs=runs,
            versions=versions,
            state_in_events=state_in_events,
            accepted_in_events=accepted_in_events,
            history=history,
            max_deaths=max_deaths,
            attributes=attributes,
            limits=limits,
            streams=streams,
            heartbeats=heartbeats,
            commands=_commands(state, tags, name),
        )
        recurrence = Recurrence(
            schedule=_schedule(schedule, name),
            start="immediately" if start_immediately else "at_first_tick",
            execute=hook(execute, what=f"execute of continuous:{name}"),
        )
        cast("Any", self).__attrs_init__(name, plan, recurrence)

    def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
        """Decide a command or an alarm."""
        return handler.begin(self, self.recurrence, address, instance, request, inputs)

    def program(self, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
        """Return ``execute`` and its program for a claim."""
        return handler.program(self.recurrence, instance, claim)

    def succeeded(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit | Execute:
        """Settle a run that succeeded."""
        return handler.succeeded(self.recurrence, execute, inputs)

    def given_up(self, instance: Instance, claim: Claim, inputs: TurnInputs) -> Instance | None:
        """Wait for the next tick after a run that failed for good."""
        return None if self.plan.exhausted == "purge" else handler.given_up(self.recurrence, instance, claim, inputs)

    def rearmed(self, instance: Instance, inputs: TurnInputs) -> Instance:
        """Skip the ticks inside a pause."""
        return handler.rearmed(self.recurrence, instance, inputs)

    def context(self, instance: Instance, claim: Claim, **inputs: object) -> ContinuousContext[S]:
        """Create the context for ``execute``."""
        given: dict[str, Any] = inputs
        return ContinuousContext(instance, claim, **given)

    def may_rest(self, instance: Instance) -> bool:
        """Return False: a schedule always has an alarm."""
        return False

    def check_data(self, instance: Instance) -> None:
        """Decode the ticks."""
        handler.ticks_of(instance)

    def display_fields(self) -> tuple[DisplayField, ...]:
        """Return the schedule and every job's facts."""
        schedule, start = self.recurrence.schedule, self.recurrence.start
        first = "at once" if start == "immediately" else "at the first tick"
        missed = describe_catch_up(schedule.catch_up)
        return (
            DisplayField("schedule", str(schedule)),
            DisplayField("first run", first),
            DisplayField("missed ticks", missed),
            *fields_of_plan(self.plan),
        )

    def display_fields_of(self, instance: Instance) -> tuple[DisplayField, ...]:
        """Return the run's tick in progress, the next one, and the last run that ended."""
        ticks, last = handler.ticks_of(instance), handler.ticks_of(instance).last
        known = (
            ("tick of this run", ticks.taken_ms),
            ("next tick", ticks.next_ms),
            ("last run ended", None if last is None else last[0]),
        )
        fields = tuple(DisplayField(label, from_ms(at_ms)) for label, at_ms in known if at_ms is not None)
        return fields if last is None else (*fields, DisplayField("last run", last[1]))

    def report(self, instance: Instance) -> InstanceStatus:
        """Return the ``status`` result with the last run."""
        return handler.report(instance, report_status(instance))

    def next_ticks(self, now_ms: int, most: int) -> tuple[int, ...]:
        """Return a cron line's next ticks. An interval has none here, because its ticks depend on each instance."""
        schedule = self.recurrence.schedule
        # The ticks of an interval count from each instance's own anchor.
        if isinstance(schedule, Every):
            return ()
        found: list[int] = []
        while len(found) < most:
            found.append(schedule.ticks.after(found[-1] if found else now_ms))
        return tuple(found)

    def stale_alarm(self, instance: Instance) -> str | None:
        """Return a text if another schedule set the alarm."""
        return handler.stale_alarm(self.recurrence, instance)

    def handle(self, dispatch: Dispatch) -> ContinuousHandle[S, E]:
        """Return the typed handle."""
        return handle.ContinuousHandle(self, dispatch)

    def sender(self, post: PostCommand) -> ContinuousSender[S]:
        """Return the typed sender."""
        return handle.ContinuousSender(post)


def _commands(state: TypeForm[Any], tags: Mapping[type, str] | None, name: str) -> tuple[CommandSpec[Any], ...]:
    codec: Codec[Any] = Codec.of(state, what=f"state of continuous:{name}", tags=tags, ignores_other_tags=True)
    return (
        CommandSpec(
            name="start",
            command=StartCommand,
            input=codec,
            stored=(),
            absent="creates",
            answer=RunAnswer,
            repeat="starts_again",
        ),
        CommandSpec(name="trigger", command=TriggerCommand, input=TRIGGER_OPTIONS, takes="options", answer=RunAnswer),
    )


def _schedule(value: object, name: str) -> Schedule:
    if isinstance(value, Every | Cron):
        return value
    raise DefinitionError(f"schedule of continuous:{name}", value, "every('30 minutes') or cron('0 9 * * *')")
