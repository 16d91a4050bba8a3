"""What a store promises, sentence by sentence as ``perdure.stores.store`` says it. The cases refer to these.

A test holds that the sentences here are those of the contract, all of them, and that each has a case or a reason why it
can have none.
"""

from __future__ import annotations

from perdure.testing.conformance.requirement import Requirement

# Those that matter most.
ATOMIC = Requirement("commit", "``commit`` writes a transition whole or not at all, whatever crashes.")
FENCED = Requirement("commit", "a transition whose fence moved is answered ``Conflict`` and leaves no trace.")
DURABLE = Requirement(
    "commit",
    "what ``commit`` answered with success is found by every later ``load``, to the degree that "
    "``capabilities.durability`` says.",
)
MONOTONIC = Requirement(
    "commit",
    "incarnations and message ids come from sequences that never go back, not even when rows are deleted.",
)

# Those of every operation.
FAILURES_ARE_VALUES = Requirement(
    "Store",
    "Expected failures are values, never exceptions: ``StoreUnavailable`` when nothing was written, ``OutcomeUnknown`` "
    "when a commit may or may not have been, ``StoreCorrupt`` for a row that cannot be read.",
)
BEGINS_WHEN_AWAITED = Requirement("Store", "An operation begins, at the latest, when its answer is awaited.")
INSTANTS = Requirement("Store", "Instants are integer milliseconds UTC, not negative.")
TEXT = Requirement(
    "Store",
    "Text of any length comes back unchanged and is compared by code point: case, accents, blanks and wildcards "
    "matter.",
)
CANCELLED = Requirement(
    "Store",
    "When a caller is cancelled, its operation happens completely or not at all, no later than ``close`` returns, and "
    "other callers are not affected.",
)
PAGES = Requirement(
    "Store",
    "A listing applies its conditions before its limit, returns a full page for any limit up to 1,000, and continues "
    "after a cursor whose row is gone.",
)
KILLED_OPENING = Requirement(
    "Store", "An opening that is killed loses and repeats nothing: the next opening finds the same rows."
)
CUT_WRITE = Requirement(
    "Store", "A kill may cut a write at any byte: the store opens again, and later commits are not affected."
)

# The facts.
NAME = Requirement("name", "what it is, for messages: ``memory://`` or ``sqlite:///jobs.db``.")
EPOCH = Requirement(
    "epoch", "how often this store has been opened, this time included. It never goes back; claims carry it."
)
CAPABILITIES = Requirement("capabilities", "what kind of store this is.")
OWNERSHIP = Requirement(
    "capabilities", "``owned`` by one engine at a time, or ``shared`` by many (claims then carry leases)."
)

# load
LOAD_TOGETHER = Requirement("load", "the instance and the remembered answer of the key, read together.")
KEY_EXPIRES = Requirement("load", "A key is remembered while ``now_ms < expires_ms``.")
KEY_ADDRESS = Requirement("load", "Keys belong to the whole address: kind, name and id.")
READS_ITS_WRITES = Requirement("load", "Sees every transition whose commit was answered before the call.")
SHOWS_WHAT_STAYS = Requirement(
    "load",
    "It returns no transition that a crash could still undo, to the degree that ``capabilities.durability`` says.",
)
CORRUPT_ROW = Requirement("load", "A row that cannot be read is ``StoreCorrupt``; other rows go on.")

# commit
NEW_FENCE = Requirement(
    "commit", "answers the new fence of the instance; ``Fence(0, 0)`` when it is purged or was left alone."
)
COMPARES_FENCE = Requirement(
    "commit",
    "``Put`` and ``Purge`` compare the fence: ``Conflict`` when it moved, is another address's, or when ``expected`` "
    "is None and something is stored.",
)
MESSAGE_ONCE = Requirement(
    "commit",
    "An inbound fate for a message that is not living any more is ``Conflict`` as well, whatever the write.",
)
FATE_REPLACES = Requirement("commit", "A fate replaces the message's attempts and error, also with None.")
CONFLICT_LEAVES_NOTHING = Requirement("commit", "A ``Conflict`` leaves nothing.")
PUT_VERSION = Requirement(
    "commit",
    "``Put`` stores the version expected plus 1; over nothing, the next incarnation and version 1.",
)
PURGE_OWN = Requirement(
    "commit",
    "``Purge`` also deletes the messages and dead letters from the instance to itself, those of this very transition "
    "included, unless it says that they are kept; it may expect nothing where nothing is.",
)
MESSAGE_ORDER = Requirement("commit", "Messages out get ids in order.")
EVENT_ADDRESS = Requirement("commit", "An event belongs to the address that it names.")
CONCURRENT = Requirement(
    "commit",
    "Any number of commits may be under way at once, and may be grouped: each is answered when it is durable, and one "
    "that conflicts or cannot be written does not fail its neighbours.",
)

