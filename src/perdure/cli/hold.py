"""``perdure hold`` and ``release``: hold a job, whose runs then do not begin."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cyclopts import Parameter

from perdure.cli.exit_code import ExitCode
from perdure.cli.json_lines import JsonOption, write_json
from perdure.cli.standard_output import write_lines
from perdure.cli.target.opening import open_target
from perdure.cli.target.options import UNSET, TargetOptions
from perdure.cli.usage_error import UsageError
from perdure.values.address import Job
from perdure.values.listings import HoldResult
from perdure.wire.records import data_of

JobArgument: TypeAlias = Annotated[
    str, Parameter(name="JOB", help="The job, written kind:name, such as task:orders; perdure jobs lists them.")
]


def hold(job: JobArgument, /, *, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """Hold a job: none of its runs begins until `perdure release`, also after a restart. Events are still handled.

    Exit code: 0 done, 2 the command cannot start, 3 the engine does not serve the job, 4 no engine answers.
    """
    wanted = job_of(job)
    with open_target(target) as found:
        return _print(job, found.hold(wanted), json=json)


def release(job: JobArgument, /, *, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """Release a held job. Its overdue alarms fire.

    Exit code: 0 done, 2 the command cannot start, 3 the engine does not serve the job, 4 no engine answers.
    """
    wanted = job_of(job)
    with open_target(target) as found:
        return _print(job, found.release(wanted), json=json)


def job_of(text: str) -> Job:
    """Return the job of an argument.

    Raises:
        UsageError: it is not written kind:name.
    """
    kind, colon, name = text.partition(":")
    if not colon or not kind or not name or ":" in name:
        raise UsageError(f"{text!r} is not a job: write kind:name, such as task:orders")
    return kind, name


def _print(job: str, result: HoldResult, *, json: bool) -> ExitCode:
    if json:
        write_json([{"job": job, **data_of(result)}])
    else:
        write_lines([f"{job} is {result.hold}{'' if result.changed else ', as before'}"])
    return ExitCode.DONE
