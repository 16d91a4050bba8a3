"""The difference between two futures of each instance, grouped by its cause: the first act that differs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

import attrs

from perdure.rehearsal.future import Act, InstanceFuture, What
from perdure.values.address import Address
from perdure.values.excerpt import fields_in_line
from perdure.values.times import from_ms

Kind: TypeAlias = Literal[
    "parks",
    "left",
    "refused",
    "accepted",
    "retry",
    "attempt",
    "interval",
    "moved",
    "sooner",
    "arguments",
    "twice",
    "added",
    "missing",
    "stops",
    "instead",
    "state",
]
"""How two futures begin to differ:

- ``parks``, ``left``: the new code parks the instance, or cannot read it.
- ``refused``, ``accepted``: the new code refuses a request from outside, or accepts one that the old code refuses.
- ``retry``: a failed run is retried after another delay. ``attempt``: in another attempt.
- ``interval``: the same act comes in another interval. ``moved``: at another time.
  ``sooner``: before the end of the rehearsal, where the old code only has an alarm after it.
- ``arguments``: the same act has other arguments.
- ``twice``, ``added``, ``missing``: an act happens once more, is new, or is left out.
- ``stops``: nothing follows any more. ``instead``: another act happens. ``state``: only the last state differs.
"""

Alarm: TypeAlias = Literal["set", "none"]

_DAY: Final = 86_400_000
_UNITS: Final = ((_DAY, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))
_STEP: Final = 1.22
"""Durations within a fifth of each other are one group: the jitter of retries is up to a tenth."""
_JITTER: Final = 0.1
"""By how much of its interval an act may move before another interval is the cause."""


def duration(ms: float) -> str:
    """Return a duration with three digits, such as ``45 min``."""
    for unit, name in _UNITS:
        if abs(ms) >= unit:
            return f"{ms / unit:.3g} {name}"
    return f"{round(ms)} ms"


def _class_of(ms: float) -> int:
    return 0 if ms <= 0 else round(math.log(ms) / math.log(_STEP))


@attrs.frozen
class Cause:
    """Why futures differ. Equal causes form a group.

    Attributes:
        kind: how they begin to differ.
        act: the act, as `label_of` names it.
        after: the act before it, or ``the present``. Empty for causes whose sentence does not name it.
        detail: what else distinguishes the group: the other act, the error, classes of durations.
    """

    kind: Kind
    act: str
    after: str = ""
    detail: tuple[object, ...] = ()


def label_of(act: Act) -> str:
    """Return an act's name, without its arguments."""
    match act.what:
        case "effect":
            return act.name
        case "ended":
            return f"end ({act.name})" if act.name else "end"
        case "state":
            return "last state"
        case what:
            return f"{_LABELS[what]} {act.name}"


_LABELS: Final = {
    "message": "message",
    "parked": "parked:",
    "left": "left to other code:",
    "request": "request",
    "refused": "refused:",
}


def shown(act: Act) -> str:
    """Return an act in one line, without secrets."""
    match act.what:
        case "effect":
            text = f"{act.name}({act.shown})"
            return text if act.attempt == 1 else f"{text}, attempt {act.attempt}"
        case "message" | "left" | "state" | "request":
            return f"{label_of(act)}: {act.shown}" if act.shown else label_of(act)
        case _:
            return label_of(act)


def first_difference(old: Sequence[Act], new: Sequence[Act]) -> int | None:
    """Return the place of the first act that differs. None if the acts are equal."""
    if old == new:
        return None
    pairs = enumerate(zip(old, new, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(old), len(new)))


_PRESENT: Final = "the present"
_STOPS: Final[Mapping[What, Kind]] = {"parked": "parks", "left": "left", "refused": "refused"}


def cause_of(old: Sequence[Act], new: Sequence[Act], at: int, *, alarms: tuple[Alarm, Alarm] = ("set", "set")) -> Cause:
    """Return the cause of a difference.

    Args:
        old: the acts under the old code.
        new: the acts under the new code.
        at: the place of the first difference.
        alarms: whether the instance has an alarm at the end under the old code, and under the new code.
    """
    one, other = _at(old, at), _at(new, at)
    after = _place(new, at)
    # First: a parked or refused instance differs in everything that follows, and this is the act to look at.
    stopped = _stopped(one, other)
    if stopped is not None:
        # Whatever fails: one change of the retries parks runs at several places.
        return Cause(*stopped, "" if stopped[0] == "parks" else after)
    if one is not None and other is not None:
        if one.does_as(other):
            return _moved(old, one, other, at)
        if one.what == other.what == "state":
            return Cause("state", label_of(one))
        # Only at the same time: later, it is more likely another act of the same name.
        if (one.what, one.name, one.at_ms) == (other.what, other.name, other.at_ms):
            return Cause("arguments", label_of(one))
    if one is not None and other is not None and one.what == "state" != other.what and alarms[0] == "set":
        again = at > 0 and other.does_as(new[at - 1])
        return Cause("twice" if again else "sooner", label_of(other))
    return _changed(old, new, at, after, alarms[1])


