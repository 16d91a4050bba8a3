"""``perdure doctor``: check an installation, a store and its engine."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Final, Literal

from perdure.cli.inspection import postgres_diagnosis, sqlite_diagnosis
from perdure.cli.inspection.report import Finding, Report, counted
from perdure.cli.inspection.sqlite_diagnosis import kept_counts
from perdure.cli.inspection.stats import count
from perdure.cli.instances.selection import MAX_PAGE
from perdure.cli.options import JsonOption
from perdure.cli.output import write_json, write_styled_lines
from perdure.cli.process import UsageError
from perdure.cli.target.opening import UNSET, TargetOptions, chosen_urls, is_listening, open_target
from perdure.cli.target.target import Target
from perdure.stores.postgres import check_driver
from perdure.stores.postgres.schema import migrations
from perdure.stores.postgres.settings import is_postgres, settings_of
from perdure.stores.sqlite.files import owner_socket
from perdure.stores.sqlite.reader import read_from_outside
from perdure.stores.url import sqlite_path
from perdure.values.errors import AccessDenied, DefinitionError, PerdureError, StoreError, StoreMissing
from perdure.values.listings import ListFilter
from perdure.wire.operations import COUNTS, DEAD_LETTERS, HEALTH, LEFT_MESSAGES
from perdure.wire.records import installed_version

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


def installation(store: Literal["file", "other"]) -> Iterator[Finding]:
    """Check versions and extras.

    Args:
        store: whether the checked store is a SQLite file, or may be one, because none is named.
    """
    yield Finding("ok", "version", f"perdure {installed_version()}, Python {platform.python_version()}")
    yield sqlite_version(sqlite3.sqlite_version_info)
    yield from extras({name for name, modules in EXTRAS.items() if all(map(find_spec, modules))}, store)


def sqlite_version(found: tuple[int, ...]) -> Finding:
    """Check the SQLite version that Python uses."""
    version = ".".join(map(str, found))
    if found < LEAST_SQLITE:
        least = ".".join(map(str, LEAST_SQLITE))
        return Finding("problem", "sqlite", f"SQLite {version}", f"install a Python with SQLite {least} or newer")
    return Finding("ok", "sqlite", f"SQLite {version}")


def extras(installed: set[str], store: Literal["file", "other"]) -> Iterator[Finding]:
    """Check the extras that stores and sockets need."""
    yield Finding("ok", "extras", f"installed: {', '.join(each for each in EXTRAS if each in installed)}")
    if store == "file" and "sqlite" not in installed:
        yield Finding("warning", "extras", "an engine cannot open a SQLite file", "pip install 'perdure[sqlite]'")
    if "server" not in installed:
        yield Finding("warning", "extras", "perdure run does not listen", "pip install 'perdure[server]'")
    if "client" not in installed:
        yield Finding("warning", "extras", "no command reaches an engine", "pip install 'perdure[client]'")


def doctor(*, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """Check the installation, and the store or the server that you name: each finding with its fix.

    Exit code: 0 no problem (warnings do not count), 1 there are problems, 2 the command cannot start.
    """
    report = Report("")
    for each in _diagnoses(target):
        report.add([each])
        if json:
            write_json([each.data])
        else:
            write_styled_lines([each.line])
    if not json:
        problems, warnings = report.number("problem"), report.number("warning")
        shown = counted(problems, "problem", "problems"), counted(warnings, "warning", "warnings")
        sys.stderr.write(f"perdure: {', '.join(shown)}\n")
    return report.exit_code


def _diagnoses(target: TargetOptions) -> Iterator[Finding]:
    is_named = target != UNSET or any(os.environ.get(name) for name in ("PERDURE_SERVER", "PERDURE_STORE"))
    store = target.store if target.server or target.store else os.environ.get("PERDURE_STORE")
    schema = store if store and is_postgres(store) else None
    yield from installation("other" if schema or (is_named and not store) else "file")
    if not is_named:
        return
    if schema:
        yield from _schema(schema)
        return
    url = chosen_urls(target, os.environ)[0]
    reachable = True
    if url.startswith("sqlite:"):
        try:
            path = sqlite_path(url)
        except DefinitionError as error:
            raise UsageError(str(error)) from error
        try:
            with read_from_outside(path) as reader:
                reachable = is_listening(owner_socket(reader.path))
                yield from sqlite_diagnosis.diagnosed(reader, url=url, listens=reachable, now_ms=_now_ms())
        except (StoreError, OSError) as error:
            yield Finding("problem", "store", str(error), "check the path, then perdure verify")
            return
    if reachable:
        yield from _engine(target, is_remote=not url.startswith("sqlite:"))


def _schema(url: str) -> Iterator[Finding]:
    """Check a PostgreSQL store. Its engines are asked by the server that they have."""
    try:
        check_driver(settings_of(url))
        from perdure.stores.postgres.reader import read_postgres  # noqa: PLC0415 - the driver is an extra

        with read_postgres(url) as reader:
            if reader.schema_version < len(migrations()):
                yield postgres_diagnosis.outdated(reader.schema_version, len(migrations()))
                return
            yield from postgres_diagnosis.diagnosed(reader, _now_ms())
    except DefinitionError as error:
        raise UsageError(str(error)) from error
    except StoreMissing as missing:
        yield Finding("problem", "store", missing.reason, "check the URL; the first engine creates it, too")
        return
    except StoreError as error:
        yield Finding("problem", "store", str(error), "check the URL and the server, then perdure verify")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _engine(options: TargetOptions, *, is_remote: bool) -> Iterator[Finding]:
    """Check the engine by its answers and, if the file is out of reach, the rows that wait for an operator."""
    try:
        with open_target(options) as target:
            yield sqlite_diagnosis.health(target.perform(HEALTH))
            orphaned = target.find(ListFilter(status="orphaned", limit=MAX_PAGE))
            detail = "instances belong to jobs that the engine does not serve"
            yield _waiting(len(orphaned), "orphaned", detail, "perdure list --status orphaned")
            if is_remote:
                yield from waiting_work(target)
            else:
                with read_from_outside(sqlite_path(target.name)) as reader:
                    yield kept_counts(lambda: target.perform(COUNTS), lambda: count(reader, _now_ms()))
    except PerdureError as error:
        yield Finding("problem", "engine", str(error), "see the log of the engine")


def waiting_work(target: Target) -> Iterator[Finding]:
    """Check for instances and messages that wait for an operator, as far as the token permits."""
    parked = target.find(ListFilter(status="parked", limit=MAX_PAGE))
    yield _waiting(len(parked), "parked", "instances are parked", "perdure list --status parked")
    left = target.find(ListFilter(status="left", limit=MAX_PAGE))
    reasons = Counter("?" if each.report.left is None else each.report.left.error_type for each in left)
    yield sqlite_diagnosis.left_instances(reasons, ", or more" if len(left) == MAX_PAGE else "")
    try:
        messages = target.perform(LEFT_MESSAGES, limit=MAX_PAGE)
        letters = target.perform(DEAD_LETTERS, after=0, limit=MAX_PAGE)
    except AccessDenied as denied:
        yield Finding("skipped", "dead letters", f"needs the scope {denied.scope}")
    else:
        yield sqlite_diagnosis.left_messages(len(messages), ", or more" if len(messages) == MAX_PAGE else "")
        yield _waiting(len(letters), "dead letters", "messages failed too often", "perdure dead-letters")


def _waiting(number: int, topic: str, detail: str, command: str) -> Finding:
    """Judge one page with rows: a full page may have successors."""
    return sqlite_diagnosis.waiting(number, topic, detail + (", or more" if number == MAX_PAGE else ""), command)
