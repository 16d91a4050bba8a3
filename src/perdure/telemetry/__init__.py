"""Telemetry: sinks for an engine's events. Add them with ``App.with_sinks``.

The simplest sink is one function: see `on_event`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import iscoroutinefunction
from typing import cast

import attrs

from perdure.engine.sinks import EngineView, OnEvent, OpenSink
from perdure.values.errors import DefinitionError

__all__ = ["FunctionSink", "on_event"]


@attrs.frozen(kw_only=True)
class FunctionSink:
    """Calls a function with every event. `on_event` makes it.

    Attributes:
        name: the name in logs.
        function: the function.
    """

    name: str
    function: OnEvent

    def open(self, _: EngineView, /) -> AbstractAsyncContextManager[OpenSink]:
        """Watch an engine."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[OpenSink]:
        yield OpenSink(on_event=self.function)


def on_event(function: OnEvent, /, *, name: str | None = None) -> FunctionSink:
    """Return a sink that calls a function with every event: ``app.with_sinks(on_event(print))``.

    Args:
        function: called with each stored event after its commit, and with each live event. The engine waits for it: it
            must return at once. An exception that it raises is logged.
        name: the sink's name, unique in an app. By default the function's.

    Raises:
        DefinitionError: it is not a function, or one that must be awaited.
    """
    given = cast("object", function)
    if not callable(given) or iscoroutinefunction(given):
        raise DefinitionError("function of a sink", given, "a function that is not async: the engine awaits nothing")
    own_name: str = getattr(function, "__name__", type(function).__name__)
    return FunctionSink(name=name or own_name, function=function)