def _place(new: Sequence[Act], at: int) -> str:
    return label_of(new[at - 1]) if at else _PRESENT


def _stopped(one: Act | None, other: Act | None) -> tuple[Kind, str] | None:
    """Return how the new code stops an instance or refuses a request, and why. Or accepts a refused one."""
    if other is not None and other.what in _STOPS and (one is None or one.what != other.what):
        return _STOPS[other.what], other.name
    if one is not None and one.what == "refused" and (other is None or other.what != "refused"):
        return "accepted", one.name
    return None


def _moved(old: Sequence[Act], one: Act, other: Act, at: int) -> Cause:
    """Return the cause of the same act at another time, or in another attempt."""
    name = label_of(one)
    if one.attempt != other.attempt:
        return Cause("attempt", name, detail=(one.attempt, other.attempt))
    # A ratio: a changed backoff multiplies every pause, so that all attempts of all instances are one group.
    if one.attempt > 1 and at:
        ratio = (other.at_ms - old[at - 1].at_ms) / max(1, one.at_ms - old[at - 1].at_ms)
        return Cause("retry", name, detail=(_class_of(ratio * 100),))
    before, shift = _before(old, one, at), other.at_ms - one.at_ms
    # Jitter moves each act by up to a tenth. A larger shift is another schedule.
    if before is not None and abs(shift) > (one.at_ms - before) * _JITTER:
        return Cause("interval", name, detail=(_class_of(one.at_ms - before), _class_of(other.at_ms - before)))
    # By unit, and not by length: shifts of 2 and of 3 minutes have one cause, those of minutes and of days probably
    # not.
    unit = duration(abs(shift)).rpartition(" ")[2]
    return Cause("moved", name, detail=("later" if shift > 0 else "earlier", unit))


def _before(old: Sequence[Act], act: Act, at: int) -> int | None:
    """Return when the act happened before. None if a request came meanwhile, from which its time may count."""
    for each in reversed(old[:at]):
        # A request may have set the alarm, so the distance to the act before says nothing about an interval.
        if each.what == "request":
            return None
        if (each.what, each.name) == (act.what, act.name):
            return each.at_ms
    return None


def _changed(old: Sequence[Act], new: Sequence[Act], at: int, after: str, alarm: Alarm) -> Cause:
    """Return the cause of an act that is new, missing or another one."""
    one, other = _at(old, at), _at(new, at)
    if other is not None and other.what != "state":
        if (
            at
            and _at_once(new[at - 1], other)
            and other.does_as(new[at - 1])
            and (one is None or not one.does_as(other))
        ):
            return Cause("twice", label_of(other))
        # The old act still comes: so the new one was added before it, and did not replace it.
        if one is None or one.what == "state" or other.at_ms < one.at_ms or _comes(new, at, one):
            return Cause("added", label_of(other), after)
    if one is not None and one.what != "state":
        if other is None or other.what == "state":
            rest = "nothing" if alarm == "none" else "something"
            return Cause("stops", label_of(one), after, (rest,))
        # The new act comes in the old future as well, only later: the act between is missing.
        if other.at_ms > one.at_ms or _comes(old, at, other):
            return Cause("missing", label_of(one), after)
        return Cause("instead", label_of(other), after, (label_of(one),))
    return Cause("state", "last state")


def _at_once(one: Act, other: Act) -> bool:
    """Return whether one act follows the other in the same attempt of a run, perhaps after a slow call."""
    # Acts outside of runs have number 0, and then only the instant says that they belong together.
    return (one.run, one.attempt) == (other.run, other.attempt) and (one.run > 0 or one.at_ms == other.at_ms)


def _comes(acts: Sequence[Act], at: int, act: Act) -> bool:
    """Return whether an act follows in the same run, perhaps in a retry: then the one at this place comes before it."""
    for each in islice(acts, at + 1, None):
        if each.run != acts[at].run or (each.run == 0 and each.at_ms != act.at_ms):
            return False
        if each.does_as(act):
            return True
    return False


def _at(acts: Sequence[Act], place: int) -> Act | None:
    return acts[place] if place < len(acts) else None


@attrs.frozen(kw_only=True)
class Example:
    """One instance of a group: the one whose futures differ first.

    Attributes:
        address: the instance.
        at: the place of the first difference.
        before: the last acts that are equal.
        old: the next acts under the old code.
        new: the next acts under the new code.
        since_ms: the instant that durations in the group's sentence count from.
    """

    __repr__ = fields_in_line

    address: Address
    at: int
    before: tuple[Act, ...]
    old: tuple[Act, ...]
    new: tuple[Act, ...]
    since_ms: int


