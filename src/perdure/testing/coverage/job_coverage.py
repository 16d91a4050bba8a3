"""The coverage of one job: the observed pairs of state and event, as a value, as text and as a state diagram.

States and events are counted under tags. A `JobCoverage` can be merged with others and sent to another process.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from itertools import product
from typing import Any, Final, Literal, Never, NoReturn

import attrs

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.hooks import error_of
from perdure.jobs.request import Request
from perdure.testing.typed import Choice, OneOf, Record, read_form
from perdure.values.errors import InvalidInput
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Instance

ABSENT: Final = "absent"
ENDED: Final = "ended"
KEPT: Final = "kept"
"""The tag of a state whose type does not distinguish states."""
SUCCEEDED: Final = "succeeded"
"""The name of a successful exit."""


def state_tag(job: AnyDefinition, instance: Instance | None) -> str:
    """Return the tag of a stored state: its class in a union, or the value of its first field of choices.

    Args:
        job: the definition.
        instance: the stored instance, or None.
    """
    if instance is None:
        return ABSENT
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
    """Return the tags of a job's states, as far as their type declares them."""
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
    """Return the tag of a request: the class of its input where its command takes one of several, or its action."""
    codec = job.plan.commands[request.action].input if request.action in _with_events(job) else None
    return request.action if codec is None else type(codec.decode(request.payload.encode())).__name__


def declared_events(job: AnyDefinition) -> tuple[str, ...]:
    """Return the tags of all requests of a job, as far as the types declare them."""
    found: list[str] = []
    for spec in job.plan.offered.values():
        members = _with_events(job).get(spec.name)
        found += [spec.name] if members is None else members
    return (*found, "alarm")


def declared_exits(job: AnyDefinition) -> tuple[str, ...]:
    """Return the declared exits of a job's hooks, and the exhaustion of its retries."""
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
    """Return the commands whose input is one of several classes, with the names of these classes."""
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
        before: the tag of the state.
        event: the tag of the request, or the cause of the turn.
        after: the tag of the new state, ``ended``, or why nothing changed.
    """

    __repr__ = fields_in_line

    before: str
    event: str
    after: str


@attrs.define
class JobCoverage:
    """The observations of one job. It counts, so it is not a value.

    Attributes:
        job: printed ``kind:name``.
        states: the tags that its type declares.
        events: the tags of its requests.
        steps: the number of observations of each step.
        exits: the number of exits of each hook, by the printed exit.
        mishaps: the number of each fault, and of each crash.
        effects: the number of calls of each service.
        declared_exits: the exits of its hooks, printed, as far as their annotations declare them.
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
        """Count an exit of a hook."""
        line = f"{hook}: {how}"
        self.exits[line] = self.exits.get(line, 0) + 1

    def mishap(self, what: str) -> None:
        """Count a fault or a crash."""
        self.mishaps[what] = self.mishaps.get(what, 0) + 1

    def effect(self, name: str, declares: Literal["errors", "no_errors"]) -> None:
        """Count a call of a service."""
        self.effects[name] = self.effects.get(name, 0) + 1
        if declares == "no_errors":
            self.infallible.add(name)

    # ------------------------------------------------------------ gaps
    def never_met(self) -> tuple[tuple[str, str], ...]:
        """Return the pairs of declared state and event that were not observed."""
        met = {(step.before, step.event) for step in self.steps}
        return tuple(pair for pair in self.pairs() if pair not in met)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the possible pairs of declared state and event: an absent instance has no alarm."""
        return tuple(pair for pair in product(self.states, self.events) if pair != (ABSENT, "alarm"))

    def never_ran(self) -> tuple[str, ...]:
        """Return the hooks of the job that never ran to an end."""
        declared = dict.fromkeys(_hook_of(line) for line in self.declared_exits)
        ran = {_hook_of(line) for line in self.exits}
        return tuple(hook for hook in declared if hook not in ran and hook != RETRY)

    def never_reached(self) -> tuple[str, ...]:
        """Return the declared exits of observed hooks that were not observed."""
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
    """Add up the observations of several processes, by job."""
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
    """Return the names of a location: of an injected fault, and of a crash at a crossing."""
    return at, at.removeprefix("store.") if at.startswith("store.") else f"effect {at}"


def _add(counts: dict[str, int], to: dict[str, int]) -> None:
    for name, count in counts.items():
        to[name] = to.get(name, 0) + count


def as_text(coverage: JobCoverage) -> str:
    """Return a table of events and states, the resulting states, the exits of runs, and the faults.

    The table shows how many times a pair was observed; a dot means never. The last section lists the gaps: hooks that
    never ran, declared exits, faults of called services.

    Args:
        coverage: the observations of one job.
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
    """Return the state diagram of the observations; it contains no step that was not observed.

    A box next to the states lists the gaps: hooks, exits, faults.

    Args:
        coverage: the observations of one job.
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
    """Yield the box of gaps, which no arrow connects to a state."""
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
    """Return the Mermaid name of a state; an absent or ended instance is the start or end point."""
    if tag in (ABSENT, ENDED):
        return "[*]"
    return "".join(letter if letter.isalnum() else "_" for letter in tag)
