"""Admission: a server's clients share slots and bytes, and each client has its own limit and rate."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, TypeVar

import attrs

from perdure.runtime.record import Future, Runtime, SpawnedTask
from perdure.values.errors import Overloaded

# Beyond it the map would grow with each address that an attacker uses.
MAX_CLIENTS: Final = 10_000
"""Buckets that are kept. Beyond, the client that was longest without a request starts with a full one."""


@attrs.frozen
class Bucket:
    """The requests that a client may still send.

    Attributes:
        left: how many, at `at_ms`. May be a fraction, and less than 0 after a batch.
        at_ms: the last request's time, on a clock that never goes back.
    """

    left: float
    at_ms: float


def take(bucket: Bucket, now_ms: float, *, per_second: int, burst: int, count: int = 1) -> tuple[Bucket, float]:
    """Take requests from a bucket: one, or a batch's requests together.

    A batch is accepted as one request is, and may leave less than nothing: the client then waits until that is made
    up for. So a batch larger than the burst is not refused for ever.

    Returns:
        The bucket afterwards, and how many milliseconds the client must wait: 0 if the request is accepted. A refused
        request takes nothing, so that a client that repeats at once does not lock itself out.
    """
    left = min(float(burst), bucket.left + (now_ms - bucket.at_ms) * per_second / 1_000)
    # One is enough, whatever the count: a batch larger than the burst would be refused for ever.
    if left >= 1:
        return Bucket(left - count, now_ms), 0
    return Bucket(left, now_ms), (1 - left) * 1_000 / per_second


@attrs.define
class Rates:
    """The buckets of one server's clients.

    Attributes:
        per_second: one client's requests in the long run.
        burst: one client's requests after a pause.
        max_clients: buckets that are kept.
    """

    per_second: int
    burst: int
    max_clients: int = MAX_CLIENTS
    _buckets: OrderedDict[str, Bucket] = attrs.Factory(OrderedDict[str, Bucket])

    def wait_ms(self, client: str, now_ms: float, count: int = 1) -> float:
        """Count a client's requests. Return 0, or how many milliseconds it must wait before the next attempt."""
        # Taken out and put back: the order of the map is that of the last requests.
        bucket = self._buckets.pop(client, None) or Bucket(self.burst, now_ms)
        bucket, wait = take(bucket, now_ms, per_second=self.per_second, burst=self.burst, count=count)
        self._buckets[client] = bucket
        if len(self._buckets) > self.max_clients:
            # The client that was longest without a request has a full bucket anyway, or nearly.
            self._buckets.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._buckets)


