"""The rate of requests: a token bucket for each client. Pure, but for the dictionary that holds the buckets."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

import attrs

MAX_CLIENTS: Final = 10_000
"""Buckets that are kept; beyond, the client that was longest without a request starts with a full one."""


@attrs.frozen
class Bucket:
    """The requests that a client may still send.

    Attributes:
        left: at `at_ms`; may be a fraction, and less than 0 after a batch.
        at_ms: the time of the last request, of a clock that never goes back.
    """

    left: float
    at_ms: float


def take(bucket: Bucket, now_ms: float, *, per_second: int, burst: int, count: int = 1) -> tuple[Bucket, float]:
    """Take requests out of a bucket: one, or those of a batch together.

    A batch is accepted as one request is, and may leave less than nothing: the client then waits until that is made
    up for. So a batch larger than the burst is not refused for ever.

    Returns:
        The bucket afterwards, and how many milliseconds the client must wait: 0 if the request is accepted. A refused
        request takes nothing, so that a client that repeats at once does not lock itself out.
    """
    left = min(float(burst), bucket.left + (now_ms - bucket.at_ms) * per_second / 1_000)
    if left >= 1:
        return Bucket(left - count, now_ms), 0
    return Bucket(left, now_ms), (1 - left) * 1_000 / per_second


@attrs.define
class Rates:
    """The buckets of the clients of one server.

    Attributes:
        per_second: requests of one client in the long run.
        burst: requests of one client after a pause.
        max_clients: buckets that are kept.
    """

    per_second: int
    burst: int
    max_clients: int = MAX_CLIENTS
    _buckets: OrderedDict[str, Bucket] = attrs.Factory(OrderedDict[str, Bucket])

    def wait_ms(self, client: str, now_ms: float, count: int = 1) -> float:
        """Count requests of a client; return 0, or how many milliseconds it must wait before the next attempt."""
        bucket = self._buckets.pop(client, None) or Bucket(self.burst, now_ms)
        bucket, wait = take(bucket, now_ms, per_second=self.per_second, burst=self.burst, count=count)
        self._buckets[client] = bucket
        if len(self._buckets) > self.max_clients:
            self._buckets.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._buckets)


@lru_cache(1_024)
def client_key(host: str) -> str:
    """Return the key of an address: an IPv6 client has a network of 2**64 addresses, which count as one."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(getattr(address, "ipv4_mapped", None) or address)
