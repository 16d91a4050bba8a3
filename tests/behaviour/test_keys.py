"""``reference/behaviour.md`` 1, *Idempotency*."""

from functools import partial
from typing import Any

import attrs
import pytest
from machine import Add, OnAlarm, Refuse, Say, Total, Wait, app, at, machine, machine_with, steps
from returns.result import Failure, Success
from world import Outside, World, on_each_store

from perdure import App, Do, Task, TaskContext, fail, program
from perdure.client.client import Client
from perdure.jobs.call import Call
from perdure.stores.contract import commit_one, load_one
from perdure.testing.cluster import Cluster
from perdure.values.answer import Forgotten
from perdure.values.errors import (
    AnswerNotKept,
    IdempotencyConflict,
    InvalidArgument,
    Overloaded,
    Rejected,
    StoredResultUnreadable,
)
from perdure.values.outcome import Failed, Running
from perdure.values.transition import Transition

DAY_MS = 86_400_000


@on_each_store
async def test_a_repeat_changes_nothing_and_gets_the_first_answer(world: World) -> None:
    """Any request may carry `idempotency_key=`. A repeat within the window changes nothing, gets the first answer."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    first = await world.run(jobs.send("a", OnAlarm(60_000), idempotency_key="k"))
    await world.run(jobs.send("a", steps(Add())))
    await world.advance(s=1)
    before, commits = await world.row(at("a")), len(world.commits)
    assert await world.run(jobs.send("a", OnAlarm(60_000), idempotency_key="k")) == first
    assert (await world.row(at("a")), len(world.commits)) == (before, commits)


@on_each_store
async def test_a_key_belongs_to_one_address(world: World) -> None:
    """Keys belong to the address: the same text at another one is another key."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    for id_ in ("a", "b", "a", "b"):
        await world.run(jobs.send(id_, steps(Add()), idempotency_key="k"))
    assert await world.run(jobs.get_state("a")) == await world.run(jobs.get_state("b")) == Total(1)


@on_each_store
async def test_every_request_may_carry_a_key(world: World) -> None:
    """*Any* request."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Say("ran"),))))
    calls = {
        "trigger": lambda: jobs.trigger("a", idempotency_key="trigger"),
        "pause": lambda: jobs.pause("a", idempotency_key="pause"),
        "resume": lambda: jobs.resume("a", idempotency_key="resume"),
        "terminate": lambda: jobs.terminate("a", idempotency_key="terminate"),
    }
    first = {name: await world.run(call()) for name, call in calls.items()}
    commits = len(world.commits)
    assert {name: await world.run(call()) for name, call in calls.items()} == first
    assert len(world.commits) == commits
    assert world.outside.heard == ["ran"]


@on_each_store
async def test_keys_survive_the_purge_and_a_restart(world: World) -> None:
    """Keys belong to the address and survive the purge of the instance."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    first = await world.run(jobs.send("a", steps(Add()), idempotency_key="k"))
    await world.run(jobs.terminate("a"))
    await world.crash()
    jobs = (await world.open(app(world.outside))).handle(machine)
    assert await world.run(jobs.send("a", steps(Add()), idempotency_key="k")) == first
    assert await world.row(at("a")) is None
    assert (await world.run(jobs.send("b", steps(Add()), idempotency_key="k"))).created


@on_each_store
async def test_the_same_key_with_another_request_is_refused(world: World) -> None:
    """The same key with another action or payload is `IdempotencyConflict`."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Add()), idempotency_key="k"))
    for action, call in (
        ("send", jobs.send("a", steps(Add(2)), idempotency_key="k")),
        ("trigger", jobs.trigger("a", idempotency_key="k")),
    ):
        error = await world.error_of(call)
        assert isinstance(error, IdempotencyConflict)
        assert (error.key, error.first_action, error.action) == ("k", "send", action)
    assert await world.run(jobs.get_state("a")) == Total(1)


@pytest.mark.parametrize(("after_ms", "replayed"), [(DAY_MS - 1, "replayed"), (DAY_MS, "new")])
@on_each_store
async def test_the_window_is_a_day_to_the_millisecond(world: World, after_ms: int, replayed: str) -> None:
    """…within the window (default 24 h). The window is the time, always."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Add()), idempotency_key="k"))
    await world.advance(ms=after_ms)
    answer = await world.run(jobs.send("a", steps(Add()), idempotency_key="k"))
    assert answer.created == (replayed == "replayed")
    assert await world.run(jobs.get_state("a")) == Total(1 if replayed == "replayed" else 2)


