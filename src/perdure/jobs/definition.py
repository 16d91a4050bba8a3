"""A definition carries its kind of job whole: how requests are decided, run, settled, called and told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, Literal, Never, Protocol, TypeAlias, TypeVar

import attrs
from returns.future import FutureResult
from typing_extensions import TypeAliasType
from typing_extensions import TypeVar as DefaultTypeVar

from perdure.codecs import Codec, Upgrades
from perdure.jobs.context import JobContext
from perdure.jobs.draft import Draft
from perdure.jobs.needs import Need
from perdure.jobs.report import report_status
from perdure.jobs.request import CommandSpec, Request
from perdure.jobs.size import within
from perdure.jobs.step import Commit, Execute, Step
from perdure.programs import Program
from perdure.values.address import Address
from perdure.values.answer import InstanceStatus, Sent
from perdure.values.errors import (
    DefinitionError,
    HookRaised,
    OutcomeUnknown,
    Rejected,
    RequestError,
    RunTimeout,
    StoreError,
    UnknownAction,
)
from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.instance import Claim, Instance
from perdure.values.limits import Limits
from perdure.values.retry import Retry
from perdure.values.turn_inputs import TurnInputs

H_co = TypeVar("H_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)
_E = DefaultTypeVar("_E", default=Never)
R_contra = DefaultTypeVar("R_contra", contravariant=True, default=object)

Exhausted = Literal["continue", "park", "purge"]
"""What becomes of an instance whose run failed for good."""

CallError: TypeAlias = RequestError | HookRaised | RunTimeout | OutcomeUnknown | StoreError
"""Everything that a call can fail with, whatever its job. A closed union: `match` and `assert_never` know its parts."""

EventError = TypeAliasType(
    "EventError", RequestError | Rejected[_E] | HookRaised | RunTimeout | OutcomeUnknown | StoreError, type_params=(_E,)
)
"""Everything that ``send`` and ``add`` can fail with: a `CallError`, or the typed error of the job's event handler."""


class Dispatch(Protocol):
    """How a handle reaches the engine."""

    def request(
        self, definition: Definition[Any, Any, Any], id_: str, build: Callable[[Limits], Request], /
    ) -> FutureResult[Any, Any]:
        """Send a request; it is built, and so validated, when the answer is awaited.

        The handle knows the types of the answer and of the error: it declares them.
        """
        ...

    def status(self, definition: Definition[Any, Any, Any], id_: str, /) -> FutureResult[InstanceStatus, CallError]:
        """Read the committed status."""
        ...

    def state(self, definition: Definition[Any, Any, Any], id_: str, /) -> FutureResult[Any, CallError]:
        """Read the committed state, decoded; None when there is no instance."""
        ...


class PostCommand(Protocol):
    """How a teller makes the program that sends a command with the turn's commit."""

    def __call__(self, action: str, value: object = None, /) -> Program[None]: ...


@attrs.frozen(kw_only=True)
class Plan:
    """What every definition has, whatever its kind; validated when it is built.

    Attributes:
        state: how the state is encoded.
        state_version: the version of the state's shape, stored with each row.
        upgrades: how states of older versions are read.
        errors: how typed errors are encoded; None when no type is known.
        retry: the durable retry of runs.
        exhausted: what becomes of an instance whose run failed for good.
        run_timeout_ms: how long a run may take.
        concurrency: runs of this job at the same time; None leaves it to the engine's own limit.
        commands: every command that a caller may send, by name.
        answers: how this kind's answers are encoded, for keys and for the wire.
        needs: what the hooks need of the services, as far as their annotations say it.
        state_in_events: whether events that record a state change carry the state.
        hooks: the functions that the user gave, by the name of the hook.
    """

    __repr__ = fields_in_line

    state: Codec[Any]
    upgrades: Upgrades
    errors: Codec[Any] | None
    retry: Retry[Any] | None
    exhausted: Exhausted
    run_timeout_ms: int
    concurrency: int | None
    commands: Mapping[str, CommandSpec[Any]]
    answers: Codec[Any]
    needs: tuple[Need, ...] = ()
    hooks: Mapping[str, object] = attrs.Factory(dict[str, object])
    state_version: int = 1
    state_in_events: bool = False


