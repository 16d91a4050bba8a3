"""What a server, the command line and the kit do with the client of an engine in their own process."""

from __future__ import annotations

import attrs

from perdure.client.client import Client, gateway_of
from perdure.client.local_gateway import LocalGateway
from perdure.engine.running import RunningEngine


def acting_for(client: Client, caller: str, /) -> Client:
    """Return a client whose requests name a caller in the events that they cause: a server passes its callers on."""
    gateway = gateway_of(client)
    return Client(attrs.evolve(gateway, by=caller)) if isinstance(gateway, LocalGateway) else client


def engine_of(client: Client, /) -> RunningEngine:
    """Return the engine of a client in this process: the command line and the kit look into it.

    Raises:
        TypeError: the engine is in another process.
    """
    gateway = gateway_of(client)
    if isinstance(gateway, LocalGateway):
        return gateway.engine
    raise TypeError(f"{client!r} reaches an engine in another process")
