"""uvicorn's HTTP/1.1 protocol, without its traceback for a request that becomes invalid after its headers."""

from __future__ import annotations

import logging
from typing import Any, Final

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

_LOGGER: Final = logging.getLogger("perdure.http")
_LOGGER.setLevel(logging.ERROR)  # uvicorn warns of each invalid request, so that a client could fill the log


class HttpProtocol(H11Protocol):
    """The HTTP of one connection."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__(config, server_state, app_state)
        self.logger = _LOGGER

    def on_response_complete(self) -> None:
        """Free the part of a refused body that the application has not received, and wait for the next request."""
        self.cycle.body = bytearray()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request. The application, which may have received its headers, sees a client that has gone.

        uvicorn would let the application answer after this response, which raises; so does a second response.
        """
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison] - None at first
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()