@on_each_store
async def test_a_full_table_of_keys_refuses_and_evicts_nothing(world: World) -> None:
    """When the bound of keys per address is full, a keyed request gets `Overloaded`, nothing is evicted early."""
    jobs = (await world.open(app(world.outside, keys_per_address=3, idempotency_ttl="10000 ms"))).handle(machine)
    for key in "abc":
        await world.run(jobs.send("a", steps(Add()), idempotency_key=key))
    error = await world.error_of(jobs.send("a", steps(Add()), idempotency_key="d"))
    assert isinstance(error, Overloaded)
    assert error.limit == 3
    for key in "abc":
        await world.run(jobs.send("a", steps(Add()), idempotency_key=key))
    await world.run(jobs.send("a", steps(Add())))
    await world.run(jobs.send("b", steps(Add()), idempotency_key="d"))
    assert await world.run(jobs.get_state("a")) == Total(4)
    await world.advance(minutes=10)  # expired keys count until housekeeping deletes them
    await world.run(jobs.send("a", steps(Add()), idempotency_key="d"))
    assert await world.run(jobs.get_state("a")) == Total(5)


@on_each_store
async def test_a_key_without_its_answer_is_not_applied_again(world: World) -> None:
    """Only the newest answers of an address are kept; an older key is remembered without, until it expires."""
    jobs = (await world.open(app(world.outside, answers_per_address=2))).handle(machine)
    for key in "abcd":
        await world.run(jobs.send("a", steps(Add()), idempotency_key=key))
    for key in "ab":
        error = await world.error_of(jobs.send("a", steps(Add()), idempotency_key=key))
        assert isinstance(error, AnswerNotKept)
        assert (error.address, error.key, error.action) == ("task:machine:a", key, "send")
        conflict = await world.error_of(jobs.send("a", steps(Add(2)), idempotency_key=key))
        assert isinstance(conflict, IdempotencyConflict)
    for key in "cd":
        await world.run(jobs.send("a", steps(Add()), idempotency_key=key))
    assert await world.run(jobs.get_state("a")) == Total(4)
    await world.advance(hours=24)
    await world.run(jobs.send("a", steps(Add()), idempotency_key="a"))
    assert await world.run(jobs.get_state("a")) == Total(5)


@on_each_store
async def test_only_a_turn_that_committed_is_remembered(world: World) -> None:
    """Only a turn that committed is remembered."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.outside.refusals["x"] = 1
    event = steps(Say("x"), Add())
    assert isinstance(await world.error_of(jobs.send("a", event, idempotency_key="k")), Rejected)
    assert (await world.run(jobs.send("a", event, idempotency_key="k"))).created
    await world.run(jobs.send("a", event, idempotency_key="k"))
    assert await world.run(jobs.get_state("a")) == Total(1)


@on_each_store
async def test_a_run_that_failed_is_an_answer_like_any_other(world: World) -> None:
    """A trigger whose run failed did commit: a repeat runs nothing."""
    job = machine_with(on_error=lambda _, __: Success(None))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Say("x"), Refuse("no")))))
    first = await world.run(jobs.trigger("a", idempotency_key="k"))
    assert isinstance(first.outcome, Failed)
    assert await world.run(jobs.trigger("a", idempotency_key="k")) == first
    assert world.outside.heard == ["x"]


@on_each_store
async def test_a_repeat_during_the_run_gets_the_same_answer(world: World) -> None:
    """Two calls with one key at the same moment are one request."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Wait(1_000), Say("x")))))
    first, second = await world.all(*(jobs.trigger("a", idempotency_key="k") for _ in range(2)))
    assert first == second
    assert world.outside.heard == ["x"]


