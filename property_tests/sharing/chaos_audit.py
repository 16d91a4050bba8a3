"""The audit of a chaos run: the calls of the callers, the effects of the engines, and the content of the store."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import asyncpg
from attrs import field, frozen
from ledger import Append, model

from perdure.testing.linearizability import NotLinearizable, TimedCall, check_linearizable

if TYPE_CHECKING:
    from chaos import Chaos

_STEPS = 3


@frozen(kw_only=True)
class Takeover:
    """An engine that was killed, stalled or cut off for longer than its lease.

    Attributes:
        mishap: which of them.
        engine: its name.
        at_s: when it happened.
    """

    mishap: str
    engine: str
    at_s: float


@frozen(kw_only=True)
class Made:
    """A call.

    Attributes:
        key: its idempotency key.
        of: the job and the id.
        asked: the call.
        number: of the call.
        at_s: when it was made.
        answer: the answer; None without one.
        answered_s: when it was answered.
    """

    key: str
    of: tuple[str, str]
    asked: str
    number: int
    at_s: float
    answer: Any = None
    answered_s: float | None = None


@frozen(kw_only=True)
class Verdict:
    """The outcome.

    Attributes:
        wrong: every violated law, with examples.
        numbers: the measured numbers.
        calls: all calls.
    """

    wrong: dict[str, list[str]]
    numbers: dict[str, object] = field(factory=dict)
    calls: list[Made] = field(factory=list)

    @property
    def holds(self) -> bool:
        """Whether no law was violated."""
        return not any(self.wrong.values())

    def text(self) -> str:
        """Return the outcome, one line each."""
        found = [f"{law:32} {len(examples)} {' · '.join(examples[:3])}" for law, examples in self.wrong.items()]
        return "\n".join([*(f"{name:32} {number}" for name, number in self.numbers.items()), *found])


def calls_in(folder: Path) -> list[Made]:
    """Read the calls of all callers."""
    made: dict[str, dict[str, Any]] = {}
    for file in folder.glob("calls-*"):
        for line in file.read_text().splitlines():
            one = json.loads(line)
            if "of" in one:
                made[one["key"]] = {
                    **{name: one[name] for name in ("key", "asked", "number")},
                    "of": tuple(one["of"]),
                    "at_s": one["at"],
                }
            else:
                made[one["key"]] |= {"answer": one["answer"], "answered_s": one["at"]}
    return [Made(**one) for one in made.values()]


def heard_in(folder: Path) -> list[tuple[float, str, str]]:
    """Read the effects: when, in which engine, which word."""
    return sorted(
        (float(at), file.name.removeprefix("heard-"), word)
        for file in folder.glob("heard-*")
        for at, word in (line.split(" ", 1) for line in file.read_text().splitlines())
    )


async def audit(chaos: Chaos, left: dict[str, int]) -> Verdict:
    """Compare everything."""
    connection = await asyncpg.connect(chaos.cluster.url)
    rows = await connection.fetch("SELECT name, id, state, status FROM chaos.instances")
    late_writes = await connection.fetch(
        "SELECT w.engine, count(*), max(w.at_s - d.at_s) FROM public.written w "
        "JOIN unnest($1::text[], $2::text[]) AS n (engine, label) USING (engine) "
        "JOIN public.died d USING (label) WHERE w.at_s > d.at_s GROUP BY w.engine",
        list(chaos.names.keys()),
        list(chaos.names.values()),
    )
    deaths = await connection.fetchval("SELECT count(*) FROM public.died")
    await connection.close()
    calls, heard = calls_in(chaos.folder), heard_in(chaos.folder)
    acknowledged = [call for call in calls if call.answered_s is not None]
    stored: dict[str, Counter[str]] = {"accounts": Counter(), "receipts": Counter()}
    rest: dict[tuple[str, str], tuple[str, str]] = {}
    for name, id_, state, status in rows:
        if name in stored:
            kept = json.loads(state)
            stored[name].update(f"{key} {id_}" for key in (kept["keys"] if name == "accounts" else kept))
        else:
            rest[name, id_] = state, status
    took = _takeovers(chaos, heard)
    waited = sorted(call.answered_s - call.at_s for call in acknowledged if call.answered_s is not None)
    deployed = sorted(
        call.answered_s - call.at_s
        for call in acknowledged
        if call.answered_s is not None and call.of[0] != "accounts"  # their effects take up to 0.8 s, one by one
        if any(began <= call.at_s <= ended for began, ended in chaos.deploys)
    )
    words = Counter(word for _, _, word in heard if not word.startswith("step "))
    return Verdict(
        wrong={
            "acknowledged and lost": _lost(acknowledged, stored, rest, heard),
            "applied twice": [key for kept in stored.values() for key, times in kept.items() if times > 1],
            "repeated unmarked": [word for word, times in words.items() if times > 1],
            "not linearizable": _unexplained(calls),
            "written by a dead engine": [f"{engine}: {count}, {late:.3f} s" for engine, count, late in late_writes],
            "taken over late": [
                f"{one.engine} {one.mishap} {late:.2f} s" for one, late in took if late > chaos.lease_s + 1
            ],
            "stuck": [f"{number} {name}" for name, number in left.items()],
        },
        numbers={
            "mishaps": dict(chaos.done),
            "engines declared dead": deaths,
            "calls": f"{len(calls)}, acknowledged {len(acknowledged)}",
            "effects": f"{len(heard)}, marked repeats {sum('#1.1' not in word for word in words if '#' in word)}",
            "answered after": _spread(waited),
            "answered during deploys after": _spread(deployed),
            "taken over after": _spread(sorted(late for _, late in took)),
        },
        calls=calls,
    )


def _spread(times_s: list[float]) -> str:
    if not times_s:
        return "-"
    p99 = times_s[int(len(times_s) * 0.99)]
    return f"median {median(times_s):.3f} s, p99 {p99:.3f} s, longest {times_s[-1]:.3f} s, of {len(times_s)}"


def _lost(
    acknowledged: list[Made],
    stored: dict[str, Counter[str]],
    rest: dict[tuple[str, str], tuple[str, str]],
    heard: list[tuple[float, str, str]],
) -> list[str]:
    """Return the acknowledged calls without their effect."""
    lost: list[str] = []
    said = {word.partition("#")[0] for _, _, word in heard}
    for call in acknowledged:
        match call.of:
            case ("accounts", id_):
                lost += [call.key] if f"{call.key} {id_}" not in stored["accounts"] else []
                receipt = f"{call.key} r{id_}"
                lost += [f"receipt {call.key}"] if call.number % 3 == 0 and receipt not in stored["receipts"] else []
            case ("items", _):
                done = rest.get(call.of, ("", "absent"))[1] == "done" and f"item {call.number}" in said
                lost += [] if done else [call.key]
            case ("flows", _):
                steps = all(f"step {call.number}.{step}" in said for step in range(_STEPS))
                lost += [] if steps and rest.get(call.of, ("", "absent"))[1] == "done" else [call.key]
            case _:  # a ledger: its history is checked
                pass
    return lost


def _unexplained(calls: list[Made]) -> list[str]:
    """Check the histories of the ledgers."""
    parts: dict[tuple[str, str], list[TimedCall]] = {}
    for call in calls:
        if call.of[0] in ("quick", "slow"):
            parts.setdefault(call.of, []).append(_timed(call))
    wrong: list[str] = []
    for part in parts.values():
        try:
            check_linearizable(part, initial=(), apply=model)
        except NotLinearizable as error:
            wrong.append(str(error))
    return wrong


def _timed(call: Made) -> TimedCall:
    asked, *expected = call.asked.split()
    event = None if asked == "read" else Append(call.number, int(expected[0]) if expected else None)
    answer = call.answer
    if asked == "read":
        answer = tuple(answer or ())
    elif answer == "done":
        answer = "appended"
    return TimedCall(of=call.of, asked=event, called_at=call.at_s, answered_at=call.answered_s, answer=answer)


def _takeovers(chaos: Chaos, heard: list[tuple[float, str, str]]) -> list[tuple[Takeover, float]]:
    """Return how long after its mishap each run of an engine began again elsewhere, the latest of each mishap."""
    found: list[tuple[Takeover, float]] = []
    for one in chaos.takeovers:
        begun = {word.partition("#")[0]: at for at, name, word in heard if name == one.engine and at <= one.at_s}
        again = [
            at - one.at_s
            for at, name, word in heard
            if name != one.engine and word.endswith("#1.2") and begun.get(word.partition("#")[0], 0) > one.at_s - 1
        ]
        found += [(one, late) for late in again if late > 0]
    return found
