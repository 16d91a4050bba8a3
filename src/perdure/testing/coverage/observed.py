"""What was observed of one job, as a value that can be merged and sent."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import attrs

from perdure.testing.coverage.tags import ABSENT


@attrs.frozen
class Step:
    """A state met an event, and this came of it.

    Attributes:
        before: the tag of the state.
        event: the tag of the request, or what woke the instance.
        after: the tag of the state afterwards, ``ended``, or why nothing changed.
    """

    before: str
    event: str
    after: str


@attrs.define
class JobCoverage:
    """What was observed of one job. It counts, so it is no value.

    Attributes:
        job: printed ``kind:name``.
        states: the tags that its type declares.
        events: the tags of what can be asked of it.
        steps: how often each step was seen.
        exits: how often each hook ended in each way, printed.
        mishaps: how often each fault struck, and each crash came.
    """

    job: str
    states: tuple[str, ...]
    events: tuple[str, ...]
    steps: dict[Step, int] = attrs.Factory(dict[Step, int])
    exits: dict[str, int] = attrs.Factory(dict[str, int])
    mishaps: dict[str, int] = attrs.Factory(dict[str, int])

    def step(self, before: str, event: str, after: str) -> None:
        """Count a step."""
        seen = Step(before, event, after)
        self.steps[seen] = self.steps.get(seen, 0) + 1

    def exit(self, hook: str, how: str) -> None:
        """Count how a hook ended."""
        line = f"{hook}: {how}"
        self.exits[line] = self.exits.get(line, 0) + 1

    def mishap(self, what: str) -> None:
        """Count a fault or a crash."""
        self.mishaps[what] = self.mishaps.get(what, 0) + 1

    def unmet(self) -> tuple[tuple[str, str], ...]:
        """Give the pairs of declared state and event that never met."""
        met = {(step.before, step.event) for step in self.steps}
        return tuple(pair for pair in self.pairs() if pair not in met)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Give the pairs of declared state and event that can meet: what is absent has no alarm."""
        return tuple(pair for pair in product(self.states, self.events) if pair != (ABSENT, "alarm"))

    # ------------------------------------------------------------ to other processes
    def plain(self) -> dict[str, Any]:
        """Give it as plain data."""
        steps = [[step.before, step.event, step.after, count] for step, count in self.steps.items()]
        return {
            "job": self.job,
            "states": list(self.states),
            "events": list(self.events),
            "steps": steps,
            "exits": self.exits,
            "mishaps": self.mishaps,
        }

    @classmethod
    def read(cls, plain: dict[str, Any]) -> JobCoverage:
        """Read it back from plain data."""
        steps = {Step(before, event, after): count for before, event, after, count in plain["steps"]}
        states, events = tuple(plain["states"]), tuple(plain["events"])
        return cls(plain["job"], states, events, steps, dict(plain["exits"]), dict(plain["mishaps"]))


def merged(parts: Iterable[JobCoverage]) -> dict[str, JobCoverage]:
    """Add up what was observed in several places, by job."""
    found: dict[str, JobCoverage] = {}
    for part in parts:
        whole = found.setdefault(part.job, JobCoverage(part.job, part.states, part.events))
        for step, count in part.steps.items():
            whole.steps[step] = whole.steps.get(step, 0) + count
        _add(part.exits, whole.exits)
        _add(part.mishaps, whole.mishaps)
    return found


def _add(counts: dict[str, int], to: dict[str, int]) -> None:
    for name, count in counts.items():
        to[name] = to.get(name, 0) + count