@on_each_store
async def test_a_repeat_after_a_crash_finds_the_run(world: World) -> None:
    """Repeat the request once with its key: user code runs twice only where the crash came between claim and commit."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, (Say("x"), Add()))))
    world.suspension("x")
    world.start(jobs.trigger("a", idempotency_key="k"))
    await world.settle()
    await world.crash()
    world.outside.held.clear()
    jobs = (await world.open(app(world.outside))).handle(machine)
    triggered = await world.run(jobs.trigger("a", idempotency_key="k"))
    assert triggered.triggered
    assert not isinstance(triggered.outcome, Running)
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    assert state.total == 1
    assert world.outside.heard == ["x", "x"]


@on_each_store
async def test_a_repeat_that_this_process_has_not_seen_is_found_by_the_commit(world: World) -> None:
    """A repeat changes nothing, also if the engine decides it before it looks its key up."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    first = await world.run(jobs.send("a", steps(Add()), idempotency_key="k"))
    spoken = await world.run(jobs.send("a", steps(Say("x"), Add()), idempotency_key="spoken"))
    await world.run(jobs.send("b", steps()))
    paused = [await world.run(jobs.pause("b", idempotency_key=key)) for key in ("changes", "changes nothing")]
    await world.close()
    jobs = (await world.open(app(world.outside))).handle(machine)
    for id_ in ("a", "b"):  # from here on the instances are in memory
        await world.run(jobs.send(id_, steps(), idempotency_key="other"))
    for _ in range(2):
        assert await world.run(jobs.send("a", steps(Add()), idempotency_key="k")) == first
        assert await world.run(jobs.send("a", steps(Say("x"), Add()), idempotency_key="spoken")) == spoken
    again = [await world.run(jobs.pause("b", idempotency_key=key)) for key in ("changes", "changes nothing")]
    assert again == paused
    assert await world.run(jobs.get_state("a")) == Total(2)
    assert world.outside.heard == ["x"]


@on_each_store
async def test_a_known_key_is_answered_although_the_handler_refuses_now(world: World) -> None:
    """A repeat gets the first answer, whatever its handler would say on the state of today."""

    @program
    def on_event(ctx: TaskContext[Total], event: str) -> Do[None, str]:
        state = yield from ctx.state
        if state.total:
            yield from fail(event)
        yield from ctx.set_state(Total(1))

    once = Task("once", state=Total, event=str, initial=Total(), on_event=on_event)
    jobs = (await world.open(app(world.outside, once))).handle(once)
    first = await world.run(jobs.send("a", "taken", idempotency_key="k"))
    await world.close()
    jobs = (await world.open(app(world.outside, once))).handle(once)
    for key in ("other", "k", "other"):
        answer = await world.attempt(jobs.send("a", "taken", idempotency_key=key))
        assert answer == Success(first) if key == "k" else isinstance(answer.failure(), Rejected)


@on_each_store
async def test_keyed_requests_of_one_instance_are_applied_together(world: World) -> None:
    """Each once, in order; a repeat beside its first request gets the same answer."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Add()), idempotency_key="first"))
    before = len(world.commits)
    answers = await world.all(*(jobs.send("a", steps(Add()), idempotency_key=f"{n % 5}") for n in range(10)))
    assert answers[:5] == answers[5:]
    assert await world.run(jobs.get_state("a")) == Total(6)
    stored = [remembered.key for commit in world.commits[before:] for remembered in commit.remember]
    assert sorted(stored) == ["0", "1", "2", "3", "4"]
    assert len(world.commits) - before <= (5 if world.kind == "memory" else 2)


@on_each_store
async def test_no_more_keys_are_stored_together_than_there_is_room_for(world: World) -> None:
    """At the limit a new key is refused, with `Overloaded`, and nothing is applied."""
    jobs = (await world.open(app(world.outside, keys_per_address=4))).handle(machine)
    await world.run(jobs.send("a", steps(Add()), idempotency_key="first"))
    answers = await world.all(*(jobs.send("a", steps(Add()), idempotency_key=f"{n}") for n in range(6)))
    assert sum(isinstance(answer, Success) for answer in answers) == 3
    assert await world.run(jobs.get_state("a")) == Total(4)
    applied = next(n for n, answer in enumerate(answers) if isinstance(answer, Success))
    assert await world.run(jobs.send("a", steps(Add()), idempotency_key=f"{applied}")) == answers[applied].unwrap()


@pytest.mark.parametrize("key", ["", "k" * 513, "\ud800", 7])
@on_each_store
async def test_a_key_is_text_of_1_to_512_characters(world: World, key: str) -> None:
    """Every bad input gets a typed error."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    answer = await world.attempt(jobs.send("a", steps(), idempotency_key=key))
    assert isinstance(answer, Failure)
    assert isinstance(answer.failure(), InvalidArgument)
    assert "idempotency_key" in str(answer.failure())


@on_each_store
async def test_expired_keys_are_deleted(world: World) -> None:
    """Retention removes what expired, so that a store does not grow for ever."""
    jobs = (await world.open(app(world.outside, idempotency_ttl="1000 ms"))).handle(machine)
    await world.run(jobs.send("a", steps(), idempotency_key="k"))
    await world.advance(minutes=11)
    loaded = await world.inspect(lambda store: load_one(store, at("a"), "k", 0))
    assert loaded.remembered is None


