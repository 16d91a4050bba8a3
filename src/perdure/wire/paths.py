"""The paths of the HTTP interface."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from perdure.values.address import Address

BATCHES: Final = "/v1/calls"


def instance_path(address: Address, *more: str) -> str:
    """Return the path of an instance, percent-encoded.

    >>> instance_path(Address("task", "orders", "a/b"), "explain", "send")
    '/v1/jobs/task/orders/instances/a%2Fb/explain/send'
    >>> instance_path(Address("task", "orders", ".."))
    '/v1/jobs/task/orders/instances/%2E%2E'

    Args:
        address: the instance.
        *more: further parts.
    """
    kind, name, id_ = map(_encoded, (address.kind, address.name, address.id))
    return "/".join((f"/v1/jobs/{kind}/{name}/instances/{id_}", *map(_encoded, more)))


def _encoded(part: str) -> str:
    """Encode one part. Clients of HTTP remove the parts ``.`` and ``..`` from a path (RFC 3986, section 5.2.4)."""
    return quote(part, safe="") if part not in {".", ".."} else part.replace(".", "%2E")
