"""Cases: messages between instances, the event log, and the sinks' positions in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final, cast

import attrs

from perdure.stores.contract import Store, commit_one, load_one
from perdure.stores.values import Cursor, Retention, StoredHistory
from perdure.testing.conformance.assertions import failure, holds, same, value
from perdure.testing.conformance.harness import Case, NewHarness, in_harness, in_store, opened, present
from perdure.testing.conformance.histories import (
    ERROR,
    FAR_MS,
    address,
    consumed,
    created,
    deliverable,
    message,
    message_id,
    put,
    settled_by,
    started,
    told,
)
from perdure.testing.conformance.requirements import (
    CONFLICT_LEAVES_NOTHING,
    CONSUMED_TOGETHER,
    CURSOR,
    DEAD_LETTERS,
    DECLARE_HISTORY,
    DECLARED_LAST,
    DELIVERABLE,
    EVENT_ADDRESS,
    EVENTS,
    FATE_REPLACES,
    HISTORY,
    HISTORY_SURVIVES,
    KEPT_BOUNDS,
    KEPT_COUNTS,
    KEPT_EVENTS,
    KEPT_HISTORY,
    KNOWN_HISTORIES,
    MESSAGE_ONCE,
    MESSAGE_ORDER,
    MESSAGES_EXCEPT,
    MESSAGES_LEFT_TO,
    MONOTONIC,
    MOVE_CURSOR,
    MOVE_CURSOR_ONCE,
    NEXT_MESSAGE,
    OLDEST_FIRST,
    PRUNE,
    PRUNE_COUNTS,
    PRUNE_DEAD_LETTERS,
    PURGE_OWN,
    REDRIVE,
    REDRIVE_EVENTS,
    REDRIVEN_COUNTED,
)
from perdure.values import event as events
from perdure.values.address import Address, Job
from perdure.values.errors import Conflict, StoreUnavailable
from perdure.values.event import Event
from perdure.values.limits import KeepHistory
from perdure.values.message import Consumed, DeadLettered, Kept, Postponed
from perdure.values.transition import Purge, Transition

A, B = address("a"), address("b")
C = address("c")


@in_store(DELIVERABLE)
async def every_field_of_a_message_is_returned(store: Store) -> None:
    """A message is delivered as it was sent, and has not been tried."""
    # U+0000 and letters beyond ASCII: databases refuse or change them.
    sent = message(A, B, '{"ünï":"\\u0000"}')
    await value(commit_one(store, Transition(address=A, messages=(sent,))))
    (stored,) = await value(store.messages(0, 9))
    same(stored.message, sent, "a message is read as it was sent")
    same(
        (stored.deliveries, stored.not_before_ms, stored.error), (0, 0, None), "a new message may be delivered at once"
    )


@in_store(DELIVERABLE, OLDEST_FIRST)
async def order_is_kept_within_a_pair(store: Store) -> None:
    """Only a (sender, target) pair's oldest living message may be delivered. Pairs do not wait for each other."""
    pairs = ((A, B, "1"), (A, B, "2"), (A, C, "3"), (C, B, "4"))
    sent = tuple(message(sender, target, payload) for sender, target, payload in pairs)
    await value(commit_one(store, Transition(address=A, messages=sent)))
    same(await deliverable(store), ["1", "3", "4"], "messages returns the oldest of each pair, the oldest first")
    await consumed(store, B, "1")
    same(await deliverable(store), ["2", "3", "4"], "what follows a consumed message comes next")
    same(len(await value(store.messages(FAR_MS, 2))), 2, "messages returns no more than its limit")


@in_store(MESSAGES_EXCEPT, OLDEST_FIRST)
async def messages_to_other_jobs_fill_the_page(store: Store) -> None:
    """The condition comes before the limit, and the oldest message first."""
    # More than the page: a store that filters after its limit returns too few.
    busy = [Address("k", "busy", str(number)) for number in range(5)]
    for target in (*busy, B, Address("k", "busy2", "x"), Address("k", "bus", ":"), C):
        await told(store, A, target, str(target))
    busy_job = (("k", "busy"), ("x", "y"))
    same(
        [stored.message.target for stored in await value(store.messages(0, 3, busy_job))],
        [B, Address("k", "busy2", "x"), Address("k", "bus", ":")],
        "messages returns those to other jobs",
    )
    same(len(await value(store.messages(0, 9, busy_job))), 4, "and no message to these")
    same(await value(store.messages(0, 9, (("k", "Busy"),))), await value(store.messages(0, 9)), "whatever their case")


