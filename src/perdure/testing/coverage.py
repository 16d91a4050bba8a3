"""Behaviour coverage: the (state, event) pairs in a test run, and the resulting states.

`JobCoverage` is one job's coverage: a value, shown as text and as a state diagram. `CoverageObserver` watches
worlds and counts the pairs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from itertools import product
from typing import Any, Final, Literal, Never, NoReturn

import attrs
from returns.result import Result, Success

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.hooks import error_of
from perdure.jobs.request import Request
from perdure.programs import Exit, Halted, Raised
from perdure.testing.typed import Choice, OneOf, Record, read_form
from perdure.testing.world import EffectCall, TraceEvent, World
from perdure.testing.world.trace import (
    EffectPerformed,
    FaultInjected,
    ProgramEnded,
    RequestAnswered,
    RequestSent,
    TransitionCommitted,
    WorkerKilled,
)
from perdure.values.address import Address
from perdure.values.errors import HookRaised, InvalidInput, Rejected, RunTimeout
from perdure.values.event import Event, JobExecuted, JobParked, JobRecovered, JobRetryExhausted
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Instance
from perdure.values.transition import KeepInstance, Put, Transition

__all__ = ["CoverageObserver", "JobCoverage", "ObservedTransition", "as_mermaid", "as_text", "merged"]


ABSENT: Final = "absent"
ENDED: Final = "ended"
KEPT: Final = "kept"
"""The tag of a state whose type does not distinguish states."""
SUCCEEDED: Final = "succeeded"
"""The name of a successful exit."""


def state_tag(job: AnyDefinition, instance: Instance | None) -> str:
    """Return a stored state's tag: its class in a union, or the value in its first field with declared choices.

    Args:
        job: the definition.
        instance: the stored instance, or None.
    """
    if instance is None:
        return ABSENT
    # First: such a row may not be decodable, and its state is not what decides its next step.
    if instance.left is not None or instance.suspension is not None:
        return f"{instance.status} ({instance.suspension})" if instance.status == "parked" else instance.status
    try:
        state = job.visible_state(instance)
    except InvalidInput:
        return "undecodable"
    form: Any = job.plan.state.form
    match read_form(form):
        case OneOf():
            return type(state).__name__
        case Record() as record if (field := _field_of_choices(record)) is not None:
            return _shown(getattr(state, field, KEPT))
        case _:
            return KEPT


def declared_states(job: AnyDefinition) -> tuple[str, ...]:
    """Return a job's state tags, as far as their type declares them."""
    form: Any = job.plan.state.form
    match read_form(form):
        case OneOf(members):
            return tuple(_named(member) for member in members)
        case Record() as record if (field := _field_of_choices(record)) is not None:
            choice = read_form({**record.required, **record.optional}[field])
            return tuple(map(_shown, choice.values)) if isinstance(choice, Choice) else ()
        case _:
            return (KEPT,)


def event_tag(job: AnyDefinition, request: Request) -> str:
    """Return a request's tag: the input's class if the command takes several classes, else the action."""
    codec = job.plan.commands[request.action].input if request.action in _with_events(job) else None
    return request.action if codec is None else type(codec.decode(request.payload.encode())).__name__


def declared_events(job: AnyDefinition) -> tuple[str, ...]:
    """Return all request tags for a job, as far as the types declare them."""
    found: list[str] = []
    for spec in job.plan.offered.values():
        members = _with_events(job).get(spec.name)
        found += [spec.name] if members is None else members
    # Every kind has it, and no command does.
    return (*found, "alarm")


def declared_exits(job: AnyDefinition) -> tuple[str, ...]:
    """Return the declared exits of a job's hooks, and its retries' exhaustion."""
    found: list[str] = []
    for hook, function in job.plan.hooks.items():
        found += [f"{hook}: {SUCCEEDED}", *(f"{hook}: failure {name}" for name in _errors_of(function))]
        found.append(f"{hook}: defect")
    return (*found, *(["retry: exhausted"] if job.plan.retry is not None else []))


def _errors_of(function: object) -> list[str]:
    error: Any = error_of(function)
    if error is Any or error in (Never, NoReturn):
        return []
    form = read_form(error)
    return [_named(member) for member in (form.members if isinstance(form, OneOf) else (error,))]


