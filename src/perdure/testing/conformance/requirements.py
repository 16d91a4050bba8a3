"""The store requirements: the sentences from the contract in ``perdure.stores.contract``. The cases refer to these.

A test checks that the contract has no other sentences, and that each has a case or a reason why it has none.
"""

from __future__ import annotations

from perdure.testing.conformance.assertions import Requirement

# Those that matter most.
ATOMIC = Requirement(
    "commit",
    "``commit`` writes a transition completely or not at all, wherever the process crashes.",
)
FENCED = Requirement(
    "commit",
    "when the fence of the instance has changed, ``commit`` returns ``Conflict`` and writes nothing.",
)
DURABLE = Requirement(
    "commit",
    "every later ``load`` finds a transition whose ``commit`` returned success, to the degree that "
    "``capabilities.durability`` says.",
)
MONOTONIC = Requirement(
    "commit",
    "incarnations and message ids come from sequences that never go back, even when rows are deleted.",
)

# Those of every operation.
FAILURES_ARE_VALUES = Requirement(
    "Store",
    "Expected failures are values, never exceptions: ``StoreUnavailable`` when nothing was written, "
    "``OutcomeUnknown`` when a commit may have been written, ``StoreCorrupt`` for a row that cannot be read.",
)
BEGINS_WHEN_AWAITED = Requirement(
    "Store",
    "An operation starts, at the latest, when the caller awaits it.",
)
INSTANTS = Requirement("Store", "Instants are integer milliseconds UTC, not negative.")
TEXT = Requirement(
    "Store",
    "Text of any length is returned unchanged and is compared by code point: case, accents, blanks and wildcards "
    "matter.",
)
CANCELLED = Requirement(
    "Store",
    "When a caller is cancelled, its operation happens completely or not at all, no later than ``close`` returns, and "
    "other callers are not affected.",
)
PAGES = Requirement(
    "Store",
    "A listing applies its conditions before its limit, returns a full page for any limit up to 1,000, and "
    "continues after a cursor whose row was deleted.",
)
KILLED_OPENING = Requirement(
    "Store",
    "A kill while the store opens loses nothing and applies nothing twice: the next opening finds the same rows.",
)
CUT_WRITE = Requirement(
    "Store", "A kill may cut a write at any byte: the store opens again, and later commits are not affected."
)

# The data.
NAME = Requirement(
    "name",
    "the name of the store in messages: ``memory://`` or ``sqlite:///jobs.db``.",
)
EPOCH = Requirement(
    "epoch",
    "how many times this store has been opened, including this time. It never goes back; claims carry it.",
)
CAPABILITIES = Requirement(
    "capabilities",
    "the kind of store.",
)
OWNERSHIP = Requirement(
    "capabilities", "``owned`` by one engine at a time, or ``shared`` by many (claims then carry leases)."
)

# load
LOAD_TOGETHER = Requirement(
    "load",
    "Read for each request the instance and the remembered answer of the key, together.",
)
BATCH_ANSWERED = Requirement(
    "load",
    "``answered`` is called once, in the event loop, with an answer for each request in order; within the call, if the "
    "store is synchronous.",
)
KEY_EXPIRES = Requirement("load", "A key is remembered while ``now_ms < expires_ms``.")
KEYS_HELD = Requirement("load", "The number of the keys of an address is found in a time that does not grow with it.")
KEY_EMPTIED = Requirement(
    "commit",
    "Storing a key empties the answer of the key of its address that was stored first ``full_answers`` keys before it.",
)
KEY_ADDRESS = Requirement(
    "load",
    "A key belongs to the complete address: kind, name and id.",
)
READS_ITS_WRITES = Requirement(
    "load",
    "It sees every transition whose commit returned before the call.",
)
SHOWS_WHAT_STAYS = Requirement(
    "load",
    "It returns no transition that a crash could still undo, to the degree that ``capabilities.durability`` says.",
)
CORRUPT_ROW = Requirement(
    "load",
    "A row that cannot be read is ``StoreCorrupt``; other rows are not affected.",
)