@in_store(MESSAGE_ORDER)
async def ids_follow_the_order_of_sending(store: Store) -> None:
    """Message ids grow in the transition's message order, and from commit to commit."""
    targets = [address(str(number)) for number in range(4)]
    first = tuple(message(A, target, target.id) for target in targets[:2])
    await value(commit_one(store, Transition(address=A, messages=first)))
    await told(store, A, targets[2], "2")
    await told(store, A, targets[3], "3")
    ids = [await message_id(store, payload) for payload in "0123"]
    holds(ids == sorted(set(ids)), f"message ids grow: {ids}")


@in_store(MESSAGE_ONCE, CONFLICT_LEAVES_NOTHING)
async def consuming_twice_is_a_conflict(store: Store) -> None:
    """A message is applied once: the second consumer changes nothing at all."""
    await told(store, A, B, "1", "2")
    first = await message_id(store, "1")
    await consumed(store, B, "1")
    again = attrs.evolve(put(B), inbound=Consumed(first), messages=(message(B, C, "no"),), events=(started(B),))
    await failure(commit_one(store, again), Conflict, "consuming a message that is gone is a Conflict")
    same((await value(load_one(store, B))).instance, None, "a Conflict over a message writes no instance")
    same(await deliverable(store), ["2"], "a Conflict over a message sends nothing and consumes nothing")
    same(await value(store.history(B, None, 9)), (), "a Conflict over a message logs nothing")


@in_store(CONSUMED_TOGETHER, MESSAGE_ONCE)
async def messages_of_one_target_are_consumed_together(store: Store) -> None:
    """One transition consumes messages of several senders: all of them, or none if one is gone."""
    for sender, payload in ((A, "1"), (C, "2"), (address("d"), "3"), (A, "4")):
        await told(store, sender, B, payload)
    first, second, third = [await message_id(store, payload) for payload in "123"]
    fence = await value(commit_one(store, attrs.evolve(put(B), inbound=Consumed(first), consumed=(second,))))
    same(await deliverable(store), ["3", "4"], "both are consumed, and what follows one of them comes next")
    again = attrs.evolve(put(B, fence), inbound=Consumed(third), consumed=(second,))
    await failure(commit_one(store, again), Conflict, "one message that is gone refuses the transition")
    same(await deliverable(store), ["3", "4"], "a Conflict consumes none of them")


@in_store(MESSAGE_ONCE, FATE_REPLACES)
async def a_kept_message_must_be_living_and_stays(store: Store) -> None:
    """A claim for a message is written only while the message lives, and does not change it."""
    await told(store, A, B, "1", "2")
    first = (await value(store.messages(FAR_MS, 9)))[0]
    fence = await value(commit_one(store, attrs.evolve(put(B), inbound=Kept(first.message_id))))
    same((await value(store.messages(FAR_MS, 9)))[0], first, "a kept message stays as it was, before the next one")
    await consumed(store, B, "1")
    late = attrs.evolve(put(B, fence), inbound=Kept(first.message_id))
    await failure(commit_one(store, late), Conflict, "keeping a message that is gone is a Conflict")
    same(await deliverable(store), ["2"], "a Conflict over a kept message changes nothing")


@in_store(CONFLICT_LEAVES_NOTHING)
async def a_lost_fence_keeps_the_message(store: Store) -> None:
    """A transition that conflicts does not consume its message."""
    await created(store, B)
    await told(store, A, B, "1")
    refused = attrs.evolve(put(B), inbound=Consumed(await message_id(store, "1")))
    await failure(commit_one(store, refused), Conflict, "a Put that expects nothing over something is a Conflict")
    same(await deliverable(store), ["1"], "a Conflict does not consume the message")


@in_store(DELIVERABLE, OLDEST_FIRST, NEXT_MESSAGE)
async def a_postponed_message_holds_its_pair_back(store: Store) -> None:
    """A postponed message waits for its instant, and what follows it waits with it."""
    await told(store, A, B, "1", "2")
    await told(store, C, B, "3")
    first = await message_id(store, "1")
    await value(
        commit_one(store, settled_by(B, Postponed(message_id=first, deliveries=1, not_before_ms=50, error=ERROR)))
    )
    same(await deliverable(store, 49), ["3"], "a postponed message and what follows it wait")
    same(await deliverable(store, 50), ["1", "3"], "a postponed message comes at its instant, at its old position")
    same(await deliverable(store, 49), ["3"], "asking for an earlier instant again returns what was right then")
    found = [await value(store.next_message(after_ms)) for after_ms in (0, 49, 50)]
    same(found, [50, 50, None], "next_message is the earliest instant strictly after the one given")
    (stored, _) = await value(store.messages(50, 9))
    same((stored.message_id, stored.deliveries, stored.error), (first, 1, ERROR), "deliveries and error are kept")
    await consumed(store, B, "1")
    same(await deliverable(store, 0), ["2", "3"], "what followed a postponed message continues once it is consumed")
    same(await value(store.next_message(0)), None, "a consumed message is not waited for")


