"""A Django project's client: one for each process, opened when a view first calls a job."""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import ExitStack
from typing import Any, Final, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from perdure.jobs.definition import AnyDefinition, check_definition
from perdure.remote import SyncClient, connect_sync
from perdure.values.errors import DefinitionError
from perdure.values.times import Duration
from perdure.values.trace import CurrentTrace

TIMEOUT: Final = "10 seconds"
"""How long a call may take by default: a web server thread waits with it."""

_lock: Final = threading.Lock()
_opened: Final[dict[int, tuple[SyncClient, ExitStack]]] = {}
"""By process id: a server that forks opens another client in each child."""


def jobs() -> SyncClient:
    """Return this process's client, for all of its threads.

    Its first call opens it, with the settings ``PERDURE_URL``, ``PERDURE_JOBS``, ``PERDURE_TOKEN``,
    ``PERDURE_TIMEOUT`` and ``PERDURE_TRACE``.

    Raises:
        ImproperlyConfigured: a setting is missing, or is not a definition.
    """
    opened = _opened.get(os.getpid())
    if opened is None:
        with _lock:
            # Another thread may have opened it meanwhile.
            opened = _opened.get(os.getpid()) or _open()
            _opened[os.getpid()] = opened
    return opened[0]


def close() -> None:
    """Close this process's client, if it is open. The next `jobs` call opens another one."""
    with _lock:
        opened = _opened.pop(os.getpid(), None)
    # Outside of the lock: the close may wait.
    if opened is not None:
        opened[1].close()


atexit.register(close)


def _open() -> tuple[SyncClient, ExitStack]:
    url: str | list[str] | None = getattr(settings, "PERDURE_URL", None)
    if not url:
        expected = "the URL of the engine, such as 'sqlite:///jobs.db', or a list of those of several engines"
        raise ImproperlyConfigured(f"PERDURE_URL: expected {expected}")
    stack = ExitStack()
    token: str | None = getattr(settings, "PERDURE_TOKEN", None)
    timeout: Duration = getattr(settings, "PERDURE_TIMEOUT", TIMEOUT)
    trace: str | None = getattr(settings, "PERDURE_TRACE", None)
    client = stack.enter_context(
        connect_sync(url, *_definitions(), token=token, timeout=timeout, trace=None if trace is None else _trace(trace))
    )
    return client, stack


def _trace(path: str) -> CurrentTrace:
    try:
        found: CurrentTrace = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"{path!r} in PERDURE_TRACE: expected the path of a function: {error}") from error
    return found


def _definitions() -> list[AnyDefinition]:
    paths = cast("list[str]", getattr(settings, "PERDURE_JOBS", []))
    return [_definition(path) for path in paths]


def _definition(path: str) -> AnyDefinition:
    try:
        found: Any = import_string(path)
        return check_definition(found)
    except (ImportError, DefinitionError) as error:
        raise ImproperlyConfigured(f"{path!r} in PERDURE_JOBS: expected the path of a definition: {error}") from error
