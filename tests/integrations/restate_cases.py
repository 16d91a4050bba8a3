"""The behaviours of jobs on Restate, each as a case over the public client against the real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from attrs import frozen
from restate_cluster import Cluster
from restate_jobs import (
    Add,
    Arm,
    Boom,
    Disarm,
    End,
    Failing,
    Refused,
    Slow,
    SlowRun,
    Tell,
    batches,
    beats,
    brief,
    buyers,
    counts,
    flows,
    go,
    packed,
    paid,
    raise_by,
    shipped,
    taken,
    till,
    tills,
)

from perdure import Client, attempt
from perdure.values.answer import Done, WasCancelled
from perdure.values.errors import (
    HookRaised,
    IdempotencyConflict,
    InvalidInput,
    Rejected,
    RunTimeout,
)

GONE_S: Final = 1.5
"""How long a case waits in which nothing must happen."""


@frozen
class Place:
    """Where a case runs.

    Attributes:
        jobs: the client.
        cluster: the servers and the worker.
    """

    jobs: Client
    cluster: Cluster

    @property
    def counts(self) -> Any:
        """The handle of the task."""
        return self.jobs.handle(counts)

    async def count(self, id_: str) -> Any:
        """Read a task's state."""
        return await self.counts.get_state(id_)

    async def failure(self, call: Any) -> Any:
        """Make a call that fails, and return its error."""
        return (await attempt(call)).failure()

    async def eventually(self, holds: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not (found := await holds()):
            assert time.monotonic() < deadline, "it does not hold"
            await asyncio.sleep(0.02)
        return found

    async def noted(self, word: str, number: int = 1) -> list[str]:
        """Wait until the external system has noted a word this often."""

        async def holds() -> bool:
            return len(self.cluster.noted(word)) >= number

        await self.eventually(holds)
        return self.cluster.noted(word)

    async def fired(self, id_: str) -> Any:
        """Wait until a task's alarm has run."""

        async def holds() -> Any:
            state = await self.count(id_)
            return state is not None and state.fired and state

        return await self.eventually(holds)

    async def counted(self, id_: str, n: int) -> bool:
        """Wait until a task has counted up to a number."""

        async def holds() -> bool:
            state = await self.count(id_)
            return state is not None and state.n == n

        return bool(await self.eventually(holds))


Case: TypeAlias = Callable[[Place], Awaitable[None]]
CASES: dict[str, Case] = {}
DIFFERS: Final[dict[str, str]] = {}
"""The cases whose behaviour differs from an engine's, with the reason. They hold as they are written here."""


DEATHS: Final[list[str]] = []
"""The cases that kill a process, and so run alone."""


def case(text: str, differs: str = "", *, kills: bool = False) -> Callable[[Case], Case]:
    """Register a case under the text of its row in the table."""

    def register(function: Case) -> Case:
        assert text not in CASES
        CASES[text] = function
        if differs:
            DIFFERS[text] = differs
        if kills:
            DEATHS.append(text)
        return function

    return register


# ---------------------------------------------------------------- one event
@case("an absent instance is not found")
async def absent(place: Place) -> None:
    assert (await place.counts.status("absent")).status == "not_found"
    assert await place.count("absent") is None


@case("the first event creates an instance, and events are counted")
async def created(place: Place) -> None:
    first, second = await place.counts.send("created", Add()), await place.counts.send("created", Add())
    assert (first.created, second.created) == (True, False)
    status = await place.counts.status("created")
    assert (status.status, status.event_count) == ("idle", 2)


@case("the events of an instance are handled one at a time")
async def serial(place: Place) -> None:
    await asyncio.gather(*(place.counts.send("serial", Add()) for _ in range(25)))
    assert (await place.count("serial")).n == 25


@case("a rejected event changes nothing and returns its typed error")
async def rejected(place: Place) -> None:
    error = await place.failure(place.counts.send("rejected", Add(-1)))
    assert isinstance(error, Rejected)
    assert error.error == Refused("negative")
    assert (await place.counts.status("rejected")).status == "not_found"
    await place.counts.send("rejected", Add())
    await place.failure(place.counts.send("rejected", Add(-1)))
    assert (await place.count("rejected")).n == 1


@case("a hook that raises changes nothing and returns its traceback")
async def raised(place: Place) -> None:
    await place.counts.send("raised", Add())
    error = await place.failure(place.counts.send("raised", Boom()))
    assert isinstance(error, HookRaised)
    assert "boom" in error.traceback
    assert (await place.count("raised")).n == 1


@case("an input of another type is refused")
async def refused(place: Place) -> None:
    assert isinstance(await place.failure(place.counts.send("refused", "text")), InvalidInput)
    named = place.jobs.handle_by_name("task", "counts")
    assert isinstance(await place.failure(named.call("send", "refused", '{"x": 1}')), InvalidInput)
    assert (await place.counts.status("refused")).status == "not_found"


@case("an event with an effect is performed once")
async def with_effect(place: Place) -> None:
    await place.counts.send("effect", Slow(20))
    assert (await place.count("effect")).seen == "slow:1"
    assert len(place.cluster.noted("begin effect slow")) == 1


@case("a slow instance does not delay others")
async def others(place: Place) -> None:
    slow = asyncio.ensure_future(place.counts.send("other-slow", Slow(1_000)))
    await place.noted("begin other-slow")
    await place.counts.send("other-fast", Add())
    assert not slow.done()
    await slow


# ---------------------------------------------------------------- idempotency keys
@case("a repeat with its idempotency key changes nothing and returns the first answer")
async def repeated(place: Place) -> None:
    answers = [await place.counts.send("repeated", Add(), idempotency_key="k") for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].created
    assert (await place.count("repeated")).n == 1


@case("a key that another request used is a conflict")
async def conflict(place: Place) -> None:
    await place.counts.send("conflict", Add(), idempotency_key="k")
    error = await place.failure(place.counts.send("conflict", Add(2), idempotency_key="k"))
    assert isinstance(error, IdempotencyConflict)


@case("keys outlive their instance")
async def outliving(place: Place) -> None:
    await place.counts.send("outliving", Add(), idempotency_key="k")
    await place.counts.terminate("outliving")
    assert (await place.counts.send("outliving", Add(), idempotency_key="k")).created
    assert (await place.counts.status("outliving")).status == "not_found"


# ---------------------------------------------------------------- alarms
@case("an alarm runs once")
async def alarm(place: Place) -> None:
    sent = await place.counts.send("alarm", Arm(200))
    assert sent.status == "scheduled"
    await place.fired("alarm")
    status = await place.counts.status("alarm")
    assert (status.status, status.run_count) == ("idle", 1)


@case("an alarm that is set later runs once, later")
async def later(place: Place) -> None:
    await place.counts.send("later", Arm(200))
    await place.counts.send("later", Arm(1_200))
    began = time.monotonic()
    await place.fired("later")
    assert time.monotonic() - began > 0.8
    assert (await place.count("later")).fired == 1


@case("an alarm that is set earlier runs once, earlier")
async def earlier(place: Place) -> None:
    await place.counts.send("earlier", Arm(1_500))
    await place.counts.send("earlier", Arm(100))
    began = time.monotonic()
    await place.fired("earlier")
    assert time.monotonic() - began < 1.2
    await asyncio.sleep(GONE_S)
    assert (await place.count("earlier")).fired == 1


@case("an alarm that is cancelled does not run")
async def disarmed(place: Place) -> None:
    await place.counts.send("disarmed", Arm(300))
    await place.counts.send("disarmed", Disarm())
    await asyncio.sleep(GONE_S)
    assert (await place.count("disarmed")).fired == 0


@case("a paused instance handles events, and its alarm runs after the resumption")
async def paused(place: Place) -> None:
    await place.counts.send("paused", Arm(300))
    await place.counts.pause("paused")
    await place.counts.send("paused", Add())
    await asyncio.sleep(GONE_S)
    assert (await place.counts.status("paused")).status == "paused"
    assert ((await place.count("paused")).n, (await place.count("paused")).fired) == (1, 0)
    await place.counts.resume("paused")
    assert (await place.fired("paused")).fired == 1


# ---------------------------------------------------------------- runs
@case("a trigger runs now and keeps the alarm")
async def triggered(place: Place) -> None:
    assert not (await place.counts.trigger("triggered")).triggered
    await place.counts.send("triggered", Arm(60_000))
    assert (await place.counts.trigger("triggered")).triggered
    assert (await place.counts.status("triggered")).status == "scheduled"
    assert (await place.count("triggered")).fired == 1


@case("a failed run is retried under its id, with a backoff")
async def retried(place: Place) -> None:
    await place.counts.send("retried", Failing(2))
    assert (await place.fired("retried")).seen == "3/1"
    begun = await place.noted("begin retried execute")
    assert len({line.split("run=")[1] for line in begun}) == 1
    assert (await place.counts.status("retried")).run_count == 1


@case("a run whose retries are used up is parked, and a resumption runs it again")
async def parked(place: Place) -> None:
    await place.counts.send("parked", Failing(3))
    status = (await place.jobs.until(counts, "parked", "parked", timeout="20 seconds")).status
    assert status.parked == "retries_exhausted"
    assert (await place.counts.resume("parked")).changed
    assert (await place.fired("parked")).fired == 1


@case("a status says that a run is in progress, and an event waits for it")
async def in_progress(place: Place) -> None:
    await place.counts.send("progress", SlowRun(600))
    await place.noted("begin progress")
    assert (await place.counts.status("progress")).status == "running"
    await place.counts.send("progress", Add())
    assert ((await place.count("progress")).n, (await place.count("progress")).fired) == (1, 1)


@case("a run has its time limit, and changes nothing after it")
async def timed_out(place: Place) -> None:
    error = await place.failure(place.jobs.handle(brief).send("timed-out", Slow(4_000)))
    assert isinstance(error, RunTimeout)
    assert place.cluster.noted("end timed-out") == []
    assert (await place.jobs.handle(brief).status("timed-out")).status == "not_found"


@case(
    '`trigger(wait_for="start")` of a task',
    "it returns at the run's end: a handler that holds its object answers only then",
)
async def started_early(place: Place) -> None:
    await place.counts.send("early", SlowRun(10_600))
    began = time.monotonic()
    assert (await place.counts.trigger("early", wait_for="start")).triggered
    assert time.monotonic() - began > 0.5


# ---------------------------------------------------------------- termination
@case("a termination deletes the instance and its alarm")
async def terminated(place: Place) -> None:
    await place.counts.send("terminated", Arm(300))
    assert (await place.counts.terminate("terminated", "bye")).terminated
    assert not (await place.counts.terminate("terminated")).terminated
    await asyncio.sleep(GONE_S)
    assert place.cluster.noted("begin terminated ") == []


@case("a hook terminates its instance, and the next event creates another one")
async def ended(place: Place) -> None:
    await place.counts.send("ended", Add(5))
    await place.counts.send("ended", End())
    assert (await place.counts.status("ended")).status == "not_found"
    assert (await place.counts.send("ended", Add())).created
    assert (await place.count("ended")).n == 1


@case("`terminate(interrupt=True)` stops a task's run")
async def interrupted(place: Place) -> None:
    await place.counts.send("interrupted", SlowRun(5_000))
    await place.noted("begin interrupted")
    began = time.monotonic()
    assert (await place.counts.terminate("interrupted", interrupt=True)).terminated
    assert time.monotonic() - began < 3
    assert place.cluster.noted("end interrupted") == []
    assert (await place.counts.status("interrupted")).status == "not_found"


@case("`terminate(interrupt=True)` stops a workflow's run")
async def interrupted_flow(place: Place) -> None:
    handle = place.jobs.handle(packed)
    await handle.start("interrupted-flow", "slow")
    await place.noted("begin interrupted-flow")
    assert (await handle.terminate("interrupted-flow", interrupt=True)).terminated
    assert (await handle.status("interrupted-flow")).status == "not_found"
    await asyncio.sleep(GONE_S)
    assert place.cluster.noted("end interrupted-flow") == []
    assert len(place.cluster.noted("begin interrupted-flow")) == 1


@case("`terminate` without `interrupt`", "it waits behind earlier requests: Restate's queue is first in, first out")
async def queued_terminate(place: Place) -> None:
    slow = asyncio.ensure_future(place.counts.send("queued", Slow(800)))
    await place.noted("begin queued")
    event = asyncio.ensure_future(place.counts.send("queued", Add()))
    await asyncio.sleep(0.2)
    assert (await place.counts.terminate("queued")).terminated
    await asyncio.gather(slow, event)
    assert (await place.counts.status("queued")).status == "not_found"


@case("a cancelled caller", "its request still happens: a request that Restate accepted is durable")
async def cancelled_caller(place: Place) -> None:
    slow = asyncio.ensure_future(place.counts.send("cancelled", Slow(800)))
    await place.noted("begin cancelled")
    event = asyncio.ensure_future(place.counts.send("cancelled", Add()))
    await asyncio.sleep(0.2)
    event.cancel()
    await slow
    await place.counted("cancelled", 2)


# ---------------------------------------------------------------- messages
@case("messages are applied once, in order")
async def messages(place: Place) -> None:
    await place.counts.send("sender", Tell("receiver", 7))
    await place.counted("receiver", 14)


@case("a turn that fails sends no message")
async def unsent(place: Place) -> None:
    await place.failure(place.counts.send("unsent", Tell("unreceived", 1, "raise")))
    await asyncio.sleep(GONE_S)
    assert (await place.counts.status("unreceived")).status == "not_found"


@case("a message to the instance itself is a later turn")
async def own_message(place: Place) -> None:
    await place.counts.send("own", Tell("own", 1))
    await place.counted("own", 3)


@case("a message waits for a parked target, and arrives after the resumption")
async def postponed(place: Place) -> None:
    await place.counts.send("stuck", Failing(3))
    await place.jobs.until(counts, "stuck", "parked")
    await place.counts.pause("stuck")
    await place.counts.send("to-stuck", Tell("stuck", 2))
    await place.counts.resume("stuck")
    await place.counted("stuck", 4)


@case("a rejected message is consumed")
async def rejected_message(place: Place) -> None:
    await place.counts.send("rejecting", Tell("rejected-target", -1))
    await place.counts.send("rejecting", Tell("rejected-target", 1))
    await place.counted("rejected-target", 2)


# ---------------------------------------------------------------- kinds
@case("a continuous job repeats its run")
async def continuous(place: Place) -> None:
    handle = place.jobs.handle(beats)
    assert (await handle.start("beat", 0)).created
    assert not (await handle.start("beat", 9)).created
    await place.noted("begin beat tick", 3)
    await handle.terminate("beat")
    number = len(place.cluster.noted("begin beat tick"))
    await asyncio.sleep(GONE_S)
    assert len(place.cluster.noted("begin beat tick")) == number


@case("a debounce flushes its batch, and takes events meanwhile")
async def debounce(place: Place) -> None:
    handle = place.jobs.handle(batches)
    await handle.add("batch", 1)
    await handle.add("batch", 2)
    await place.noted("begin batch flush")
    await handle.add("batch", 3)
    assert place.cluster.noted("end batch flush") == []
    begun = await place.noted("begin batch flush", 2)
    assert "state=2 events=2" in begun[0]
    assert "state=3 events=1" in begun[1]
    await place.jobs.until(batches, "batch")


@case("a debounce is flushed and cleared by calls")
async def flushed(place: Place) -> None:
    handle = place.jobs.handle(batches)
    await handle.add("flushed", 1)
    assert (await handle.flush("flushed")).flushed
    await handle.add("cleared", 1)
    assert (await handle.clear("cleared")).cleared
    assert not (await handle.flush("cleared")).flushed


@case("a workflow has steps, a signal and a timer, each performed once")
async def workflow(place: Place) -> None:
    handle = place.jobs.handle(flows)
    assert (await handle.start("flow", 0)).created
    await handle.signal("flow", go, 5)
    await place.jobs.until(flows, "flow", timeout="20 seconds")
    assert await handle.outcome("flow") == Done(value="5")
    assert len(place.cluster.noted("begin flow ")) == 3
    assert [step.status for step in await handle.steps("flow")].count("done") >= 4


@case("a workflow is cancelled")
async def cancelled(place: Place) -> None:
    handle = place.jobs.handle(flows)
    await handle.start("cancel", 0)
    await handle.cancel("cancel", "no")
    await place.jobs.until(flows, "cancel", timeout="20 seconds")
    assert isinstance(await handle.outcome("cancel"), WasCancelled)


@case("`cancel(interrupt=True)` stops a workflow's step")
async def interrupted_step(place: Place) -> None:
    handle = place.jobs.handle(packed)
    await handle.start("cancel-step", "slow")
    await place.noted("begin cancel-step packing")
    await handle.cancel("cancel-step", "no", interrupt=True)
    await place.jobs.until(packed, "cancel-step", timeout="20 seconds")
    assert isinstance(await handle.outcome("cancel-step"), WasCancelled)
    assert place.cluster.noted("end cancel-step") == []
    assert len(place.cluster.noted("begin cancel-step")) == 1


@case("a workflow calls another one")
async def child(place: Place) -> None:
    handle = place.jobs.handle(shipped)
    await handle.start("parent", 0)
    await place.jobs.until(shipped, "parent")
    assert await handle.outcome("parent") == Done(value="one!")


@case("a caller waits for the end of a workflow")
async def waited(place: Place) -> None:
    ended = await place.jobs.handle(packed).start_and_wait("waited", "two", idempotency_key="k")
    assert ended == Done(value="two!")


@case("a task replies to callers and workflows")
async def replied(place: Place) -> None:
    handle = place.jobs.handle(tills)
    assert [await handle.ask("till", 30, till, idempotency_key="k") for _ in range(2)] == [70, 70]
    refused = await place.failure(handle.ask("till", 71, till))
    assert isinstance(refused, Rejected)
    assert refused.error == Refused("only 70")
    buyer = place.jobs.handle(buyers)
    await asyncio.gather(*(buyer.start(f"buyer-{number}", 40) for number in range(3)))
    replies = [await buyer.update(f"buyer-{number}", raise_by, 5, idempotency_key="k") for number in range(3)]
    assert replies == [65, 65, 65]
    assert await place.noted("buyer-1 take 40") == ["begin buyer-1 take 40", "end buyer-1 take 40"]


@case("a workflow answers an update and settles a promise")
async def answered(place: Place) -> None:
    buyer = place.jobs.handle(buyers)
    await buyer.start("asked", 1)
    assert [await buyer.update("asked", raise_by, 5, idempotency_key="k") for _ in range(2)] == [104, 104]
    assert await buyer.published("asked", taken) == 99
    assert (await buyer.complete("asked", paid, 7)).accepted
    assert not (await buyer.complete("asked", paid, 8)).accepted
    assert await buyer.start_and_wait("asked", 1) == Done(value="99 7")


# ---------------------------------------------------------------- lists
@case("lists and counts read every instance, by SQL")
async def listed(place: Place) -> None:
    for number in range(3):
        await place.counts.send(f"list-it's-{number}", Add())
    page = await place.jobs.list(counts, id_prefix="list-it's-", limit=2)
    assert [each.address.id for each in page] == ["list-it's-0", "list-it's-1"]
    rest = await place.jobs.list(counts, id_prefix="list-it's-", status="idle", after=page.after)
    assert [each.address.id for each in rest] == ["list-it's-2"]
    assert (await place.counts.count()).total >= 3
    await place.counts.send("list-it's-due", Arm(3_600_000))
    found = await place.jobs.counts()
    numbers = {(each.name, each.status): each.number for each in found.instances}
    assert found.complete
    assert numbers["counts", "idle"] >= 3
    assert numbers["counts", "scheduled"] >= 1
    assert found.oldest_due_ms is not None


# ---------------------------------------------------------------- deaths
@case("after the worker's death, an event is repeated with its mark", kills=True)
async def worker_died(place: Place) -> None:
    event = asyncio.ensure_future(place.counts.send("died", Slow(700)))
    await place.noted("begin died")
    place.cluster.kill_worker()
    place.cluster.start_worker()
    await event
    assert (await place.count("died")).seen == "slow:2"
    begun = place.cluster.noted("begin died")
    assert len(begun) == 2
    assert len({line.split("run=")[1] for line in begun}) == 1


@case("a run that kills its worker three times is parked", kills=True)
async def poison(place: Place) -> None:
    await place.counts.send("poison", SlowRun(5_000))
    for number in range(1, 4):
        await place.noted("begin poison execute", number)
        place.cluster.kill_worker()
        place.cluster.start_worker()
    status = (await place.jobs.until(counts, "poison", "parked", timeout="20 seconds")).status
    assert status.parked == "recovery_exhausted"
    assert len(place.cluster.noted("begin poison execute")) == 3


@case("after the worker's death, held messages are applied once, in order", kills=True)
async def worker_died_behind(place: Place) -> None:
    await place.counts.send("held", Failing(3))
    await place.jobs.until(counts, "held", "parked")
    await place.counts.pause("held")
    await place.counts.send("to-held", Tell("held", 2, "long"))
    await place.counts.resume("held")
    await place.noted("begin held told")
    place.cluster.kill_worker()
    place.cluster.start_worker()
    await place.counted("held", 3)
    assert (await place.count("held")).seen == "told:2"
    assert (await place.count("to-held")).n == 1
    begun = place.cluster.noted("begin held told")
    assert [line.split("delivery=")[1].split()[0] for line in begun] == ["1", "2"]
    assert len({line.split("run=")[1] for line in begun}) == 1


@case("after the server's death, an alarm runs once, and a workflow continues", kills=True)
async def server_died(place: Place) -> None:
    handle = place.jobs.handle(flows)
    await handle.start("survivor", 0)
    await place.jobs.until(flows, "survivor", "idle")  # a step in progress would be repeated with a mark
    await place.counts.send("survivor", Arm(500))
    place.cluster.kill_server()
    place.cluster.start_server()
    assert (await place.fired("survivor")).fired == 1
    await handle.signal("survivor", go, 8)
    await place.jobs.until(flows, "survivor", timeout="20 seconds")
    assert await handle.outcome("survivor") == Done(value="8")
    assert len(begun := place.cluster.noted("begin survivor one")) == 1, begun


@case("a run whose invocation an operator kills is repeated with its mark", kills=True)
async def killed_by_operator(place: Place) -> None:
    await place.counts.send("killed", SlowRun(1_500))
    await place.noted("begin killed")
    query = "SELECT id FROM sys_invocation WHERE target_service_key = 'task:counts:killed'"
    found = place.cluster.sql(f"{query} AND target_service_name = 'PerdureRun' AND status = 'running'")
    place.cluster.call("PATCH", f"/invocations/{found[0]['id']}/kill")
    assert (await place.fired("killed")).seen == "1/2"