@in_store(MESSAGES_LEFT_TO, FATE_REPLACES)
async def messages_are_left_to_other_code(store: Store) -> None:
    """``messages_left_to`` finds a pair's head that other code left, whatever its instant."""
    await told(store, A, B, "1", "2")
    await told(store, C, B, "3")
    one, three = await message_id(store, "1"), await message_id(store, "3")
    for number, codes in ((one, ("a",)), (three, ("b", "a"))):
        fate = Postponed(message_id=number, deliveries=0, not_before_ms=FAR_MS + 1, error=ERROR, codes=codes)
        await value(commit_one(store, settled_by(B, fate)))
    job = (B.kind, B.name)
    (found,) = await value(store.messages_left_to({job: "b"}, 9))
    same(
        (found.message.payload, found.codes, found.error), ("1", ("a",), ERROR), "a message that the code did not leave"
    )
    same(len(await value(store.messages_left_to({job: "c"}, 9))), 2, "messages_left_to returns each head")
    same(len(await value(store.messages_left_to({job: "c"}, 1))), 1, "messages_left_to returns no more than its limit")
    same(await value(store.messages_left_to({job: "a"}, 9)), (), "and none that the code left")
    same(await value(store.messages_left_to({("task", "none"): "b"}, 9)), (), "nor one to another job")
    await consumed_as(store, one)
    same(await deliverable(store), ["2"], "the message after a consumed one is left to no code")
    now = Postponed(message_id=three, deliveries=0, not_before_ms=0, error=None)
    await value(commit_one(store, settled_by(B, now)))
    same(await value(store.messages_left_to({job: "c"}, 9)), (), "a fate replaces the codes too")


async def consumed_as(store: Store, number: int) -> None:
    """Consume a message by its id."""
    await value(commit_one(store, settled_by(B, Consumed(number))))


@in_store(FATE_REPLACES)
async def a_fate_replaces_the_one_before(store: Store) -> None:
    """A message has its newest fate's deliveries, instant and error, also where that fate has no error."""
    await told(store, A, B, "1")
    only = await message_id(store, "1")
    fates = (
        Postponed(message_id=only, deliveries=3, not_before_ms=50, error=ERROR),
        Postponed(message_id=only, deliveries=1, not_before_ms=20, error=attrs.evolve(ERROR, data=None)),
        Postponed(message_id=only, deliveries=0, not_before_ms=0, error=None),
    )
    for fate in fates:
        await value(commit_one(store, settled_by(B, fate)))
        (stored,) = await value(store.messages(FAR_MS, 9))
        found = (stored.deliveries, stored.not_before_ms, stored.error)
        same(found, (fate.deliveries, fate.not_before_ms, fate.error), "a fate replaces the one before")
        later = fate.not_before_ms or None
        same(await value(store.next_message(0)), later, "next_message follows the newest fate")


@in_store(DEAD_LETTERS, REDRIVE, REDRIVEN_COUNTED, MESSAGE_ONCE)
async def a_dead_letter_unblocks_its_pair(store: Store) -> None:
    """A dead letter is listed apart, is not delivered and not consumed, and can be redriven to its old position."""
    await told(store, A, B, "1", "2")
    first = await message_id(store, "1")
    await value(commit_one(store, settled_by(B, DeadLettered(message_id=first, deliveries=10, error=ERROR))))
    same(await deliverable(store), ["2"], "what follows a dead letter continues")
    (dead,) = await value(store.dead_letters(0, 9))
    same((dead.message_id, dead.message), (first, message(A, B, "1")), "a dead letter is listed under its id")
    same((dead.deliveries, dead.error), (10, ERROR), "a dead letter says how often and why it failed")
    await failure(commit_one(store, settled_by(B, Consumed(first))), Conflict, "a dead letter cannot be consumed")
    same(await value(store.redrive(first)), "redriven", "a dead letter can be redriven")
    same(await value(store.dead_letters(0, 9)), (), "a redriven message is no dead letter")
    (revived,) = await value(store.messages(0, 9))
    same(revived.message, dead.message, "a redriven message is the one that was sent")
    same(revived.message_id, first, "a redriven message is the oldest of its pair again")
    same((revived.deliveries, revived.error), (10, ERROR), "a redriven message keeps its deliveries")
    same(await value(store.redrive(first)), "not_found", "only a dead letter can be redriven")


