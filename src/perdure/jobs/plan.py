"""A job's plan: the parts that all definitions share, built and validated, and the services that hooks require."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args, get_origin

import attrs
from typing_extensions import TypeAliasType, TypeForm, get_protocol_members, is_protocol

from perdure.codecs import Codec, Migrations, Upgrades, describe_type
from perdure.codecs.migrations import is_same_form
from perdure.jobs.hooks import FromHooks, errors_of
from perdure.jobs.request import PAUSE, RESUME, TERMINATE, CommandSpec
from perdure.programs import Program
from perdure.values.address import check_name
from perdure.values.answer import Answer
from perdure.values.errors import (
    DefinitionError,
)
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen
from perdure.values.limits import MAX_CONCURRENCY, AnyUse, KeepHistory, Rate, limit_uses
from perdure.values.retry import Retry
from perdure.values.secret import is_model
from perdure.values.times import Duration, duration_ms

if TYPE_CHECKING:
    from perdure.jobs.streams import Heartbeat, Stream
    from perdure.values.attributes import Attribute


@frozen
class RequiredService:
    """The services that one hook needs.

    Attributes:
        services: the protocol in its annotation.
    """

    __repr__ = fields_in_line

    hook: str
    services: type


def required_services(functions: tuple[object, ...]) -> tuple[RequiredService, ...]:
    """Read the hooks' needs from their annotations: the third argument of ``Do``, ``Program`` and the readers.

    A hook whose annotation cannot be read, or does not name a protocol, has no need that can be checked.
    """
    found = ((function, _services_of(function)) for function in functions)
    return tuple(
        RequiredService(getattr(function, "__name__", repr(function)), services)
        for function, services in found
        if is_protocol(services)
    )


def check_services(services: object, needs: tuple[RequiredService, ...], *, job: str) -> None:
    """Check that services have the members that a job needs.

    Args:
        services: the record, never its factory.
        needs: what the job's hooks need.
        job: the job, printed ``kind:name``.

    Raises:
        DefinitionError: a member is missing. The message names the job, the hook and the members.
    """
    # Checked when the engine starts, and not at the first call, which may be days later.
    for need in needs:
        missing = _missing(services, need.services)
        if missing:
            names = ", ".join(missing)
            expected = f"a record with {names}, which {need.hook} of {job} needs ({need.services.__qualname__})"
            raise DefinitionError("services of the engine", services, expected)


def _services_of(function: object) -> type:
    try:
        answer: Any = typing.get_type_hints(function).get("return")
    # Hints that cannot be read prove nothing: the hook fails at its first use, with its own message.
    except (NameError, TypeError, AttributeError):
        return object
    if get_origin(answer) is Generator:
        answer = get_args(answer)[0]
    origin, arguments = get_origin(answer), get_args(answer)
    has_services = isinstance(origin, TypeAliasType) or (isinstance(origin, type) and _is_reader(origin))
    needed = arguments[2] if has_services and len(arguments) > 2 else object  # noqa: PLR2004 - value, errors, services
    return needed if isinstance(needed, type) else object


def _is_reader(container: type) -> bool:
    # By name: `returns` has several such containers, without a common base.
    return issubclass(container, Program) or container.__name__.startswith("RequiresContext")


def _missing(services: object, needed: type) -> list[str]:
    return sorted(member for member in get_protocol_members(needed) if not _has(services, member))


def _has(services: object, member: str) -> bool:
    """Return whether the member exists, without evaluating it."""
    absent = object()
    # Static: a property of the services may connect to a server when it is evaluated.
    if inspect.getattr_static(services, member, absent) is not absent:
        return True
    return inspect.getattr_static(services, "__getattr__", absent) is not absent


AcceptedInEvents = Literal["nothing", "sender", "payload"]
"""The entry of an accepted request in the history: none; its name, its sender and the instant; or also its input."""

Exhausted = Literal["continue", "park", "purge"]
"""The outcome for an instance whose run failed for good."""


def _some_codec_is_secret(plan: Plan) -> bool:
    older = (step.codec for step in plan.upgrades.steps)
    codecs = (plan.state, plan.errors, *older, *plan.kept, *plan.replies.values())
    return any(codec and codec.secret for codec in (*codecs, *(spec.input for spec in plan.commands.values())))


@frozen(kw_only=True)
class Plan:
    """Every definition's parts, validated when it is built.

    Attributes:
        state_version: the state type's version, stored with each row.
        upgrades: read states in older versions.
        errors: the codec for typed errors. None if no type is known.
        retry: how runs are retried durably.
        exhausted: the outcome for an instance whose run failed for good.
        run_timeout_ms: a run's time limit, in milliseconds.
        runs: how many runs this job may have at the same time. None for the engine's limit alone.
        commands: every command, by name. `offered` does not contain those that only other instances send.
        answers: the codec for this kind's results, for idempotency keys and tools.
        kept: the codecs for the data that the kind stores beside the state, such as a run's value.
        needs: the service members that the hooks declare to need.
        state_in_events: whether events that record a state change carry the state.
        accepted_in_events: whether accepted requests are events, and with which members.
        max_deaths: how many deaths of a process park a run.
        attributes: the values that the store keeps beside each state, to find instances by them.
        hooks: the user's functions, by the hook's name.
        limits: the named limits that its runs use.
        streams: the streams to which its runs emit.
        heartbeats: the heartbeats that its effects send.
        replies: the replies to its events, by name.
        history: how long its events are kept. None: as long as the log keeps them.
        has_secrets: whether a type has a marked part.
    """

    __repr__ = fields_in_line

    state: Codec[Any]
    upgrades: Upgrades
    errors: Codec[Any] | None
    retry: Retry[Any] | None
    exhausted: Exhausted
    run_timeout_ms: int
    runs: int | None
    commands: Mapping[str, CommandSpec[Any]]
    answers: Codec[Any]
    kept: tuple[Codec[Any], ...] = ()
    needs: tuple[RequiredService, ...] = ()
    hooks: Mapping[str, object] = attrs.Factory(dict[str, object])
    state_version: int = 1
    state_in_events: bool = False
    accepted_in_events: AcceptedInEvents = "nothing"
    max_deaths: int = 3
    attributes: tuple[Attribute[Any, Any], ...] = attrs.field(default=(), eq=False)
    limits: tuple[AnyUse, ...] = attrs.field(default=(), eq=False)
    streams: tuple[Stream[Any], ...] = attrs.field(default=(), eq=False)
    heartbeats: tuple[Heartbeat[Any], ...] = attrs.field(default=(), eq=False)
    replies: Mapping[str, Codec[Any]] = attrs.Factory(dict[str, Codec[Any]])
    history: KeepHistory | None = None
    has_secrets: bool = attrs.field(init=False, default=attrs.Factory(_some_codec_is_secret, takes_self=True))

    @property
    def offered(self) -> Mapping[str, CommandSpec[Any]]:
        """The commands that any caller may send, by name."""
        return {name: spec for name, spec in self.commands.items() if spec.sender == "anyone"}


DEFAULT_RUN_TIMEOUT = "15 minutes"

ANSWERS: Codec[Any] = Codec.of(Answer, what="answers")
"""The codec of the results of the kinds in this package."""


def build_plan(
    kind: str,
    name: object,
    *,
    state: TypeForm[Any],
    tags: Mapping[type, str] | None,
    errors: TypeForm[Any] | FromHooks,
    hooks: Mapping[str, object],
    retry: object,
    exhausted: Exhausted = "park",
    may_continue: bool = False,
    run_timeout: Duration,
    runs: int | None,
    commands: tuple[CommandSpec[Any], ...],
    answers: Codec[Any] = ANSWERS,
    kept: tuple[Codec[Any], ...] = (),
    versions: Migrations[Any] | None = None,
    state_in_events: bool = False,
    accepted_in_events: AcceptedInEvents = "nothing",
    max_deaths: int = 3,
    attributes: object = (),
    limits: object = (),
    streams: object = (),
    heartbeats: object = (),
    history: object = None,
) -> Plan:
    """Validate a definition's parts.

    Args:
        kind: the kind's name.
        name: the job's name.
        state: the state's type, as a type form.
        tags: stable names for union members.
        errors: the errors' type, or ``FROM_HOOKS`` to read it from the annotations.
        hooks: the user's functions, by the hook's name. None for an absent one.
        retry: the durable retry.
        exhausted: the outcome after a run failed for good, unless the retry sets another.
        may_continue: whether this kind has a next tick to wait for.
        run_timeout: a run's time limit.
        runs: how many runs this job may have at the same time.
        commands: the kind's own commands.
        answers: the codec for the kind's results.
        kept: the codecs for the data that the kind stores beside the state.
        versions: the state's older types, and the functions that upgrade them.
        state_in_events: whether events that record a state change carry the state.
        accepted_in_events: whether accepted requests are events, and with which members.
        max_deaths: how many deaths of a process park a run.
        attributes: the values that the store keeps beside each state.
        limits: the named limits that its runs use.
        streams: the streams to which its runs emit.
        heartbeats: the heartbeats that its effects send.
        history: how long its events are kept, longer than in the log.

    Raises:
        DefinitionError: a part is invalid. The message says how to fix it.
    """
    job = f"{kind}:{check_name(name, what=f'name of a {kind} job')}"
    policy = _retry(retry, job)
    state_codec = Codec.of(state, what=f"state of {job}", tags=tags, ignores_other_tags=True)
    upgrades = Upgrades.of(state_codec, _versions(versions, state, job), tags=tags)
    given = {hook: function for hook, function in hooks.items() if function is not None}
    error_codec = _errors(errors, tuple(given.values()), tags, job)
    older = tuple(step.codec for step in upgrades.steps)
    for codec in (state_codec, *(spec.input for spec in commands if spec.input is not None)):
        # Inputs too: a hook that changes an event in place would change the object of its caller.
        _check_frozen(codec)
    _check_tags(tags, (state_codec, *older, error_codec, *(spec.input for spec in commands)), job)
    return Plan(
        state=state_codec,
        state_version=upgrades.version,
        upgrades=upgrades,
        errors=error_codec,
        retry=policy,
        exhausted=_exhausted(policy, exhausted, job, may_continue=may_continue),
        run_timeout_ms=duration_ms(run_timeout, what=f"run_timeout of {job}"),
        runs=_runs(runs, job),
        commands={spec.name: spec for spec in (*commands, TERMINATE, PAUSE, RESUME)},
        answers=answers,
        kept=kept,
        needs=required_services(tuple(given.values())),
        hooks=given,
        state_in_events=_state_in_events(state_in_events, job),
        accepted_in_events=_accepted_in_events(accepted_in_events, job),
        max_deaths=_max_deaths(max_deaths, job),
        attributes=_attributes(attributes, job),
        limits=limit_uses(limits, what=f"limits of {job}", keyed="always" if kind == "pool" else "by"),
        streams=_streams(streams, job),
        heartbeats=_heartbeats(heartbeats, job),
        history=_history(history, job),
    )


def _streams(given: object, job: str) -> tuple[Stream[Any], ...]:
    # Most jobs have none, and the check imports a module.
    if given == ():
        return ()
    from perdure.jobs.streams import declared_streams  # noqa: PLC0415 - most definitions need none

    return declared_streams(given, job)


def _heartbeats(given: object, job: str) -> tuple[Heartbeat[Any], ...]:
    if given == ():
        return ()
    from perdure.jobs.streams import declared_heartbeats  # noqa: PLC0415 - most definitions need none

    return declared_heartbeats(given, job)


def _attributes(given: object, job: str) -> tuple[Attribute[Any, Any], ...]:
    if given == ():
        return ()
    from perdure.values.attributes import MAX_ATTRIBUTES, Attribute  # noqa: PLC0415 - most definitions need none

    what, expected = f"attributes of {job}", f"a tuple of at most {MAX_ATTRIBUTES} attributes, declared with @attribute"
    if not isinstance(given, tuple | list):
        raise DefinitionError(what, given, expected)
    declared = cast("tuple[object, ...]", tuple(given))  # pyright: ignore[reportUnknownArgumentType] - checked below
    if len(declared) > MAX_ATTRIBUTES:
        raise DefinitionError(what, f"{len(declared)} attributes", expected)
    found: dict[str, Attribute[Any, Any]] = {}
    for one in declared:
        if not isinstance(one, Attribute):
            raise DefinitionError(what, one, expected)
        known: Attribute[Any, Any] = one  # pyright: ignore[reportUnknownVariableType] - of any state
        if known.name in found:
            raise DefinitionError(what, known.name, "different names")
        found[known.name] = known
    return tuple(found.values())


def _state_in_events(value: object, job: str) -> bool:
    if isinstance(value, bool):
        return value
    raise DefinitionError(f"state_in_events of {job}", value, "True or False")


def _accepted_in_events(value: object, job: str) -> AcceptedInEvents:
    if value in get_args(AcceptedInEvents):
        return cast("AcceptedInEvents", value)
    raise DefinitionError(f"accepted_in_events of {job}", value, "'nothing', 'sender' or 'payload'")


def _history(value: object, job: str) -> KeepHistory | None:
    if value is None or isinstance(value, KeepHistory):
        return value
    raise DefinitionError(f"history of {job}", value, 'KeepHistory(age="90 days", events=100_000) or None')


MOST_DEATHS: Final = 1_000


def _max_deaths(value: object, job: str) -> int:
    # `type`, not `isinstance`: True would be a limit of 1.
    if type(value) is int and 1 <= value <= MOST_DEATHS:
        return value
    raise DefinitionError(f"max_deaths of {job}", value, f"a whole number from 1 to {MOST_DEATHS}")


def _versions(versions: object, state: object, job: str) -> Migrations[Any] | None:
    """Check that versions end with the state's type."""
    if versions is None:
        return None
    if not isinstance(versions, Migrations):
        raise DefinitionError(f"versions of {job}", versions, "Migrations(OldestType).then(to_next) or None")
    given: Migrations[Any] = versions  # pyright: ignore[reportUnknownVariableType] - its state is not known here
    if not is_same_form(given.newest, state):
        expected = f"a last step to the state's own type, {describe_type(state)}"  # type: ignore[arg-type] # a form
        raise DefinitionError(f"versions of {job}", given.newest, expected)
    return given