_SHOWN_ACTS: Final = 4
_SHOWN_PLACES: Final = 3
_KEPT_BEFORE: Final = 8
_KEPT_ACTS: Final = 40
"""How many acts of an example are kept for its picture. The text shows the first of them."""


@attrs.define
class DifferenceGroup:
    """The instances of one job whose futures differ for one cause.

    Attributes:
        job: the job, printed ``kind:name``.
        cause: the cause.
        number: how many there are.
        shallow: how many of these were rehearsed for a few runs only.
        more: how many acts the new code adds (positive) or leaves out, by label, over those rehearsed to the end.
        example: the instance whose futures differ first.
        shifts: by how much the act moves, the least and the most, in milliseconds.
        places: the acts before the first difference, as `label_of` names them, with the number of instances.
    """

    job: str
    cause: Cause
    number: int = 0
    shallow: int = 0
    more: Counter[str] = attrs.Factory(Counter[str])
    example: Example | None = None
    shifts: tuple[int, int] = (0, 0)
    places: Counter[str] = attrs.Factory(Counter[str])

    @property
    def sentence(self) -> str:
        """What differs, in one sentence."""
        if self.cause.kind == "moved":
            least, most = map(duration, self.shifts)
            return f"{self.cause.act} comes {least if least == most else f'{least} to {most}'} {self.cause.detail[0]}"
        if self.cause.kind == "parks":
            return f"is parked ({self.cause.act}) {self._places()}"
        return _SENTENCES[self.cause.kind](self.cause, self._durations())

    def _places(self) -> str:
        found = [_after(each) for each, _ in sorted(self.places.items(), key=lambda pair: (-pair[1], pair[0]))]
        return " or ".join([*found[:_SHOWN_PLACES], *(["elsewhere"] if len(found) > _SHOWN_PLACES else [])])

    def _durations(self) -> tuple[str, str]:
        example = self.example
        if example is None or not (example.old and example.new):
            return "", ""
        return duration(example.old[0].at_ms - example.since_ms), duration(example.new[0].at_ms - example.since_ms)


def _after(place: str) -> str:
    return "at once" if place == _PRESENT else f"after {place}"


_SENTENCES: Final[Mapping[Kind, Callable[[Cause, tuple[str, str]], str]]] = {
    "left": lambda cause, _: f"is left to other code ({cause.act}) {_after(cause.after)}",
    "refused": lambda cause, _: f"a request is refused ({cause.act})",
    "accepted": lambda cause, _: f"a request is accepted that was refused before ({cause.act})",
    "retry": lambda cause, took: f"a failed {cause.act} is retried after {took[1]} instead of {took[0]}",
    "attempt": lambda cause, _: f"{cause.act} happens in attempt {cause.detail[1]} instead of {cause.detail[0]}",
    "interval": lambda cause, took: f"{cause.act} every {took[1]} instead of {took[0]}",
    "arguments": lambda cause, _: f"{cause.act} has other arguments",
    "twice": lambda cause, _: f"{cause.act} happens twice with the same arguments",
    "added": lambda cause, _: f"{cause.act} is new, {_after(cause.after)}",
    "missing": lambda cause, _: f"{cause.act} is missing, {_after(cause.after)}",
    "sooner": lambda cause, _: f"{cause.act} comes before the end, where the deployed code would do it later or never",
    "stops": lambda cause, _: (
        f"stops: no alarm is set any more, and {cause.act} does not come"
        if cause.detail == ("nothing",)
        else f"{cause.act} does not come before the end, {_after(cause.after)}"
    ),
    "instead": lambda cause, _: f"{cause.act} instead of {cause.detail[0]}, {_after(cause.after)}",
    "state": lambda _, __: "only the last state differs",
}


