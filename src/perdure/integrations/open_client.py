"""The function that a web application opens its client with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from perdure.client.client import Client

OpenClient: TypeAlias = Callable[[], AbstractAsyncContextManager[Client]]
"""Opens a client: ``lambda: connect(url, orders)``, or ``lambda: app.open(store)`` for an engine in this process."""
