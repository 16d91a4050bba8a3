"""The answer of ``/ready``, which needs no token: it queries the store at most twice a second."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import attrs
import orjson
from returns.result import Result
from starlette.responses import Response

from perdure.client.client import Client
from perdure.client.in_process import engine_of
from perdure.jobs.call import result_of
from perdure.server.replies import json_reply
from perdure.stores.values import Health

FRESH_MS: Final = 500
"""How long an answer is repeated."""


@attrs.define(eq=False)
class Readiness:
    """The state of an engine, as a probe asks for it."""

    _state: str = "failed"
    _until_ms: float = float("-inf")
    _querying: asyncio.Lock = attrs.Factory(asyncio.Lock)

    async def reply(self, client: Client) -> Response:
        """Return 200, or 503 if the engine cannot serve."""
        runtime = engine_of(client).runtime
        async with self._querying:
            if runtime.monotonic_ms() >= self._until_ms:
                result: Result[Health, Any] = await result_of(client.health())
                health = result.value_or(Health(state="failed", detail="the store does not answer"))
                self._state, self._until_ms = health.state, runtime.monotonic_ms() + FRESH_MS
        return json_reply(orjson.dumps({"status": self._state}), 503 if self._state == "failed" else 200)