def _errors(
    errors: TypeForm[Any] | FromHooks, hooks: tuple[object, ...], tags: Mapping[type, str] | None, job: str
) -> Codec[Any] | None:
    if isinstance(errors, FromHooks):
        return errors_of(hooks, tags=tags, what=f"errors of {job}")
    return Codec.of(errors, what=f"errors of {job}", tags=tags, ignores_other_tags=True)


def _check_frozen(codec: Codec[Any]) -> None:
    """Refuse a type with a class that is not frozen: assignments to its fields are not stored."""
    # Refused when the job is defined: later, an assignment would work until the next load and then be lost.
    for cls, path in codec.mutable.items():
        raise DefinitionError(
            f"{codec.what}: {path}",
            cls,
            f"a frozen class: {_how_to_freeze(cls)}; a field that is assigned in place would not be stored",
        )


def _how_to_freeze(cls: type) -> str:
    if not is_model(cls):
        ways = "decorate it with @attrs.frozen or @dataclass(frozen=True)", "attrs.evolve or dataclasses.replace"
    elif hasattr(cls, "__struct_fields__"):
        ways = f"declare it as class {cls.__name__}(Struct, frozen=True)", "msgspec.structs.replace"
    else:
        ways = "give it model_config = ConfigDict(frozen=True)", "its method model_copy"
    return f"{ways[0]}, and set a changed copy with {ways[1]}"


