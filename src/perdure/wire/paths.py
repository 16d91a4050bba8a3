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
    return "/".join((job_path(address.kind, address.name), "instances", *map(_encoded, (address.id, *more))))


def job_path(kind: str, name: str) -> str:
    """Return the path of a job, percent-encoded."""
    return f"/v1/jobs/{_encoded(kind)}/{_encoded(name)}"


def _encoded(part: str) -> str:
    """Encode one part. Clients of HTTP remove the parts ``.`` and ``..`` from a path (RFC 3986, section 5.2.4)."""
    return quote(part, safe="") if part not in {".", ".."} else part.replace(".", "%2E")