def _with_events(job: AnyDefinition) -> dict[str, list[str]]:
    """Return the commands whose input may have several classes, with these class names."""
    found: dict[str, list[str]] = {}
    for spec in job.plan.commands.values():
        form = None if spec.input is None else read_form(spec.input.form)
        if isinstance(form, OneOf):
            found[spec.name] = [_named(member) for member in form.members]
    return found


def _field_of_choices(record: Record) -> str | None:
    fields: dict[str, Any] = {**record.required, **record.optional}
    return next((name for name, form in fields.items() if isinstance(read_form(form), Choice)), None)


def _shown(value: object) -> str:
    return value.name if isinstance(value, Enum) else str(value)


def _named(form: Any) -> str:  # any annotation
    return getattr(form, "__name__", None) or str(form)


RETRY: Final = "retry"
"""The exits that do not belong to a hook."""

COMMIT: Final = "store.commit"

DEFECTS: Final = tuple(f"{fault} {when}" for fault in ("crash", "raise", "timeout") for when in ("before", "after"))
"""The faults that any call can have, as they are counted."""

FAULTS: Final = (*DEFECTS, "fail before", "fail after")
"""The faults that a call with declared errors can have."""


@attrs.frozen
class ObservedTransition:
    """An event in a state, and the resulting state.

    Attributes:
        before: the state's tag.
        event: the request's tag, or the turn's cause.
        after: the new state's tag, ``ended``, or why nothing changed.
    """

    __repr__ = fields_in_line

    before: str
    event: str
    after: str


@attrs.define
class JobCoverage:
    """One job's observations. It counts, so it is not a value.

    Attributes:
        job: printed ``kind:name``.
        states: the tags that the state type declares.
        events: the request tags.
        steps: how often each step was observed.
        exits: how often each hook exit was observed, by the printed exit.
        mishaps: how often each fault and each crash occurred.
        effects: how often each service was called.
        declared_exits: the printed hook exits, as far as the hooks' annotations declare them.
        infallible: the services whose annotations declare no error: they cannot ``fail``.
    """

    __repr__ = fields_in_line

    job: str
    states: tuple[str, ...]
    events: tuple[str, ...]
    steps: dict[ObservedTransition, int] = attrs.Factory(dict[ObservedTransition, int])
    exits: dict[str, int] = attrs.Factory(dict[str, int])
    mishaps: dict[str, int] = attrs.Factory(dict[str, int])
    effects: dict[str, int] = attrs.Factory(dict[str, int])
    declared_exits: tuple[str, ...] = ()
    infallible: set[str] = attrs.Factory(set[str])

    def step(self, before: str, event: str, after: str) -> None:
        """Count a step."""
        seen = ObservedTransition(before, event, after)
        self.steps[seen] = self.steps.get(seen, 0) + 1

    def exit(self, hook: str, how: str) -> None:
        """Count one hook exit."""
        line = f"{hook}: {how}"
        self.exits[line] = self.exits.get(line, 0) + 1

    def mishap(self, what: str) -> None:
        """Count a fault or a crash."""
        self.mishaps[what] = self.mishaps.get(what, 0) + 1

    def effect(self, name: str, declares: Literal["errors", "no_errors"]) -> None:
        """Count one service call."""
        self.effects[name] = self.effects.get(name, 0) + 1
        if declares == "no_errors":
            self.infallible.add(name)

    # ------------------------------------------------------------ gaps
    def never_met(self) -> tuple[tuple[str, str], ...]:
        """Return the declared (state, event) pairs that were not observed."""
        met = {(step.before, step.event) for step in self.steps}
        return tuple(pair for pair in self.pairs() if pair not in met)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the possible declared (state, event) pairs: an absent instance has no alarm."""
        return tuple(pair for pair in product(self.states, self.events) if pair != (ABSENT, "alarm"))

    def never_ran(self) -> tuple[str, ...]:
        """Return the job's hooks that never ran to an end."""
        declared = dict.fromkeys(_hook_of(line) for line in self.declared_exits)
        ran = {_hook_of(line) for line in self.exits}
        return tuple(hook for hook in declared if hook not in ran and hook != RETRY)

    def never_reached(self) -> tuple[str, ...]:
        """Return the declared exits that were not observed, for hooks that ran."""
        idle = self.never_ran()
        return tuple(
            line
            for line in self.declared_exits
            if _hook_of(line) not in idle and not any(_is_exit(seen, line) for seen in self.exits)
        )

    def never_injected(self) -> dict[str, tuple[str, ...]]:
        """Return, for each called service and for the commit, the faults that were not observed there."""
        possible = {at: DEFECTS if at in self.infallible else FAULTS for at in (*sorted(self.effects), COMMIT)}
        missing = {
            at: tuple(fault for fault in faults if not any(f"{fault} {name}" in self.mishaps for name in _names(at)))
            for at, faults in possible.items()
        }
        return {at: faults for at, faults in missing.items() if faults}

    # ------------------------------------------------------------ exchange with other processes
    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        steps = [[step.before, step.event, step.after, count] for step, count in self.steps.items()]
        return {
            "job": self.job,
            "states": list(self.states),
            "events": list(self.events),
            "steps": steps,
            "exits": self.exits,
            "mishaps": self.mishaps,
            "effects": self.effects,
            "declared_exits": list(self.declared_exits),
            "infallible": sorted(self.infallible),
        }

    @classmethod
    def read(cls, plain: dict[str, Any]) -> JobCoverage:
        """Convert it from plain data."""
        steps = {ObservedTransition(before, event, after): count for before, event, after, count in plain["steps"]}
        states, events = tuple(plain["states"]), tuple(plain["events"])
        exits, mishaps, effects = (dict(plain[name]) for name in ("exits", "mishaps", "effects"))
        declared, infallible = tuple(plain["declared_exits"]), set(plain["infallible"])
        return cls(plain["job"], states, events, steps, exits, mishaps, effects, declared, infallible)


