"""The commands about a running engine.

They are ``perdure jobs``, ``counts``, ``demand``, ``members``, ``health``, ``metrics``, ``hold``, ``release``,
``limits``, ``set-limit``, ``reset-limit``, ``pool`` and ``mcp``.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Annotated, Final, TypeAlias

import attrs
from cyclopts import Parameter

from perdure.cli.instances.presentation import instant
from perdure.cli.options import JsonOption
from perdure.cli.output import (
    Steps,
    Table,
    open_bar,
    size_text,
    write_fields,
    write_json,
    write_styled_lines,
    write_table,
)
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.cli.target.opening import UNSET, TargetOptions, chosen_urls, open_target, token_of
from perdure.kinds.worker_pool import WorkerPool
from perdure.kinds.worker_pool.handle import progress_of
from perdure.values.address import Job
from perdure.values.errors import DefinitionError, InvalidArgument
from perdure.values.limits import Rate
from perdure.values.listings import (
    MAX_COUNTED,
    EngineMember,
    HoldResult,
    JobCount,
    JobDemand,
    LimitNumbers,
    NamedLimit,
    StoreCounts,
)
from perdure.values.times import format_duration
from perdure.wire.operations import (
    COUNT,
    COUNTS,
    DEMAND,
    HEALTH,
    HOLD,
    INFO,
    LIMITS,
    MEMBERS,
    METRICS,
    RELEASE,
    RESET_LIMIT,
    SET_LIMIT,
    Scope,
    rate_text,
)
from perdure.wire.records import data_of


def jobs(*, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """List the jobs that a running engine serves, the requests that they accept, and whether they are held.

    Exit code: 0 done, 2 the command cannot start, 4 no engine answers.
    """
    with open_target(target) as found:
        served = found.perform(INFO).jobs
    if json:
        write_json(data_of(job) for job in served)
    else:
        rows = tuple(
            (f"{job.kind}:{job.name}", ", ".join(job.actions), "held" if job.hold == "held" else "") for job in served
        )
        write_table(Table(("JOB", "ACTIONS", "HOLD"), rows, frozenset({"ACTIONS"})).without_empty("HOLD"))
    return ExitCode.DONE


def counts(*, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """Count the instances of a running engine by job and status, and its messages.

    `perdure stats` counts a store file's rows, with or without an engine.

    Exit code: 0 done, 2 the command cannot start, 4 no engine answers.
    """
    with open_target(target) as found:
        counted = found.perform(COUNTS)
    if json:
        write_json([data_of(counted)])
    else:
        rows = tuple((f"{one.kind}:{one.name}", one.status, f"{one.number:,}") for one in counted.instances)
        write_table(Table(("JOB", "STATUS", "INSTANCES"), rows, frozenset()))
        write_styled_lines(list(_rest(counted)))
    return ExitCode.DONE


MIN_AGE_MS = 1_000
"""Counts with this age are no longer current."""


def _rest(counted: StoreCounts) -> Iterator[str]:
    yield f"messages      {_up_to(counted.messages)}"
    yield f"dead letters  {_up_to(counted.dead_letters)}"
    if counted.oldest_due is not None:
        yield f"next alarm    {instant(counted.oldest_due)}"
    if counted.age_ms >= MIN_AGE_MS:
        yield f"counted       {age_text(counted.age_ms)}"
    if not counted.complete:
        yield "The engine is still counting: these are the instances so far. Run the command again."


def age_text(age_ms: int) -> str:
    """Return how long ago instances were counted.

    >>> age_text(65_400)
    '1m5s ago'
    """
    return f"{format_duration(age_ms // 1_000 * 1_000)} ago"


def _up_to(number: int) -> str:
    return f"{number:,}" if number < MAX_COUNTED else f"{MAX_COUNTED:,} or more"


WithinOption: TypeAlias = Annotated[
    str,
    Parameter(name="--within", help="Alarms that are due within this time count as due, such as 30s."),
]


def demand(*, within: WithinOption = "0s", target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """Count the work that waits or runs, for each job that a running engine serves: what an autoscaler needs.

    Exit code: 0 done, 2 the command cannot start, 4 no engine answers.
    """
    try:
        given = DEMAND.checked({"within": within})
    except InvalidArgument as wrong:
        raise UsageError(f"--within {within}: expected {wrong.expected}") from wrong
    with open_target(target) as found:
        demanded = found.perform(DEMAND, **given)
    if json:
        write_json([data_of(demanded)])
    else:
        columns = ("JOB", "QUEUED", "DUE", "MESSAGES", "RUNNING", "TOTAL", "NEXT ALARM", "HOLD")
        table = Table(columns, tuple(map(_demand_row, demanded.jobs)), frozenset())
        write_table(table.without_empty("NEXT ALARM").without_empty("HOLD"))
        write_styled_lines([f"total  {demanded.total:,}"])
    return ExitCode.DONE


def _demand_row(job: JobDemand) -> tuple[str, ...]:
    numbers = map(_up_to, (job.queued, job.due, job.messages, job.running))
    next_alarm = "" if job.next_alarm is None else instant(job.next_alarm)
    hold = "held" if job.hold == "held" else ""
    return f"{job.kind}:{job.name}", *numbers, f"{job.total:,}", next_alarm, hold


def members(*, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """List the engines that share the store of a running engine. The engine of an owned store lists none.

    Exit code: 0 done, 2 the command cannot start, 4 no engine answers.
    """
    with open_target(target) as found:
        engines = found.perform(MEMBERS)
    if not engines:
        # Not on standard output, which has only rows.
        sys.stderr.write("perdure: no engines share this store: the one that answered owns it\n")
    if json:
        write_json([data_of(member) for member in engines])
    elif engines:
        columns = ("EPOCH", "PROCESS", "SINCE", "LEASE", "SHARE", "SERVES")
        write_table(Table(columns, tuple(map(_member_row, engines)), frozenset(("SERVES",))))
    return ExitCode.DONE


def _member_row(member: EngineMember) -> tuple[str, ...]:
    served = ", ".join(f"{job.kind}:{job.name} v{job.state_version}" for job in member.served)
    lease = f"{member.lease_left_ms / 1_000:.1f} s" if member.lease_left_ms >= 0 else "ended"
    return str(member.epoch), member.label, instant(member.joined), lease, f"{member.share:.0%}", served


def health(*, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """Report the health of a running engine, for supervisors and containers.

    Exit code: 0 it works, also with a problem that it reports (degraded). 1 its store failed. 2 the command cannot
    start. 4 no engine answers.
    """
    with open_target(target) as found:
        report = found.perform(HEALTH)
    if json:
        write_json([data_of(report)])
    else:
        lines = [f"{report.state}  {report.detail}".rstrip()]
        if report.max_cache_bytes:
            lines.append(f"cache  {size_text(report.cache_bytes)} of {size_text(report.max_cache_bytes)}")
        write_styled_lines(lines)
    return ExitCode.FAILED if report.state == "failed" else ExitCode.DONE


def metrics(*, target: TargetOptions = UNSET) -> int:
    """Print the metrics of a running engine, as its `/metrics` exposes them.

    Exit code: 0 done, 2 the command cannot start, 3 the engine counts none, 4 no engine answers.
    """
    with open_target(target) as found:
        write_lines(found.perform(METRICS).splitlines())
    return ExitCode.DONE


JobArgument: TypeAlias = Annotated[
    str, Parameter(name="JOB", help="The job, written kind:name, such as task:orders; perdure jobs lists them.")
]


def hold(job: JobArgument, /, *, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """Hold a job: none of its runs begins until `perdure release`, also after a restart. Events are still handled.

    Exit code: 0 done, 2 the command cannot start, 3 the engine does not serve the job, 4 no engine answers.
    """
    kind, name = job_of(job)
    with open_target(target) as found:
        return _print_hold(job, found.perform(HOLD, kind=kind, name=name), json=json)


def release(job: JobArgument, /, *, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """Release a held job. Its overdue alarms fire.

    Exit code: 0 done, 2 the command cannot start, 3 the engine does not serve the job, 4 no engine answers.
    """
    kind, name = job_of(job)
    with open_target(target) as found:
        return _print_hold(job, found.perform(RELEASE, kind=kind, name=name), json=json)


def job_of(text: str) -> Job:
    """Parse an argument that names a job.

    Raises:
        UsageError: it is not written kind:name.
    """
    kind, colon, name = text.partition(":")
    if not colon or not kind or not name or ":" in name:
        raise UsageError(f"{text!r} is not a job: write kind:name, such as task:orders")
    return kind, name


def _print_hold(job: str, result: HoldResult, *, json: bool) -> ExitCode:
    if json:
        write_json([{"job": job, **data_of(result)}])
    else:
        write_lines([f"{job} is {result.hold}{'' if result.changed else ', as before'}"])
    return ExitCode.DONE


LimitArgument: TypeAlias = Annotated[str, Parameter(name="LIMIT", help="The limit's name; perdure limits lists them.")]


def limits(*, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """List the limits with a name that a running engine knows: their numbers, and their use.

    IN USE and WAITING are of the engine that answers, LEASED of all engines on the store.

    Exit code: 0 done, 2 the command cannot start, 4 no engine answers.
    """
    with open_target(target) as found:
        known = found.perform(LIMITS)
    if json:
        write_json(data_of(limit) for limit in known)
    else:
        columns = ("LIMIT", "NUMBERS", "DECLARED", "IN USE", "WAITING", "KEYS", "LEASED", "BEGUN")
        table = Table(columns, tuple(map(_limit_row, known)), frozenset({"NUMBERS", "DECLARED"}))
        write_table(table.without_empty("DECLARED"))
    return ExitCode.DONE


def _limit_row(limit: NamedLimit) -> tuple[str, ...]:
    declared = "" if limit.current == limit.declared else numbers_text(limit.declared)
    numbers = (limit.in_use, limit.waiting, limit.keys, limit.leased, limit.begun)
    return limit.name, numbers_text(limit.current), declared, *(f"{number:,}" for number in numbers)


def numbers_text(numbers: LimitNumbers) -> str:
    """Return the numbers of a limit as one line.

    >>> numbers_text(LimitNumbers(concurrency=5, rate=Rate(100, 60_000)))
    'concurrency=5 rate=100/1m'
    """
    given = numbers.given.items()
    return " ".join(f"{name}={rate_text(each) if isinstance(each, Rate) else each}" for name, each in given)


def set_limit(
    name: LimitArgument,
    /,
    *,
    concurrency: Annotated[str | None, Parameter(help="How many runs and calls may be in progress.")] = None,
    rate: Annotated[str | None, Parameter(help="How many may begin in a window, such as 100/1m.")] = None,
    concurrency_per_key: Annotated[str | None, Parameter(help="As --concurrency, for each key.")] = None,
    rate_per_key: Annotated[str | None, Parameter(help="As --rate, for each key.")] = None,
    target: TargetOptions = UNSET,
    json: JsonOption = False,
) -> int:
    """Change numbers of a limit with a name, for all engines on the store, until `perdure reset-limit`.

    Exit code: 0 done, 2 the command cannot start, 3 the engine knows no such limit or number, 4 no engine answers.
    """
    options = {
        "concurrency": concurrency,
        "rate": rate,
        "concurrency_per_key": concurrency_per_key,
        "rate_per_key": rate_per_key,
    }
    if all(text is None for text in options.values()):
        raise UsageError("nothing to change: pass --concurrency, --rate, --concurrency-per-key or --rate-per-key")
    given: dict[str, object] = {"name": name}
    # Checked here with the operation's own types, so that the message names the option and not a parameter.
    for argument in SET_LIMIT.in_the("query"):
        text, option = options[argument.name], f"--{argument.name.replace('_', '-')}"
        try:
            value = None if text is None else argument.type.read(text, option)
            given |= SET_LIMIT.checked({argument.name: value})
        except InvalidArgument as wrong:
            raise UsageError(f"{option} {text}: expected {wrong.expected}") from wrong
    with open_target(target) as found:
        return _print_numbers(name, found.perform(SET_LIMIT, **given), json=json)


def reset_limit(name: LimitArgument, /, *, target: TargetOptions = UNSET, json: JsonOption = False) -> int:
    """Let a limit with a name have the numbers of the code again.

    Exit code: 0 done, 2 the command cannot start, 3 the engine knows no such limit, 4 no engine answers.
    """
    with open_target(target) as found:
        return _print_numbers(name, found.perform(RESET_LIMIT, name=name), json=json)


def _print_numbers(name: str, numbers: LimitNumbers, *, json: bool) -> ExitCode:
    if json:
        write_json([{"limit": name, **data_of(numbers)}])
    else:
        write_lines([f"{name} has {numbers_text(numbers)}"])
    return ExitCode.DONE


EVERY_S: Final = 0.5
"""Seconds between two readings while a pool is watched."""


def pool(
    job: JobArgument,
    /,
    *,
    target: TargetOptions = UNSET,
    watch: Annotated[bool, Parameter(negative="", help="Show a bar until no item waits or runs.")] = False,
    json: JsonOption = False,
) -> int:
    """Show the progress of a worker pool: how many items wait, run, are done and parked, and how many end a second.

    With `--watch` and no terminal, it prints a line for each change.

    Exit code: 0 done, 2 the command cannot start, 3 the engine does not serve the job, 4 no engine answers.
    """
    kind, name = job_of(job)
    if kind != WorkerPool.kind:
        raise UsageError(f"{job} is not a worker pool: write pool:name; perdure counts shows other jobs")
    with open_target(target) as found:
        if not watch:
            count = found.perform(COUNT, kind=kind, name=name)
            if json:
                write_json([data_of(progress_of(count))])
            else:
                write_fields(list(fields_of(count)))
            return ExitCode.DONE
        watched = PoolWatch(lambda: found.perform(COUNT, kind=kind, name=name), time.monotonic, time.sleep)
        for line in watched.lines(lambda total: open_bar(job, total)):
            if json:
                write_json([data_of(progress_of(line.count)) | {"per_second": line.per_second}])
            elif not sys.stderr.isatty():
                write_lines([text_of(line)])
    return ExitCode.DONE


def fields_of(count: JobCount) -> Iterator[tuple[str, str]]:
    """Yield a pool's labelled numbers."""
    progress = progress_of(count)
    yield "waiting", f"{progress.waiting:,}"
    yield "running", f"{progress.running:,}"
    yield "done", f"{progress.done:,}"
    yield "parked", f"{progress.parked:,}"
    if progress.paused:
        yield "paused", f"{progress.paused:,}"
    if progress.oldest is not None:
        yield "oldest waits since", instant(progress.oldest)
    yield "hold", count.hold
    if count.age_ms >= MIN_AGE_MS:
        yield "counted", age_text(count.age_ms)
    if not progress.complete:
        yield "counted", "not all items yet; run the command again"


