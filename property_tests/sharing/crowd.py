"""Users and mishaps over several engines on one shared store, in one seeded simulation.

Each user makes calls with idempotency keys to any engine, and repeats a call at another one until it is answered.
Meanwhile engines are frozen at any step, cut off from the store, killed, closed and opened. `Crowd.run` checks the
history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeAlias

import attrs
import orjson
from debounce_operations import piles as piles_with
from machine import Add, Mark, OnAlarm, Tell, Wait, machine, steps
from returns.result import Result, Success

from perdure import App, Backoff, Limits, Retry
from perdure.client.client import Client
from perdure.jobs.call import Call
from perdure.jobs.definition import AnyDefinition
from perdure.runtime.record import DEFAULT_SIZES, Sizes
from perdure.stores.values import Query
from perdure.testing.cluster import Cluster, ClusterEngine, with_sizes
from perdure.testing.world.boundary import Requests
from perdure.testing.world.trace import MessagesRead, TraceEvent, TransitionCommitted
from perdure.values.errors import InstanceParked, PerdureError
from perdure.values.message import Consumed
from perdure.values.times import Duration

Ask: TypeAlias = Callable[[Client], Call[Any, Any]]

IDS: Final = "abc"
SIZES: Final = (DEFAULT_SIZES, *(Sizes(**{field.name: size for field in attrs.fields(Sizes)}) for size in (1, 2, 4)))
"""The internal sizes of a crowd's engines."""

MODES: Final[tuple[tuple[Requests, bool], ...]] = (("single", True), ("grouped", False), ("grouped", True))
"""How requests reach the store, and whether the debug mode is on, by seed."""

PATIENCE_MS: Final = 15_000
"""How long a user waits for an answer."""

piles = piles_with(
    flush_after="2 s", max_events=4, retry=Retry(max_attempts=5, delay=Backoff.constant("1 s"), jitter=False)
)


def plain(word: str) -> str:
    """Return a word without the attempt and the delivery in which it was said."""
    return word.split("#", maxsplit=1)[0]


def is_success(result: Result[Any, Any]) -> bool:
    """Whether a result is a success."""
    return isinstance(result, Success)


@attrs.define
class Hearing:
    """The external system as one engine reaches it.

    Attributes:
        crowd: the crowd.
        engine: the engine; None until it is known.
    """

    crowd: Crowd
    engine: ClusterEngine | None = None

    @property
    def outside(self) -> Hearing:
        return self

    async def hear(self, word: str) -> Result[None, Any]:
        """Take a word, which takes up to three seconds."""
        crowd, engine = self.crowd, self.engine
        assert engine is not None
        crowd.heard.append(word)
        other = crowd.active.get(plain(word))
        if other is not None and other is not engine and not other.is_over and crowd.cluster.has_lease(other):
            crowd.overlaps.append(word)
        crowd.active[plain(word)] = engine
        try:
            await engine.process.runtime.sleep(engine.process.runtime.random() ** 4 * 3_000)
        finally:
            if crowd.active.get(plain(word)) is engine:
                del crowd.active[plain(word)]
        return Success(None)