@in_store(REDRIVE, REDRIVE_EVENTS)
async def a_redrive_logs_its_events_once(store: Store) -> None:
    """A redrive logs its events. A redrive that finds no dead letter logs none."""
    await told(store, A, B, "1")
    first = await message_id(store, "1")
    await value(store.redrive(first, (started(B, at_ms=1),)))
    same(await value(store.events(0, 9)), (), "a redrive of a living message logs nothing")
    await value(commit_one(store, settled_by(B, DeadLettered(message_id=first, deliveries=10, error=ERROR))))
    for expected in ("redriven", "not_found"):
        same(await value(store.redrive(first, (started(B, at_ms=2),))), expected, "a dead letter is redriven once")
    same([one.event.at_ms for one in await value(store.events(0, 9))], [2], "a redrive logs its events once")
    same(len(await value(store.history(B, None, 9))), 1, "the history has the events of a redrive")


@in_store(DEAD_LETTERS)
async def dead_letters_page_by_id(store: Store) -> None:
    """``dead_letters`` returns the oldest first, after an id, up to a limit."""
    for payload in "123":
        await told(store, A, B, payload)
        fate = DeadLettered(message_id=await message_id(store, payload), deliveries=1, error=ERROR)
        await value(commit_one(store, settled_by(B, fate)))
    page = await value(store.dead_letters(0, 2))
    rest = await value(store.dead_letters(page[-1].message_id, 2))
    same([one.message.payload for one in (*page, *rest)], ["1", "2", "3"], "dead letters page by id, the oldest first")


@in_store(PURGE_OWN)
async def a_purge_drops_messages_to_itself(store: Store) -> None:
    """A purge deletes the instance's messages to itself, also from the same turn. Others stay."""
    fence = await created(store, A)
    await told(store, A, A, "own", "behind")
    await told(store, A, B, "out")
    await told(store, B, A, "in")
    purge = Transition(address=A, expected=fence, write=Purge(), messages=(message(A, A, "last"), message(A, C, "bye")))
    await value(commit_one(store, purge))
    same(await deliverable(store), ["out", "in", "bye"], "a Purge deletes the messages from the instance to itself")


@in_store(PURGE_OWN)
async def a_purge_drops_dead_letters_to_itself(store: Store) -> None:
    """An instance's dead letter to itself cannot be redriven into its successor."""
    fence = await created(store, A)
    await told(store, A, A, "own")
    own = await message_id(store, "own")
    await value(commit_one(store, settled_by(A, DeadLettered(message_id=own, deliveries=1, error=ERROR))))
    await value(commit_one(store, Transition(address=A, expected=fence, write=Purge())))
    same(await value(store.dead_letters(0, 9)), (), "a Purge deletes the dead letters of the instance to itself")
    same(await value(store.redrive(own)), "not_found", "such a dead letter cannot be redriven")


@in_store(PURGE_OWN)
async def a_purge_can_keep_messages_to_itself(store: Store) -> None:
    """Where an instance is merely used up, its messages to itself stay for its successor, also from this turn."""
    fence = await created(store, A)
    await told(store, A, A, "own")
    kept = Transition(address=A, expected=fence, write=Purge("kept"), messages=(message(A, A, "last"),))
    await value(commit_one(store, kept))
    same(await deliverable(store), ["own"], "a Purge that keeps them leaves the messages to itself, in order")
    await consumed(store, A, "own")
    same(await deliverable(store), ["last"], "a Purge that keeps them leaves those of its own turn as well")


@in_store(PRUNE_DEAD_LETTERS, PRUNE_COUNTS)
async def pruning_removes_old_dead_letters(store: Store) -> None:
    """``prune`` removes dead letters that were sent before an instant, up to its limit, and no message that lives."""
    for payload, sent_ms in (("old", 5), ("older", 4), ("oldest", 3), ("new", 6)):
        sent = attrs.evolve(message(A, B, payload), sent_ms=sent_ms)
        await value(commit_one(store, Transition(address=A, messages=(sent,))))
        fate = DeadLettered(message_id=await message_id(store, payload), deliveries=1, error=ERROR)
        await value(commit_one(store, settled_by(B, fate)))
    await told(store, A, B, "living")  # sent at 3 as well
    retention = Retention(now_ms=0, events_since_ms=0, max_events=1_000, dead_letters_since_ms=6, limit=2)
    counts = [await value(store.prune(retention)) for _ in range(3)]
    same(counts, [2, 1, 0], "prune removes old dead letters, no more than its limit, and says how many")
    kept = [one.message.payload for one in await value(store.dead_letters(0, 9))]
    same(kept, ["new"], "a dead letter that was sent at the instant itself stays")
    same(await deliverable(store), ["living"], "prune removes no message that lives")