def merged(parts: Iterable[JobCoverage]) -> dict[str, JobCoverage]:
    """Add up observations from several processes, by job."""
    found: dict[str, JobCoverage] = {}
    for part in parts:
        whole = found.setdefault(
            part.job, JobCoverage(part.job, part.states, part.events, declared_exits=part.declared_exits)
        )
        for step, count in part.steps.items():
            whole.steps[step] = whole.steps.get(step, 0) + count
        _add(part.exits, whole.exits)
        _add(part.mishaps, whole.mishaps)
        _add(part.effects, whole.effects)
        whole.infallible |= part.infallible
    return found


def _hook_of(line: str) -> str:
    return line.partition(":")[0]


def _is_exit(seen: str, declared: str) -> bool:
    """Return whether an exit matches a declared one, which is general for a defect."""
    return seen == declared or seen.startswith((f"{declared} ", f"{declared}:"))


def _names(at: str) -> tuple[str, str]:
    """Return two names for a location: for an injected fault, and for a crash at a crossing."""
    return at, at.removeprefix("store.") if at.startswith("store.") else f"effect {at}"


def _add(counts: dict[str, int], to: dict[str, int]) -> None:
    for name, count in counts.items():
        to[name] = to.get(name, 0) + count


def as_text(coverage: JobCoverage) -> str:
    """Return a table of events and states, the resulting states, the run exits, and the faults.

    The table shows how many times a pair was observed. A dot means never. The last section lists the gaps: hooks that
    never ran, declared exits, faults in called services.

    Args:
        coverage: one job's observations.
    """
    possible, missing = len(coverage.pairs()), coverage.never_met()
    lines = [f"{coverage.job}: {possible - len(missing)} of {possible} pairs of state and event observed", ""]
    lines += _table(coverage)
    lines += _section("transitions", _steps(coverage))
    lines += _section("exits", _counted(coverage.exits))
    lines += _section("faults", _counted(coverage.mishaps))
    lines += _section("not observed", _never(coverage))
    return "\n".join(lines)


def as_mermaid(coverage: JobCoverage) -> str:
    """Return the observations' state diagram. It contains no step that was not observed.

    A box next to the states lists the gaps: hooks, exits, faults.

    Args:
        coverage: one job's observations.
    """
    labels: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for step in sorted(coverage.steps, key=_order):
        if not _is_refusal(step):
            labels[step.before, step.after].append(step.event)
    lines = ["stateDiagram-v2"]
    lines += [
        f"    {_node(before)} --> {_node(after)}: {', '.join(events)}" for (before, after), events in labels.items()
    ]
    missing = (state for state in coverage.states if not _is_met(state, coverage))
    lines += [f"    {_node(state)}: {state} (not observed)" for state in missing]
    lines += _box(tuple(_never(coverage)))
    return "\n".join(lines)


