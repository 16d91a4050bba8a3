"""Behaviour coverage as text, and as a state diagram of the observations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from perdure.testing.coverage.observed import DEFECTS, FAULTS, JobCoverage, ObservedTransition
from perdure.testing.coverage.tags import ABSENT, ENDED


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