MESSAGE_CASES: tuple[Case, ...] = (
    every_field_of_a_message_is_returned,
    order_is_kept_within_a_pair,
    ids_follow_the_order_of_sending,
    consuming_twice_is_a_conflict,
    messages_of_one_target_are_consumed_together,
    a_kept_message_must_be_living_and_stays,
    a_lost_fence_keeps_the_message,
    a_postponed_message_holds_its_pair_back,
    a_fate_replaces_the_one_before,
    messages_are_left_to_other_code,
    messages_to_other_jobs_fill_the_page,
    a_dead_letter_unblocks_its_pair,
    a_redrive_logs_its_events_once,
    dead_letters_page_by_id,
    a_purge_drops_messages_to_itself,
    a_purge_drops_dead_letters_to_itself,
    a_purge_can_keep_messages_to_itself,
    pruning_removes_old_dead_letters,
)

_SAMPLES: dict[str, object] = {
    "run_id": "r",
    "cause": "alarm",
    "name": "silence.broken",
    "data": '{"for_ms":1}',
    "attempt": 2,
    "delivery": 3,
    "duration_ms": 4,
    "hook": "execute",
    "error": ERROR,
    "reason": "paused",
    "was": "paused",
    "recoveries": 1,
    "will_flush_at_ms": 5,
    "event_count": 6,
    "scheduled_at_ms": 7,
    "code": "0123456789abcdef",
    "target": "task:a:b",
    "action": "send",
    "sink": "metrics",
    "count": 8,
    "state": '{"name":"é"}',
    "by": "a tökén",
    "told": ("task:a:b", "task:a:c"),
    "told_by": "task:a:d",
    "message_id": 10,
    "sender": "task:a:e",
    "deliveries": 11,
    "received_at_ms": 12,
    "payload": '{"name":"é"}',
    "key": "a kéy",
}


def one_of_each() -> tuple[Event, ...]:
    """Make one event for every event type."""
    return tuple(_sample(kind) for kind in events.EVENT_TYPES.values())


def _sample(kind: type[Event]) -> Event:
    own = {field.name: _SAMPLES[field.name] for field in attrs.fields(kind) if field.name in _SAMPLES}
    make = cast("Callable[..., Event]", kind)  # which fields there are is looked up
    return make(event_id="01", at_ms=9, address=str(A), run_count=1, **own)


@in_store(EVENTS)
async def every_event_is_returned(store: Store) -> None:
    """Every event type is read as it was logged, in order."""
    logged = one_of_each()
    await value(commit_one(store, Transition(address=A, events=logged)))
    found = await value(store.events(0, 100))
    same(tuple(one.event for one in found), logged, "the log returns events as they were committed, in order")
    numbers = [one.sequence for one in found]
    holds(numbers == sorted(set(numbers)) and numbers[0] > 0, f"sequence numbers are positive and grow: {numbers}")


@in_store(EVENTS)
async def the_log_pages_by_sequence(store: Store) -> None:
    """``events`` continues after a number, up to a limit."""
    await _logged(store, A, 1, 2, 3)
    first = await value(store.events(0, 2))
    rest = await value(store.events(first[-1].sequence, 2))
    same([one.event.at_ms for one in (*first, *rest)], [1, 2, 3], "events pages by sequence number")
    same(await value(store.events(rest[-1].sequence, 2)), (), "after the last event there is nothing")


@in_store(HISTORY, HISTORY_SURVIVES, EVENT_ADDRESS)
async def history_returns_the_newest_first(store: Store) -> None:
    """``history`` belongs to the address in the event, is newest first, pages backwards and survives the purge."""
    fence = await created(store, A)
    await _logged(store, B, 1, 2, 3)
    # What is logged under an address decides, not whose transition it came with.
    await value(commit_one(store, Transition(address=A, expected=fence, write=Purge(), events=(started(B, at_ms=4),))))
    newest = await value(store.history(B, None, 3))
    same([one.event.at_ms for one in newest], [4, 3, 2], "history returns the newest events first")
    older = await value(store.history(B, newest[-1].sequence, 3))
    same([one.event.at_ms for one in older], [1], "history continues before a sequence number")
    same(await value(store.history(A, None, 3)), (), "history returns the events of its address only")