def _check_tags(tags: Mapping[type, str] | None, codecs: tuple[Codec[Any] | None, ...], job: str) -> None:
    """Refuse a tag for a class that no type in the job contains: probably it was meant for another class."""
    # A tag without a class has no effect, and the class that was meant would be stored with another one.
    tagged = frozenset[type]().union(*(codec.tagged for codec in codecs if codec is not None))
    for cls in tags or ():
        if cls not in tagged:
            raise DefinitionError(
                f"tags of {job}", cls, "classes (no TypedDict) that occur in its state, its events or its errors"
            )


def _retry(retry: object, job: str) -> Retry[Any] | None:
    if retry is None or isinstance(retry, Retry):
        return retry  # pyright: ignore[reportUnknownVariableType] - its error type was checked by the definition
    raise DefinitionError(f"retry of {job}", retry, "Retry(max_attempts=..., delay=Backoff....) or None")


def _exhausted(retry: Retry[Any] | None, default: Exhausted, job: str, *, may_continue: bool) -> Exhausted:
    chosen = default if retry is None or retry.on_exhausted is None else retry.on_exhausted
    # Without a next tick, "continue" would leave an instance that nothing ever runs again.
    if chosen == "continue" and not may_continue:
        raise DefinitionError(
            f"on_exhausted of {job}",
            chosen,
            "'park' or 'purge': only a continuous job has a next tick to continue with",
        )
    return chosen


def _runs(value: object, job: str) -> int | None:
    if value is None:
        return None
    if type(value) is int and 1 <= value <= MAX_CONCURRENCY:
        return value
    raise DefinitionError(f"runs of {job}", value, f"a whole number from 1 to {MAX_CONCURRENCY}, or None")


@frozen(kw_only=True)
class Lanes:
    """The limits for a job whose instances wait in lanes. Within a lane, the least rank comes first. Lanes take turns.

    Attributes:
        lane_slots: how many runs one lane may have at the same time. None: only the job's own limit.
    """

    lane_slots: int | None = None
    rate: Rate | None = None
    lane_rate: Rate | None = None