# commit
BATCH_OF_COMMITS = Requirement(
    "commit",
    "Write transitions, together where possible, and answer like ``load`` when all are durable or refused. Each is "
    "atomic, not the batch: one that conflicts or cannot be written does not fail the others.",
)
NEW_FENCE = Requirement(
    "commit",
    "The answer is the new fence of the instance; ``Fence(0, 0)`` when it was purged or not written.",
)
COMPARES_FENCE = Requirement(
    "commit",
    "``Put`` and ``Purge`` compare the fence: ``Conflict`` when it has changed, belongs to another address, or "
    "when ``expected`` is None and an instance is stored.",
)
MESSAGE_ONCE = Requirement(
    "commit",
    "An inbound fate for a message that is no longer living is ``Conflict`` as well, whatever the write.",
)
CONSUMED_TOGETHER = Requirement(
    "commit", "All of ``consumed`` are consumed together with the inbound message, or none is."
)
NEW_KEYS = Requirement("commit", "So is a key of ``new_keys`` that is remembered at its instant.")
FATE_REPLACES = Requirement(
    "commit", "A fate replaces the message's deliveries and error, also with None; ``Kept`` changes nothing."
)
CONFLICT_LEAVES_NOTHING = Requirement(
    "commit",
    "A ``Conflict`` writes nothing.",
)
PUT_VERSION = Requirement(
    "commit",
    "``Put`` stores the expected version plus 1; over nothing, the next incarnation and version 1.",
)
PURGE_OWN = Requirement(
    "commit",
    "``Purge`` also deletes the messages and dead letters from the instance to itself, including those of the "
    "same transition, unless it keeps them; it may expect nothing where no instance is stored.",
)
MESSAGE_ORDER = Requirement(
    "commit",
    "Outgoing messages get ids in the order of the transition.",
)
EVENT_ADDRESS = Requirement("commit", "An event belongs to the address that it names.")
CONCURRENT = Requirement("commit", "Any number of batches may be under way at the same time.")

# due, next_alarm, claimed
DUE = Requirement(
    "due",
    "Return the instances whose ``due_ms`` is at or before the instant, the earliest first, with their rows.",
)
DUE_ORDER = Requirement("due", "Instances with the same ``due_ms`` are in the order of their incarnations.")
DUE_AFTER = Requirement(
    "due",
    "With ``after``, only those behind this position: a ``due_ms`` and an incarnation, of which no instance need be "
    "stored.",
)
CORRUPT_LEFT_OUT = Requirement(
    "due",
    "Rows that cannot be read are omitted here and below: ``health`` reports them.",
)
NEXT_ALARM = Requirement("next_alarm", "Return the earliest ``due_ms`` strictly after the instant, or None.")
CLAIMED = Requirement(
    "claimed",
    "Return the instances with an ``owner``, by incarnation. These are those with a claim of either kind, but of "
    "those that are left only those whose upgrade is claimed.",
)
LEFT_TO = Requirement(
    "left_to",
    "Return instances of these jobs that are left, and not by the code of their job, in no particular order.",
)
LEFT_TO_TIME = Requirement(
    "left_to",
    "Reading them takes a time that depends on the number of returned instances and of different codes, and not on how "
    "many instances the given codes left.",
)

# messages_left_to
MESSAGES_LEFT_TO = Requirement(
    "messages_left_to",
    "Return, for each (sender, target) to one of these jobs, its oldest living message, if it is left. It is left, "
    "and not by the code of that job; whatever its ``not_before_ms``.",
)

# messages, next_message, dead_letters, redrive
DELIVERABLE = Requirement(
    "messages",
    "Return, for each (sender, target), its oldest living message, if it may be delivered. It may if its "
    "``not_before_ms`` is not after the instant.",
)
MESSAGES_EXCEPT = Requirement("messages", "Those to ``except_jobs`` are left out.")
OLDEST_FIRST = Requirement("messages", "The oldest come first, so that every caller delivers a pair in order.")
NEXT_MESSAGE = Requirement(
    "next_message",
    "Return the earliest ``not_before_ms`` strictly after the instant among living messages, or None.",
)
DEAD_LETTERS = Requirement("dead_letters", "Return dead letters, the oldest first, whatever their ``not_before_ms``.")
REDRIVE = Requirement(
    "redrive",
    "Make a dead letter a living message again, under its id and so at its old position.",
)
REDRIVEN_COUNTED = Requirement(
    "redrive",
    "It keeps its deliveries and its error, and may be delivered at once.",
)
REDRIVE_EVENTS = Requirement(
    "redrive",
    "The events are logged in the same transaction; nothing is logged if there is no such dead letter.",
)