@in_store(PRUNE, PRUNE_COUNTS, HISTORY_SURVIVES)
async def pruning_removes_the_beginning_of_the_log(store: Store) -> None:
    """Pruning deletes old events up to the first that stays, and all except the newest ``max_events``."""
    await _logged(store, A, 1, 2, 9, 3, 4, 5)
    by_age = Retention(now_ms=0, events_since_ms=9, max_events=100)
    same(await value(store.prune(by_age)), 2, "old events go, up to the first that stays")
    same(await _instants(store), [9, 3, 4, 5], "the log loses its beginning and nothing else")
    by_size = Retention(now_ms=0, events_since_ms=0, max_events=1, limit=2)
    counts = [await value(store.prune(by_size)) for _ in range(3)]
    same(counts, [2, 1, 0], "prune removes what is beyond max_events, up to its limit, and says how many")
    same(await _instants(store), [5], "the newest events stay")
    same([one.event.at_ms for one in await value(store.history(A, None, 9))], [5], "history loses what was pruned")


@in_store(MONOTONIC, EVENTS)
async def sequence_numbers_never_come_back(store: Store) -> None:
    """An event after a prune has a greater number than all before."""
    await _logged(store, A, 1)
    (before,) = await value(store.events(0, 9))
    await value(store.prune(Retention(now_ms=0, events_since_ms=0, max_events=0)))
    await _logged(store, A, 2)
    (after,) = await value(store.events(0, 9))
    holds(after.sequence > before.sequence, f"sequence numbers grow: {after.sequence} came after {before.sequence}")


async def _logged(store: Store, at: Address, *instants_ms: int) -> None:
    for at_ms in instants_ms:
        await value(commit_one(store, Transition(address=at, events=(started(at, at_ms=at_ms),))))


async def _instants(store: Store) -> list[int]:
    return [one.event.at_ms for one in await value(store.events(0, 100))]


EVENT_LOG_CASES: tuple[Case, ...] = (
    every_event_is_returned,
    the_log_pages_by_sequence,
    history_returns_the_newest_first,
    pruning_removes_the_beginning_of_the_log,
    sequence_numbers_never_come_back,
)


AT = address("a")


@in_store(CURSOR, MOVE_CURSOR)
async def each_sink_has_its_own_position(store: Store) -> None:
    """A name's last move sets its position. Names are compared by code point. The log's end comes with the position."""
    cursors = present(store.cursors)
    same(await value(cursors.read("s")), Cursor(sequence=None, last=0), "before the first move there is no position")
    last = await _logged_at_a(store, 1, 2)
    same(await value(cursors.read("s")), Cursor(sequence=None, last=last), "cursor returns the end of the log")
    await value(cursors.move("s", 0))
    await value(cursors.move("S", last))
    # Names that a collation would take for equal.
    for name, sequence in (("s", 0), ("S", last), ("s ", None)):
        same(await value(cursors.read(name)), Cursor(sequence=sequence, last=last), f"the position of {name!r}")


@in_store(CURSOR, MOVE_CURSOR)
async def the_end_of_the_log_outlives_its_events(store: Store) -> None:
    """The newest event's number stays when retention deletes the event."""
    cursors = present(store.cursors)
    last = await _logged_at_a(store, 1, 2)
    await value(store.prune(Retention(now_ms=0, events_since_ms=9, max_events=0)))
    same((await value(cursors.read("s"))).last, last, "the last number of a pruned log")


@in_store(CURSOR, PRUNE)
async def deleted_events_behind_a_position_are_counted(store: Store) -> None:
    """A sink learns how many events it will never read, until it is moved past them. A gap alone says nothing."""
    cursors = present(store.cursors)
    await _logged_at_a(store, 1)
    numbers = [one.sequence for one in await value(store.events(0, 9))]
    await value(cursors.move("s", numbers[0]))
    await _logged_at_a(store, 2, 3, 9)
    same((await value(cursors.read("s"))).deleted, 0, "nothing is deleted yet")
    await value(store.prune(Retention(now_ms=0, events_since_ms=9, max_events=99)))
    same((await value(cursors.read("s"))).deleted, 2, "of three deleted events two are behind the position")
    same((await value(cursors.read("t"))).deleted, 0, "a sink without a position has lost nothing")
    (left,) = await value(store.events(0, 9))
    await value(cursors.move("s", left.sequence - 1))
    same((await value(cursors.read("s"))).deleted, 0, "a sink that was moved past them has lost nothing more")


@in_store(MOVE_CURSOR, MOVE_CURSOR_ONCE, EVENTS)
async def a_move_logs_its_events_once(store: Store) -> None:
    """A repeated move, and one that leads back, write neither position nor events."""
    cursors = present(store.cursors)
    last = await _logged_at_a(store, 1)
    for sequence in (last, last, last - 1):
        await value(cursors.move("s", sequence, (started(AT, at_ms=2), started(AT, at_ms=3))))
    same((await value(cursors.read("s"))).sequence, last, "a position does not go back")
    logged = await value(store.events(0, 9))
    same([one.event.at_ms for one in logged], [1, 2, 3], "a move logs its events once, in their order, at the end")
    holds(logged[-1].sequence == (await value(cursors.read("s"))).last, "the events of a move are the end of the log")
    same(len(await value(store.history(AT, None, 9))), 3, "the history has the events of a move")