@on_each_store
async def test_a_request_whose_answer_cannot_be_read_is_not_repeated(world: World) -> None:
    """A repeat changes nothing, whatever became of the answer."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Add()), idempotency_key="k"))
    (remembered,) = world.commits[-1].remember
    other = attrs.evolve(remembered, answer='{"type":"Sung"}')
    await world.inspect(lambda store: commit_one(store, Transition(address=at("a"), remember=(other,))))
    await world.crash()  # the engine that stored it has it in memory
    jobs = (await world.open(app(world.outside))).handle(machine)
    refused = await world.error_of(jobs.send("a", steps(Add()), idempotency_key="k"))
    assert isinstance(refused, StoredResultUnreadable)
    assert (refused.key, refused.address) == ("k", "task:machine:a")
    assert "'Sung'" in str(refused)
    assert await world.run(jobs.get_state("a")) == Total(1)


# ---------------------------------------------------------------- keys that are cleared
@on_each_store
async def test_a_key_that_is_cleared_lets_its_request_be_made_again(world: World) -> None:
    """Also after the end of the instance and after a restart; the history says which request it had answered."""
    client = await world.open(app(world.outside))
    jobs = client.handle(machine)
    await world.run(jobs.send("a", steps(Add()), idempotency_key="k"))
    await world.run(jobs.send("a", steps(Add()), idempotency_key="other"))
    assert await world.run(client.forget_key(machine, "a", "k")) == "forgotten"
    assert await world.run(client.forget_key(machine, "a", "k")) == "not_found"
    await world.crash()
    client = await world.open(app(world.outside))
    jobs = client.handle(machine)
    for key, total in (("other", 2), ("k", 3), ("k", 3)):
        await world.run(jobs.send("a", steps(Add()), idempotency_key=key))
        assert await world.run(jobs.get_state("a")) == Total(total)
    await world.run(jobs.terminate("a"))
    assert await world.run(client.forget_key(machine, "a", "k")) == "forgotten"
    assert (await world.run(jobs.send("a", steps(Add(5)), idempotency_key="k"))).created
    events = [logged.event for logged in await world.run(client.history(machine, "a"))]
    cleared = [(event.key, event.action, event.by) for event in events if event.type == "job.key_forgotten"]
    assert cleared == [("k", "send", None)] * 2


@on_each_store
async def test_a_key_is_cleared_after_the_run_that_uses_it(world: World) -> None:
    """Its end would store it again: the request waits in the mailbox, behind the run."""
    client = await world.open(app(world.outside))
    jobs = client.handle(machine)
    running = world.start(jobs.send("a", steps(Wait(1_000), Add()), idempotency_key="k"))
    await world.settle()
    cleared = world.start(client.forget_key(machine, "a", "k"))
    await world.settle()
    assert not cleared.done()
    await world.advance(s=1)
    assert isinstance(running.result(), Success)
    assert cleared.result() == Success("forgotten")
    await world.run(jobs.send("a", steps(Add()), idempotency_key="k"))
    assert await world.run(jobs.get_state("a")) == Total(2)


def test_a_key_is_not_cleared_while_another_engine_runs_its_request() -> None:
    """The end of the run would store it again. A key that no run uses is cleared meanwhile, in both engines."""
    outside = Outside()
    with Cluster(App(outside).with_jobs(machine), lease="4 s") as cluster:
        here, there = cluster.open(), cluster.open()
        cluster.run_on(here, lambda client: client.handle(machine).send("a", steps(Add()), idempotency_key="first"))
        running = here.call(
            lambda client: client.handle(machine).send("a", steps(Say("go"), Wait(2_000), Add()), idempotency_key="k")
        )
        cluster.advance("1 s")
        for key, expected in (("k", "running"), ("first", "forgotten"), ("first", "not_found")):
            assert cluster.run_on(there, partial(_cleared, key)) == expected
        cluster.advance("3 s")
        assert isinstance(running.result(), Success)
        cluster.run_on(here, lambda client: client.handle(machine).send("a", steps(Add(10)), idempotency_key="first"))
        assert cluster.run_on(there, lambda client: client.handle(machine).get_state("a")) == Total(12)
        assert cluster.run_on(there, partial(_cleared, "k")) == "forgotten"


def _cleared(key: str, client: Client) -> Call[Forgotten, Any]:
    return client.forget_key(machine, "a", key)
