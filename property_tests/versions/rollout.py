"""A cluster in which two versions of the code run beside each other, and clients of both call it.

The clients are those of other processes: every call and answer crosses as JSON, to an engine that one address chooses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal, Never, cast

from attrs import Factory, define, field, frozen
from history import Age, Call, Try
from laws import left_instances_are_listed
from returns.result import Failure, Result, Success
from versioned_jobs import Code

from perdure import Limits, attempt
from perdure.client.client import Client
from perdure.client.gateway import concurrently
from perdure.jobs.code_fingerprint import code_of
from perdure.remote.channel import AnswerLost, HttpReply, NotSent
from perdure.remote.connecting import settings
from perdure.runtime.record import SpawnedTask
from perdure.server.calls import perform
from perdure.testing.cluster import Cluster, ClusterEngine
from perdure.values.times import Duration
from perdure.wire.requests import BatchReply, Envelope, envelope_of, reply_of

SCOPES = frozenset({"read", "call", "operate"})
POLL_MS = 5
PATIENCE_MS = 5_000
"""How long one try of a call waits."""

GIVES_UP_MS = 120_000
"""When a caller stops repeating a call."""

PAUSE_MS = 200
ADDRESSES = ("http://balancer", "http://first", "http://second")
"""A load balancer, and the addresses of two engines."""


# ---------------------------------------------------------------- clients
@define(eq=False)
class Connection:
    """The channels of one client.

    Attributes:
        cluster: the engines.
        new_key: returns a new key.
        last: the engine that received the last request.
    """

    cluster: Cluster
    new_key: Callable[[], str]
    last: ClusterEngine | None = None

    def engine(self, address: str) -> ClusterEngine:
        """Return the engine that an address reaches: any for a load balancer, otherwise that of a place."""
        up = self.cluster.up
        number = ADDRESSES.index(address)
        if len(up) < max(1, number):
            raise NotSent("no engine is up")
        return self.cluster.drawn() if number == 0 else up[number - 1]

    async def concurrently(self, calls: Any, /) -> Result[Any, Never]:
        """Make several calls."""
        return await concurrently(self.cluster.runtime, calls)

    async def pause(self, delay_ms: float, /) -> None:
        """Wait before a repeat."""
        await self.cluster.runtime.sleep(delay_ms)

    def now_ms(self) -> float:
        """Read the clock."""
        return self.cluster.now_ms


@frozen
class JsonChannel:
    """Sends requests to an address.

    Attributes:
        connection: that of the client.
        address: one of `ADDRESSES`.
    """

    connection: Connection
    address: str

    async def call(self, envelope: Envelope, timeout_ms: float, /) -> BatchReply:
        """Send a request as a line of JSON, and wait for the line of its answer."""
        connection, runtime = self.connection, self.connection.cluster.runtime
        connection.last = engine = connection.engine(self.address)
        given = envelope_of(envelope.encoded(), where="line")
        gateway: Any = cast("Any", engine.client)._gateway
        task = engine.process.runtime.spawn(perform(gateway, given, SCOPES), name="request")
        deadline = connection.now_ms() + timeout_ms
        while not task.done():
            if engine.is_over or connection.now_ms() > deadline:
                raise AnswerLost("the engine has ended, or is late")
            await runtime.sleep(POLL_MS)
        if task.cancelled():
            raise AnswerLost("the engine has ended")
        reply = reply_of(task.result())
        assert reply is not None
        return reply

    async def http(self, *_: Any) -> HttpReply:
        """Refuse: no law needs such a request."""
        return HttpReply(404, b"")


# ---------------------------------------------------------------- services
@define
class Calls:
    """An external system. It remembers each call over all crashes, and takes a while.

    Attributes:
        heard: the work and the key of each call.
        refusals: how often each work is still refused.
        refuse_next: how often the next work that is not known is refused.
    """

    cluster: Cluster = field(init=False)
    heard: list[tuple[str, str]] = Factory(list[tuple[str, str]])
    refusals: Counter[str] = Factory(Counter[str])
    refuse_next: int = 0

    async def hear(self, work: str, key: str) -> bool:
        """Do some work, and return whether it is done; it is refused otherwise."""
        if work not in self.keys:
            self.refusals[work], self.refuse_next = self.refuse_next, 0
        self.heard.append((work, key))
        await self.cluster.runtime.sleep(self.cluster.runtime.random() * 200)
        self.refusals[work] -= 1
        return self.refusals[work] < 0

    @property
    def keys(self) -> dict[str, set[str]]:
        """The keys of each work."""
        found: dict[str, set[str]] = {}
        for work, key in self.heard:
            found.setdefault(work, set()).add(key)
        return found


# ---------------------------------------------------------------- the scene
@define(eq=False)
class Rollout:
    """Two versions of one job, engines of both, and everything that was called.

    Attributes:
        kind: of the job.
        codes: the versions.
        seed: of the cluster.
        clients: whether clients know a load balancer or the addresses of engines.
        draws_keys: whether clients add a key to each request that has none.
        limits: of the engines.
    """

    kind: str
    codes: dict[Age, Code]
    seed: int = 0
    clients: Literal["balancer", "addresses"] = "balancer"
    draws_keys: bool = False
    limits: Limits = Factory(Limits)
    outside: Calls = Factory(Calls)
    calls: list[Call] = Factory(list[Call])
    parked: list[str] = Factory(list[str])
    left: list[str] = Factory(list[str])
    cluster: Cluster = field(init=False)
    apps: dict[Age, Any] = field(init=False)
    ages: dict[int, Age] = Factory(dict[int, Age])
    _tasks: list[SpawnedTask[None]] = Factory(list[SpawnedTask[None]])
    _numbers: int = 0
    _keys: int = 0

    def __attrs_post_init__(self) -> None:
        self.apps = {age: code.app(self.outside, self.kind, self.limits) for age, code in self.codes.items()}
        self.outside.cluster = self.cluster = Cluster(self.apps["old"], seed=self.seed, lease="2 seconds")

    # ------------------------------------------------------------ engines
    def open(self, age: Age) -> ClusterEngine:
        """Open an engine."""
        engine = self.cluster.open(self.apps[age])
        self.ages[engine.number] = age
        return engine

    def up(self, age: Age) -> list[ClusterEngine]:
        """Return the engines of a version."""
        return [engine for engine in self.cluster.up if self.ages[engine.number] == age]

    def advance(self, duration: Duration) -> None:
        """Move the clock, and look for instances that are parked or left."""
        self.cluster.advance(duration)
        rows = self.cluster.instances()
        self.parked += [str(row.address) for row in rows if row.suspension == "recovery_exhausted"]
        found = [row for row in rows if row.left is not None]
        self.left += [str(row.address) for row in found]
        if found:
            self.check_list()

    def check_list(self) -> None:
        """Check that the instances which code left are listed with their reasons, and no others are."""
        for engine in self.cluster.up:
            before = {row.address: row for row in self.cluster.instances()}
            task = engine.call(lambda client: client.list(status="left", limit=1_000))
            self.cluster.run_until(lambda task=task, engine=engine: task.done() or engine.is_over, patience="1 s")
            # Read on both sides of the call: meanwhile a newer engine may take instances up.
            after = {row.address: row for row in self.cluster.instances()}
            if task.done() and not task.cancelled() and isinstance(task.result(), Success):
                left_instances_are_listed(task.result().unwrap(), before, after, self.marks)

    @property
    def marks(self) -> Mapping[str, Any]:
        """The definitions of the versions, by their fingerprint in a mark."""
        return {code_of(job): job for code in self.codes.values() for job in code.jobs(self.kind)}

    def close(self, engine: ClusterEngine) -> None:
        """Stop an engine gracefully."""
        task = engine.close()
        assert self.cluster.run_until(task.done, patience="60 s"), "an engine does not stop"

    def roll(self, age: Age) -> None:
        """Open an engine of a version, and begin to close the oldest one of the other version."""
        others = [engine for engine in self.cluster.up if self.ages[engine.number] != age]
        if others:
            self.open(age)
            others[0].close()

    def replace_all(self, age: Age) -> None:
        """Replace the engines of the other version, one by one."""
        others = [engine for engine in self.cluster.up if self.ages[engine.number] != age]
        if not self.up(age):
            self.open(age)
        for engine in others:
            self.advance("1 s")
            self.close(engine)
        self.advance("3 s")

    # ------------------------------------------------------------ calls
    def handle(self, age: Age, connection: Connection) -> Any:
        """Return the typed handle of a client of a version."""
        job = self.codes[age].job(self.kind)
        given = settings(
            ADDRESSES[:1] if self.clients == "balancer" else ADDRESSES[1:],
            [job],
            token=None,
            timeout=f"{PATIENCE_MS} ms",
            wait_timeout=f"{PATIENCE_MS} ms",
            max_connections=1,
            draw_keys=self.draws_keys,
        )
        gateway = given.gateway(lambda url: JsonChannel(connection, url.name), connection)
        return Client(gateway).handle(job)

    def next_number(self) -> int:
        """Return the number of the next request."""
        self._numbers += 1
        return self._numbers

    def next_key(self) -> str:
        """Return a new key, as a client draws it."""
        self._keys += 1
        return f"drawn {self._keys}"

    def start(self, call: Call, make: Callable[[Any], Any]) -> Call:
        """Make a call in the background: it is repeated while that is safe."""
        self.calls.append(call)
        self._tasks.append(self.cluster.runtime.spawn(self._call(call, make), name=call.name))
        return call

    def ask(self, make: Callable[[Any], Any]) -> Any:
        """Make a call of a newer client that must succeed."""
        call = self.start(Call("law", "new"), make)
        assert self.finished()
        assert call.state == "answered", call.tries
        return call.answer

    @property
    def keys(self) -> Mapping[str, set[str]]:
        """The keys of each work that the services were called with."""
        return self.outside.keys

    def finished(self) -> bool:
        """Wait for all calls, and return whether they have ended."""
        return self.cluster.run_until(lambda: all(task.done() for task in self._tasks), patience="400 s")

    async def _call(self, call: Call, make: Callable[[Any], Any]) -> None:
        connection = Connection(self.cluster, self.next_key)
        handle = self.handle(call.of, connection)
        deadline = self.cluster.now_ms + GIVES_UP_MS
        while True:
            connection.last = None
            match await attempt(make(handle)):
                case Success(value):
                    call.answer, call.state = value, "answered"
                    return
                case Failure(error):
                    at = None if connection.last is None else self.ages[connection.last.number]
                    call.tries.append(Try(at, error))
            if not call.repeats(error) or self.cluster.now_ms > deadline:
                call.state = "failed"
                return
            await self.cluster.runtime.sleep(PAUSE_MS)