@in_harness(CURSOR, MOVE_CURSOR)
async def positions_survive_reopening(new_harness: NewHarness) -> None:
    """A position that was moved, and the events that came with it, are there when the store is opened again."""
    async with opened(new_harness()) as probe:
        present(probe.cursors)
    harness = new_harness()
    store = await harness.open()
    cursors = present(store.cursors)
    await value(cursors.move("s", 7, (started(AT, at_ms=1),)))
    await value(store.close())
    for operation in (cursors.read("s"), cursors.move("s", 8)):
        await failure(operation, StoreUnavailable, "a closed store is unavailable")
    async with opened(harness) as again:
        cursors = present(again.cursors)
        (logged,) = await value(again.events(0, 9))
        same(
            await value(cursors.read("s")),
            Cursor(sequence=7, last=logged.sequence),
            "a position survives the reopening",
        )


async def _logged_at_a(store: Store, *instants_ms: int) -> int:
    for at_ms in instants_ms:
        await value(commit_one(store, Transition(address=AT, events=(started(AT, at_ms=at_ms),))))
    return (await value(store.events(0, 99)))[-1].sequence


CURSOR_CASES: tuple[Case, ...] = (
    each_sink_has_its_own_position,
    the_end_of_the_log_outlives_its_events,
    deleted_events_behind_a_position_are_counted,
    a_move_logs_its_events_once,
    positions_survive_reopening,
)


# ---------------------------------------------------------------- events that are kept longer than the log
_JOB: Final = (AT.kind, AT.name)
_BEFORE, _AFTER = Address(AT.kind, f"{AT.name}-", AT.id), Address(AT.kind, f"{AT.name}s", AT.id)
_OTHER_KIND = Address(f"{AT.kind}s", AT.name, AT.id)
"""Of other jobs, whose printed addresses are next to those of the job."""


def _keep(age_ms: int, events: int = 100) -> dict[Job, KeepHistory]:
    return {_JOB: KeepHistory(age=timedelta(milliseconds=age_ms), events=events)}


async def _log_at(store: Store, at: Address, *instants_ms: int) -> None:
    for at_ms in instants_ms:
        await value(commit_one(store, Transition(address=at, events=(started(at, at_ms=at_ms),))))


async def _history_at(store: Store, at: Address = AT, before: int | None = None, limit: int = 99) -> list[int]:
    return [one.event.at_ms for one in await value(store.history(at, before, limit))]


def _pruned(now_ms: int, since_ms: int = FAR_MS, *, limit: int = 1_000) -> Retention:
    return Retention(now_ms=now_ms, events_since_ms=since_ms, max_events=1_000, limit=limit)


@in_store(KEPT_EVENTS, KEPT_HISTORY, KEPT_COUNTS, DECLARE_HISTORY, KNOWN_HISTORIES)
async def kept_events_leave_the_log_and_stay_in_the_history(store: Store) -> None:
    """Only the job's own events are kept, and only those that are young enough."""
    histories = present(store.histories)
    same(await value(histories.known()), (), "a store without declarations")
    await value(histories.declare(_keep(8)))
    for at in (AT, _BEFORE, _AFTER, _OTHER_KIND):
        await _log_at(store, at, 1, 2, 9)
    await _log_at(store, AT, 20, 3)
    counts = [await value(store.prune(_pruned(10, 20, limit=5))) for _ in range(3)]
    same(counts, [5, 5, 2], "prune counts moved and deleted events, up to its limit")
    same(await _instants(store), [20, 3], "moved events leave the log")
    for at in (_BEFORE, _AFTER, _OTHER_KIND):
        same(await _history_at(store, at), [], f"the events of {at} are not kept")
    same(await _history_at(store), [3, 20, 9, 2], "an event as old as the age is kept, an older one is not")
    same(await _history_at(store, limit=3), [3, 20, 9], "a page over both")
    newest = await value(store.history(AT, None, 2))
    same(await _history_at(store, AT, newest[-1].sequence, 1), [9], "the next page")
    same(await value(histories.known()), (StoredHistory(*_JOB, 8, 100, 2),), "the declared histories")