# find, history, events
FIND = Requirement(
    "find",
    "Return a page of the instances of a query, in the order of addresses: kind, name, id, each by code point.",
)
HISTORY = Requirement(
    "history",
    "Return the events of an address with a sequence number below ``before``, the newest first.",
)
HISTORY_SURVIVES = Requirement(
    "history",
    "They survive the purge of the instance, until retention deletes them.",
)
EVENTS = Requirement("events", "Return the log after a sequence number, for sinks.")
EVENTS_IN_ORDER = Requirement(
    "events", "No number appears after a greater one was read, so that a sink that pages misses nothing."
)

# prune, health, close
PRUNE_COUNTS = Requirement(
    "prune",
    "Delete expired data, and return the number of deleted rows; call again while it equals the limit.",
)
PRUNE = Requirement(
    "prune",
    "It deletes expired keys, and the beginning of the log: each event that is too old or not among the newest "
    "``max_events``, up to the first that is kept, so that the log never has a gap.",
)
PRUNE_DEAD_LETTERS = Requirement(
    "prune",
    "It deletes dead letters that were sent too long ago, and no living message.",
)
HEALTH = Requirement(
    "health",
    "Check the store with a small operation. A degraded store is no failure: the result reports the state.",
)
CLOSE = Requirement(
    "close",
    "Wait for running operations, and release the store; later calls return ``StoreUnavailable``.",
)
LOST = Requirement(
    "lost",
    "done, with the reason, when an owned store no longer belongs to this engine: every later operation returns "
    "``OwnershipLost``, and the engine stops. None for a store that cannot be lost.",
)
WATCH_OWNERSHIP = Requirement(
    "watch_ownership",
    "Call a listener whenever it becomes uncertain, or certain again, that this engine owns the store. The listener "
    "is called in the event loop with ``in_doubt`` when another engine may own the store, such as after the end of a "
    "connection that held a lock, and with ``sure`` once this engine owns it again. In between the engine reads each "
    "row again before it answers from it. Without a function of its own, a store belongs to this engine until "
    "``lost``.",
)
WATCH_HOLDS = Requirement(
    "watch_holds",
    "Call a listener in the event loop soon after a job was held or released. The engine also polls.",
)
LEFT = Requirement(
    "previous_exit",
    "``died`` if the previous engine's process did not close the store, else, or unknown, ``closed``.",
)
BACKUP_OPENS = Requirement(
    "backup.make",
    "Copy the store into a new file, which opens as a store, while other operations continue.",
)
BACKUP_IS_A_PREFIX = Requirement(
    "backup.make",
    "It contains all commits up to an instant between the call and the result, including those before the call, each "
    "completely.",
)
BACKUP_FAILS_WHOLE = Requirement("backup.make", "``BackupFailed`` leaves no file.")
COUNTS_MESSAGES = Requirement(
    "counts.messages",
    "Count the living messages of each pair of sender and target, in the order of the pairs.",
)
COUNTS_UP_TO = Requirement("counts.messages", "It stops at a total of ``limit``: later pairs count 0.")
CURSOR = Requirement(
    "cursors.read",
    "Return the position that a sink was moved to, and the end of the log, read together.",
)
MOVE_CURSOR = Requirement(
    "cursors.move",
    "Move the position of a sink forward and log the events, in one transaction, durable like a commit.",
)
MOVE_CURSOR_ONCE = Requirement(
    "cursors.move",
    "A position that is not greater than the present one writes nothing, so that a repeated move logs its events once.",
)
HOLDS = Requirement("holds", "Return the held jobs, in the order of kind and name.")
SET_HOLD = Requirement(
    "set_hold",
    "Hold or release a job, durable like a commit. Return whether that changed it.",
)
HOLD_OF_A_JOB = Requirement("set_hold", "It needs no instance.")
DUE_EXCEPT = Requirement("due", "Those of ``except_jobs`` are left out.")
LANES = Requirement(
    "lanes.names",
    "Return the lanes of a job that have queued instances, by name, after a lane or from the first one.",
)
QUEUED_OR_DUE = Requirement(
    "lanes.names",
    "An instance is queued while its ``rank_ms`` is not None; it is not due then.",
)
QUEUED = Requirement(
    "lanes.queued",
    "Return the first queued instances of each of these lanes, by rank and incarnation, with their rows. Of each it "
    "returns as many as ``limit`` divided by the number of lanes, rounded up.",
)
LAST_RANK = Requirement(
    "lanes.last_rank",
    "Return the greatest rank of a job's queued instances; None if none is queued.",
)
QUEUED_TIME = Requirement(
    "lanes.queued",
    "Reading lanes takes a time that depends on what is returned, and not on what is queued.",
)
COUNTS = Requirement(
    "counts.instances",
    "Count the instances of each job and status, in the order of kind, name and status. All counts are those of one "
    "moment between the call and the answer.",
)
COUNTS_ON = Requirement(
    "counts.instances",
    "Counting delays no commit: a store that has not counted all instances yet answers ``complete=False`` after a "
    "while, with the counts so far, and counts on at the next call.",
)
WORK = Requirement(
    "counts.work",
    "Count the work of these jobs, in their order: what is queued, due at the instant, deliverable then, claimed. A "
    "claimed instance is not due.",
)
WORK_LIMIT = Requirement(
    "counts.work",
    "It reads of the whole store the first ``limit`` alarms and claims, and the first messages that ``messages`` "
    "returns for the instant and the limit, and of each job ``limit`` queued instances.",
)
WORK_TIME = Requirement(
    "counts.work", "Its time depends on the jobs and the limit, and not on the number of instances."
)
HAS_WORK = Requirement(
    "counts.has_work",
    "Return whether a job has an instance that is neither done nor suspended, or a living message. Both are read at "
    "one moment between the call and the answer.",
)
COUNTS_AGE = Requirement("counts.instances", "Where that takes long it may return earlier counts, with ``age_ms``.")
SEARCH = Requirement(
    "search",
    "Find a page like ``find``, but it may stop before the page is full. It may stop once it has read about "
    "``max_scanned`` instances; then a search after ``after`` continues. Without a function of its own, a store finds "
    "the whole page.",
)