# Parsing an address costs more than the rest of the admission.
@lru_cache(1_024)
def client_key(host: str) -> str:
    """Return an address's key: an IPv6 client has a network of 2**64 addresses, which count as one."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    # An IPv4 client over an IPv6 socket is the same client.
    return str(getattr(address, "ipv4_mapped", None) or address)


T = TypeVar("T")

UNBOUNDED: Final = 2**62
"""More than any server holds: another limit bounds it."""


class ClientGone(Exception):
    """The client closed its connection while its request waited: nothing was done."""


def _always(_: str) -> bool:
    return True


@attrs.frozen(eq=False)
class _Waiting:
    client: str
    weight: int
    admitted: Future[None]


@attrs.define(eq=False, kw_only=True)
class Bulkhead:
    """Limits the work in progress, for all clients together and for each client. Waiting clients take turns.

    Attributes:
        name: the limit's name, for errors.
        limit: the maximum weight in progress for all clients.
        of_one: the maximum weight in progress for one client.
        waiting: how many work pieces may wait, for all clients. A further one is refused. 0 to refuse without waiting.
        waiting_of_one: how many may wait for one client.
        rests: whether a slot rests after its work for as long as the work took, so that with one slot the work takes at
            most half the event loop, however much work clients request.
        may_begin: whether another limit permits a client's work, in addition. Call `advance` when that changes.
        held: the work's weight in progress.
    """

    name: str
    limit: int
    of_one: int
    runtime: Runtime
    waiting: int = 0
    waiting_of_one: int = 0
    rests: bool = False
    may_begin: Callable[[str], bool] = _always
    held: int = 0
    queued: int = 0
    _held_by: dict[str, int] = attrs.Factory(dict[str, int])
    _queues: dict[str, deque[_Waiting]] = attrs.Factory(dict[str, "deque[_Waiting]"])  # the next client's turn first

    def held_by(self, client: str) -> int:
        """Return the weight that a client has in progress."""
        return self._held_by.get(client, 0)

    def take(self, client: str, weight: int = 1) -> bool:
        """Admit work at once. Return False if it does not fit. `release` it when it has ended."""
        held = self._held_by.get(client, 0) + weight
        # Behind those that wait: a new request must not overtake them.
        if self._queues or held > self.of_one or self.held + weight > self.limit or not self.may_begin(client):
            return False
        self.held += weight
        self._held_by[client] = held
        return True

    def count(self, client: str, weight: int) -> None:
        """Count the weight that a client holds already, whether or not it fits."""
        self.held += weight
        self._held_by[client] = self._held_by.get(client, 0) + weight

    def release(self, client: str, weight: int = 1) -> None:
        """Note that work has ended, and admit the work that waits for it."""
        self.held -= weight
        left = self._held_by[client] - weight
        if left:
            self._held_by[client] = left
        else:
            del self._held_by[client]  # clients come and go: only those with work are remembered
        if self._queues:
            self.advance()

    async def enter(self, client: str, weight: int = 1, *, left: Callable[[], Awaitable[None]] | None = None) -> None:
        """Admit work, after each other waiting client has had a turn. `release` it when it has ended.

        Args:
            client: the client.
            weight: the work's weight. More than a limit counts as the limit.
            left: returns once the client has closed its connection.

        Raises:
            Overloaded: too much waits.
            ClientGone: the client left before.
        """
        if self.take(client, weight):
            return
        queue = self._queues.get(client)
        # Both limits: one client must not fill the queue that all share.
        if self.queued >= self.waiting or len(queue or ()) >= self.waiting_of_one:
            raise Overloaded(self.name, self.waiting or self.limit)
        waiting = _Waiting(client, weight, self.runtime.future())
        self._queues.setdefault(client, deque()).append(waiting)
        self.queued += 1
        # The request may fit although others wait, whose own client has reached its limit.
        self.advance()
        watch = None if left is None or waiting.admitted.done() else self._watch(left, waiting)
        try:
            await waiting.admitted
        # A caller that leaves must not keep its place in the queue.
        except BaseException:
            self._forget(waiting)
            raise
        finally:
            if watch is not None:
                watch.cancel()

    async def perform(
        self,
        client: str,
        work: Callable[[], Awaitable[T]],
        *,
        weight: int = 1,
        left: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        """Wait until the work is admitted, and do it. See `enter`."""
        # A weight above the limit would never fit.
        weight = min(weight, self.limit, self.of_one)
        await self.enter(client, weight, left=left)
        began_ms = self.runtime.monotonic_ms()
        try:
            return await work()
        finally:
            if self.rests:
                took_ms = self.runtime.monotonic_ms() - began_ms
                # As long again as the work took: lists take at most half of the engine's time.
                self.runtime.call_later(took_ms, lambda: self.release(client, weight))
            else:
                self.release(client, weight)

    def advance(self) -> None:
        """Admit the work that fits: one piece from each client in turn."""
        admitted = True
        while admitted:
            admitted = False
            # A copy: admitting changes the queues.
            for client in tuple(self._queues):
                queue = self._queues[client]
                if not self._of_its_own(client, queue[0].weight):
                    continue
                if self.held + queue[0].weight > self.limit:
                    return  # lighter work of the clients behind would keep this one waiting for ever
                del self._queues[client]
                if len(queue) > 1:
                    self._queues[client] = queue  # behind the other clients
                self._admit(queue.popleft())
                admitted = True

    def _admit(self, waiting: _Waiting) -> None:
        self.queued -= 1
        self.count(waiting.client, waiting.weight)
        if not waiting.admitted.done():  # its caller may have been cancelled in this step: it gives the slot back
            waiting.admitted.set_result(None)

    def _of_its_own(self, client: str, weight: int) -> bool:
        return self._held_by.get(client, 0) + weight <= self.of_one and self.may_begin(client)

    def _watch(self, left: Callable[[], Awaitable[None]], waiting: _Waiting) -> SpawnedTask[None]:
        async def watched() -> None:
            await left()
            if not waiting.admitted.done():
                waiting.admitted.set_exception(ClientGone())

        return self.runtime.spawn(watched(), name="client of a waiting request")

    def _forget(self, waiting: _Waiting) -> None:
        """Remove work whose caller was cancelled or has left, also if it was admitted in the same step."""
        queue = self._queues.get(waiting.client)
        # It was admitted in the same step as it left: the slot must not be lost.
        if queue is None or waiting not in queue:
            self.release(waiting.client, waiting.weight)
            return
        queue.remove(waiting)
        self.queued -= 1
        if not queue:
            del self._queues[waiting.client]
        # The work behind it may fit now.
        self.advance()
