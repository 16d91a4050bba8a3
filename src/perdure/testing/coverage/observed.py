"""The observations of one job, as a value that can be merged and sent."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any, Final, Literal

import attrs

from perdure.testing.coverage.tags import ABSENT
from perdure.values.excerpt import fields_in_line

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