SYNCHRONOUS = Requirement(
    "synchronous",
    "whether the store answers every operation within its call: then nothing is gained by batches.",
)
RUNTIME = Requirement(
    "runtime",
    "how a caller waits: the runtime with which the store was opened. None: the running asyncio loop.",
)
CACHE_BYTES = Requirement(
    "cache_bytes", "the maximum size of the instances that the engine keeps in memory; 0: it keeps none."
)
REPLICA = Requirement(
    "replica",
    "answers callers' lists, searches and counts, perhaps from an earlier state; None: this store does.",
)
READS = Requirement(
    "reads",
    "decides, beside a job's code, whether an instance can be read: the key ids of an encrypted store.",
)
AS_EXPECTED_ANSWER = Requirement("commit", "One whose ``Put`` names its changes may be answered with ``AS_EXPECTED``.")

JOURNAL = Requirement(
    "journal.read",
    "Return the rows of an instance's journal from the place ``first`` on, in order, up to the limit. There are none "
    "once that incarnation is purged.",
)
JOURNAL_COMMIT = Requirement(
    "journal.read",
    "``commit`` appends the rows of a transition together with its instance, after deleting the earlier ones for a "
    "``cut``, and replaces those that it rewrites; ``Purge`` deletes all.",
)
JOURNAL_GAP = Requirement("journal.read", "A missing place before a stored one is ``StoreCorrupt``.")
JOURNAL_IS_FLAT = Requirement("journal.read", "Appending costs the same, however long the journal is.")

