"""A workflow's definition: one long program, in which each effect is a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Never, TypeVar, cast, overload

import attrs
from returns.result import Failure, Success
from typing_extensions import TypeForm
from typing_extensions import TypeVar as DefaultTypeVar

from perdure._lazy import lazy_module
from perdure.codecs import Codec, Migrations, Opened
from perdure.jobs.definition import Dispatch, PostCommand
from perdure.jobs.display import DisplayField, fields_of_plan, report_status
from perdure.jobs.hooks import FROM_HOOKS, FromHooks, check_function, value_of
from perdure.jobs.plan import DEFAULT_RUN_TIMEOUT, AcceptedInEvents, Plan, build_plan
from perdure.jobs.request import Keyword, Request, repeat_of_creating
from perdure.kinds.workflow.commands import (
    ANSWERS,
    AskQuery,
    CancelWorkflow,
    ForkWorkflow,
    SendSignal,
    SendUpdate,
    SettlePromise,
    SignalWithStart,
    StartTimed,
    form_of,
    start_arguments,
    workflow_commands,
)
from perdure.kinds.workflow.context import (
    AnyWorkflow,
    WorkflowContext,
    WorkflowDefinition,
    promise_commands,
    query_commands,
    update_commands,
)
from perdure.kinds.workflow.header import END, PUBLISHED, Parent, header_of, shared_in, written
from perdure.kinds.workflow.instructions import (
    AskInstance,
    Broken,
    CallChild,
    Fulfilled,
    Promise,
    Published,
    Signal,
    StateQuery,
    Update,
    WhenCancelled,
    check_retry_defects,
    update_signal,
)
from perdure.programs import Exit, Program, perform
from perdure.values.address import Address, check_id
from perdure.values.errors import DefinitionError
from perdure.values.excerpt import MAX_LINE_CHARACTERS, REFERENCE, shortened, shown_value
from perdure.values.limits import KeepHistory, Limit, Limits, LimitUse
from perdure.values.retry import Retry
from perdure.values.status import InstanceStatus
from perdure.values.times import Duration, duration_ms, from_ms

if TYPE_CHECKING:
    from perdure.jobs import parts
    from perdure.jobs.step import Commit, Execute, NextStep, Step
    from perdure.jobs.streams import Heartbeat, Stream
    from perdure.kinds.workflow import (
        children,
        handle,
        handler,
        journal,
        progress,
        replay,
        run_commits,
        run_program,
        starts,
        step_listing,
    )
    from perdure.kinds.workflow.handle import WorkflowHandle, WorkflowSender
    from perdure.values.attributes import Attribute
    from perdure.values.errors import NotPublished
    from perdure.values.event import Parking
    from perdure.values.instance import Claim, Instance
    from perdure.values.listings import InstanceOutcome, StepRecord
    from perdure.values.message import Message
    from perdure.values.secret import Hide
    from perdure.values.status import Defect
    from perdure.values.status_wait import PublishedValue
    from perdure.values.turn_inputs import TurnInputs
else:  # deciding turns and calling jobs need more modules than defining jobs
    parts = lazy_module("perdure.jobs.parts")
    run_program = lazy_module("perdure.kinds.workflow.run_program")
    children = lazy_module("perdure.kinds.workflow.children")
    handle = lazy_module("perdure.kinds.workflow.handle")
    handler = lazy_module("perdure.kinds.workflow.handler")
    journal = lazy_module("perdure.kinds.workflow.journal")
    step_listing = lazy_module("perdure.kinds.workflow.step_listing")
    progress = lazy_module("perdure.kinds.workflow.progress")
    starts = lazy_module("perdure.kinds.workflow.starts")
    replay = lazy_module("perdure.kinds.workflow.replay")
    run_commits = lazy_module("perdure.kinds.workflow.run_commits")

S = TypeVar("S")
T = TypeVar("T")
V = TypeVar("V")
B = TypeVar("B")
F = TypeVar("F")
A = TypeVar("A")
E = DefaultTypeVar("E", default=Never)
R_contra = DefaultTypeVar("R_contra", contravariant=True, default=object)

DEFAULT_MAX_STEPS = 10_000
DEFAULT_INBOX = 1_000
MAX_LIMIT = 1_000_000
MAX_PUBLISHED = 20
MAX_UNDER_WAY = 1_000

WorkflowProgram = Callable[[WorkflowContext[Any]], Program[Any, Any, Any]]


@attrs.frozen(init=False, eq=False, repr=False)
class Workflow(
    WorkflowDefinition["WorkflowHandle[S, A, E]", "WorkflowSender[S]", R_contra], Generic[S, A, E, R_contra]
):
    """One long program that survives crashes, deploys and months: each of its effects is a step.

    A step's outcome is committed before the next step begins, and is not performed again. After a crash, a wait or
    a deploy the engine runs the program again from its beginning, and answers the recorded steps from the journal. So
    the program must do the same whenever it receives the same answers.

    Args:
        name: the job's name, part of the stored address: 1 to 128 printable characters, no ``:``. Renaming it orphans
            stored instances. Renaming a variable does not.
        state: the state's type, which ``start`` takes and ``get_state`` returns.
        run: the program.
        signals: the signals that it may receive.
        updates: the requests that its program answers.
        queries: the questions about its state that it answers.
        publishes: the values that it publishes while it runs, at most 20 with its promises.
        promises: outcomes that it waits for, and that others set exactly once.
        retry_defects: the durable retry for a step that raises or times out. Typed errors are values in the program: it
            handles them, also by ``.retry(...)``, or fails with them.
        keep: how long the outcome is kept, and the id is not reused. None: until an operator terminates the instance.
        result: the value's type. By default read from the `run` annotation.
        errors: the errors' type. By default read from the `run` annotation.
        tags: stable names for union members, instead of their class names.
        versions: the state's older types, and the functions that upgrade them. By default there are none.
        run_timeout: a step's time limit, by default 15 minutes.
        max_steps: the journal's limit, 1 to 1,000,000 answers. A workflow that reaches it is parked.
        inbox: how many signals and updates wait at most, and how many updates have no reply, 1 to 1,000,000. Beyond,
            ``signal`` and ``update`` fail with ``Overloaded``. Signals about ended children do not count.
        concurrency: at most this many instances under way, over all engines, 1 to 1,000: begun and not ended, also
            while they wait or are parked. Further starts wait, the oldest first. By default any number.
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
        streams: the streams to which its program and its effects emit, at most 16.
        heartbeats: the heartbeats that its effects send, at most 16.

    Raises:
        DefinitionError: an argument is invalid. The message says how to fix it.
    """

    kind: ClassVar[str] = "workflow"
    occupancy: ClassVar[Literal["mailbox", "claim_only"]] = "claim_only"
    keeps_journal: ClassVar[bool] = True
    queues_starts: ClassVar[bool] = True
    journal_format: ClassVar[int] = 4  # 1 has no parts of outcomes, 2 none of states, and 3 none of ends of others
    time_limit_of: ClassVar[Literal["run", "checkpoint"]] = "checkpoint"
    interrupting: ClassVar[frozenset[type]] = frozenset({CancelWorkflow})
    copying: ClassVar[frozenset[type]] = frozenset({ForkWorkflow})
    name: str
    plan: Plan
    run: WorkflowProgram
    signals: Mapping[str, Codec[Any]]
    declared: Mapping[str, Signal[Any]]
    updates: Mapping[str, Update[Any, Any, Any]]
    promises: Mapping[str, Promise[Any, Any]]
    received: Mapping[str, Codec[Any]]
    queries: Mapping[str, tuple[StateQuery[Any, Any, Any], Codec[Any]]]
    results: Codec[Any]
    keep_ms: int | None
    max_steps: int
    inbox: int
    concurrency: int | None

    def __init__(
        self,
        name: str,
        *,
        state: TypeForm[S],
        run: Callable[[WorkflowContext[S]], Program[A, E, R_contra]],
        signals: Sequence[Signal[Any]] = (),
        updates: Sequence[Update[Any, Any, Any]] = (),
        queries: Sequence[StateQuery[S, Any, Any]] = (),
        publishes: Sequence[Published[Any]] = (),
        promises: Sequence[Promise[Any, Any]] = (),
        retry_defects: Retry[Any] | None = None,
        keep: Duration | None = "7 days",
        result: TypeForm[A] | FromHooks = FROM_HOOKS,
        errors: TypeForm[E] | FromHooks = FROM_HOOKS,
        tags: Mapping[type, str] | None = None,
        versions: Migrations[S] | None = None,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
        max_steps: int = DEFAULT_MAX_STEPS,
        inbox: int = DEFAULT_INBOX,
        concurrency: int | None = None,
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
        program, keep_ms = _checked_run(run, retry_defects, name), None if keep is None else _keep_ms(keep, name)
        declared, requests, asked = _signals(signals, name), _updates(updates, name), _queries(queries, tags, name)
        codecs, (promised, others) = _codecs_of(declared, tags, name), _promised(requests, publishes, promises, name)
        requested = (*query_commands(asked, tags, name), *update_commands(requests), *promise_commands(promised))
        plan = build_plan(
            "workflow",
            name,
            state=state,
            tags=tags,
            errors=errors,
            hooks={"run": run},
            retry=retry_defects,
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
            commands=(*workflow_commands(state, codecs, declared, tags, name, repeat_of_creating(keep_ms)), *requested),
            answers=ANSWERS,
            kept=(_results(result, run, tags, name),),
        )
        known = (codecs, declared, requests, promised, codecs | others, asked, plan.kept[0], keep_ms)
        cast("Any", self).__attrs_init__(name, plan, program, *known, *_bounds(max_steps, inbox, concurrency, name))

    # ------------------------------------------------------------ the pure handler
    @property
    def most_under_way(self) -> int | None:
        """How many instances may be under way, over all engines. None: any number."""
        return self.concurrency

    def queued_start(self, instance: Instance) -> str:
        """Return the run id that a queued start has."""
        token: str = starts.queued_start(instance)
        return token

    def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
        """Decide a command or an alarm."""
        return handler.begin(self, address, instance, request, inputs)

    def begin_unread(self, address: Address, instance: Instance, request: Request, inputs: TurnInputs) -> Step | None:
        """Decide a command for a workflow that is left: it stores signals and accepts a cancel."""
        return handler.begin_unread(self, address, instance, request, inputs)

    def program(self, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
        """Return a run's program, which replays the workflow and continues it."""
        return "run", run_program.continue_workflow(self, instance)

    def main(self, instance: Instance) -> Program[Any, Any, Any]:
        """Return the workflow's own program."""
        header = header_of(instance)
        forked_from = None if header.forked is None else header.forked.address
        parent = None if header.parent is None else header.parent.address
        context = WorkflowContext[S](
            instance.address.id, self.name, header.run_id, header.started_ms, forked_from, parent
        )
        return self.run(context)

    def checkpoint(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit:
        """Commit step outcomes during a run."""
        return run_commits.checkpoint(execute, cast("progress.RunProgress | progress.Parts", value), inputs)

    def succeeded(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit | Execute:
        """Settle a run."""
        return run_commits.concluded(self, execute, inputs)

    def exited(self, execute: Execute, exit_: Exit[Any, Any], inputs: TurnInputs) -> Commit | Execute | None:
        """Settle a run whose program was stopped. Its steps in progress failed."""
        return run_commits.cut_short(self, execute, exit_, inputs)

    def interrupts(self, execute: Execute, row: Instance) -> bool:
        """Return whether a request to cancel the workflow stops a run in progress."""
        return run_commits.interrupts(execute.draft, row)

    def draft_of(
        self, state: object, instance: Instance, claim: Claim, inputs: TurnInputs
    ) -> run_program.WorkflowDraft:
        """Return a draft that can hold the replay."""
        return run_program.WorkflowDraft(
            address=instance.address,
            state=state,
            codec=self.plan.state,
            current_alarm_ms=None,
            now_ms=inputs.now_ms,
            limits=inputs.limits,
        )

    def draft(self, instance: Instance, claim: Claim, inputs: TurnInputs) -> run_program.WorkflowDraft:
        """Return a draft on the state that the workflow was started with.

        Raises:
            InvalidInput: this code cannot decode that state, or the stored one.
        """
        fresh = cast("run_program.WorkflowDraft", super().draft(instance, claim, inputs))
        if header_of(instance).first is not None:
            fresh.stored = self.open_state(instance).with_rest()
            # The program begins with the first state, but unknown members are those of the newest one: newer code wrote
            # it last.
            fresh.opened = fresh.stored or fresh.opened
        return fresh

    def state_of_run(self, instance: Instance, claim: Claim) -> str:
        """Return the state that the workflow was started with: a replay begins with it."""
        first = header_of(instance).first
        return instance.state if first is None else first

    def rearmed(self, instance: Instance, inputs: TurnInputs) -> Instance:
        """Give a step that failed for good new attempts."""
        return handler.rearmed(instance, inputs)

    def map_states(self, instance: Instance, change: Callable[[str], str]) -> Instance:
        """Apply a function to the present state, and to the one that the workflow was started with."""
        mapped = super().map_states(instance, change)
        header = header_of(instance)
        if header.first is None or header.first[:1] == REFERENCE:
            return mapped
        # Both: a replay with an upgraded program begins with the first state, which must have the new form as well.
        return mapped.changed(data=written(attrs.evolve(header, first=change(header.first))))

    def redacted_data(self, instance: Instance, hide: Hide) -> Instance:
        """Replace the outcome's secrets."""
        return instance.changed(data=written(step_listing.redacted_header(self, header_of(instance), hide)))

    def check_data(self, instance: Instance) -> None:
        """Decode the workflow's data, without its journal."""
        header_of(instance)

    def replay(self, instance: Instance, bodies: Sequence[str]) -> replay.Replay:
        """Replay a stored workflow without services, to check that this code can follow its journal. Pure.

        Args:
            instance: the stored instance.
            bodies: the workflow's journal rows.

        Returns:
            The replay, with the steps that the workflow performs next.

        Raises:
            Diverged: this code cannot follow the journal.
            InvalidInput: it cannot decode the state, or the rows.
        """
        present = self.present(instance)
        header = header_of(present)
        encoded = present.state if header.first is None else header.first
        if encoded[:1] == REFERENCE:
            encoded = parts.whole_state(self, encoded, bodies)
        fresh = run_program.WorkflowDraft(
            address=present.address,
            state=self.plan.state.open(encoded.encode()).value,
            codec=self.plan.state,
            current_alarm_ms=None,
            now_ms=present.updated_ms,
            # Not those of the engine: whether code follows a journal must not depend on the machine that asks.
            limits=Limits(),
        )
        known = progress.Known(present.data, header)
        replayed = replay.Replay(known, bodies, fresh, self.received, self.max_steps, present.updated_ms)
        replayed.begin(self.main(present), None)
        replayed.advance()
        # A program that raises before the end of its journal would otherwise look as if it followed it.
        replayed.check_followed()
        return replayed

    def replayed(self, instance: Instance, rows: Sequence[str]) -> tuple[NextStep, ...]:
        """Replay a stored workflow without services. Return its next steps."""
        if header_of(instance).ended is not None:
            return ()
        replayed = self.replay(instance, rows)
        steps = step_listing.next_steps(replayed)
        # Generators that are left open would run their `finally` blocks at any later moment.
        replayed.tree.close()
        return steps

    def has_secret_rows(self, rows: Sequence[str]) -> bool:
        """Return whether an outcome in the journal has secrets."""
        return step_listing.has_secrets(rows)

    def answers_in(self, instance: Instance, rows: Sequence[str]) -> int:
        """Return how many steps ended. Signals that arrive and children that start are rows, too."""
        return step_listing.answers_in(header_of(instance), rows)

    def steps(self, instance: Instance, rows: Sequence[str]) -> tuple[StepRecord, ...]:
        """Return the journal's steps, and those in progress."""
        return step_listing.steps_of(header_of(instance), rows)

    # ------------------------------------------------------------ for tools and tests
    def has_answered(self, instance: Instance, ticket: tuple[int, int, int]) -> bool:
        """Return whether an update has its reply, or will never have one."""
        return handler.has_answered(instance, ticket)

    def reply_in(
        self, instance: Instance, rows: Sequence[str], number: int
    ) -> tuple[Literal["done", "failed"], str] | None:
        """Return the form and the JSON of an update's reply, or for 0 the workflow's value that is stored in parts."""
        return journal.reply_in(rows, number) if number else journal.whole_end(header_of(instance), rows)

    def published_in(self, instance: Instance, name: str) -> PublishedValue | None:
        """Return the value that the workflow published under a name."""
        found: PublishedValue | None = handler.published(instance, name)
        return found

    @property
    def published_names(self) -> frozenset[str]:
        """The names under which it publishes values."""
        return frozenset(name.removeprefix(PUBLISHED) for name in self.received if name.startswith(PUBLISHED))

    def report(self, instance: Instance) -> InstanceStatus:
        """Return the ``status`` result. Its ``phase`` says how the workflow ended, or that a child is parked."""
        status: InstanceStatus = handler.report(instance, report_status(instance))
        return status

    def outcome_of(self, instance: Instance) -> InstanceOutcome | None:
        """Return the value, the error, or the cancellation reason."""
        found: InstanceOutcome | None = handler.shown_outcome(instance)
        return found

    def display_fields(self) -> tuple[DisplayField, ...]:
        """Return the signals and every job's facts."""
        signals = ", ".join(self.signals) or "none"
        return (
            DisplayField("signals", signals),
            DisplayField("updates", ", ".join(self.updates) or "none"),
            DisplayField("queries", ", ".join(self.queries) or "none"),
            *((DisplayField("publishes", ", ".join(names)),) if (names := sorted(self.published_names)) else ()),
            DisplayField("steps at most", str(self.max_steps)),
            *(() if self.concurrency is None else (DisplayField("under way", f"at most {self.concurrency:,}"),)),
            *fields_of_plan(self.plan),
        )

    def display_fields_of(self, instance: Instance) -> tuple[DisplayField, ...]:
        """Return the steps, timers and signals in the workflow, and its end."""
        header = header_of(instance)
        found = [DisplayField("journal rows", f"{instance.journal_length:,}")]
        if header.ended is not None:
            found.append(DisplayField("ended", header.ended.form))
            if header.ended.form == "done":
                found.append(DisplayField("value", shortened(shown_value(header.ended.value), MAX_LINE_CHARACTERS)))
        found += [
            DisplayField(f"published {each.name}", shortened(each.value, MAX_LINE_CHARACTERS))
            for each in shared_in(header).published
        ]
        if instance.lane is not None:
            found.append(DisplayField("waits for", self._waits_for(header.parent)))
        if header.waits_for:
            found.append(DisplayField("waits for", ", ".join(wait.name for wait in header.waits_for)))
        found += [DisplayField("failing step", f"{step.name}, attempt {step.attempts}") for step in header.failing]
        found += [DisplayField("parked child", f"{child.address}, {child.reason}") for child in header.parked]
        if header.waiting:
            found.append(DisplayField("signals not received", f"{header.waiting:,}"))
        if header.parent is not None:
            found.append(DisplayField("parent", header.parent.address))
        if header.forked is not None:
            found.append(DisplayField("forked from", f"{header.forked.address}, step {header.forked.step or 'next'}"))
        if header.deadline_ms is not None:
            found.append(DisplayField("deadline", from_ms(header.deadline_ms)))
        if header.cancel is not None:
            found.append(DisplayField("cancelled", header.cancel.reason))
        return tuple(found)

    def _waits_for(self, parent: Parent | None) -> str:
        """Return the reason why a queued start waits."""
        found = f"its place: at most {self.concurrency} are under way"
        if parent is None or Address.parse(parent.address).name != self.name:
            return found
        return f"{found}, and its parent is one of them"

    def handle_call(self, request: Request) -> tuple[str, tuple[object, ...]]:
        """Return the handle method that makes a request. A signal is passed as its declaration."""
        match request.command:
            case StartTimed(start):
                found = "start", start_arguments(start)
            case SendSignal(name, value):
                found = "signal", _signalled(self.declared[name], value)
            case SignalWithStart(name, given):
                arguments = (*_signalled(self.declared[name], given.value), given.state)
                found = "signal_with_start", (*arguments, Keyword("if_ended", given.if_ended))
            case SendUpdate(name, value):
                found = "send_update", (self.updates[name], value)
            case SettlePromise(name, Fulfilled(value)):
                found = "complete", (self.promises[name], value)
            case SettlePromise(name, Broken(error)):
                found = "fail", (self.promises[name], error)
            case AskQuery(name, value):
                found = "query", (self.queries[name][0], value)
            case ForkWorkflow(wanted):
                options = attrs.asdict(wanted)
                found = "fork", (options.pop("source"), *(Keyword(name, each) for name, each in options.items()))
            case CancelWorkflow(reason, interrupt):
                found = "cancel", (reason, *((Keyword("interrupt", value=True),) if interrupt else ()))
            case _:
                found = super().handle_call(request)
        return found

    def source_of(self, request: Request) -> str:
        """Return the id of the workflow that a request forks."""
        return cast("ForkWorkflow", request.command).wanted.source

    def with_copy(
        self, request: Request, source: Address, before: Instance | None, rows: Sequence[str], after: Instance | None
    ) -> Request | None:
        """Return the request with the rows that its fork takes over."""
        if before is not None and not starts.is_same_run(before, after):
            return None
        command = cast("ForkWorkflow", request.command)
        found = starts.copied(self, source, before, rows, command.wanted)
        return attrs.evolve(request, command=attrs.evolve(command, copied=found))

    def last_messages(self, instance: Instance, reason: str, inputs: TurnInputs) -> tuple[Message, ...]:
        """Return the message that reports the termination to the parent."""
        return run_commits.last_messages(instance, reason, inputs)

    def parking_messages(self, instance: Instance, event: Parking, inputs: TurnInputs) -> tuple[Message, ...]:
        """Return the message that tells the parent that this workflow is parked, or was resumed."""
        return run_commits.parking_messages(instance, event, inputs)

    # ------------------------------------------------------------ typed access
    def call(self, id_: str, state: S, /, *, when_cancelled: WhenCancelled = "cancel") -> Program[A, E | Defect]:
        """Start this workflow as a child of another one, and wait for its end.

        Args:
            id_: the child's id.
            state: the state that it starts with.
            when_cancelled: whether the child is cancelled, or left running, when the caller no longer waits for it:
                because it is cancelled, its time limit passed, or its branch of a `race` lost.

        Returns:
            The program, which succeeds with the child's value and fails with its typed error. It fails with a
            ``Defect`` if the child was cancelled or terminated, or if the id belongs to another workflow.

        Raises:
            InvalidId: the id is invalid.
            DefinitionError: ``when_cancelled`` is neither ``cancel`` nor ``leave``.
        """
        if when_cancelled not in {"cancel", "leave"}:
            raise DefinitionError(
                f"when_cancelled of a call of workflow:{self.name}", when_cancelled, "'cancel' or 'leave'"
            )
        ended: Program[Any, Any] = perform(CallChild(self, check_id(id_), state, when_cancelled))
        return ended

    @overload
    def published(self, id_: str, published: Published[V], /) -> Program[V, NotPublished]: ...
    @overload
    def published(self, id_: str, published: Promise[V, F], /) -> Program[V, F | NotPublished]: ...
    def published(self, id_: str, published: Published[V] | Promise[V, Any], /) -> Program[V, Any]:
        """Wait in a workflow until another one publishes a value, or its promise is settled, as long as it takes.

        The value is received immediately if it was published before, also by a workflow that has ended. With
        ``.timeout("1 hour")`` the wait has a limit.

        Args:
            id_: the other workflow's id.
            published: the declaration of the value or the promise.

        Returns:
            The program, which succeeds with the value. It fails with `NotPublished` if the other workflow ended without
            it, or is absent, and with the typed error of a promise.

        Raises:
            InvalidId: the id is invalid.
        """
        address = self.address(check_id(id_))
        opened = partial(published.answer_of, address)
        answer: Program[Any, Any] = perform(AskInstance(address, f"{PUBLISHED}{published.name}", opened))
        return answer

    def until_ended(self, id_: str, /) -> Program[A, E | Defect]:
        """Wait in a workflow for the end of another one, which it did not start, as long as it takes.

        Args:
            id_: the other workflow's id.

        Returns:
            The program, which succeeds with the other workflow's value and fails with its typed error. It fails with a
            ``Defect`` if that workflow was cancelled or terminated, or is absent: it was never stored, or its outcome
            is no longer kept.

        Raises:
            InvalidId: the id is invalid.
        """
        address = self.address(check_id(id_))
        answer: Program[Any, Any] = perform(AskInstance(address, END, partial(_end_of, self, address)))
        return answer

    def update(self, id_: str, update: Update[V, B, F], value: V, /) -> Program[B, F | Defect]:
        """Send an update from a workflow to another one, and wait for its reply. Each is handled once.

        Args:
            id_: the other workflow's id.
            update: the update's declaration.
            value: the request.

        Returns:
            The program, which succeeds with the reply and fails with the typed error of the handler or the validator.
            It fails with a ``Defect`` if the other workflow is absent, or ends without a reply.

        Raises:
            InvalidId: the id is invalid.
        """
        address = self.address(check_id(id_))
        ask = AskInstance(address, f"update {update.name}", partial(update.reply_of, address), (update.values, value))
        answer: Program[Any, Any] = perform(ask)
        return answer

    def handle(self, dispatch: Dispatch) -> WorkflowHandle[S, A, E]:
        """Return the typed handle."""
        return handle.WorkflowHandle(self, dispatch)

    def sender(self, post: PostCommand) -> WorkflowSender[S]:
        """Return the typed sender."""
        return handle.WorkflowSender(post)


def _checked_run(run: WorkflowProgram, retry_defects: Retry[Any] | None, name: str) -> WorkflowProgram:
    found: WorkflowProgram = check_function(run, what=f"run of workflow:{name}", takes=("ctx",), expected="a Program")
    check_retry_defects(retry_defects, f"workflow:{name}")
    return found


def _end_of(
    job: AnyWorkflow, address: Address, form: str, value: str, known: Callable[[Opened[Any]], Any]
) -> Success[Any] | Failure[Any]:
    ended: Success[Any] | Failure[Any] = children.answer_of_end(job, address, form, value, known)
    return ended


def _signalled(declared: Signal[Any], value: Any) -> tuple[object, ...]:
    """Return the declaration and the value with which a handle sends a signal."""
    return (declared.for_key(value.key), value.value) if declared.by_key else (declared, value)


def _codecs_of(
    declared: Mapping[str, Signal[Any]], tags: Mapping[type, str] | None, name: str
) -> dict[str, Codec[Any]]:
    return {
        signal.name: Codec.of(
            form_of(signal), what=f"signal {signal.name} of workflow:{name}", tags=tags, ignores_other_tags=True
        )
        for signal in declared.values()
    }


def _signals(signals: Sequence[Signal[Any]], name: str) -> dict[str, Signal[Any]]:
    found: dict[str, Signal[Any]] = _named(signals, Signal, f"signals of workflow:{name}", "Signal('name', Type)")
    if any(each.key is not None for each in found.values()):
        raise DefinitionError(f"signals of workflow:{name}", "signal.for_key(key)", "the signal without a key")
    return found


def _named(given: Sequence[T], of: type[T], what: str, expected: str) -> dict[str, T]:
    """Return declarations by name.

    Raises:
        DefinitionError: one is not a declaration, or two have the same name.
    """
    if not isinstance(given, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise DefinitionError(what, given, f"a tuple, such as ({expected},)")
    found: dict[str, T] = {}
    for each in given:
        if not isinstance(each, of):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            raise DefinitionError(what, each, expected)
        name: str = cast("Any", each).name
        if name in found:
            raise DefinitionError(what, name, "different names")
        found[name] = each
    return found


def _updates(updates: Sequence[Update[Any, Any, Any]], name: str) -> dict[str, Update[Any, Any, Any]]:
    return _named(updates, Update, f"updates of workflow:{name}", "Update('name', Type, Reply)")


def _publishes(
    publishes: Sequence[Published[Any]], promises: Sequence[Promise[Any, Any]], name: str
) -> tuple[dict[str, Published[Any]], dict[str, Promise[Any, Any]]]:
    what = f"publishes of workflow:{name}"
    found = _named(publishes, Published, what, "Published('name', Type)")
    promised = _named(promises, Promise, f"promises of workflow:{name}", "Promise('name', Type)")
    if len(found) + len(promised) > MAX_PUBLISHED:
        most = f"at most {MAX_PUBLISHED} values, promises included: each commit writes them"
        raise DefinitionError(what, len(found) + len(promised), most)
    if both := found.keys() & promised.keys():
        raise DefinitionError(f"promises of workflow:{name}", sorted(both), "names that no published value has")
    return found, promised


def _promised(
    updates: Mapping[str, Update[Any, Any, Any]],
    publishes: Sequence[Published[Any]],
    declared: Sequence[Promise[Any, Any]],
    name: str,
) -> tuple[Mapping[str, Promise[Any, Any]], dict[str, Codec[Any]]]:
    """Return the promises, and the codecs of the values that come besides signals, by their names in the journal."""
    published, promises = _publishes(publishes, declared, name)
    found = {update_signal(each.name): each.values for each in updates.values()}
    found |= {f"{PUBLISHED}{each.name}": each.values for each in published.values()}
    return promises, found | {f"{PUBLISHED}{each.name}": each.outcomes for each in promises.values()}


def _queries(
    queries: Sequence[StateQuery[Any, Any, Any]], tags: Mapping[type, str] | None, name: str
) -> dict[str, tuple[StateQuery[Any, Any, Any], Codec[Any]]]:
    what = f"queries of workflow:{name}"
    declared = _named(queries, StateQuery, what, "StateQuery('name', Type, Reply, function)")
    found: dict[str, tuple[StateQuery[Any, Any, Any], Codec[Any]]] = {}
    for query in declared.values():
        what = f"answer to query {query.name} of workflow:{name}"
        found[query.name] = query, Codec.of(query.reply, what=what, tags=tags, ignores_other_tags=True)
    return found


def _results(result: Any, run: object, tags: Mapping[type, str] | None, name: str) -> Codec[Any]:  # a type form
    form: Any = value_of(run) if isinstance(result, FromHooks) else result
    if form is Any:
        raise DefinitionError(
            f"result of workflow:{name}", run, "an annotation such as -> Do[value, errors, services], or result=..."
        )
    return Codec.of(
        None if form is Never else form, what=f"result of workflow:{name}", tags=tags, ignores_other_tags=True
    )


def _keep_ms(keep: Duration, name: str) -> int:
    return duration_ms(keep, what=f"keep of workflow:{name}")


def _bounds(max_steps: object, inbox: object, concurrency: object, name: str) -> tuple[int, int, int | None]:
    found = (_whole(max_steps, f"max_steps of workflow:{name}"), _whole(inbox, f"inbox of workflow:{name}"))
    if concurrency is None:
        return (*found, None)
    return (*found, _whole(concurrency, f"concurrency of workflow:{name}", MAX_UNDER_WAY))


def _whole(value: object, what: str, most: int = MAX_LIMIT) -> int:
    if type(value) is int and 1 <= value <= most:
        return value
    raise DefinitionError(what, value, f"a whole number from 1 to {most}")