def _box(lines: tuple[str, ...]) -> Iterator[str]:
    """Yield the box that lists the gaps. No arrow connects it to a state."""
    if lines:
        yield '    state "not observed" as never {'
        yield from (
            f"        never_{number}: {line.replace(': ', ' - ')}" for number, line in enumerate(lines, start=1)
        )
        yield "    }"


def _never(coverage: JobCoverage) -> Iterator[str]:
    yield from (f"{hook} hook: never ran" for hook in coverage.never_ran())
    yield from (f"exit never reached: {line}" for line in coverage.never_reached())
    for at, faults in coverage.never_injected().items():
        yield f"faults never injected at {at}: {_faults(faults)}"


def _faults(faults: tuple[str, ...]) -> str:
    return "any" if faults in (FAULTS, DEFECTS) else ", ".join(faults)


def _table(coverage: JobCoverage) -> Iterator[str]:
    met: Counter[tuple[str, str]] = Counter()
    for step, count in coverage.steps.items():
        met[step.before, step.event] += count
    states = list(dict.fromkeys([*coverage.states, *(state for state, _ in met)]))
    events = list(dict.fromkeys([*coverage.events, *(event for _, event in met)]))
    possible = {*coverage.pairs(), *met}
    width = max(map(len, events), default=0)
    yield "  ".join([" " * (width + 2), *states]).rstrip()
    for event in events:
        cells = [(_cell(met[state, event]) if (state, event) in possible else "").rjust(len(state)) for state in states]
        yield "  ".join([f"  {event:<{width}}", *cells]).rstrip()


def _cell(count: int) -> str:
    return str(count) if count else "."


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    shown = [f"  {line}" for line in lines]
    yield from ["", f"{title}:", *shown] if shown else []


def _steps(coverage: JobCoverage) -> Iterator[str]:
    for step in sorted(coverage.steps, key=_order):
        yield f"{step.before} x {step.event} -> {step.after} ({_times(coverage.steps[step])})"


def _counted(counts: Mapping[str, int]) -> Iterator[str]:
    for name, count in sorted(counts.items()):
        yield f"{name} ({_times(count)})"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _order(step: ObservedTransition) -> tuple[str, str, str]:
    return step.before, step.event, step.after


def _is_refusal(step: ObservedTransition) -> bool:
    return step.after.startswith(("refused: ", "crashed: "))


def _is_met(state: str, coverage: JobCoverage) -> bool:
    return any(state in (step.before, step.after) for step in coverage.steps)


def _node(tag: str) -> str:
    """Return a state's Mermaid name. An absent or ended instance is the start or end point."""
    if tag in (ABSENT, ENDED):
        return "[*]"
    return "".join(letter if letter.isalnum() else "_" for letter in tag)


@attrs.define(eq=False)
class RequestStep:
    """One request that has not returned yet. It is filled in later, so it is not a value.

    A request that runs a hook finds the state that is stored when the hook ends, in its turn. For a request without a
    hook, only its caller is observed: if another commit was made meanwhile, its states are unknown.

    Attributes:
        before: the state's tag before it.
        after: the state's tag after its commit. None before that commit.
        run_id: the hook's run. None when no hook has run.
        commits: how many commits the instance had while the request was in progress.
        company: whether another request to the instance, or its alarm run, was in progress at the same time.
        repeats: whether an earlier request had its idempotency key.
    """

    __repr__ = fields_in_line

    address: Address
    event: str
    request: Request
    before: str
    repeats: bool
    after: str | None = None
    run_id: str | None = None
    commits: int = 0
    company: bool = False

    def ran(self, run_id: str, before: str) -> None:
        """Record that its hook ended. A turn with a conflict is repeated, and runs its hook again."""
        self.run_id, self.before, self.after = run_id, before, None

    def committed(self, old: Instance | None, new: Instance | None, after: str) -> None:
        """Record a commit to the instance.

        Args:
            old: the instance before.
            new: the instance after.
            after: the new state's tag.
        """
        self.commits += 1
        # Only the commit that ends its own run decides: later ones belong to other requests.
        if self.run_id is None or self.after is not None:
            return
        # The run's claim is gone, or there never was one: this commit has its result.
        if self.run_id not in run_ids(old) or self.run_id not in run_ids(new):
            self.after = after

    @property
    def is_known(self) -> bool:
        """Return whether the state before it is known."""
        # Without a run, another request's commit may lie between the request and its answer.
        return self.run_id is not None or not (self.repeats or self.commits > 1 or (self.commits == 1 and self.company))

    def left(self, stored: str) -> str | None:
        """Return the state's tag after a request that succeeded. None when that is unknown.

        Args:
            stored: the stored state's tag when its caller receives the result.
        """
        return stored if self.run_id is None else self.after


