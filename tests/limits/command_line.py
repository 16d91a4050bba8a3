"""The numeric options of the command line: the ends of each range are accepted, and one beyond is refused."""

from __future__ import annotations

from typing import Final

import attrs

from perdure.stores.postgres.schema import migrations


@attrs.frozen
class Numbers:
    """A range of an option.

    Attributes:
        command: the command and the arguments that it needs. The file ``jobs.db`` has one task, ``counter:a``.
        option: the option.
        valid: the ends, as a caller writes them. None that takes longer than a second.
        refused: one beyond each end.
    """

    command: str
    option: str
    valid: tuple[str, ...]
    refused: tuple[str, ...]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The option as the reference names it."""
        return f"{self.command.partition(' ')[0]} {self.option}"


NEWEST = str(len(migrations()))
STORE = "--store sqlite:///jobs.db"
RANGES: Final = (
    Numbers(f"list {STORE}", "--limit", ("1",), ("0", "-1")),
    Numbers(f"dead-letters {STORE}", "--limit", ("1",), ("0", "-1")),
    Numbers(f"left-messages {STORE}", "--limit", ("1", "1000"), ("0", "1001")),
    Numbers(f"history task:counter:a {STORE}", "--limit", ("1", "1000"), ("0", "1001")),
    Numbers("bench --at .", "--seconds", ("0.05",), ("0.049", "60.1", "nan")),
    Numbers(f"rehearse no:app --against no:app {STORE}", "--sample", (), ("0", "-1")),
    Numbers(f"rehearse no:app --against no:app {STORE}", "--runs", (), ("-1",)),
    Numbers(f"rehearse no:app --against no:app {STORE}", "--most", (), ("0", "1000001")),
    Numbers(f"future task:counter:a {STORE}", "--instances", (), ("0", "101")),
    Numbers(f"future task:counter:a {STORE}", "--most", (), ("0", "1001")),
    Numbers("demo", "--seconds", (), ("1.9", "3600.1", "nan")),
    Numbers(f"snapshot {STORE} --output rows", "--each", ("1", "10000"), ("0", "10001")),
    Numbers(f"capacity no:app {STORE}", "--arrivals", (), ("-0.1", "64.1", "nan")),
    Numbers(f"histories no:app {STORE} --output rows", "--each", (), ("0", "1001")),
    Numbers(f"histories no:app {STORE} --output rows", "--steps", (), ("0", "1001")),
    Numbers(f"backup {STORE} --output copy.db", "--max-wal-mib", ("0",), ("-1",)),
    Numbers(f"verify {STORE}", "--max-wal-mib", ("0",), ("-1",)),
    Numbers("migrate --store postgresql://h/d --print-sql", "--from-version", ("0", NEWEST), ("-1", f"{NEWEST}1")),
)
NO_RANGE: Final = {
    "capacity --seed": "any number chooses durations and jitter",
    "demo --seed": "any number chooses a history",
    "rehearse --seed": "any number chooses a sample and the luck of each instance",
    "future --seed": "any number chooses jitter and faults",
    "debug --at": "the positions of one journal: the command names the last one",
    "history --before": "any number: a history has no events before the first",
    "tail --after": "an offset, which may not be reached yet: the engine refuses one below -1",
    "redrive MESSAGE-ID": "the number of a message, which may be absent: the engine says so",
    "bury MESSAGE-ID": "the number of a message, which may be absent: the engine says so",
}
"""Numbers that have no range, and why."""