STREAM_APPEND = Requirement(
    "streams.append",
    "Append groups, in their order, and return the offset at which each begins; None for one that is refused.",
)
STREAM_FENCE = Requirement(
    "streams.append",
    "A group is refused, and nothing of it is written, unless the instance of that incarnation has a claim, of a run "
    "or of an event, with the group's owner, run, attempt and deliveries: compared in the transaction that writes it.",
)
STREAM_DENSE = Requirement(
    "streams.append",
    "Offsets of a stream begin at 0 and are dense: a group begins ``skipped`` offsets after the last one before it.",
)
STREAM_BOUNDS = Requirement(
    "streams.append",
    "In the same transaction it deletes the oldest groups that the newest ``max_chunks`` offsets and the newest "
    "``max_bytes`` bytes do not reach into; the last group stays.",
)
STREAM_DURABLE = Requirement("streams.append", "It is durable like a commit.")
STREAM_READ = Requirement(
    "streams.read",
    "Return the first groups with an offset greater than ``after``, in order, up to the limit.",
)
STREAM_BYTES = Requirement(
    "streams.read", "Those behind the first one have at most ``max_bytes`` together, by their ``size``."
)
STREAM_LAST = Requirement("streams.last", "Return the offset at which the newest group ends, and -1 if there is none.")
STREAM_PURGE = Requirement("streams.read", "There are none once that incarnation is purged: ``Purge`` deletes them.")
STREAM_IS_FLAT = Requirement("streams.read", "Appending and reading cost the same, however long the stream is.")

ATTRIBUTES_COMMIT = Requirement(
    "attributes",
    "``commit`` writes the attributes of a transition together with its instance, and deletes those of a purged one. "
    "It ignores attributes that the store does not know.",
)
ATTRIBUTES_FIND = Requirement(
    "find", "``find`` and ``search`` return the instances whose keys are in all ranges of a query."
)
ATTRIBUTES_MISS = Requirement(
    "attributes", "A filter on an attribute that is not whole, or in doubt, may miss instances."
)
DECLARE = Requirement(
    "attributes.declare",
    "State which attributes the code of this opening computes for the jobs that it serves, with fingerprints. An "
    "attribute that is new, or has another fingerprint, is cleared and then filled. One that no open engine computes "
    "any more is cleared and then forgotten. Declaring the same again changes nothing.",
)
DECLARE_DOUBT = Requirement(
    "attributes.declare",
    "While another engine that may write a job computes another fingerprint for its attribute, or has declared "
    "nothing, the attribute is in doubt, and it is cleared and filled again after that engine's end.",
)
KNOWN = Requirement(
    "attributes.known",
    "Return the attributes that the store knows, in the order of kind, name and attribute.",
)
CLEAR = Requirement(
    "attributes.clear",
    "Delete keys of an attribute that is being cleared, up to the limit, and return their number. With fewer than the "
    "limit, filling begins, or the attribute is forgotten.",
)
CLEAR_DOUBT = Requirement("attributes.clear", "Nothing is deleted while it is in doubt.")
FILL = Requirement(
    "attributes.fill",
    "Write the attributes of a page, and return the ids of those that were not written. An instance is not written if "
    "it has another version by now, or is gone. If all were written, the position moves to the page's last id, and "
    "without a rest the attributes are whole.",
)
FILL_OTHERS = Requirement("attributes.fill", "Attributes of another generation, or in doubt, stay as they are.")
COUNT_MATCHES = Requirement(
    "attributes.count", "Count the instances that match a query, whatever its limit and position."
)

KEPT_EVENTS = Requirement(
    "histories",
    "``prune`` moves the events of a job with a declared history out of the log where it would delete them, unless "
    "they are older than that history's age.",
)
KEPT_BOUNDS = Requirement(
    "histories",
    "Then it deletes, for each declared job, the kept events that are too old or not among the newest ``events``, from "
    "the first one up to the first that is kept.",
)
KEPT_COUNTS = Requirement(
    "histories",
    "It counts moved and deleted events up to its limit, and a sink's position counts moved events as deleted.",
)
KEPT_ATOMIC = Requirement("histories", "Each call is one commit.")
KEPT_HISTORY = Requirement("histories", "``history`` returns kept events like those in the log.")
DECLARE_HISTORY = Requirement(
    "histories.declare",
    "State how long these jobs' histories are kept, durable like a commit. Other jobs stay as they are.",
)
DECLARED_LAST = Requirement("histories.declare", "The last declaration of a job counts, also for other openings.")
KNOWN_HISTORIES = Requirement(
    "histories.known",
    "Return the declared histories, by kind and name, in a time that depends on their number alone.",
)