@attrs.define
class Crowd:
    """A cluster, its users and their totals.

    Attributes:
        jobs: those that the engines serve.
        seed: of all choices.
        users: how many.
        requests: how many calls each makes.
        mishaps: whether engines suffer.
        pause_ms: how long a user waits at most between two calls.
        latency: how much time a call to the store takes at most, each way.
    """

    jobs: ClassVar[tuple[AnyDefinition, ...]] = (machine, piles)
    seed: int
    users: int = 6
    requests: int = 8
    mishaps: bool = True
    pause_ms: float = 600
    latency: Duration = "4 ms"
    cluster: Cluster = attrs.field(init=False)
    heard: list[str] = attrs.Factory(list[str])
    overlaps: list[str] = attrs.Factory(list[str])
    active: dict[str, ClusterEngine] = attrs.Factory(dict[str, ClusterEngine])
    totals: Counter[str] = attrs.Factory(Counter[str])
    added: list[int] = attrs.Factory(list[int])
    counts: Counter[str] = attrs.Factory(Counter[str])
    pairs: dict[int, tuple[str, str]] = attrs.Factory(dict[int, "tuple[str, str]"])
    consumed: dict[tuple[str, str], list[int]] = attrs.Factory(dict["tuple[str, str]", "list[int]"])
    _done: int = 0

    def __attrs_post_init__(self) -> None:
        requests, debug = MODES[self.seed % len(MODES)]
        cluster = Cluster(App(None), seed=self.seed, latency=self.latency, requests=requests, debug=debug)
        self.cluster = with_sizes(cluster, SIZES[self.seed // len(MODES) % len(SIZES)])
        self.cluster.watch(self._note_messages)

    def _note_messages(self, event: TraceEvent) -> None:
        """Note in which order the messages of each pair are consumed."""
        match event.what:
            case MessagesRead(messages):
                for one in messages:
                    self.pairs[one.message_id] = str(one.message.sender), str(one.message.target)
            case TransitionCommitted(transition, _) if isinstance(transition.inbound, Consumed):
                number = transition.inbound.message_id
                self.consumed.setdefault(self.pairs[number], []).append(number)
            case _:
                pass

    # ------------------------------------------------------------ engines
    def start(self) -> ClusterEngine:
        """Begin to open an engine, with a clock of its own."""
        hearing = Hearing(self)
        app = App(hearing, limits=Limits(shutdown_timeout="2 s")).with_jobs(*self.jobs)
        skew: Duration = f"{self.below(400)} ms"
        engine = self.cluster.begin(app, skew=skew, drift=self.random() * 0.02)
        hearing.engine = engine
        return engine

    def random(self) -> float:
        """Draw a number from [0, 1)."""
        return self.cluster.runtime.random()

    def below(self, limit: int) -> int:
        """Draw a number below a limit."""
        return int(self.random() * limit)

    async def sleep(self, ms: float) -> None:
        """Wait outside of all engines."""
        await self.cluster.runtime.sleep(ms)

    # ------------------------------------------------------------ users
    def resuming(self, address: str) -> Ask:
        """Make the call that resumes an instance."""
        _, name, id_ = address.split(":")
        (job,) = [job for job in self.jobs if job.name == name]
        return lambda client: client.handle(job).resume(id_)

    async def ask(self, key: str, call: Ask, answered_by: Callable[[Result[Any, Any]], bool] = is_success) -> None:
        """Make a call at any engine, until one answers it.

        Args:
            key: of the call.
            call: makes it.
            answered_by: whether a result is the answer of the job, and no failure of an engine.
        """
        while True:
            if not self.cluster.up:
                await self.sleep(100)
                continue
            result = await self._once(self.cluster.drawn(), call)
            if result is not None and answered_by(result):
                return
            error: PerdureError | None = None if result is None else result.failure()
            self.counts[f"answered {'nothing' if error is None else type(error).__name__}"] += 1
            if isinstance(error, InstanceParked) and not key.endswith("resume"):
                await self.ask(f"{key} {self.below(1 << 30)} resume", self.resuming(error.address))
            await self.sleep(50)

    async def _once(self, engine: ClusterEngine, call: Ask) -> Result[Any, Any] | None:
        """Return the result of a call; None if there is none in time."""
        answer = self.cluster.runtime.future()

        def arrive(result: object) -> None:
            if not answer.done():
                answer.set_result(result)

        engine.call(call).add_done_callback(lambda task: arrive(None if task.cancelled() else task.result()))
        timer = self.cluster.runtime.call_later(PATIENCE_MS, lambda: arrive(None))
        found: Result[Any, Any] | None = await answer
        timer.cancel()
        return found

    async def send(self, key: str, id_: str, event: Any) -> None:
        """Send an event to a machine."""
        await self.ask(key, lambda client: client.handle(machine).send(id_, event, idempotency_key=key))

    async def user(self, number: int) -> None:
        """Make calls, one after the other."""
        for request in range(self.requests):
            await self._request(f"k{number}.{request}", self.below(10))
            await self.sleep(self.random() * self.pause_ms)
        self._done += 1

    async def _request(self, key: str, kind: int) -> None:
        id_, amount = IDS[self.below(len(IDS))], 1 + self.below(9)
        match kind:
            case 0:
                self.totals[id_] += amount
                await self.send(key, id_, steps(Add(amount)))
            case 1:
                self.totals[id_] += amount
                await self.send(key, id_, steps(Mark(f"w{key}"), Mark(f"v{key}"), Add(amount)))
            case 2:
                other = IDS[self.below(len(IDS))]
                self.totals[id_] += amount
                self.totals[other] += amount * 100
                await self.send(key, id_, steps(Add(amount), Tell(other, (Mark(f"t{key}"), Add(amount * 100)))))
            case 3:
                self.totals[f"al{key}"] += amount
                await self.send(key, f"al{key}", OnAlarm(self.below(4_000), (Mark(f"a{key}"), Add(amount))))
            case 4:
                self.totals[id_] += amount
                await self.send(key, id_, steps(Wait(1 + self.below(800)), Add(amount)))
            case 8:
                await self._pause_and_resume(key, f"pile{id_}")
            case 9:
                await self._terminate(key, f"x{key}")
            case _:
                number = (len(self.added) + 1) * (-1 if kind == 7 else 1)
                self.added.append(number)
                await self.ask(key, lambda client: client.handle(piles).add(f"pile{id_}", number, idempotency_key=key))

    async def _pause_and_resume(self, key: str, id_: str) -> None:
        await self.ask(key, lambda client: client.handle(piles).pause(id_, idempotency_key=key))
        await self.sleep(self.random() * 2_000)
        await self.ask(key, lambda client: client.handle(piles).resume(id_, idempotency_key=f"{key}r"))

    async def _terminate(self, key: str, id_: str) -> None:
        """Terminate a machine, perhaps during its run."""
        if self.cluster.up:
            self.cluster.drawn().call(lambda client: client.handle(machine).send(id_, steps(Mark(f"x{key}"), Add(1))))
        await self.sleep(self.random() * 1_000)
        interrupt = self.below(2) == 0
        await self.ask(
            key, lambda client: client.handle(machine).terminate(id_, interrupt=interrupt, idempotency_key=key)
        )

    # ------------------------------------------------------------ mishaps
    async def misfortune(self) -> None:
        """Let engines suffer until all users are done; at least two are kept alive."""
        while self._done < self.users:
            await self.sleep(self.random() ** 2 * 6_000)
            for _ in range(self.below(30)):
                await self.sleep(0)
            living = [engine for engine in self.cluster.engines if not engine.is_over]
            running = [engine for engine in living if engine.process.state == "runs"]
            if running:
                self._suffer(running[self.below(len(running))], len(living) > 1)
            if len([engine for engine in self.cluster.engines if not engine.is_over]) < 3:
                self.start()

    def _suffer(self, engine: ClusterEngine, may_end: bool) -> None:  # noqa: FBT001
        mishap = self.below(8)
        if mishap <= 2:
            self.counts["frozen"] += 1
            engine.freeze(f"{int(self.random() ** 2 * 14_000)} ms")
        elif mishap <= 4:
            self.counts["cut off"] += 1
            engine.cut_off(f"{int(self.random() ** 2 * 9_000)} ms")
        elif mishap == 5 and may_end:
            self.counts["killed"] += 1
            engine.crash()
        elif mishap == 6 and may_end and engine.is_up:
            self.counts["closed"] += 1
            engine.close()

    # ------------------------------------------------------------ the whole
    def run(self) -> None:
        """Run to the end, and check the history.

        Raises:
            AssertionError: the history is wrong.
        """
        with self.cluster as cluster:
            for _ in range(3):
                self.start()
            cluster.run_until(lambda: len(cluster.up) == 3, patience="10 s")
            for number in range(self.users):
                cluster.runtime.spawn(self.user(number), name=f"user {number}")
            if self.mishaps:
                cluster.runtime.spawn(self.misfortune(), name="misfortune")
            finished = cluster.run_until(lambda: self._done == self.users, patience="400 s")
            assert finished, "users wait for ever"
            self._come_to_rest()
            self._check()

    def _come_to_rest(self) -> None:
        cluster = self.cluster
        for _ in range(2):
            if not cluster.up:
                self.start()
            cluster.advance("60 s")
        parked = cluster.inspect(lambda store: store.find(Query(status="parked", limit=1_000)))
        for row in parked:
            cluster.run_on(cluster.drawn(), self.resuming(str(row.address)))
        if parked:
            cluster.advance("60 s")

    def _check(self) -> None:
        rows = {row.address.id: row for row in self.cluster.instances()}
        found = {id_: orjson.loads(rows[id_].state)["total"] for id_ in self.totals if id_ in rows}
        assert found == dict(self.totals), f"lost or applied twice: totals {found} are not {dict(self.totals)}"
        batches = {word for word in map(plain, self.heard) if word.startswith("batch ")}
        flushed = Counter(int(number) for batch in batches for number in batch[6:].split(","))
        assert flushed == Counter(self.added), f"flushed {sorted(flushed.elements())}, added {sorted(self.added)}"
        stuck = [str(row.address) for row in rows.values() if row.claim or row.event_claim]
        assert not stuck, f"claims are left: {stuck}"
        alarms = [str(row.address) for row in rows.values() if row.due_ms and not row.address.id.startswith("x")]
        assert not alarms, f"alarms are left: {alarms}"
        left = self.cluster.inspect(lambda store: store.messages(1 << 52, 1_000))
        assert not left, f"messages are left: {left}"
        for pair, numbers in self.consumed.items():
            assert numbers == sorted(set(numbers)), f"messages of {pair} in another order, or twice: {numbers}"
        without_lease = [str(call) for _, call in self.cluster.effects if call.lease == "ended"]
        assert not without_lease, f"effects without a lease: {without_lease}"
        assert not self.overlaps, f"the same run in two living engines at once: {self.overlaps}"
        twice = {word: count for word, count in Counter(self.heard).items() if count > 1}
        assert not twice, f"a repeat that user code could not see: {twice}"