@in_store(KEPT_BOUNDS, KEPT_COUNTS, DECLARE_HISTORY)
async def kept_events_go_by_age_and_number(store: Store) -> None:
    """The oldest go, up to the first that is kept, and the events in the log do not count."""
    histories = present(store.histories)
    await value(histories.declare(_keep(100, 3)))
    await _log_at(store, AT, 1, 2, 3)
    same(await value(store.prune(_pruned(10))), 3, "as many as the bound are moved")
    same(await _history_at(store), [3, 2, 1], "as many as the bound are kept")
    await _log_at(store, AT, 50, 4)
    same(await value(store.prune(_pruned(10, 20))), 0, "events in the log do not count")
    same(await value(store.prune(_pruned(10))), 4, "two move, and two more than the bound go")
    same(await _history_at(store), [4, 50, 3], "the newest of the bound are kept")
    same(await value(store.prune(_pruned(103))), 0, "an event as old as the age stays")
    same(await value(store.prune(_pruned(104))), 1, "an older one goes")
    same(await _history_at(store), [4, 50], "an event behind one that is kept stays")
    same(await value(store.prune(_pruned(151, limit=1))), 1, "a call deletes as many as its limit")
    same(await _history_at(store), [4], "the oldest goes first")
    same(await value(histories.known()), (StoredHistory(*_JOB, 100, 3, 1),), "the number of kept events")


@in_store(DECLARED_LAST, DECLARE_HISTORY, KNOWN_HISTORIES)
async def the_last_declaration_of_a_history_counts(store: Store) -> None:
    """The last declaration counts, for the events that are kept already as well."""
    histories, other = present(store.histories), (_AFTER.kind, _AFTER.name)
    await value(histories.declare({**_keep(100), other: KeepHistory(age="1 second", events=5)}))
    for at in (AT, _AFTER):
        await _log_at(store, at, 1, 2, 3)
    await value(store.prune(_pruned(10)))
    await value(histories.declare(_keep(100, 2)))
    same(await value(store.prune(_pruned(10))), 1, "a smaller number")
    kept = (StoredHistory(*_JOB, 100, 2, 2), StoredHistory(*other, 1_000, 5, 3))
    same(await value(histories.known()), kept, "another job stays as it is")
    await value(histories.declare(_keep(1, 2)))
    same([one.kept for one in await value(histories.known())], [2, 3], "a declaration deletes nothing")
    same(await value(store.prune(_pruned(10))), 2, "a shorter age")
    same(await _history_at(store), [], "events that are older than the shorter age")
    same(await _history_at(store, _AFTER), [3, 2, 1], "the events of another job")
    await value(histories.declare({}))
    same([one.kept for one in await value(histories.known())], [0, 3], "no declaration changes nothing")


@in_harness(DECLARE_HISTORY, KEPT_EVENTS, KEPT_HISTORY)
async def kept_events_survive_reopening(new_harness: NewHarness) -> None:
    """The declarations and the kept events are there when the store is opened again, and for each opening."""
    async with opened(new_harness()) as probe:
        present(probe.histories)
    harness = new_harness()
    store = await harness.open()
    await value(present(store.histories).declare(_keep(100)))
    await _log_at(store, AT, 1)
    await value(store.prune(_pruned(10)))
    await _log_at(store, AT, 2)
    await value(store.close())
    await failure(present(store.histories).known(), StoreUnavailable, "a closed store is unavailable")
    await failure(present(store.histories).declare(_keep(1)), StoreUnavailable, "a closed store is unavailable")
    async with opened(harness) as again:
        same(await value(present(again.histories).known()), (StoredHistory(*_JOB, 100, 100, 1),), "after the reopening")
        await value(again.prune(_pruned(10)))
        same(await _history_at(again), [2, 1], "an opening that declares nothing keeps events")
        numbers = [one.sequence for one in await value(again.history(AT, None, 9))]
        await _log_at(again, AT, 3)
        (newest, *_) = await value(again.history(AT, None, 1))
        holds(newest.sequence > max(numbers), f"no number comes again: {newest.sequence} after {numbers}")


@in_store(KEPT_COUNTS, CURSOR)
async def a_sink_never_reads_a_kept_event(store: Store) -> None:
    """It learns how many events it missed, as if they were deleted."""
    cursors = present(store.cursors)
    await value(present(store.histories).declare(_keep(100)))
    await _log_at(store, AT, 1)
    await value(cursors.move("s", (await value(store.events(0, 9)))[0].sequence))
    await _log_at(store, AT, 2, 3, 9)
    await value(store.prune(_pruned(10, 9)))
    same((await value(cursors.read("s"))).deleted, 2, "moved events behind a position")
    same(await _instants(store), [9], "a sink reads the log")


HISTORY_CASES: tuple[Case, ...] = (
    kept_events_leave_the_log_and_stay_in_the_history,
    kept_events_go_by_age_and_number,
    the_last_declaration_of_a_history_counts,
    kept_events_survive_reopening,
    a_sink_never_reads_a_kept_event,
)