HAS_ATTRIBUTES = Requirement("attributes", "keeps attributes beside the instances, to find them.")
HAS_LANES = Requirement("lanes", "lets jobs have lanes.")
HAS_JOURNAL = Requirement("journal", "lets jobs have journals, as workflows do.")
HAS_STREAMS = Requirement("streams", "lets runs emit chunks while they work.")
HAS_HISTORIES = Requirement("histories", "keeps events of some jobs after they have left the log.")
HAS_CURSORS = Requirement("cursors", "lets sinks have a position in the log.")
HAS_COUNTS = Requirement(
    "counts",
    "counts instances, messages and work; without it ``health`` counts only the first message of each pair.",
)
HAS_BACKUP = Requirement("backup", "copies the open store; None for a store that has other means.")
SHARING = Requirement("sharing", "lets several engines open the store together; None for an owned store.")

# Those of a shared store.
MEMBERSHIP = Requirement(
    "sharing",
    "Every opening is a member from the beginning, with a lease that its heartbeats renew.",
)
LEASES_BY_ITS_CLOCK = Requirement("sharing", "The store's clock alone decides when a lease has ended.")
WRONG_VIEW = Requirement(
    "sharing",
    "The fence of ``commit`` is the only guarantee of correctness: membership and shares only decide which engine does "
    "the work, so a different view of them costs a conflict, and nothing else.",
)
LEASE_MS = Requirement("sharing.lease_ms", "How long a lease lasts, from the opening and from each heartbeat.")
HEARTBEAT = Requirement(
    "sharing.heartbeat",
    "Renew the lease of this opening, state which jobs it serves, and return the members. In the same transaction it "
    "declares dead every other member whose lease has ended.",
)
DEAD_STAYS_DEAD = Requirement(
    "sharing.heartbeat",
    "An opening that was declared dead stays dead: this and each later operation of it returns ``OwnershipLost``, and "
    "nothing is written.",
)
LATE_LIVES = Requirement("sharing.heartbeat", "Until then its operations continue, also after its lease.")
CLOSE_LEAVES = Requirement("sharing.heartbeat", "``close`` ends the membership at once.")
MEMBERS = Requirement("sharing.members", "Return the members, without a renewal.")
DUE_IN_SHARE = Requirement("sharing.due", "Return, of what ``Store.due`` returns, the instances of the share.")
MESSAGES_IN_SHARE = Requirement(
    "sharing.messages",
    "Return, of what ``Store.messages`` returns, the messages that this opening may deliver. These are the messages "
    "that this opening wrote, and those to the share whose writer is not among the others or which were sent before "
    "``old_ms``.",
)
UNKNOWN_WRITER = Requirement(
    "sharing.messages",
    "A message of an unknown writer, such as a transaction of the user, has no writer among the others.",
)
SHARED_EXCEPT = Requirement("sharing.messages", "Those to ``except_jobs`` are left out.")
ABANDONED = Requirement(
    "sharing.abandoned",
    "Return, of what ``Store.claimed`` returns, the instances of the share with a claim of a dead engine. The owner "
    "of such a claim is neither this opening nor one of the others.",
)

LISTEN = Requirement(
    "listen",
    "Call a listener whenever another process has written messages, and return whether it will be called. The "
    "listener is called in the event loop soon after another process, such as an application with a transaction of "
    "its own, has written messages.",
)
LISTEN_AT_LEAST = Requirement(
    "listen",
    "A call may come without a reason, or be missing where the engine reads periodically. Without a function of its "
    "own, a store says that only engines write messages.",
)