def run_ids(instance: Instance | None) -> frozenset[str]:
    """Return the runs that have a claim on an instance."""
    claims = () if instance is None else (instance.claim, instance.event_claim)
    return frozenset(claim.run_id for claim in claims if claim is not None)


@attrs.define
class CoverageObserver:
    """Counts observations in one or more worlds.

    Attributes:
        jobs: the observations, by the job printed ``kind:name``.
    """

    jobs: dict[str, JobCoverage] = attrs.Factory(dict[str, JobCoverage])

    def of(self, world: World) -> Callable[[TraceEvent], object]:
        """Return one world's watcher."""
        return WorldObserver(self, lambda: world.app.served).watch

    def coverage(self, job: AnyDefinition) -> JobCoverage:
        """Return a job's observations."""
        name = f"{job.kind}:{job.name}"
        if name not in self.jobs:
            states = (ABSENT, *declared_states(job))
            self.jobs[name] = JobCoverage(name, states, declared_events(job), declared_exits=declared_exits(job))
        return self.jobs[name]


@attrs.define
class WorldObserver:
    """Watches one world.

    Attributes:
        observer: the observer that counts.
        served: the definitions, by kind and name.
    """

    observer: CoverageObserver
    served: Callable[[], Mapping[tuple[str, str], AnyDefinition]]
    _stored: dict[Address, Instance] = attrs.Factory(dict[Address, Instance])
    _asked: dict[int, RequestStep] = attrs.Factory(dict[int, RequestStep])
    _keys: set[tuple[Address, str]] = attrs.Factory(set[tuple[Address, str]])
    _met: dict[str, str] = attrs.Factory(dict[str, str])
    _running: dict[Address, tuple[str, str]] = attrs.Factory(dict[Address, tuple[str, str]])

    def watch(self, moment: TraceEvent) -> None:
        """Record an event in the world."""
        match moment.what:
            case RequestSent(number, address, request):
                self._ask(number, address, request)
            case RequestAnswered(number, result):
                self._answer(number, result)
            case TransitionCommitted(transition):
                self._commit(transition)
            case ProgramEnded():
                self._ended(moment.what)
            case EffectPerformed(call):
                self._perform(call)
            case FaultInjected(fault, address):
                self._mishap(f"{type(fault).__name__.lower()} {fault.when} {fault.at}", address)
            case WorkerKilled(at):
                self._mishap(f"crash {at}")
            case _:
                pass

    def _job(self, address: Address) -> AnyDefinition | None:
        return self.served().get((address.kind, address.name))

    def _tag(self, address: Address) -> str:
        job = self._job(address)
        return ABSENT if job is None else state_tag(job, self._stored.get(address))

    def _mishap(self, what: str, address: Address | None = None) -> None:
        """Count a fault: for the instance's job, or for all jobs."""
        struck = None if address is None else self._job(address)
        for job in self.served().values() if struck is None else (struck,):
            self.observer.coverage(job).mishap(what)

    def _perform(self, call: EffectCall) -> None:
        job = self._job(call.address)
        if job is not None:
            self.observer.coverage(job).effect(call.name, call.declares)

    def _ended(self, ran: ProgramEnded) -> None:
        """Count a hook's exit, and record the state before its request."""
        job = self._job(ran.address)
        if job is not None:
            self.observer.coverage(job).exit(ran.hook, _exit(ran.exit))
        for step in self._asked.values():
            # By identity: two equal requests are two.
            if step.request is ran.request:
                step.ran(ran.run_id, self._met.get(ran.run_id) or self._tag(ran.address))

    # ------------------------------------------------------------ requests
    def _ask(self, number: int, address: Address, request: Request) -> None:
        job = self._job(address)
        if job is None:
            return
        key = request.idempotency_key
        repeats = key is not None and (address, key) in self._keys
        if key is not None:
            self._keys.add((address, key))
        step = RequestStep(address, event_tag(job, request), request, self._tag(address), repeats)
        step.company = address in self._running
        for other in self._at(address):
            other.company = step.company = True
        self._asked[number] = step

    def _answer(self, number: int, result: Result[Any, Any]) -> None:
        step = self._asked.pop(number, None)
        job = None if step is None else self._job(step.address)
        if step is None or job is None or not step.is_known:
            return
        after = step.left(self._tag(step.address)) if isinstance(result, Success) else _refusal(result.failure())
        if after is not None:
            self.observer.coverage(job).step(step.before, step.event, _ended_if_gone(step.before, after))

    def _at(self, address: Address) -> list[RequestStep]:
        return [step for step in self._asked.values() if step.address == address]

    # ------------------------------------------------------------ commits
    def _commit(self, transition: Transition) -> None:
        job, address = self._job(transition.address), transition.address
        if job is None:
            return
        counts = self.observer.coverage(job)
        for event in transition.events:
            _count_exit(counts, event)
        if isinstance(transition.write, KeepInstance):
            return
        before, old = self._tag(address), self._stored.get(address)
        if isinstance(transition.write, Put):
            self._stored[address] = transition.write.instance
        else:
            self._stored.pop(address, None)
        new, after = self._stored.get(address), self._tag(address)
        for run_id in run_ids(new) - run_ids(old):
            # The state that the run found: later commits beside it must not change that.
            self._met.setdefault(run_id, before)
        for step in self._at(address):
            step.committed(old, new, after)
        for run_id in run_ids(old) - run_ids(new):
            self._met.pop(run_id, None)
        self._follow_run(counts, address, before)

    def _follow_run(self, counts: JobCoverage, address: Address, before: str) -> None:
        """Count a run without a request when it has ended: its cause, and the resulting state."""
        instance = self._stored.get(address)
        claim = None if instance is None else instance.claim
        if claim is not None:
            if claim.cause == "alarm":
                for step in self._at(address):
                    step.company = True
                self._running.setdefault(address, (before, "alarm" if claim.attempt == 1 else "retry"))
        elif (run := self._running.pop(address, None)) is not None:
            status = "" if instance is None else instance.status
            after = "retrying" if status == "retrying" else _ended_if_gone(run[0], self._tag(address))
            counts.step(*run, after)


