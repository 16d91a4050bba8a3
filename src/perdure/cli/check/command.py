"""``perdure check``: report stored data that the new code cannot decode."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
import orjson
from cyclopts import Parameter

from perdure.app import App
from perdure.cli.app_argument import AppArgument
from perdure.cli.app_loader import import_app, imported_code, records_of
from perdure.cli.check import tables
from perdure.cli.check.app_types import read_types, text_of, types_of
from perdure.cli.check.deploy import ORDERS, changes, order_of
from perdure.cli.check.finding import Topic
from perdure.cli.check.progress import Progress
from perdure.cli.check.report import CheckReport
from perdure.cli.check.row_check import RowCheck
from perdure.cli.check.row_reader import rows_from_outside
from perdure.cli.check.scan import scan
from perdure.cli.check.text import json_of, lines_of
from perdure.cli.exit_code import ExitCode
from perdure.cli.progress_line import line_on_stderr
from perdure.cli.standard_output import write_lines
from perdure.cli.store_option import StoreIfAny
from perdure.cli.table import Table, write_table
from perdure.cli.usage_error import UsageError
from perdure.stores.postgres.settings import shown_url
from perdure.values.errors import DefinitionError, StoreError


def check(
    app: AppArgument,
    *,
    store: StoreIfAny = None,
    deploy: Path | None = None,
    unserved: Literal["problem", "note"] = "problem",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Report stored data that the code of an app cannot decode, or with `--deploy` its changes since a version.

    Run it with the new code before you deploy it.

    It reads every instance, undelivered message, claim and idempotency key, and replays every workflow. It runs beside
    an engine that owns the store or without one, takes no lock and writes nothing. It prints the files of the code that
    it imported: a folder in PYTHONPATH comes before the current one.

    With --deploy it reads no store, and prints each change of a type or a job since the version of the app whose
    definitions are in the file, and whether it needs a version or an order of the deploy.

    Exit code: 0 the code can decode everything, or no change needs a version, 1 there are problems, 2 the check cannot
    start.

    Parameters
    ----------
    store
        Where instances live: sqlite:///jobs.db, or postgresql://user@host/database.
    deploy
        A file with the output of perdure definitions of the deployed version.
    unserved
        Whether instances of jobs that the app does not serve, and messages to them, are a problem.
    json
        Print one JSON object instead of text.
    """
    if deploy is not None:
        return _deploy(import_app(app), deploy, json=json)
    if store is None:
        raise UsageError(
            "name a store, --store sqlite:///jobs.db, or a file to compare with, --deploy definitions.json"
        )
    before = set(sys.modules)
    code = import_app(app)
    files = imported_code(app, before)
    accepted = frozenset({Topic.NOT_SERVED, Topic.WAITING}) if unserved == "note" else frozenset[Topic]()
    report = _report(store, RowCheck(code.served, records_of(code)))
    if json:
        data = {"code": files} | json_of(report, shown_url(store), accepted)
        sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        write_lines([*(f"code: {name} from {file}" for name, file in files.items()), ""])
        write_lines(lines_of(report, shown_url(store), accepted))
    return ExitCode.FAILED if report.problems(accepted) else ExitCode.DONE


def definitions(app: AppArgument) -> int:
    """Print the types of an app's jobs, which `perdure check --deploy` compares with those of a later version.

    Equal definitions print equal text: commit it, or keep it beside each release.

    Exit code: 0 done, 2 the app cannot be imported.
    """
    write_lines(text_of(types_of(import_app(app).served.values())).splitlines())
    return ExitCode.DONE


def _deploy(code: App[Any], deployed: Path, *, json: bool) -> int:
    rows = changes(read_types(deployed), types_of(code.served.values()))
    if json:
        data = {"changes": [attrs.asdict(row) for row in rows], "order": order_of(rows)}
        sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        if rows:
            cells = tuple((row.effect, row.job, row.place, row.reason) for row in rows)
            write_table(Table(("CHANGE", "JOB", "PLACE", "REASON"), cells, frozenset({"REASON"})))
        write_lines([*([""] if rows else []), ORDERS[order_of(rows)]])
    return ExitCode.FAILED if order_of(rows) == "needs a version" else ExitCode.DONE


def _report(store: str, judge: RowCheck) -> CheckReport:
    line = line_on_stderr()
    try:
        with rows_from_outside(store) as reader:
            judge = attrs.evolve(judge, journal=partial(tables.journal, reader))
            return scan(reader, judge, now_ms=time.time_ns() // 1_000_000, progress=Progress(line).show)
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    finally:
        line.clear()