# Of a store that can be copied: ``perdure.stores.copying``.
COPY_ERRORS = Requirement("copying.source", "Its functions raise ``StoreError``.")
COPY_EXCLUDES = Requirement(
    "copying.source",
    "A store that an engine has open is refused with ``StoreLocked``, and no engine can open it until it is closed.",
)
COPY_KEEPS_SOURCE = Requirement("copying.source", "It is not an opening: its epoch and its rows stay as they are.")
COPY_NUMBERS = Requirement("copying.numbers", "its numbers.")
COPY_SIZES = Requirement("copying.sizes", "about how many rows each table has, for the progress.")
COPY_ROWS = Requirement("copying.pages", "the rows of a table after a key, in the order of the key.")
COPY_PAGES = Requirement(
    "copying.pages",
    "Each page has `PAGE_ROWS` rows, or `PAGE_CHARACTERS`, the last one fewer, and none is empty.",
)
COPY_RELEASES = Requirement("copying.close", "releases the store.")
COPY_TARGET_ERRORS = Requirement("copying.target", "Its functions raise ``StoreError``.")
COPY_INCOMPLETE = Requirement("copying.target", "No engine can open it before ``finish`` has returned.")
COPY_TEXT = Requirement("copying.target", "Rows of any text and any number are stored unchanged.")
COPY_BEGINS = Requirement(
    "copying.begin",
    "returns where an interrupted copy of this source, with these numbers, has come to; None for a store without rows.",
)
COPY_REFUSES = Requirement(
    "copying.begin", "Any other target is refused with ``CopyFailed``, here or when it is opened."
)
COPY_WRITES = Requirement(
    "copying.write",
    "writes rows of a table, which follow those before, together with the position, in one transaction.",
)
COPY_FINISHES = Requirement("copying.finish", "makes it a store that opens, durably.")
COPY_ASSIGNED = Requirement(
    "copying.finish",
    "No number that its source has assigned is assigned again, and claims belong to earlier openings.",
)
COPY_CURSORS = Requirement(
    "copying.finish",
    "Positions of sinks have the events after them that they have in the source, also where the store numbers the "
    "events anew.",
)
COPY_WRITTEN = Requirement("copying.written", "the rows that are written so far, to read them.")
COPY_CLOSES = Requirement("copying.target.close", "releases the store. An unfinished copy can be continued.")

REQUIREMENTS: tuple[Requirement, ...] = tuple(one for one in tuple(globals().values()) if isinstance(one, Requirement))
"""All of them, in the order of the contract."""

NO_CASE: dict[Requirement, str] = {
    HAS_LANES: "the jobs of the app show it",
    HAS_JOURNAL: "as above",
    HAS_ATTRIBUTES: "as above",
    ATTRIBUTES_MISS: "it allows the answers that the others forbid",
    HAS_STREAMS: "as above",
    HAS_HISTORIES: "as above",
    STREAM_IS_FLAT: "a cost, which no answer shows: measure it",
    HAS_CURSORS: "as above",
    HAS_COUNTS: "as above",
    HAS_BACKUP: "as above",
    SYNCHRONOUS: "the engine relies on it for speed alone",
    RUNTIME: "each store is opened with a runtime in its own way",
    CACHE_BYTES: "the engine keeps the instances",
    LEFT_TO_TIME: "a time is measured, and no case asserts one",
    REPLICA: "a client reads from it; it is a store that the author opens",
    READS: "the engine compares it; only an encrypted store has keys",
    INSTANTS: "the engine passes the instants; a store only stores and compares them",
    LOST: "each store loses its ownership in its own way; the second opening of an owned store has a case",
    BACKUP_OPENS: "only the store knows how its copy is opened",
    BACKUP_IS_A_PREFIX: "only the store knows how its copy is opened",
    BACKUP_FAILS_WHOLE: "only the store knows where its backup fails",
    COUNTS_MESSAGES: "optional, and only `health` shows the numbers",
    COUNTS_UP_TO: "optional, and only `health` shows the numbers",
    COUNTS_AGE: "a permission",
    WORK_TIME: "a time is measured, by the benchmarks of a store",
    AS_EXPECTED_ANSWER: "a permission",
    JOURNAL_GAP: "no commit leaves a gap, and each store loses a row in its own way",
    JOURNAL_IS_FLAT: "a cost, which no answer shows: measure it",
    QUEUED_TIME: "a time is measured, by the benchmarks of a store",
    UNKNOWN_WRITER: "each store has its own way of sending in a transaction of the user",
    WATCH_OWNERSHIP: "each store comes to doubt its ownership in its own way",
    WATCH_HOLDS: "a permission: the calls may be missing",
    LISTEN: "only the store knows how another process writes messages",
    LISTEN_AT_LEAST: "a permission",
    COPY_ERRORS: "each store fails in its own way",
    COPY_TARGET_ERRORS: "as above",
    COPY_SIZES: "an estimate, which only the progress shows",
    BEGINS_WHEN_AWAITED: "every case awaits its calls, as the engine does",
}
"""The requirements that no case can check, and why."""
