"""Each limit of ``Limits``: how a caller reaches it, and the answers at its edge and one beyond."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Never

from edge import Edge, told
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import (
    Backoff,
    Do,
    ItemContext,
    Limits,
    Retry,
    Task,
    TaskContext,
    WorkerPool,
    Workflow,
    WorkflowContext,
    effect,
    program,
    tell,
)
from perdure.programs import sleep
from perdure.testing import Delay, World
from perdure.values.answer import Sent
from perdure.values.errors import AnswerNotKept, HookRaised, InvalidInput, Overloaded


# ---------------------------------------------------------------- jobs
@effect
def work(services: object, number: int) -> FutureResult[int, str]:
    return FutureResult.from_value(number)


@program
def handle(ctx: TaskContext[str], event: str) -> Do[None, Any]:
    """Handle an event that is a word and a text."""
    word, _, text = event.partition(" ")
    match word:
        case "slow":
            yield from sleep("1 second")
        case "tell":
            for number in range(int(text)):
                yield from tell(plain, str(number)).send("slow")
        case "write":
            yield from tell(plain, "target").send(text)
        case "fail":
            raise ValueError(text)
        case "alarm":
            yield from ctx.schedule(after="1 hour")
        case _:
            yield from ctx.update_state(lambda state: state + event)


@program
def alarmed(ctx: TaskContext[str]) -> Do[None, Any]:
    yield from ctx.update_state(lambda state: f"{state}!")


plain: Any = Task("plain", state=str, event=str, initial="", on_event=handle, execute=alarmed)


@program
def step_by_step(ctx: WorkflowContext[int]) -> Do[int, Any]:
    count = yield from ctx.state
    for number in range(count):
        yield from work(number)
    yield from sleep("1 hour")
    return count


flow: Any = Workflow("flow", state=int, run=step_by_step, keep=None)


@program
def item(ctx: ItemContext[str]) -> Do[str, Any]:
    text = yield from ctx.item
    yield from work(0)
    return text


pool: Any = WorkerPool("pool", item=str, work=item, key=lambda text: text, workers=1, keep="1 day")

TRIES: Any = Retry(max_attempts=1, delay=Backoff.constant("1 s"))


# ---------------------------------------------------------------- ways to a limit
def answer_of(found: Success[Any] | Failure[Any]) -> object:
    return "accepted" if isinstance(found, Success) else told(found.failure())


def refusals(world: World, calls: list[Any]) -> tuple[object, ...]:
    """Make calls at the same moment, and return the errors of those that are refused at once."""
    begun = [world.start(call) for call in calls]
    world.settle()
    return tuple(told(call.result().failure()) for call in begun if call.is_answered)


def seconds_of(world: World, calls: list[Any]) -> float:
    """Make calls at the same moment, and return how long it takes until all are answered."""
    before = world.now
    found = world.concurrently(*calls)
    assert all(isinstance(each, Success) for each in found), found
    return (world.now - before).total_seconds()


def reads(world: World, operation: str) -> int:
    """Return how many times the worker has called an operation of the store."""
    return world.crash_points.count(f"before {operation}")


def slow_runs(world: World, count: int) -> float:
    return seconds_of(world, [world.handle(plain).send(str(n), "slow") for n in range(count)])


def one_mailbox(world: World, waiting: int) -> object:
    return refusals(world, [world.handle(plain).send("a", "slow") for _ in range(1 + waiting)])


def many_mailboxes(world: World, count: int) -> object:
    return refusals(world, [world.handle(plain).send(str(n), "slow") for n in range(count)])


def waiting_callers(world: World, count: int) -> object:
    return refusals(world, [world.jobs.until(plain, str(n), "idle", timeout="1 hour") for n in range(count)])


def served_in_the_end(world: World, waiting: int) -> object:
    """Return whether all callers succeed, and how many were refused at once."""
    calls = [world.start(world.handle(plain).send("a", "slow")) for _ in range(1 + waiting)]
    world.settle()
    refused = sum(call.is_answered for call in calls)
    world.advance("1 minute")
    return refused, sum(isinstance(call.result(), Success) for call in calls)


def state_of(size: int) -> str:
    """Return a state whose JSON has so many bytes."""
    return "x" * (size - 2)


def state_by_run(world: World, size: int) -> object:
    return answer_of(world.attempt(world.handle(plain).send("a", state_of(size))))


def state_at_start(world: World, size: int) -> object:
    return answer_of(world.attempt(world.handle(stated).start("a", state_of(size))))


@program
def stating(ctx: WorkflowContext[str]) -> Do[str]:
    return (yield from ctx.state)


stated: Any = Workflow("stated", state=str, run=stating, keep=None)


def item_of(world: World, size: int) -> object:
    return answer_of(world.attempt(world.handle(pool).put("a", state_of(size))))


@program
def call_child(ctx: WorkflowContext[int]) -> Do[str, Any]:
    return (yield from stated.call("child", state_of((yield from ctx.state))))


calling: Any = Workflow("calling", state=int, run=call_child, keep=None)


def child_of(world: World, size: int) -> object:
    """Return the status of a workflow that calls a child with a state of that size, and its error."""
    world.run(world.handle(calling).start("f", size))
    world.settle()
    status = world.run(world.handle(calling).status("f"))
    return status.status, status.last_error and status.last_error.message


def event_of(world: World, size: int) -> object:
    return answer_of(world.attempt(world.handle(plain).send("a", state_of(size))))


def message_of(world: World, size: int) -> object:
    """Send an event, whose run sends a message that has so many bytes; the event is larger."""
    return answer_of(world.attempt(world.handle(writing).send("a", size)))


@program
def write(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from tell(plain, "target").send(state_of(event))


writing: Any = Task("writing", state=int, event=int, initial=0, on_event=write)


def messages_of_turn(world: World, count: int) -> object:
    return answer_of(world.attempt(world.handle(plain).send("a", f"tell {count}")))


def keys(world: World, count: int) -> object:
    found: Any = None
    for number in range(count):
        found = world.attempt(world.handle(plain).send("a", "x", idempotency_key=f"k{number}"))
    assert world.run(world.handle(plain).get_state("a")) == "x" * min(count, 3)
    return answer_of(found)


def first_answer_after(world: World, count: int) -> object:
    """Store so many keys, and repeat the first request."""
    for number in range(count):
        world.run(world.handle(plain).send("a", "x", idempotency_key=f"k{number}"))
    world.restart()
    found = world.attempt(world.handle(plain).send("a", "x", idempotency_key="k0"))
    assert world.run(world.handle(plain).get_state("a")) == "x" * count  # the repeat is never applied
    return found.unwrap() if isinstance(found, Success) else told(found.failure())


def repeat_after(world: World, age_ms: int) -> object:
    send = world.handle(plain).send
    world.run(send("a", "x", idempotency_key="k"))
    world.advance(f"{age_ms} ms")
    world.run(send("a", "x", idempotency_key="k"))
    return world.run(world.handle(plain).get_state("a"))


ROUND_MS = 600_000
"""How often the engine applies retention."""


def event_of_age(world: World, age_ms: int) -> int:
    """Return how many events are left of an instance whose event happened so long before a round of retention."""
    world.advance(f"{ROUND_MS - age_ms} ms")
    world.run(world.handle(plain).send("a", "x"))
    world.advance(f"{age_ms} ms")
    return len(world.history(plain, "a"))


def events_left(world: World, count: int) -> list[str]:
    """Log an event of each of so many instances, and return those whose event a round of retention leaves."""
    for number in range(count):
        world.run(world.handle(plain).send(str(number), "x"))
    world.advance(f"{ROUND_MS} ms")
    return [str(number) for number in range(count) if world.history(plain, str(number))]


def failed_deliveries(world: World, count: int) -> object:
    """Deliver a message that fails so many times, and return its number of attempts as a dead letter, if it is one."""
    world.run(world.handle(writer).send("a", count))
    world.advance("12 hours")
    return [letter.deliveries for letter in world.run(world.jobs.dead_letters())]


@effect
def refuse(services: Any, times: int) -> FutureResult[str, Never]:
    """Answer "no" so many times."""
    services["calls"] = calls = services.get("calls", 0) + 1
    return FutureResult.from_value("yes" if calls > times else "no")


@program
def fail_some(ctx: TaskContext[int], event: int) -> Do[None, Any, Any]:
    if (yield from refuse(event)) == "no":
        raise RuntimeError(event)


failing: Any = Task("failing", state=int, event=int, initial=0, on_event=fail_some)


@program
def pass_on(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from tell(failing, "target").send(event)


writer: Any = Task("writer", state=int, event=int, initial=0, on_event=pass_on)


def dead_letter_of_age(world: World, age_ms: int) -> int:
    """Return how many dead letters are left whose message was sent so long before a round of retention."""
    world.advance(f"{ROUND_MS - age_ms} ms")
    world.run(world.handle(writer).send("a", 99))
    world.settle()
    assert len(world.run(world.jobs.dead_letters())) == 1
    world.advance(f"{age_ms} ms")
    return len(world.run(world.jobs.dead_letters()))


def messages_together(world: World, count: int) -> float:
    """Return how long the deliveries of so many messages take, each to an instance of its own for a second."""
    before = world.now
    world.run(world.handle(plain).send("a", f"tell {count}"))
    while world.messages():
        world.advance("1 second")
    return (world.now - before).total_seconds()


def alarms_read(world: World, count: int) -> int:
    """Return how many times the store is read for so many alarms that are due when the engine starts."""
    for number in range(count):
        world.run(world.handle(plain).send(str(number), "alarm"))
    world.close()
    world.advance("1 hour")
    world.open()
    world.settle()
    assert [world.run(world.handle(plain).get_state(str(number))) for number in range(count)] == ["!"] * count
    return reads(world, "due")


begun: list[str] = []
"""The instances of the instructions that programs have reached, in order."""


@program
def noting(ctx: WorkflowContext[int]) -> Do[None, Any]:
    for number in range((yield from ctx.state)):
        begun.append(ctx.id)
        yield from work(number)
    yield from sleep("1 hour")


noted: Any = Workflow("noted", state=int, run=noting, keep=None)


def is_interrupted(world: World, instructions: int) -> bool:
    """Return whether a replay is interrupted by another one, when two workflows continue at the same moment."""
    for id_ in "ab":
        world.run(world.handle(noted).start(id_, instructions))
    begun.clear()
    world.advance("1 hour")
    return len([id_ for id_, _ in groupby(begun)]) > len(set(begun))


def journal_read(world: World, rows: int) -> int:
    """Return how many times the journal is read to continue a workflow that has so many rows: steps, and a wait."""
    world.run(world.handle(flow).start("f", rows - 1))
    world.settle()
    world.restart()
    before = reads(world, "journal.read")
    world.advance("1 hour")
    assert world.run(world.handle(flow).status("f")).status == "done"
    return reads(world, "journal.read") - before


def claims_read(world: World, count: int) -> int:
    """Return how many pages a start reads after a crash that interrupted so many runs."""
    world.inject(Delay("work", "1 minute", times=count))
    for number in range(count):
        world.start(world.handle(working).send(str(number), number))
    world.settle()
    world.crash()
    world.open()
    found = reads(world, "claimed")
    world.settle()
    assert len({call.address.id for call in world.effects}) == count
    return found


def rows_deleted(world: World, count: int) -> int:
    """Return how many calls of the store delete so many keys."""
    for number in range(count):
        world.run(world.handle(plain).send("a", "x", idempotency_key=f"k{number}"))
    world.advance("1435 minutes")  # five before the keys expire
    before = reads(world, "prune")
    world.advance(f"{ROUND_MS} ms")
    return reads(world, "prune") - before


@program
def working_on(ctx: TaskContext[int], event: int) -> Do[None, Any]:
    yield from work(event)


working: Any = Task("working", state=int, event=int, initial=0, on_event=working_on)


def items_queued(world: World, count: int) -> int:
    """Return how many times the store is read for items that are put while the only worker is busy."""
    world.inject(Delay("work", "1 minute"))
    world.run(world.handle(pool).put("first", "x"))
    for number in range(count):
        world.run(world.handle(pool).put(f"i{number}", "x"))
    before = reads(world, "lanes.queued")
    world.advance("2 minutes")
    assert world.run(world.handle(pool).progress()).done == count + 1
    return reads(world, "lanes.queued") - before


def keys_queued(world: World, count: int) -> int:
    """Return how many pages of keys an engine reads to find so many."""
    world.run(world.handle(pool).hold())
    for number in range(count):
        world.run(world.handle(pool).put(f"i{number}", f"key {number}"))
    world.crash()
    world.open()
    before = reads(world, "lanes.names")
    world.run(world.handle(pool).release())
    world.settle()
    found = reads(world, "lanes.names") - before
    assert world.run(world.handle(pool).progress()).done == count
    return found


def stopped_with_run(world: World, run_ms: int) -> list[int]:
    """Stop the engine while a run takes so much longer; return in which delivery it ended."""
    world.inject(Delay("work", f"{run_ms} ms"))
    world.start(world.handle(working).send("a", 1))
    world.settle()
    world.close()
    world.open()
    world.settle()
    return [call.delivery for call in world.effects]


TOO_LARGE = "expected at most 20 bytes when encoded, got 21; keep large data elsewhere and store its key"
EDGES = (
    Edge("concurrency", Limits(concurrency=3), (plain,), slow_runs, 3, 1.0, 2.0),
    Edge(
        "mailbox_size",
        Limits(mailbox_size=3),
        (plain,),
        one_mailbox,
        3,
        (),
        (told(Overloaded("mailbox of task:plain:a", 3)),),
    ),
    Edge(
        "max_pending",
        Limits(max_pending=3),
        (plain,),
        many_mailboxes,
        3,
        (),
        (told(Overloaded("the engine's queue", 3)),),
    ),
    Edge(
        "waits",
        Limits(waits=3),
        (plain,),
        waiting_callers,
        3,
        (),
        (told(Overloaded("the list of callers that wait for a status", 3)),),
    ),
    Edge("on_full, block", Limits(mailbox_size=3, on_full="block"), (plain,), served_in_the_end, 3, (0, 4), (0, 5)),
    Edge("on_full, reject", Limits(mailbox_size=3, on_full="reject"), (plain,), served_in_the_end, 3, (0, 4), (1, 4)),
    Edge(
        "state_bytes, of a run",
        Limits(state_bytes=20),
        (plain,),
        state_by_run,
        20,
        "accepted",
        (HookRaised, "InvalidInput", f"state of task:plain: {TOO_LARGE}"),
    ),
    Edge(
        "state_bytes, of a start",
        Limits(state_bytes=20),
        (stated,),
        state_at_start,
        20,
        "accepted",
        told(InvalidInput("state of workflow:stated", (TOO_LARGE,))),
    ),
    Edge(
        "state_bytes, of an item",
        Limits(state_bytes=20),
        (pool,),
        item_of,
        20,
        "accepted",
        told(InvalidInput("state of pool:pool", (TOO_LARGE,))),
    ),
    Edge(
        "state_bytes, of a child",
        Limits(state_bytes=20),
        (calling, stated),
        child_of,
        20,
        ("done", None),
        ("parked", f"child stated:child: {TOO_LARGE}"),
    ),
    Edge(
        "payload_bytes",
        Limits(payload_bytes=20),
        (plain,),
        event_of,
        20,
        "accepted",
        told(InvalidInput("event of task:plain", (TOO_LARGE,))),
    ),
    Edge(
        "payload_bytes, of a message",
        Limits(payload_bytes=20),
        (plain, writing),
        message_of,
        20,
        "accepted",
        (HookRaised, "InvalidInput", f"send to task:plain:target: {TOO_LARGE}"),
    ),
    Edge(
        "messages_per_turn",
        Limits(messages_per_turn=3),
        (plain,),
        messages_of_turn,
        3,
        "accepted",
        (HookRaised, "TooManyMessages", "a turn may send at most 3 messages; send the rest from a later turn"),
    ),
    Edge(
        "keys_per_address",
        Limits(keys_per_address=3),
        (plain,),
        keys,
        3,
        "accepted",
        told(Overloaded("idempotency keys of task:plain:a", 3)),
    ),
    Edge(
        "answers_per_address",
        Limits(answers_per_address=3),
        (plain,),
        first_answer_after,
        3,
        Sent(created=True, status="idle", scheduled_at=None),
        told(AnswerNotKept("task:plain:a", "k0", "send")),
    ),
    Edge("idempotency_ttl", Limits(idempotency_ttl="3 s"), (plain,), repeat_after, 2_999, "x", "xx"),
    Edge("history_retention", Limits(history_retention="3 s"), (plain,), event_of_age, 3_000, 1, 0),
    Edge("history_retention, none", Limits(history_retention="0 ms"), (plain,), events_left, 0, [], []),
    Edge("history_events", Limits(history_events=3), (plain,), events_left, 3, ["0", "1", "2"], ["1", "2", "3"]),
    Edge("history_events, none", Limits(history_events=0), (plain,), events_left, 0, [], []),
    Edge("message_deliveries", Limits(message_deliveries=3), (writer, failing), failed_deliveries, 2, [], [3], dict),
    Edge(
        "dead_letter_retention",
        Limits(message_deliveries=1, dead_letter_retention="3 s"),
        (writer, failing),
        dead_letter_of_age,
        3_000,
        1,
        0,
        dict,
    ),
    Edge("alarm_batch", Limits(alarm_batch=3), (plain,), alarms_read, 2, 1, 2),
    Edge("alarm_batch, without requests", Limits(alarm_batch=3), (plain,), alarms_read, 11, 2, 3),
    Edge(
        "replay_chunk",
        Limits(replay_chunk=3),
        (noted,),
        is_interrupted,
        3,
        False,
        True,
        stores=("memory",),  # in a file, the second replay waits for its journal until the first one is over
    ),
    Edge("journal_page", Limits(journal_page=3), (flow,), journal_read, 3, 1, 2),
    Edge("message_batch", Limits(message_batch=3), (plain,), messages_together, 3, 1.0, 2.0),
    Edge("recovery_page", Limits(recovery_page=3), (working,), claims_read, 3, 2, 3),
    Edge("recovery_page, rows past their retention", Limits(recovery_page=3), (plain,), rows_deleted, 2, 1, 2),
    Edge("queued_items", Limits(queued_items=3), (pool,), items_queued, 3, 0, 1),
    Edge("lane_page", Limits(lane_page=3), (pool,), keys_queued, 2, 1, 2),
    Edge("shutdown_timeout", Limits(shutdown_timeout="3 s"), (working,), stopped_with_run, 2_999, [1], [2]),
)