@attrs.frozen
class Reading:
    """One reading while a pool is watched.

    Attributes:
        per_second: attempts that ended in a second, since the watch began.
    """

    count: JobCount
    per_second: float

    @property
    def left(self) -> int:
        """How many items are neither done nor parked."""
        progress = progress_of(self.count)
        return progress.waiting + progress.running


@attrs.frozen
class PoolWatch:
    """Reads a pool again and again.

    Attributes:
        clock: a monotonic clock, in seconds.
        sleep: waits for some seconds.
    """

    read: Callable[[], JobCount]
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def lines(self, bar: Callable[[int], AbstractContextManager[Steps]]) -> Iterator[Reading]:
        """Yield each reading that differs from the one before, until no item waits or runs, and advance a bar."""
        began_s, first = self.clock(), self.read()
        reading, most = Reading(first, 0.0), Reading(first, 0.0).left
        with bar(most) as steps:
            yield reading
            while reading.left:
                self.sleep(EVERY_S)
                count = self.read()
                ended = (count.ended or 0) - (first.ended or 0)
                before, reading = reading, Reading(count, ended / max(0.001, self.clock() - began_s))
                # Items may have been added meanwhile.
                most = max(most, reading.left)
                steps(most - reading.left, most)
                # A pool that stands still prints nothing: a log of the same line would hide the changes.
                if reading.count != before.count:
                    yield reading