@attrs.define
class Comparison:
    """Compares pairs of futures one by one. It keeps counts, and one example of each group.

    Attributes:
        at_ms: the moment at which the futures begin.
        equal: how many instances have equal futures.
        groups: the groups, by job and cause.
    """

    at_ms: int
    equal: int = 0
    _groups: dict[tuple[str, Cause], DifferenceGroup] = attrs.Factory(dict[tuple[str, Cause], DifferenceGroup])

    def add(self, address: Address, old: InstanceFuture, new: InstanceFuture) -> None:
        """Compare the two futures of an instance.

        Args:
            address: the instance.
            old: its future under the deployed code.
            new: its future under the new code.
        """
        ours, theirs = _comparable(old, new)
        at = first_difference(ours, theirs)
        if at is None:
            self.equal += 1
            return
        cause = cause_of(ours, theirs, at, alarms=(old.alarm, new.alarm))
        job = f"{address.kind}:{address.name}"
        group = self._groups.setdefault((job, cause), DifferenceGroup(job, cause))
        group.number += 1
        if cause.kind == "parks":
            group.places[_place(theirs, at)] += 1
        if cause.kind == "moved":
            shift = abs(theirs[at].at_ms - ours[at].at_ms)
            least, most = group.shifts if group.number > 1 else (shift, shift)
            group.shifts = min(least, shift), max(most, shift)
        # An instance that ends after a few runs has not done all that it will: its acts cannot be counted up.
        if "runs" in (old.ends, new.ends):
            group.shallow += 1
        else:
            group.more.update(map(label_of, new.acts))
            group.more.subtract(map(label_of, old.acts))
        # The earliest difference has the shortest story. The address decides between equals, so that each run shows the
        # same.
        if group.example is None or (at, address) < (group.example.at, group.example.address):
            group.example = self._example(address, ours, theirs, at)

    def _example(self, address: Address, old: Sequence[Act], new: Sequence[Act], at: int) -> Example:
        one = _at(old, at)
        since_ms = self.at_ms
        if one is not None and at:
            retried = one.attempt > 1
            before = old[at - 1].at_ms if retried else _before(old, one, at)
            since_ms = self.at_ms if before is None else before
        return Example(
            address=address,
            at=at,
            before=tuple(old[max(0, at - _KEPT_BEFORE) : at]),
            old=tuple(old[at : at + _KEPT_ACTS]),
            new=tuple(new[at : at + _KEPT_ACTS]),
            since_ms=since_ms,
        )

    @property
    def differing(self) -> int:
        """How many instances have another future."""
        return sum(group.number for group in self._groups.values())

    @property
    def groups(self) -> tuple[DifferenceGroup, ...]:
        """The groups, the largest first."""
        return tuple(sorted(self._groups.values(), key=lambda group: (-group.number, group.job, group.sentence)))

    def lines(self) -> Iterator[str]:
        """Yield the difference as text: each group with one example."""
        total = self.equal + self.differing
        yield f"{self.differing:,} of {total:,} instances have another future"
        for group in self.groups:
            net = ", ".join(f"{count:+,} {label}" for label, count in sorted(group.more.items()) if count)
            counted = f", counted over {group.number - group.shallow:,}" if net and group.shallow else ""
            yield ""
            yield f"{group.number:,} {group.job}: {group.sentence}" + (f"  [{net}{counted}]" if net else "")
            yield from self._lines(group.example)

    def _lines(self, example: Example | None) -> Iterator[str]:
        if example is None:
            return
        yield f"    {example.address}"
        for mark, acts in ((" ", example.before[-1:]), ("-", example.old), ("+", example.new)):
            for act in acts[:_SHOWN_ACTS]:
                yield f"    {mark} {self._time(act.at_ms)}  {shown(act)}"

    def _time(self, at_ms: int) -> str:
        return f"{from_ms(at_ms):%Y-%m-%d %H:%M:%S}"

    def data(self) -> dict[str, Any]:
        """Return the difference for JSON."""
        return {
            "instances": self.equal + self.differing,
            "differing": self.differing,
            "groups": [
                {
                    "job": group.job,
                    "cause": group.cause.kind,
                    "sentence": group.sentence,
                    "instances": group.number,
                    "rehearsed_for_a_few_runs": group.shallow,
                    "more": {label: count for label, count in sorted(group.more.items()) if count},
                    "example": _example_data(group.example),
                }
                for group in self.groups
            ],
        }


def _example_data(example: Example | None) -> dict[str, Any] | None:
    if example is None:
        return None
    acts = {"before": example.before, "old": example.old, "new": example.new}
    return {"address": str(example.address)} | {
        side: [{"at": from_ms(act.at_ms).isoformat(), "act": shown(act)} for act in each] for side, each in acts.items()
    }


def _comparable(old: InstanceFuture, new: InstanceFuture) -> tuple[Sequence[Act], Sequence[Act]]:
    """Return the acts of both. Of an instance that ended after a few runs, what both have seen."""
    if old.ends == new.ends == "horizon":
        return old.acts, new.acts
    # A state at the horizon beside a future that ended earlier says nothing.
    ours = [act for act in old.acts if act.what != "state"]
    theirs = [act for act in new.acts if act.what != "state"]
    if old.ends != new.ends:
        # One has ended its runs, and the other has had fewer until the horizon.
        shorter = min(len(ours), len(theirs))
        return (ours[:shorter], theirs[:shorter]) if ours[:shorter] != theirs[:shorter] else (ours, theirs)
    return ours, theirs
