"""Coverage of behaviour as text, and as a state diagram drawn from what was observed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from perdure.testing.coverage.observed import JobCoverage, Step
from perdure.testing.coverage.tags import ABSENT, ENDED


def as_text(coverage: JobCoverage) -> str:
    """Write a table of states and events, what came of each pair, and what was never met.

    Args:
        coverage: what was observed of one job.
    """
    possible, unmet = len(coverage.pairs()), coverage.unmet()
    lines = [f"{coverage.job}: {possible - len(unmet)} of {possible} pairs of state and event met"]
    lines += [f"  {line}" for line in _steps(coverage)]
    lines += [f"  never: {state} x {', '.join(events)}" for state, events in _by_state(unmet).items()]
    lines += [f"  exit   {name} ({count} times)" for name, count in sorted(coverage.exits.items())]
    lines += [f"  mishap {name} ({count} times)" for name, count in sorted(coverage.mishaps.items())]
    return "\n".join(lines)


def as_mermaid(coverage: JobCoverage) -> str:
    """Draw the state diagram of what was observed; it holds no step that was not seen.

    Args:
        coverage: what was observed of one job.
    """
    labels: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for step in sorted(coverage.steps, key=_order):
        if not _is_refusal(step):
            labels[step.before, step.after].append(step.event)
    lines = ["stateDiagram-v2"]
    lines += [
        f"    {_node(before)} --> {_node(after)}: {', '.join(events)}" for (before, after), events in labels.items()
    ]
    lines += [f"    {_node(state)}: {state} (never met)" for state in coverage.states if not _is_met(state, coverage)]
    return "\n".join(lines)


def _steps(coverage: JobCoverage) -> Iterator[str]:
    for step in sorted(coverage.steps, key=_order):
        yield f"{step.before} x {step.event} -> {step.after} ({coverage.steps[step]} times)"


def _by_state(unmet: tuple[tuple[str, str], ...]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for state, event in unmet:
        found[state].append(event)
    return found


def _order(step: Step) -> tuple[str, str, str]:
    return step.before, step.event, step.after


def _is_refusal(step: Step) -> bool:
    return step.after.startswith(("refused: ", "crashed: "))


def _is_met(state: str, coverage: JobCoverage) -> bool:
    return any(state in (step.before, step.after) for step in coverage.steps)


def _node(tag: str) -> str:
    """A name that Mermaid takes: what is absent, or ended, is the point outside."""
    if tag in (ABSENT, ENDED):
        return "[*]"
    return "".join(letter if letter.isalnum() else "_" for letter in tag)