def text_of(reading: Reading) -> str:
    """Print a reading as one line.

    >>> text_of(Reading(JobCount(hold="released", by_status={"queued": 1_200, "running": 8, "done": 3}), 50.25))
    '1,200 wait, 8 run, 3 done, 0 parked, 50.2 a second'
    """
    progress = progress_of(reading.count)
    numbers = f"{progress.waiting:,} wait, {progress.running:,} run, {progress.done:,} done, {progress.parked:,} parked"
    return f"{numbers}, {reading.per_second:.1f} a second"


AllowOption: TypeAlias = Annotated[
    Scope,
    Parameter(
        name="--allow",
        help="The greatest scope of the tools: read, call (requests to instances), or operate (pause, terminate, "
        "redrive, ...). A server with tokens also checks the scopes of yours.",
    ),
]


def mcp(*, allow: AllowOption = "read", target: TargetOptions = UNSET) -> int:
    """Serve the operations of a running engine to an assistant, as tools of the Model Context Protocol.

    They use standard input and output. They only read, unless `--allow` says more.

    Exit code: 0 the client closed the input, 2 the command cannot start.
    """
    try:
        from perdure.cli import tools_server  # noqa: PLC0415 - needs an extra
    except ModuleNotFoundError as missing:
        raise UsageError("the tools need the extra 'mcp': pip install 'perdure[mcp]'") from missing
    urls, token = chosen_urls(target, os.environ), token_of(os.environ)
    try:
        asyncio.run(tools_server.serve_tools(urls, token, target.timeout, allow))
    except DefinitionError as error:
        raise UsageError(str(error)) from error
    return ExitCode.DONE
