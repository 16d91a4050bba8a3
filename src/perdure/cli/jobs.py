"""``perdure jobs``: the jobs that an engine serves."""

from __future__ import annotations

from perdure.cli.exit_code import ExitCode
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.table import Table, write_table
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.wire.records import data_of


def jobs(*, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """List the jobs that a running engine serves, the requests that they accept, and whether they are held.

    Exit code: 0 done, 2 the command cannot start, 4 no engine answers.
    """
    with open_target(target) as found:
        served = found.info().jobs
    if json:
        write_json(data_of(job) for job in served)
    else:
        rows = tuple(
            (f"{job.kind}:{job.name}", ", ".join(job.actions), "held" if job.hold == "held" else "") for job in served
        )
        write_table(Table(("JOB", "ACTIONS", "HOLD"), rows, frozenset({"ACTIONS"})).without_empty("HOLD"))
    return ExitCode.DONE
