"""The audit: the answers of clients against the rows of the store and the external calls. It uses no engine."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import field, frozen
from bank import Happened, Step, steps_of

_EMPTY: Mapping[str, Any] = {"last": {}, "left_out": []}
"""The common initial content of the book of an account and of its ledger."""


@frozen(kw_only=True)
class Stored:
    """The content of a file that no process has open.

    Attributes:
        accounts: the state of each account, by id.
        ledgers: the state of each ledger.
        letters: the letters in bags.
        beats: how often the pulse beat.
        unsettled: unfinished work: claims, messages, dead letters, overdue alarms.
        damage: the defects that SQLite finds in the file.
    """

    accounts: Mapping[str, Any]
    ledgers: Mapping[str, Any]
    letters: tuple[str, ...]
    beats: int
    unsettled: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()


@frozen(kw_only=True)
class Verdict:
    """How often each promise was broken. Everything is 0 where all is well.

    Attributes:
        acknowledged: steps that were acknowledged: these are not broken promises.
        left_open: steps that were never answered nor repeated, applied or not.
        lost: acknowledged steps that have no effect.
        twice: steps that have more than one.
        broken: instances with forbidden content.
        unmarked: repeats of user code that the program could not see.
        repeats: those that it could: these are not broken promises either.
    """

    acknowledged: int
    lost: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    unmarked: tuple[str, ...] = ()
    repeats: int = field(default=0, eq=False)
    left_open: int = field(default=0, eq=False)

    @property
    def holds(self) -> bool:
        """Whether all is well."""
        return not (self.lost or self.twice or self.broken or self.unmarked)


def stored_in(path: Path, now_ms: int) -> Stored:
    """Read a file that no process has open."""
    with closing(sqlite3.connect(path)) as database:

        def states(name: str) -> dict[str, Any]:
            rows = database.execute("SELECT id, state FROM instances WHERE name = ? AND state != ''", (name,))
            return {id_: json.loads(state) for id_, state in rows}

        unsettled = database.execute(
            """
            SELECT 'claim of ' || id FROM instances WHERE owner IS NOT NULL
            UNION ALL SELECT 'overdue ' || id FROM instances WHERE due_ms < ? AND name != 'pulse'
            UNION ALL SELECT 'message to ' || target FROM messages
            UNION ALL SELECT 'dead letter to ' || target FROM dead_letters
            UNION ALL SELECT 'held: ' || id FROM instances WHERE suspension IS NOT NULL
            """,
            (now_ms,),
        )
        damage = [text for (text,) in database.execute("PRAGMA integrity_check") if text != "ok"]
        return Stored(
            accounts=states("account"),
            ledgers=states("ledger"),
            letters=tuple(letter for bag in states("mailbag").values() for letter in bag["letters"]),
            beats=sum(state["count"] for state in states("pulse").values()),
            unsettled=tuple(text for (text,) in unsettled),
            damage=tuple(damage),
        )


def audit(
    acknowledged: Mapping[str, int],
    stored: Stored,
    happened: Sequence[Happened],
    left_open: frozenset[Step] = frozenset(),
) -> Verdict:
    """Compare, once everything has come to an end.

    Args:
        acknowledged: the newest step of each client that was answered.
        stored: the content of the file.
        happened: the external calls.
        left_open: which steps before those were never answered; all others the clients have repeated.
    """
    asked = [step for client, upto in acknowledged.items() for step in steps_of(client, 0, upto)]
    steps = [step for step in asked if step not in left_open]
    sent = _sent(happened) + Counter(stored.letters)
    letters = {step.letter for step in steps if step.kind == "letter"}
    made_up = set(sent) - {step.letter for step in asked}
    return Verdict(
        acknowledged=len(steps),
        lost=(*_missing_deposits(steps, stored), *sorted(letters - set(sent))),
        twice=tuple(f"letter {letter}" for letter, count in sent.items() if count > 1),
        broken=(*_broken(asked, stored), *sorted(made_up), *_broken_runs(happened, stored.beats)),
        unmarked=_unmarked(happened),
        repeats=sum(count - 1 for count in Counter((each.run_id, each.work) for each in happened).values()),
        left_open=len(left_open),
    )


def audit_prefix(asked: Mapping[str, int], stored: Stored) -> tuple[str, ...]:
    """Find the defects of a store that may have lost the newest steps of each client, and nothing in between.

    Args:
        asked: how many steps each client has sent.
        stored: the content of the file, once all work has ended.
    """
    books = stored.accounts.values()
    kept = {client: sum(book["last"].get(client, 0) for book in books) for client in asked}
    steps = {
        client: [step for step in steps_of(client, 0, upto) if step.kind == "deposit"][: kept[client]]
        for client, upto in asked.items()
    }
    gaps = [
        f"{client} has not the first {kept[client]} deposits" for client in asked if len(steps[client]) < kept[client]
    ]
    together = [step for each in steps.values() for step in each]
    return (*gaps, *_missing_deposits(together, stored), *_broken(together, stored))


def _missing_deposits(steps: Iterable[Step], stored: Stored) -> list[str]:
    left_out = {id_: frozenset(book["left_out"]) for id_, book in stored.accounts.items()}
    return [
        f"deposit {step.client}:{step.number}"
        for step in steps
        if step.kind == "deposit" and not _is_taken(stored.accounts, left_out, step)
    ]


def _is_taken(books: Mapping[str, Any], left_out: Mapping[str, frozenset[str]], step: Step) -> bool:
    entry = step.entry
    if step.account not in books or f"{entry.client}:{entry.number}" in left_out[step.account]:
        return False
    last: int = books[step.account]["last"].get(step.client, 0)
    return last >= entry.number


def _broken(steps: Iterable[Step], stored: Stored) -> list[str]:
    """Find the forbidden content of an instance: the handlers of the bank look out for it themselves."""
    most = Counter({(step.client, step.account): step.entry.number for step in steps if step.kind == "deposit"})
    made_up = [
        f"{id_} holds {client}:{number}"
        for id_, book in stored.accounts.items()
        for client, number in book["last"].items()
        if number > most[client, id_]
    ]
    problems = [
        f"{id_}: {problem}"
        for books in (stored.accounts, stored.ledgers)
        for id_, book in books.items()
        for problem in book["problems"]
    ]
    apart = [
        f"the ledger of {id_} holds {stored.ledgers.get(id_)}"
        for id_, book in stored.accounts.items()
        if any(stored.ledgers.get(id_, _EMPTY)[part] != book[part] for part in _EMPTY)
    ]
    return [*made_up, *problems, *apart, *stored.unsettled, *stored.damage]


def _sent(happened: Iterable[Happened]) -> Counter[str]:
    """Count the runs that sent each letter; a repeat of a run is the same run."""
    runs = {(each.run_id, each.work) for each in happened if each.work.startswith("letters ")}
    return Counter(letter for _, work in runs for letter in work.removeprefix("letters ").split(","))


def _broken_runs(happened: Iterable[Happened], beats: int) -> list[str]:
    """A run keeps its work over all its repeats; a receipt belongs to one run; the pulse leaves no number out."""
    words: defaultdict[str, set[str]] = defaultdict(set)
    runs: defaultdict[str, set[str]] = defaultdict(set)
    for each in happened:
        words[each.run_id].add(each.work)
        if each.work.startswith(("receipt ", "beat ")):
            runs[each.work].add(each.run_id)
    counted = {int(work.removeprefix("beat ")) for work in runs if work.startswith("beat ")}
    return [
        *(f"run {run_id} did {sorted(work)}" for run_id, work in words.items() if len(work) > 1),
        *(f"{work} was done by {len(by)} runs" for work, by in runs.items() if len(by) > 1),
        *(["the pulse left a number out"] if counted != set(range(1, len(counted) + 1)) else []),
        *([f"{beats} beats are stored, {len(counted)} were seen"] if not 0 <= len(counted) - beats <= 1 else []),
    ]


def _unmarked(happened: Iterable[Happened]) -> tuple[str, ...]:
    """Find user code that ran again, and could not see it."""
    marks = Counter((each.run_id, each.work, each.mark) for each in happened)
    firsts = Counter((each.run_id, each.work) for each in happened if not each.is_retry)
    again = {work for (_, work, _), count in marks.items() if count > 1}
    return tuple(sorted(again | {work for (_, work), count in firsts.items() if count > 1}))