# due, next_alarm, claimed
DUE = Requirement("due", "instances whose ``due_ms`` is at or before the instant, the earliest first, with their rows.")
CORRUPT_LEFT_OUT = Requirement("due", "Rows that cannot be read are left out here and below: ``health`` tells of them.")
NEXT_ALARM = Requirement("next_alarm", "the earliest ``due_ms`` strictly after the instant, or None.")
CLAIMED = Requirement("claimed", "instances with a claim of either kind, by incarnation.")

# messages, next_message, dead_letters, redrive
DELIVERABLE = Requirement(
    "messages",
    "for each (sender, target) its oldest living message, when that one may be delivered: its ``not_before_ms`` is not "
    "after the instant.",
)
OLDEST_FIRST = Requirement("messages", "The oldest first. So order within a pair is kept whoever delivers.")
NEXT_MESSAGE = Requirement(
    "next_message", "the earliest ``not_before_ms`` strictly after the instant among living messages."
)
DEAD_LETTERS = Requirement("dead_letters", "dead letters, the oldest first; they wait for no instant.")
REDRIVE = Requirement("redrive", "a dead letter lives again, under its id and so in its old place.")
REDRIVEN_AFRESH = Requirement(
    "redrive", "Its attempts start again at 0, it may be delivered at once, and its error stays to be read."
)

# find, history, events
FIND = Requirement("find", "in the order of addresses: kind, name, id, each by code point.")
HISTORY = Requirement("history", "events with a sequence number below ``before``, the newest first.")
HISTORY_SURVIVES = Requirement("history", "Survives the purge of the instance, until retention.")
EVENTS = Requirement("events", "the log, for sinks.")
EVENTS_IN_ORDER = Requirement(
    "events", "No number appears after a greater one was read, so that a sink that pages misses nothing."
)

# prune, health, close
PRUNE_COUNTS = Requirement("prune", "how many rows went; call again while it equals the limit.")
PRUNE = Requirement(
    "prune",
    "Expired keys go, and the beginning of the log: each event that is too old or not among the newest ``max_events``, "
    "up to the first that stays. So the log never has a hole.",
)
PRUNE_DEAD_LETTERS = Requirement("prune", "Dead letters that were sent too long ago go; messages that live stay.")
HEALTH = Requirement("health", "never fails for a store that is merely unwell; the answer says so.")
CLOSE = Requirement("close", "waits for what was asked; later calls answer ``StoreUnavailable``.")
LOST = Requirement(
    "lost",
    "done, with the reason, when an owned store turned out not to be this engine's any more: every operation answers "
    "``OwnershipLost`` from then on, and the engine stops. None for a store that cannot be lost.",
)
LEFT = Requirement(
    "left",
    "``died`` when the previous engine's process ended without closing the store, otherwise ``closed``. A store that "
    "cannot tell says ``closed``.",
)
BACKUP_OPENS = Requirement("backup", "a copy in a new file, which opens as a store, while other operations go on.")
BACKUP_IS_A_PREFIX = Requirement(
    "backup",
    "It holds all commits up to an instant between the call and the answer, those of before the call among them, each "
    "whole.",
)
BACKUP_FAILS_WHOLE = Requirement(
    "backup", "``BackupFailed`` leaves nothing behind. None for a store that has other means."
)

REQUIREMENTS: tuple[Requirement, ...] = tuple(one for one in tuple(globals().values()) if isinstance(one, Requirement))
"""All of them, in the order of the contract."""

NO_CASE: dict[Requirement, str] = {
    INSTANTS: "what the engine hands over; a store only stores and compares it",
    LOST: "how a store is lost is its own affair; an owned one that is opened twice has its case",
    BACKUP_OPENS: "only the store knows how its copy is opened",
    BACKUP_IS_A_PREFIX: "only the store knows how its copy is opened",
    BACKUP_FAILS_WHOLE: "what a backup leaves, and where, is the store's own affair",
    BEGINS_WHEN_AWAITED: "every case awaits what it asks, as the engine does",
}
"""The promises that no case can break, and why."""
