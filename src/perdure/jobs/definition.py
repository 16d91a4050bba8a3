"""Definitions: each holds a job completely, from decisions to typed handles.

`tell` addresses an instance of a definition from another job.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, Never, Protocol, TypeAlias, TypeVar

import attrs
from returns.result import Result
from typing_extensions import TypeAliasType
from typing_extensions import TypeVar as DefaultTypeVar

from perdure._lazy import lazy_module
from perdure.codecs import Codec, Opened, fingerprint
from perdure.jobs.context import JobContext, Post
from perdure.jobs.display import DisplayField, fields_of_plan, report_status
from perdure.jobs.plan import Plan
from perdure.jobs.request import CommandSpec, Keyword, Request, WaitFor, within
from perdure.programs import Program, perform
from perdure.values.address import Address, check_id
from perdure.values.answer import Sent
from perdure.values.errors import (
    DefinitionError,
    HookRaised,
    InvalidInput,
    OutcomeUnknown,
    Rejected,
    RequestError,
    RunTimeout,
    StoreError,
    UnknownAction,
)
from perdure.values.excerpt import REFERENCE, excerpt

if TYPE_CHECKING:
    from perdure.jobs import draft
    from perdure.jobs.call import Call
    from perdure.jobs.draft import Draft
    from perdure.jobs.plan import Lanes
    from perdure.jobs.step import Commit, Execute, NextStep, Step, TurnResult
    from perdure.programs import Exit
    from perdure.values.address import Job
    from perdure.values.attributes import Attribute, Condition
    from perdure.values.event import Parking
    from perdure.values.instance import Claim, Instance
    from perdure.values.limits import Limits
    from perdure.values.listings import (
        ForkedMany,
        HoldResult,
        InstanceOutcome,
        JobCount,
        ListFilter,
        Listing,
        MatchCount,
        StepRecord,
    )
    from perdure.values.message import Message
    from perdure.values.secret import Hide
    from perdure.values.status import Hold, InstanceStatus
    from perdure.values.status_wait import Awaited, AwaitedStatus, PublishedValue, UpdateReply, WaitCondition
    from perdure.values.stream import StreamPage
    from perdure.values.turn_inputs import TurnInputs
else:  # running jobs needs more modules than defining them
    draft = lazy_module("perdure.jobs.draft")

H_co = TypeVar("H_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)
_E = DefaultTypeVar("_E", default=Never)
R_contra = DefaultTypeVar("R_contra", contravariant=True, default=object)

CallError: TypeAlias = RequestError | HookRaised | RunTimeout | OutcomeUnknown | StoreError
"""The errors of any call. A closed union: `match` and `assert_never` know its members."""

EventError = TypeAliasType(
    "EventError", RequestError | Rejected[_E] | HookRaised | RunTimeout | OutcomeUnknown | StoreError, type_params=(_E,)
)
"""The errors of ``send`` and ``add``: a `CallError`, or the typed error of the job's event handler."""


class Dispatch(Protocol):
    """The interface from handles to the engine."""

    def request(
        self, definition: Definition[Any, Any, Any], id_: str, build: Callable[[Limits], Request], name: str = ..., /
    ) -> Call[Any, Any]:
        """Send a request, which is built and validated when the result is awaited.

        The handle declares the result and error types. The name is the call's, for warnings.
        """
        ...

    def status(self, definition: Definition[Any, Any, Any], id_: str, /) -> Call[InstanceStatus, CallError]:
        """Read the committed status."""
        ...

    def state(self, definition: Definition[Any, Any, Any], id_: str, /) -> Call[Any, CallError]:
        """Read and decode the committed state. None if there is no instance."""
        ...

    def steps(self, definition: Definition[Any, Any, Any], id_: str, /) -> Call[tuple[StepRecord, ...], CallError]:
        """Read an instance's steps. None if there is no instance."""
        ...

    def set_hold(self, job: Job, hold: Hold, /) -> Call[HoldResult, CallError]:
        """Hold or release a job."""
        ...

    def count(self, job: Job, /) -> Call[JobCount, CallError]:
        """Count a job's instances by status."""
        ...

    def count_matching(
        self, job: Job, where: Sequence[Condition | Attribute[Any, bool] | str], /
    ) -> Call[MatchCount, CallError]:
        """Count a job's instances whose attributes meet all conditions."""
        ...

    def fork_many(self, job: Job, given: Mapping[str, object], /) -> Call[ForkedMany, CallError]:
        """Fork a page with workflows that match a filter."""
        ...

    def find(self, wanted: ListFilter, /) -> Call[Listing, CallError]:
        """Find instances."""
        ...

    def until(self, address: Address, wanted: WaitCondition, timeout_ms: int, /) -> Call[Awaited, CallError]:
        """Wait until an instance has a wanted status."""
        ...

    def reply_to(self, definition: Definition[Any, Any, Any], id_: str, ticket: str, /) -> Call[UpdateReply, CallError]:
        """Read the reply to an update."""
        ...

    def published_by(
        self, definition: Definition[Any, Any, Any], id_: str, name: str, /
    ) -> Call[PublishedValue, CallError]:
        """Read the value that an instance published, without waiting for it."""
        ...

    def stream_page(self, address: Address, stream: str, after: int, wait_ms: int, /) -> Call[StreamPage, CallError]:
        """Read the items of a stream after an offset. Wait a while for the first item."""
        ...

    def concurrently(self, calls: Sequence[Call[Any, Any]], /) -> Call[tuple[Result[Any, Any], ...], Never]:
        """Make several such calls at the same time, and return their results in order."""
        ...