def _ended_if_gone(before: str, after: str) -> str:
    return ENDED if after == ABSENT and before != ABSENT else after


def _refusal(error: Any) -> str | None:  # a CallError
    """Return why nothing changed, when the job's own code decided it."""
    if isinstance(error, Rejected):
        return f"refused: {error.error.__class__.__name__}"  # pyright: ignore[reportUnknownMemberType] # of the job's own type
    # Errors of the engine, such as an overload, say nothing about the job.
    return f"crashed: {error.error_type}" if isinstance(error, HookRaised) else None


def _exit(exit_: Exit[Any, Any]) -> str:
    match exit_:
        case Success():
            return SUCCEEDED
        case Halted():
            return "ended the instance"
        case Raised(cause):
            form = "timed out" if isinstance(cause, RunTimeout) else "defect"
            return f"{form} {type(cause).__name__}"
        case _:
            error: object = exit_.failure()
            return f"failure {type(error).__name__}"


def _count_exit(counts: JobCoverage, event: Event) -> None:
    match event:
        case JobExecuted(cause=cause):
            counts.exit(f"run by {cause}", SUCCEEDED)
        case JobRetryExhausted(reason=reason):
            counts.exit("retry", f"exhausted ({reason})")
        case JobParked(reason=reason):
            counts.exit("parked", reason)
        case JobRecovered(cause=cause):
            counts.exit(f"run by {cause}", "delivered again")
        case _:
            pass
