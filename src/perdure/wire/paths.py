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

    Args:
        address: the instance.
        *more: further parts.
    """
    kind, name, id_ = (quote(part, safe="") for part in (address.kind, address.name, address.id))
    return "/".join((f"/v1/jobs/{kind}/{name}/instances/{id_}", *(quote(part, safe="") for part in more)))
