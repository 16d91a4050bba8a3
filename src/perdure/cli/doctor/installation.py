"""Checks of the installed library."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Final, Literal

from perdure.cli.doctor.diagnosis import Diagnosis
from perdure.wire.engine_info import installed_version

LEAST_SQLITE: Final = (3, 37, 0)
"""The first version with STRICT tables."""

EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "cli": ("cyclopts", "rich"),
    "sqlite": ("aiosqlite",),
    "postgres": ("asyncpg",),
    "server": ("httptools", "starlette", "uvicorn"),
    "client": ("httpx2",),
    "dashboard": ("htpy",),
    "prometheus": ("prometheus_client",),
    "encryption": ("cryptography",),
    "opentelemetry": ("opentelemetry",),
    "sentry": ("sentry_sdk",),
    "testing": ("hypothesis", "pytest"),
}
"""The modules of each extra that an operator may need."""


def installation(store: Literal["file", "other"]) -> Iterator[Diagnosis]:
    """Check versions and extras.

    Args:
        store: whether the checked store is a SQLite file, or may be one, because none is named.
    """
    yield Diagnosis("ok", "version", f"perdure {installed_version()}, Python {platform.python_version()}")
    yield sqlite_version(sqlite3.sqlite_version_info)
    yield from extras({name for name, modules in EXTRAS.items() if all(map(find_spec, modules))}, store)


def sqlite_version(found: tuple[int, ...]) -> Diagnosis:
    """Check the version of SQLite that Python was built with."""
    version = ".".join(map(str, found))
    if found < LEAST_SQLITE:
        least = ".".join(map(str, LEAST_SQLITE))
        return Diagnosis("problem", "sqlite", f"SQLite {version}", f"install a Python with SQLite {least} or newer")
    return Diagnosis("ok", "sqlite", f"SQLite {version}")


def extras(installed: set[str], store: Literal["file", "other"]) -> Iterator[Diagnosis]:
    """Check the extras that stores and sockets need."""
    yield Diagnosis("ok", "extras", f"installed: {', '.join(each for each in EXTRAS if each in installed)}")
    if store == "file" and "sqlite" not in installed:
        yield Diagnosis("warning", "extras", "an engine cannot open a SQLite file", "pip install 'perdure[sqlite]'")
    if "server" not in installed:
        yield Diagnosis("warning", "extras", "perdure run does not listen", "pip install 'perdure[server]'")
    if "client" not in installed:
        yield Diagnosis("warning", "extras", "no command reaches an engine", "pip install 'perdure[client]'")