class Definition(ABC, Generic[H_co, T_co, R_contra]):
    """One job: its name, its types, its policies and its hooks.

    ``H`` is the typed handle that the client gives for it, ``T`` the teller that other jobs use, ``R`` the services
    that its programs need. A kind of job is a subclass: the engine, the client and the stores know nothing else of it.

    Attributes:
        name: the job's name, part of the stored address.
        plan: what every definition has.
        kind: the kind's name, part of the stored address.
        occupancy: whether a run holds the instance's mailbox, or lets other requests be decided meanwhile.
    """

    __slots__ = ()
    name: str
    plan: Plan
    kind: ClassVar[str]
    occupancy: ClassVar[Literal["mailbox", "claim_only"]] = "mailbox"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {excerpt(self.name)}>"

    # ------------------------------------------------------------ the pure handler
    @abstractmethod
    def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
        """Decide one of the kind's own commands, or an alarm that is due."""

    @abstractmethod
    def program(self, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
        """Give the hook's name and its program for a claim: the same for every delivery.

        Args:
            instance: what is stored while the program runs.
            claim: who runs it, for what.
            command: the command that is being served; rebuilt from the claim when the run is delivered again.
        """

    @abstractmethod
    def succeeded(self, execute: Execute, inputs: TurnInputs) -> Commit | Execute:
        """Settle a run that succeeded."""

    def state_of_run(self, instance: Instance, claim: Claim) -> str:
        """The encoded state that a run works on; the instance's own, unless the kind keeps another."""
        return instance.state

    def alarm_of_run(self, instance: Instance, claim: Claim) -> int | None:
        """The alarm that a run finds: its own firing, at the first attempt, consumed it."""
        return None if claim.cause == "alarm" and instance.pending_retry is None else instance.alarm_ms

    def alarm_consumed(self, instance: Instance, claim: Claim, inputs: TurnInputs) -> Instance:
        """What a failed attempt leaves of the instance while the run waits for its retry or is parked."""
        return instance

    def rearmed(self, instance: Instance, inputs: TurnInputs) -> Instance:
        """What resuming changes of the kind's own data."""
        return instance

    def given_up(self, instance: Instance, claim: Claim, inputs: TurnInputs) -> Instance | None:
        """What a run that failed for good leaves under ``continue`` or ``purge``; None: the instance goes."""
        return None if self.plan.exhausted == "purge" else self.alarm_consumed(instance, claim, inputs)

    def error_handler(self, execute: Execute, error: object) -> Program[Any, Any, Any] | None:
        """The program of ``on_error``, if the job has one."""
        return None

    def ended(self, execute: Execute) -> object:
        """What the sender of an event is told whose handler terminated the instance."""
        return Sent(created=execute.claim.created == "here", status=None, scheduled_at=None)

    def report(self, instance: Instance) -> InstanceStatus:
        """What ``status`` answers."""
        return report_status(instance)

    def context(self, instance: Instance, claim: Claim, **inputs: object) -> JobContext[Any]:
        """Make the context of a hook, as a test of that hook needs it. A kind whose hooks see more overrides it.

        Args:
            instance: what is stored while the hook runs; a test's own holds no `data`.
            claim: what the hook runs for.
            **inputs: the keyword arguments that only contexts of this kind take.
        """
        given: dict[str, Any] = inputs  # of the types that the context of the kind declares
        return JobContext(instance, claim, **given)

    def may_rest(self, instance: Instance) -> bool:
        """Return whether an instance of this kind may wait for nothing, neither an alarm nor a retry.

        `JobMachine` reports an instance that does and may not.
        """
        return True

    def handle_call(self, request: Request) -> tuple[str, tuple[object, ...]]:
        """Return the method of the handle that makes a request, and its arguments after the id.

        A `World` writes the test that reproduces a failure with them. By default the method has the name of the action
        and takes its input.
        """
        codec = self._spec(request.action).input
        return request.action, () if codec is None else (codec.decode(request.payload.encode()),)

    def map_states(self, instance: Instance, change: Callable[[str], str]) -> Instance:
        """Apply a function to every encoded state that the row holds. A kind that keeps another in `data` adds it."""
        return instance.changed(state=change(instance.state)) if instance.state else instance

    def check_data(self, instance: Instance) -> None:
        """Read what is stored for the kind alone.

        Raises:
            InvalidInput: this code cannot read it.
        """

    def stale_alarm(self, instance: Instance) -> str | None:
        """Why the stored alarm is not one that this definition would set; None where it is, or nobody can tell.

        An alarm that was set before a deploy stands until it fires.

        Raises:
            InvalidInput: this code cannot read what is stored.
        """
        return None

    def visible_state(self, instance: Instance) -> object:
        """What ``get_state`` answers, decoded.

        Args:
            instance: what is stored, as `present` gives it.

        Raises:
            InvalidInput: this code cannot read what is stored.
        """
        return self.decode_state(instance)

    # ------------------------------------------------------------ typed access
    @abstractmethod
    def handle(self, dispatch: Dispatch) -> H_co:
        """Give the typed handle."""

    @abstractmethod
    def sender(self, post: PostCommand) -> T_co:
        """Give the typed teller."""

    # ------------------------------------------------------------ versions of the state
    def present(self, instance: Instance) -> Instance:
        """Give the instance with its state in the present version; the next commit writes it so.

        Raises:
            InvalidInput: this code cannot read what is stored.
        """
        if instance.state_version == self.plan.state_version:
            return instance
        upgrades, version = self.plan.upgrades, instance.state_version
        upgrades.check(version)
        upgraded = self.map_states(instance, lambda encoded: upgrades.upgrade(encoded, version))
        return upgraded.changed(state_version=self.plan.state_version)

    # ------------------------------------------------------------ commands
    def address(self, id_: str) -> Address:
        """The address of an instance; the id must have been checked."""
        return Address(self.kind, self.name, id_)

    def parse(self, action: str, payload: str, *, idempotency_key: str | None = None) -> Request:
        """Make a request from its encoded form, as messages and tools send it.

        Raises:
            UnknownAction: this kind has no such command.
            InvalidInput: the payload is not what the command takes.
        """
        command = self._spec(action).build(payload)
        return Request(command=command, action=action, payload=payload, idempotency_key=idempotency_key)

    def _spec(self, action: str) -> CommandSpec[Any]:
        spec = self.plan.commands.get(action)
        if spec is None:
            raise UnknownAction(f"{self.kind}:{self.name}", action, tuple(self.plan.commands))
        return spec

    def decode_state(self, instance: Instance, claim: Claim | None = None) -> object:
        """Decode the instance's state, or that of a run.

        Raises:
            InvalidInput: this code cannot read what is stored.
        """
        encoded = instance.state if claim is None else self.state_of_run(instance, claim)
        return self.plan.state.decode(encoded.encode())

    def draft(self, instance: Instance, claim: Claim, inputs: TurnInputs) -> Draft:
        """A fresh draft for a run.

        Raises:
            InvalidInput: this code cannot read what is stored.
        """
        return self.draft_of(self.decode_state(instance, claim), instance, claim, inputs)

    def draft_of(self, state: object, instance: Instance, claim: Claim, inputs: TurnInputs) -> Draft:
        """A fresh draft on a decoded state. A kind whose programs have operations of their own overrides it."""
        return Draft(
            address=instance.address,
            state=state,
            codec=self.plan.state,
            current_alarm_ms=self.alarm_of_run(instance, claim),
            now_ms=inputs.now_ms,
            limits=inputs.limits,
        )

    def encode_state(self, state: object, limits: Limits) -> str:
        """Check and encode a state.

        Raises:
            InvalidInput: it is not of the declared type, or too large.
        """
        return within(self.plan.state.encode(state), limits.state_bytes, what=self.plan.state.what)

    def encode_input(self, action: str, value: object, max_bytes: int) -> str:
        """Check and encode the input of a command; empty when it takes none.

        Raises:
            InvalidInput: it is not of the declared type, or too large.
        """
        codec = self._spec(action).input
        if codec is None:
            return ""
        return within(codec.encode(value), max_bytes, what=codec.what)


AnyDefinition: TypeAlias = Definition[Any, Any, Any]
"""A definition, whatever its handle, its teller and its services: what the engine and the shared decisions work on."""


def check_definition(value: object) -> Definition[Any, Any, Any]:
    """Accept a definition.

    Raises:
        DefinitionError: it is something else.
    """
    if isinstance(value, Definition):
        return value  # pyright: ignore[reportUnknownVariableType] - what it needs is checked where it is used
    raise DefinitionError("a job of the engine", value, "a definition: Continuous(...), Debounce(...), Task(...)")
