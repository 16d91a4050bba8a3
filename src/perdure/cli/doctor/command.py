"""``perdure doctor``: check an installation, a store and its engine."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator

import attrs

from perdure.cli.doctor import judgement, schema_judgement
from perdure.cli.doctor.counting import kept_counts, saved_counts
from perdure.cli.doctor.diagnosis import Diagnosis
from perdure.cli.doctor.facts import measured, socket_of
from perdure.cli.doctor.installation import installation
from perdure.cli.doctor.schema_facts import measured_schema
from perdure.cli.exit_code import ExitCode
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.paging import MAX_PAGE
from perdure.cli.stats.counts import count
from perdure.cli.styled_lines import write_styled_lines
from perdure.cli.target.opening import is_listening, open_target
from perdure.cli.target.options import UNSET, TargetOptions, chosen_urls
from perdure.cli.target.target import Target
from perdure.cli.usage_error import UsageError
from perdure.stores.postgres import check_driver
from perdure.stores.postgres.schema import migrations
from perdure.stores.postgres.settings import is_postgres, settings_of
from perdure.stores.sqlite.reader import read_from_outside
from perdure.stores.url import sqlite_path
from perdure.values.errors import AccessDenied, DefinitionError, PerdureError, StoreError, StoreMissing
from perdure.values.listings import ListFilter


def doctor(*, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """Check the installation, and the store or the server that you name: each finding with its fix.

    Exit code: 0 no problem (warnings do not count), 1 there are problems, 2 the command cannot start.
    """
    found: list[Diagnosis] = []
    for each in _diagnoses(target):
        found.append(each)
        if json:
            write_json([attrs.asdict(each)])
        else:
            write_styled_lines([each.line])
    problems = sum(each.level == "problem" for each in found)
    if not json:
        warnings = sum(each.level == "warning" for each in found)
        sys.stderr.write(f"perdure: {_counted(problems, 'problem')}, {_counted(warnings, 'warning')}\n")
    return ExitCode.FAILED if problems else ExitCode.DONE


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _diagnoses(target: TargetOptions) -> Iterator[Diagnosis]:
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
                reachable = is_listening(socket_of(reader.path))
                facts = measured(reader, url=url, listens=reachable, now_ms=_now_ms())
                counts = saved_counts(reader, facts.counts.instances) if facts.owner is None else None
        except (StoreError, OSError) as error:
            yield Diagnosis("problem", "store", str(error), "check the path, then perdure verify")
            return
        yield from judgement.judged(facts)
        if counts is not None:
            yield counts
    if reachable:
        yield from _engine(target, is_remote=not url.startswith("sqlite:"))


def _schema(url: str) -> Iterator[Diagnosis]:
    """Check a PostgreSQL store. Its engines are asked by the server that they have."""
    try:
        check_driver(settings_of(url))
        from perdure.stores.postgres.reader import read_postgres  # noqa: PLC0415 - the driver is an extra

        with read_postgres(url) as reader:
            if reader.schema_version < len(migrations()):
                yield schema_judgement.outdated(reader.schema_version, len(migrations()))
                return
            facts = measured_schema(reader, _now_ms())
    except DefinitionError as error:
        raise UsageError(str(error)) from error
    except StoreMissing as missing:
        yield Diagnosis("problem", "store", missing.reason, "check the URL; the first engine creates it, too")
        return
    except StoreError as error:
        yield Diagnosis("problem", "store", str(error), "check the URL and the server, then perdure verify")
        return
    yield from schema_judgement.judged_schema(facts)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _engine(options: TargetOptions, *, is_remote: bool) -> Iterator[Diagnosis]:
    """Check the engine by its own answers; also the rows that wait for an operator, if the file is out of reach."""
    try:
        with open_target(options) as target:
            yield judgement.health(target.health())
            orphaned = target.find(ListFilter(status="orphaned", limit=MAX_PAGE))
            detail = "instances belong to jobs that the engine does not serve"
            yield _waiting(len(orphaned), "orphaned", detail, "perdure list --status orphaned")
            if is_remote:
                yield from waiting_work(target)
            else:
                with read_from_outside(sqlite_path(target.name)) as reader:
                    yield kept_counts(target.counts, lambda: count(reader, _now_ms()))
    except PerdureError as error:
        yield Diagnosis("problem", "engine", str(error), "see the log of the engine")


def waiting_work(target: Target) -> Iterator[Diagnosis]:
    """Check for instances and messages that wait for an operator, as far as the token permits.

    Args:
        target: a running engine.
    """
    parked = target.find(ListFilter(status="parked", limit=MAX_PAGE))
    yield _waiting(len(parked), "parked", "instances are parked", "perdure list --status parked")
    left = target.find(ListFilter(status="left", limit=MAX_PAGE))
    reasons = Counter("?" if each.report.left is None else each.report.left.error_type for each in left)
    yield judgement.left_instances(reasons, ", or more" if len(left) == MAX_PAGE else "")
    try:
        messages, letters = target.left_messages(MAX_PAGE), target.dead_letters(0, MAX_PAGE)
    except AccessDenied as denied:
        yield Diagnosis("skipped", "dead letters", f"needs the scope {denied.scope}")
    else:
        yield judgement.left_messages(len(messages), ", or more" if len(messages) == MAX_PAGE else "")
        yield _waiting(len(letters), "dead letters", "messages failed too often", "perdure dead-letters")


def _waiting(number: int, topic: str, detail: str, command: str) -> Diagnosis:
    """Judge one page of rows: there may be more."""
    return judgement.waiting(number, topic, detail + (", or more" if number == MAX_PAGE else ""), command)