class PostCommand(Protocol):
    """Creates the program that sends a command with the turn's commit. Senders use it."""

    def __call__(self, action: str, value: object = None, /) -> Program[None]: ...


START_LANE: Final = "start"
"""The lane of starts that wait for their place among the instances that are under way."""


class Definition(ABC, Generic[H_co, T_co, R_contra]):
    """One job: its name, its types, its policies and its hooks.

    ``H`` is the typed handle for clients, ``T`` the sender for other jobs, ``R`` the services that its programs need. A
    job kind is a subclass: the engine, the client and the stores know only this interface.

    Attributes:
        name: the job's name, which the stored address contains.
        plan: the parts that every definition has.
        kind: the kind's name, which the stored address contains.
        occupancy: whether a run holds the instance's mailbox, or other requests are decided meanwhile.
        keeps_journal: whether this kind's transitions append to a journal, which not every store keeps.
        journal_format: a number that rises when the kind writes rows which its earlier code cannot follow: instances
            that the earlier code left are then taken up.
        queues_starts: whether this kind's jobs may have a limit, `most_under_way`, and so queued starts.
        error_hook: the hook name for the program that `error_handler` returns.
        run_now: the action that runs an instance now that waits for a retry. None if there is none.
        time_limit_of: whether the time limit is for a complete run, or for a run without a further checkpoint.
        interrupting: the command types that may stop a run in progress. See `interrupts`.
        copying: the command types that begin an instance with a part of another one. See `with_copy`.
        event: the event's command class. None for a kind without events.
        end_statuses: the statuses in which a request's work is over, for a caller that waits for that.
    """

    __slots__ = ()
    name: str
    plan: Plan
    kind: ClassVar[str]
    occupancy: ClassVar[Literal["mailbox", "claim_only"]] = "mailbox"
    keeps_journal: ClassVar[bool] = False
    journal_format: ClassVar[int] = 1
    error_hook: ClassVar[str] = "on_error"
    run_now: ClassVar[str | None] = None
    time_limit_of: ClassVar[Literal["run", "checkpoint"]] = "run"
    interrupting: ClassVar[frozenset[type]] = frozenset()
    copying: ClassVar[frozenset[type]] = frozenset()
    queues_starts: ClassVar[bool] = False
    event: ClassVar[type | None] = None
    end_statuses: ClassVar[tuple[AwaitedStatus, ...]] = ("ended",)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {excerpt(self.name)}>"

    # ------------------------------------------------------------ the pure handler
    @abstractmethod
    def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
        """Decide one of the kind's own commands, or a due alarm."""

    @abstractmethod
    def program(self, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
        """Return the hook's name and its program for a claim: the same for every delivery.

        Args:
            instance: the stored instance.
            claim: the run's claim.
            command: the command being served. It is rebuilt from the claim when the run is delivered again.
        """

    @abstractmethod
    def succeeded(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit | Execute:
        """Settle a run that succeeded.

        Args:
            execute: the run. Its ``instance`` is the stored one.
            value: the program's value.
            inputs: the clock, the random value and the ids, drawn after the exit.
        """

    def checkpoint(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit:
        """Decide on a run's `Checkpoint`. The run continues with the result.

        Args:
            execute: the run. Its ``instance`` is the stored one, which requests may have changed during the run.
            value: the progress, as ``Checkpoint.take`` returned it.
            inputs: the clock, the random value and the ids.

        Returns:
            A transition that puts the instance with the run's claim, and the result for the program. It may append to
            the journal, and change the data and the alarm, log events and send messages.
        """
        raise TypeError(f"{self!r} has no checkpoints; its kind overrides checkpoint")

    def exited(self, execute: Execute, exit_: Exit[Any, Any], inputs: TurnInputs) -> Commit | Execute | None:
        """Decide on a program's exit before the rules that all kinds share. None to apply those rules.

        A kind overrides it to handle a halt in its own way, or to keep a part of a failed run: ``run_failed`` and
        ``event_failed`` in `perdure.jobs.run` return the commit that the shared rules would write, and a kind may
        change a copy of it. A program that terminates its instance exits with ``Halted(EndInstance(reason))``.

        If it raises, it is called again with that exception as the exit, and must then return.

        Args:
            execute: the run. Its ``instance`` is the stored one.
            exit_: the program's exit.
            inputs: the clock, the random value and the ids, drawn after the exit.
        """
        return None

    def interrupts(self, execute: Execute, row: Instance) -> bool:
        """Return whether a stored request stops a run in progress: it exits with ``Halted(RunInterrupted())``."""
        return False

    def held(self, step: Execute, instance: Instance | None, request: Request, inputs: TurnInputs) -> Commit | None:
        """Answer a request that would begin a run while the job is held. None to answer as a paused instance does.

        Args:
            step: the run that would begin.
            instance: the stored instance, if there is one.
            request: the request.
            inputs: the clock, the random value and the ids.
        """
        return None

    @property
    def lanes(self) -> Lanes | None:
        """How this job's queued instances take turns. None: it queues none, and its alarms fire by themselves."""
        return None

    def lane(self, instance: Instance) -> str:
        """Return the lane whose slots an instance's run takes, for a job that has lanes."""
        return instance.lane or ""

    @property
    def most_under_way(self) -> int | None:
        """How many instances may be under way, over all engines: begun and not ended. None: any number.

        Further starts are stored with the lane `START_LANE`. An `AlarmDue` that names one begins it.
        """
        return None

    def queued_start(self, instance: Instance) -> str:
        """Return a text that names a queued start. A later start with the same id has another one.

        Raises:
            InvalidInput: this code cannot decode the stored data.
        """
        raise TypeError(f"{self!r} queues no starts")

    def begin_unread(self, address: Address, instance: Instance, request: Request, inputs: TurnInputs) -> Step | None:
        """Decide a request to an instance whose state this code cannot read. None if it needs the state.

        Args:
            address: the instance.
            instance: the instance as it is stored.
            request: the request.
            inputs: the clock, the random value and the ids.

        Raises:
            InvalidInput: this code cannot decode the instance's parts that it needs.
        """
        return None

    def last_messages(self, instance: Instance, reason: str, inputs: TurnInputs) -> tuple[Message, ...]:
        """Return the messages from an instance that a call terminates, or its program, or its last failure.

        Args:
            instance: the stored instance.
            reason: why it ends.
            inputs: the clock, the random value and the ids.

        Raises:
            InvalidInput: this code cannot decode the stored data. Then no message is sent.
        """
        return ()

    def parking_messages(self, instance: Instance, event: Parking, inputs: TurnInputs) -> tuple[Message, ...]:
        """Return the messages from an instance that this event parks or resumes. See `last_messages`."""
        return ()

    def source_of(self, request: Request) -> str:
        """Return the id of the instance that a request of a type in `copying` copies from."""
        raise TypeError(f"{self!r} copies no instance")

    def with_copy(
        self, request: Request, source: Address, before: Instance | None, rows: Sequence[str], after: Instance | None
    ) -> Request | None:
        """Return a request of a type in `copying` with the other instance's parts that it needs: a turn reads its own.

        Args:
            request: the request.
            source: the other instance.
            before: its stored row. None if there is none.
            rows: its journal, read after the row.
            after: its row, read after the journal.

        Returns:
            The request. None if these rows are not those of one moment, and are read again.
        """
        return request

    def first_state(self, id_: str, limits: Limits) -> str:
        """Return the encoded state in which the first event finds a new instance.

        Only an instance whose state is empty gets it. It may run the job's code, and raise whatever that raises.

        Args:
            id_: the instance's id.
            limits: the engine's limits.
        """
        return ""

    def state_of_run(self, instance: Instance, claim: Claim) -> str:
        """Return the encoded state that a run works on. It is the instance's own, unless the kind keeps another."""
        return instance.state

    def alarm_consumed(self, instance: Instance, claim: Claim, inputs: TurnInputs) -> Instance:
        """Return the instance after a failed attempt, while the run waits for its retry or is parked."""
        return instance

    def rearmed(self, instance: Instance, inputs: TurnInputs) -> Instance:
        """Return the instance with the kind's own data as resuming changes it."""
        return instance

    def given_up(self, instance: Instance, claim: Claim, inputs: TurnInputs) -> Instance | None:
        """Return the instance after its run failed for good. None to purge it."""
        return None if self.plan.exhausted == "purge" else self.alarm_consumed(instance, claim, inputs)

    def error_handler(self, execute: Execute, error: object) -> Program[Any, Any, Any] | None:
        """Return the ``on_error`` program, if the job has one."""
        return None

    def ended(self, execute: Execute) -> object:
        """Return the event sender's result after the handler terminated the instance."""
        return Sent(created=execute.claim.created == "here", status=None, scheduled_at=None)

    def replied(self, address: Address, request: Request, result: TurnResult, now_ms: int) -> tuple[Message, ...]:
        """Return the message with the result of a message's request, if the sender waits for that."""
        return ()

    def report(self, instance: Instance) -> InstanceStatus:
        """Return the ``status`` result. A kind with its own phases, such as ``done``, adds the ``phase``."""
        return report_status(instance)

    def context(self, instance: Instance, claim: Claim, **inputs: object) -> JobContext[Any]:
        """Create a hook's context, for tests. A kind whose contexts have more members overrides it.

        Args:
            instance: the stored instance. A test's own instance holds no `data`.
            claim: the run's claim.
            **inputs: further keyword arguments for this kind's context.
        """
        given: dict[str, Any] = inputs  # of the types that the context of the kind declares
        return JobContext(instance, claim, **given)

    def may_rest(self, instance: Instance) -> bool:
        """Return whether an instance may have neither an alarm nor a retry. If not, `JobMachine` reports it."""
        return True

    @property
    def simulation_timeout_ms(self) -> int:
        """The virtual time after which `simulate` cancels this job's hook. By default a run's time limit.

        A kind whose programs wait outside runs, such as for days, overrides it.
        """
        return self.plan.run_timeout_ms

    def is_over(self, instance: Instance) -> bool:
        """Return whether a stored instance has ended, although a kind keeps it, such as for its result.

        A caller that waits for an end (`Client.until`) waits until this is True, or the instance is gone.
        """
        return instance.ended_ms is not None

    def has_answered(self, instance: Instance, ticket: tuple[int, int, int]) -> bool:
        """Return whether an update has its reply, or will never have one. Only workflows answer updates.

        Args:
            instance: the stored instance.
            ticket: the update's incarnation, number and place in the journal.
        """
        return True

    def reply_in(
        self, instance: Instance, rows: Sequence[str], number: int
    ) -> tuple[Literal["done", "failed"], str] | None:
        """Return the form and the JSON of an update's reply. None if these journal rows have none."""
        return None

    def published_in(self, instance: Instance, name: str) -> PublishedValue | None:
        """Return the value that an instance published under a name. None if its kind publishes none."""
        return None

    @property
    def published_names(self) -> frozenset[str]:
        """The names under which instances publish values."""
        return frozenset()

    def handle_call(self, request: Request) -> tuple[str, tuple[object, ...]]:
        """Return the handle method that makes a request, and its arguments after the id.

        A `World` writes the test that reproduces a failure with them. By default the method has the action's name and
        takes its input.
        """
        spec = self.spec(request.action)
        # The test that a `World` prints must run as it stands, so options that were left out stay left out.
        if spec.input is None or (spec.takes == "options" and not request.payload):
            return request.action, ()
        value: Any = spec.input.decode(request.payload.encode())
        if spec.takes == "options":
            return request.action, tuple(Keyword(name, option) for name, option in attrs.asdict(value).items())
        return request.action, (value,)

    def map_states(self, instance: Instance, change: Callable[[str], str]) -> Instance:
        """Apply a function to every encoded state in the row. A kind that keeps another in `data` overrides it."""
        if not instance.state or instance.state[:1] == REFERENCE:  # one in parts has a version of its own
            return instance
        return instance.changed(state=change(instance.state))

    def redacted_data(self, instance: Instance, hide: Hide) -> Instance:
        """Replace the secrets in the data that is stored for the kind alone, to show it. States are replaced already.

        Args:
            instance: the stored instance.
            hide: returns each secret's replacement.

        Raises:
            InvalidInput: this code cannot decode the data. Then it is hidden completely.
        """
        return instance

    def check_data(self, instance: Instance) -> None:
        """Decode the data that is stored for the kind alone.

        Raises:
            InvalidInput: this code cannot decode it.
        """

    def check_journal(self, instance: Instance, rows: Sequence[str]) -> None:
        """Check that this code can continue from a journal, as `perdure check` does. Raise as `replayed` does."""
        self.replayed(instance, rows)

    def replayed(self, instance: Instance, rows: Sequence[str]) -> tuple[NextStep, ...]:
        """Replay a journal without services and without effects. Pure.

        Args:
            instance: the stored instance.
            rows: its journal rows, in order: all rows, or those up to a step.

        Returns:
            The steps that the program performs next, in path order.

        Raises:
            InvalidInput: this code cannot follow the journal. The problem names the step and the program line.
        """
        return ()

    def has_secret_rows(self, rows: Sequence[str]) -> bool:
        """Return whether a journal holds values that this definition marks as secret."""
        return self.plan.state.secret and bool(rows)

    def answers_in(self, instance: Instance, rows: Sequence[str]) -> int:
        """Return how many steps the program has received from these journal rows. A row may hold none."""
        return len(rows)

    def steps(self, instance: Instance, rows: Sequence[str]) -> tuple[StepRecord, ...]:
        """Return an instance's steps for tools, without secrets: those in its journal, then those in progress.

        Raises:
            InvalidInput: this code cannot decode them.
        """
        return ()

    def stale_alarm(self, instance: Instance) -> str | None:
        """Return why this definition would not set the stored alarm. None if it would, or if that is not known.

        Raises:
            InvalidInput: this code cannot decode the stored data.
        """
        return None

    def visible_state(self, instance: Instance) -> object:
        """Return the decoded state of an instance that `present` returns, for ``get_state``. None while there is none.

        Raises:
            InvalidInput: this code cannot decode the stored state.
        """
        text = self.visible_text(instance)
        return None if text is None else self.plan.state.open(text.encode()).value

    def visible_text(self, instance: Instance) -> str | None:
        """Return the encoded state of an instance that `present` returns, with all that newer code wrote.

        Raises:
            InvalidInput: this code cannot decode the data that its kind stores.
        """
        return instance.state or None  # its first event is still being handled

    # ------------------------------------------------------------ for tools that show jobs
    def outcome_of(self, instance: Instance) -> InstanceOutcome | None:
        """Return how an instance ended, from its row without secrets. None while it has not, or if that is not kept."""

    def display_fields(self) -> tuple[DisplayField, ...]:
        """Return the labelled values that tools, such as the dashboard, show for this job. A kind adds its own."""
        return fields_of_plan(self.plan)

    def display_fields_of(self, instance: Instance) -> tuple[DisplayField, ...]:
        """Return the labelled values that tools show for an instance, besides those that every instance has.

        Args:
            instance: the stored instance, as it is shown: without secrets.

        Raises:
            InvalidInput: this code cannot decode the stored data.
        """
        return ()

    def next_ticks(self, now_ms: int, most: int) -> tuple[int, ...]:
        """Return the schedule's next ticks, if they do not depend on an instance.

        Args:
            now_ms: the time, integer milliseconds UTC.
            most: how many.
        """
        return ()

    # ------------------------------------------------------------ typed access
    @abstractmethod
    def handle(self, dispatch: Dispatch) -> H_co:
        """Return the typed handle."""

    @abstractmethod
    def sender(self, post: PostCommand) -> T_co:
        """Return the typed sender."""

    # ------------------------------------------------------------ versions of the state
    def present(self, instance: Instance) -> Instance:
        """Return the instance with its state in the present version. The next commit writes it so.

        Raises:
            InvalidInput: this code cannot decode the stored state.
        """
        # The usual case: nothing is decoded or copied.
        if instance.state_version == self.plan.state_version:
            return instance
        upgrades, version = self.plan.upgrades, instance.state_version
        upgrades.check(version)
        upgraded = self.map_states(instance, lambda encoded: upgrades.upgrade(encoded, version))
        # The version belongs to the text: without it, the next load would upgrade a state that is already upgraded.
        return upgraded.changed(state_version=self.plan.state_version)

    # ------------------------------------------------------------ commands
    def address(self, id_: str) -> Address:
        """Return an instance's address. The id must have been checked."""
        return Address(self.kind, self.name, id_)

    def parse(
        self,
        action: str,
        payload: str,
        *,
        bare: str = "",
        idempotency_key: str | None = None,
        wait_for: WaitFor = "completion",
        trace: str | None = None,
        by: str | None = None,
    ) -> Request:
        """Build a request from its encoded form, as messages, clients and tools send it. See `CommandSpec.accept`.

        Args:
            action: the command's name.
            payload: its input as JSON text.
            bare: the payload without defaults.
            idempotency_key: the request's key.
            wait_for: when the call returns.
            trace: the caller's trace context.
            by: the caller's token name.

        Raises:
            UnknownAction: this kind has no such command.
            NewerOnly: this code does not know a part of the payload.
            InvalidInput: the payload is not a valid input for the command.
        """
        command, written = self.spec(action).accept(payload, bare)
        return Request(
            command=command,
            action=action,
            payload=written,
            idempotency_key=idempotency_key,
            wait_for=wait_for,
            trace=trace,
            by=by,
        )

    def fingerprint(self, action: str, payload: str) -> str:
        """Return a request input's digest. Empty without an input."""
        if not payload:
            return ""
        # By the codec: it orders and normalises, so that equal inputs of two clients have one digest.
        codec = self._input_codec(action)
        return fingerprint(payload.encode()) if codec is None else codec.input_digest(payload.encode())

    def is_repeat(self, first: str, action: str, payload: str) -> bool:
        """Return whether a request's input has this digest, which other code may have computed."""
        # A request without an input repeats only another one without an input.
        if not first or not payload:
            return first == payload
        codec = self._input_codec(action)
        if codec is None:
            return fingerprint(payload.encode()) == first
        return codec.is_same_input(payload.encode(), first)

    def _input_codec(self, action: str) -> Codec[object] | None:
        spec = self.plan.commands.get(action)
        return None if spec is None else spec.input

    def spec(self, action: str) -> CommandSpec[Any]:
        """Return a command.

        Raises:
            UnknownAction: this kind has no such command.
        """
        spec = self.plan.commands.get(action)
        if spec is None:
            raise UnknownAction(f"{self.kind}:{self.name}", action, tuple(self.plan.offered))
        return spec

    def decode_state(self, instance: Instance, claim: Claim | None = None) -> object:
        """Decode the instance's state, or a run's state.

        Raises:
            InvalidInput: this code cannot decode the stored state.
        """
        return self.open_state(instance, claim).value

    def open_state(self, instance: Instance, claim: Claim | None = None) -> Opened[Any]:
        """Decode the instance's state, or a run's state, with the members that newer code wrote.

        Raises:
            NewerOnly: only newer code can decode it.
            InvalidInput: this code cannot decode the stored state.
        """
        encoded = instance.state if claim is None else self.state_of_run(instance, claim)
        if encoded[:1] == REFERENCE:
            raise InvalidInput(self.plan.state.what, ("it is stored in parts, which only runs and get_state read",))
        return self.plan.state.open(encoded.encode())

    def draft(self, instance: Instance, claim: Claim, inputs: TurnInputs) -> Draft:
        """Return a fresh draft for a run.

        Raises:
            InvalidInput: this code cannot decode the stored state.
        """
        kept, text = inputs.decoded, self.state_of_run(instance, claim)
        # `is`: the value must be of exactly this text, and the test must not cost as much as decoding a small state.
        if kept is not None and kept.text is text:
            fresh, fresh_opened = self.draft_of(kept.value, instance, claim, inputs), kept.opened
        elif text[:1] == REFERENCE:  # the run reads it: a turn reads no journal
            return self.draft_of(draft.InParts(text), instance, claim, inputs)
        else:
            opened = self.plan.state.open(text.encode())
            fresh, fresh_opened = self.draft_of(opened.value, instance, claim, inputs), opened.with_rest()
        if fresh_opened is not None:
            fresh.found(fresh_opened)
        return fresh

    def draft_of(self, state: object, instance: Instance, claim: Claim, inputs: TurnInputs) -> Draft:
        """Return a fresh draft on a decoded state. A kind whose programs have further operations overrides it."""
        return draft.Draft(
            address=instance.address,
            state=state,
            codec=self.plan.state,
            # The first attempt of an alarm's run has consumed it.
            current_alarm_ms=None if claim.cause == "alarm" and instance.pending_retry is None else instance.alarm_ms,
            now_ms=inputs.now_ms,
            limits=inputs.limits,
        )

    def encode_state(self, state: object, limits: Limits) -> str:
        """Check and encode a state.

        Raises:
            InvalidInput: it does not have the declared type, or is too large.
        """
        return within(self.plan.state.encode(state), limits.state_bytes, what=self.plan.state.what)

    def encode_input(self, action: str, value: object, max_bytes: int, part_bytes: int = 0) -> str:
        """Check and encode a command's input. Empty if the command takes none, or options that are left out.

        Args:
            action: the command.
            value: the input.
            max_bytes: the input's maximum size.
            part_bytes: the same if the command's input may be stored in parts.

        Raises:
            InvalidInput: it does not have the declared type, or is too large.
        """
        codec = self.input_codec(action, value)
        if codec is None:
            return ""
        data = codec.encode(value)
        # The usual case first: the limit of a large input is looked up only for one.
        if len(data) <= max_bytes:
            return data.decode()
        return within(data, self.max_input(action, max_bytes, part_bytes), what=codec.what)

    def max_input(self, action: str, max_bytes: int, part_bytes: int) -> int:
        """Return an input's maximum size in bytes. See `encode_input`."""
        spec = self.plan.commands.get(action)
        return max(max_bytes, part_bytes) if spec is not None and spec.parts and self.takes_parts else max_bytes

    @property
    def takes_parts(self) -> bool:
        """Whether an input may be stored in parts: an attribute is a function of the state, which they hide."""
        return not self.plan.attributes

    def input_codec(self, action: str, value: object) -> Codec[object] | None:
        """Return the codec for a command's input. None if the command takes none, or options that are left out."""
        spec = self.plan.commands[action] if action in self.plan.commands else self.spec(action)
        return None if value is None and spec.takes == "options" else spec.input


AnyDefinition: TypeAlias = Definition[Any, Any, Any]
"""A definition of any handle, sender and services, as the engine uses it."""


def check_definition(value: object) -> Definition[Any, Any, Any]:
    """Accept a definition.

    Raises:
            DefinitionError: the value is not a definition.
    """
    if isinstance(value, Definition):
        return value  # pyright: ignore[reportUnknownVariableType] - its services are checked where it is used
    raise DefinitionError("a job of the engine", value, "a definition, such as a Task(...) or a Workflow(...)")


T = TypeVar("T")


def tell(definition: Definition[Any, T, Any], id_: str, /) -> T:
    """Address another instance, to send it a command with this turn's commit.

    ``yield from tell(order_processor, "order-1").send(event)``: a failed run sends no message. After the commit it is
    delivered in order and applied exactly once within one store. The sender receives no result. A rejection is recorded
    in its history.

    Args:
        definition: the target's job. An instance may send to itself.
        id_: the target's id.

    Raises:
        DefinitionError: the first argument is not a definition.
        InvalidId: the id is invalid.
    """
    target = check_definition(definition).address(check_id(id_))

    def post(action: str, value: object = None) -> Program[None]:
        # The draft encodes the input: it knows the members that newer code wrote into the objects.
        return perform(Post(target, action, value, definition.input_codec(action, value)))

    return definition.sender(post)
