"""``perdure pool``: the progress of a worker pool."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Annotated, Final

import attrs
from cyclopts import Parameter

from perdure.cli.engine import MIN_AGE_MS, JobArgument, age_text, job_of
from perdure.cli.instances.presentation import instant
from perdure.cli.options import JsonOption
from perdure.cli.output import write_fields, write_json
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.cli.progress import Steps, open_bar
from perdure.cli.target.opening import UNSET, TargetOptions, open_target
from perdure.kinds.worker_pool import WorkerPool
from perdure.kinds.worker_pool.handle import progress_of
from perdure.values.listings import JobCount
from perdure.wire.records import data_of

EVERY_S: Final = 0.5
"""Seconds between two readings of a pool that is watched."""


def pool(
    job: JobArgument,
    /,
    *,
    target: TargetOptions = UNSET,
    watch: Annotated[bool, Parameter(negative="", help="Show a bar until no item waits or runs.")] = False,
    json: JsonOption = False,
) -> int:
    """Show the progress of a worker pool: how many items wait, run, are done and dead, and how many end a second.

    With `--watch` and no terminal, it prints a line for each change.

    Exit code: 0 done, 2 the command cannot start, 3 the engine does not serve the job, 4 no engine answers.
    """
    wanted = job_of(job)
    if wanted[0] != WorkerPool.kind:
        raise UsageError(f"{job} is not a worker pool: write pool:name; perdure counts shows other jobs")
    with open_target(target) as found:
        if not watch:
            count = found.count(wanted)
            if json:
                write_json([data_of(progress_of(count))])
            else:
                write_fields(list(fields_of(count)))
            return ExitCode.DONE
        watched = PoolWatch(lambda: found.count(wanted), time.monotonic, time.sleep)
        for line in watched.lines(lambda total: open_bar(job, total)):
            if json:
                write_json([data_of(progress_of(line.count)) | {"per_second": line.per_second}])
            elif not sys.stderr.isatty():
                write_lines([text_of(line)])
    return ExitCode.DONE


def fields_of(count: JobCount) -> Iterator[tuple[str, str]]:
    """Return the labelled numbers of a pool."""
    progress = progress_of(count)
    yield "waiting", f"{progress.waiting:,}"
    yield "running", f"{progress.running:,}"
    yield "done", f"{progress.done:,}"
    yield "dead", f"{progress.dead:,}"
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
    """A reading of a pool that is watched.

    Attributes:
        count: its instances.
        per_second: attempts that ended in a second, since the watch began.
    """

    count: JobCount
    per_second: float

    @property
    def left(self) -> int:
        """Number of items that are neither done nor dead."""
        progress = progress_of(self.count)
        return progress.waiting + progress.running


@attrs.frozen
class PoolWatch:
    """Reads a pool again and again.

    Attributes:
        read: counts its instances.
        clock: a monotonic clock, in seconds.
        sleep: waits for some seconds.
    """

    read: Callable[[], JobCount]
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def lines(self, bar: Callable[[int], AbstractContextManager[Steps]]) -> Iterator[Reading]:
        """Yield each reading that differs from the one before, until no item waits or runs; advance a bar."""
        began_s, first = self.clock(), self.read()
        reading, most = Reading(first, 0.0), Reading(first, 0.0).left
        with bar(most) as steps:
            yield reading
            while reading.left:
                self.sleep(EVERY_S)
                count = self.read()
                ended = (count.ended or 0) - (first.ended or 0)
                before, reading = reading, Reading(count, ended / max(0.001, self.clock() - began_s))
                most = max(most, reading.left)
                steps(most - reading.left, most)
                if reading.count != before.count:
                    yield reading


def text_of(reading: Reading) -> str:
    """Return a line of a reading.

    >>> text_of(Reading(JobCount(hold="released", by_status={"queued": 1_200, "running": 8, "done": 3}), 50.25))
    '1,200 wait, 8 run, 3 done, 0 dead, 50.2 a second'
    """
    progress = progress_of(reading.count)
    numbers = f"{progress.waiting:,} wait, {progress.running:,} run, {progress.done:,} done, {progress.dead:,} dead"
    return f"{numbers}, {reading.per_second:.1f} a second"
