"""Tests for jobs with journals: recorded journals, replays step by step, and the replay laws.

The laws: every prefix of a journal continues to the same end, and every replay does the same. A program that reads a
clock, a service, or a value that it changes itself breaks them, and `nondeterminism` finds where.
"""

from __future__ import annotations

import os
import random
import re
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from itertools import zip_longest
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar, cast

import attrs
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from perdure.jobs.definition import AnyDefinition, Definition, check_definition
from perdure.jobs.explanation import Asked, Explained
from perdure.jobs.step import NextStep
from perdure.programs import ServiceCall
from perdure.stores.snapshots import read_journals, read_snapshots
from perdure.testing.hooks import START, explain
from perdure.testing.simulator import Answers, Failures, FakeServices
from perdure.testing.typed import from_type
from perdure.values.errors import InvalidInput, PerdureError
from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.instance import Instance
from perdure.values.limits import Limits
from perdure.values.listings import StepRecord
from perdure.values.times import from_ms, to_ms
from perdure.values.transition import Put, Transition

__all__ = ["JournalBroken", "RecordedJournal", "ReplayedStep", "check_journal", "recorded_journals", "replay_journal"]


_READS: Final = frozenset({time.time, time.time_ns, time.monotonic, time.monotonic_ns, time.perf_counter, os.urandom})
"""Functions of the interpreter whose results differ from call to call; `uuid4` and `secrets` call the last one."""

_DRAWN: Final = random.random.__self__  # type: ignore[attr-defined] # the generator behind the functions of `random`

_IDENTITY = re.compile(r" at 0x[0-9a-f]+")


def nondeterminism(job: AnyDefinition, instance: Instance, rows: Sequence[str]) -> str | None:
    """Replay a journal twice, and describe the first difference. None if the program follows it.

    Args:
        job: the definition.
        instance: the stored instance.
        rows: the journal rows, or those up to a step.
    """
    try:
        with _reads() as reads:
            # Both in this process, one after the other: a value that the program keeps between runs differs in the
            # second.
            first, second = job.replayed(instance, rows), job.replayed(instance, rows)
    except InvalidInput as problem:
        return f"after {len(rows)} steps the program does not follow its own journal: {'; '.join(problem.problems)}"
    if reads:
        return (
            f"after {len(rows)} steps the program calls {reads[0]}: another replay gets another value; read the clock "
            "with ctx.now, and perform other reads as effects"
        )
    for one, other in zip_longest(first, second):
        if one is None or other is None or not _is_same(one, other):
            line = next((step.line for step in (one, other) if step is not None and step.line), "an unknown line")
            return (
                f"after {len(rows)} steps two replays wait for different steps at {line}: {_shown(one)}, then "
                f"{_shown(other)}; a program may use only its arguments and the answers of its steps"
            )
    return None


@contextmanager
def _reads() -> Generator[list[str]]:
    """Collect calls to clocks and random sources, each with the program line that makes it.

    A branch on a clock takes the same way in two replays that follow each other, so comparing them does not find it.
    """
    found: list[str] = []

    def note(frame: FrameType, event: str, called: Any) -> None:
        # Calls of C functions alone: clocks and random sources are written in C, and all others would cost too much.
        if event == "c_call" and _is_read(called):
            caller = _caller(frame)
            if caller is not None:
                found.append(f"{called.__name__}() at {caller.f_code.co_filename}:{caller.f_lineno}")

    # A profiler or a coverage tool may be at work: it gets its function back.
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)


def _is_read(called: Any) -> bool:
    of = getattr(called, "__self__", None)
    # A class method such as `datetime.now` is bound to its class, which may be a subclass.
    if isinstance(of, type):
        return issubclass(of, date) and called.__name__ in {"now", "utcnow", "today"}
    return of is _DRAWN or called in _READS


def _caller(frame: FrameType | None) -> FrameType | None:
    """Return the calling frame outside the standard library.

    None for a log record, which has the time, and for Hypothesis, which measures garbage collections.
    """
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if module in {"logging", "hypothesis"}:
            return None
        if module not in sys.stdlib_module_names:
            return frame
        frame = frame.f_back
    return None


def _is_same(one: NextStep, other: NextStep) -> bool:
    if (one.path, one.name) != (other.path, other.name):
        return False
    # Arguments without an equality of their own are compared as text, without their places in memory.
    return one.instruction == other.instruction or _printed(one) == _printed(other)


def _printed(step: NextStep) -> str:
    return _IDENTITY.sub("", repr(step.instruction))


def _shown(step: NextStep | None) -> str:
    return "no step" if step is None else f"step {step.path} {_printed(step)}"


@attrs.frozen
class RecordedJournal:
    """An instance from a real store, with its journal.

    Attributes:
        instance: the instance.
        rows: the journal rows.
    """

    __repr__ = fields_in_line

    instance: Instance
    rows: tuple[str, ...] = attrs.field(repr=size_only)


def recorded_journals(definition: AnyDefinition, path: str | os.PathLike[str], /) -> tuple[RecordedJournal, ...]:
    """Read a job's instances from a file that ``perdure snapshot`` wrote.

    Args:
        definition: the job.
        path: the file.

    Raises:
        StoreCorrupt: it is not such a file.
    """
    job, data = check_definition(definition), Path(path).read_bytes()
    journals = read_journals(data, what=str(path))
    return tuple(
        RecordedJournal(row, journals[str(row.address)])
        for row in read_snapshots(data, what=str(path))
        if (row.address.kind, row.address.name) == (job.kind, job.name) and str(row.address) in journals
    )


@attrs.frozen(kw_only=True)
class ReplayedStep:
    """A program's position after part of its journal.

    Attributes:
        number: how many recorded answers the program has received.
        waiting: the steps that it waits for, each with its line.
        answered: the recorded step whose answer comes next. None at the journal's end.
    """

    __repr__ = fields_in_line

    number: int
    waiting: tuple[NextStep, ...]
    answered: StepRecord | None

    @property
    def line(self) -> str | None:
        """The program line that receives the next answer, or else the first waiting step's line."""
        name = None if self.answered is None else self.answered.path
        lines = [step.line for step in self.waiting if step.path == name] or [step.line for step in self.waiting]
        return next(iter(lines), None)


def replay_journal(definition: AnyDefinition, instance: Instance, rows: Sequence[str]) -> Iterator[ReplayedStep]:
    """Replay a journal with this code, one step after the other. Nothing is performed.

    Set a breakpoint in the program, and step through it: each position replays the program from its beginning.

    Args:
        definition: the job.
        instance: the instance, as `recorded_journals` reads it.
        rows: the journal rows.

    Raises:
        InvalidInput: this code cannot follow the journal. The problem names the step and the line.
    """
    job = check_definition(definition)
    recorded = job.steps(instance, rows)[: job.answers_in(instance, rows)]
    last = -1
    for length in range(len(rows) + 1):
        number = job.answers_in(instance, rows[:length])
        # Rows without an answer, such as a signal's arrival, are no position of their own.
        if number == last:
            continue
        last, answered = number, recorded[number] if number < len(recorded) else None
        yield ReplayedStep(number=number, waiting=job.replayed(instance, rows[:length]), answered=answered)


T = TypeVar("T")

MAX_WAITS: Final = 20
"""The waits after which a check stops: a program may wait for ever."""


@attrs.frozen(repr=False)
class JournalBroken(PerdureError, AssertionError):
    """A program does not continue from its journal as it ran.

    Attributes:
        problem: the first difference.
    """

    problem: str

    def _text(self) -> str:
        return self.problem


def check_journal(
    definition: Definition[Any, T, Any],
    request: Asked[T],
    /,
    *,
    answers: Mapping[str, Answers] | None = None,
    signals: Mapping[str, st.SearchStrategy[Any]] | None = None,
    types: Mapping[Any, st.SearchStrategy[Any]] | None = None,
    failures: Failures = "drawn",
    now: datetime = START,
    limits: Limits = Limits(),
    settings: hypothesis_settings | None = None,
) -> None:
    """Check that a program continues from every part of its journal as it ran. Nothing is performed.

    Hypothesis draws the services' answers, and so the journal. The program runs to its end: whenever it waits, either
    the time passes, or a signal arrives that it waits for, with a drawn value. It stops earlier when it waits for a
    child's end, which is not drawn, and after 20 waits. For every journal prefix, the empty one included:

    * two replays wait for the same steps, with the same arguments: a program that reads a service or a value that it
      changes itself is reported with the line that differs.
    * no replay reads a clock or a random source, also if both take the same way.
    * a run that continues from the prefix comes to the same end or wait, with the same steps.

    Call it in a test.

    Args:
        definition: the job.
        request: the request that begins a run, such as ``lambda flow: flow.start(order)``.
        answers: result strategies for some effects, by name. By default they are drawn from its annotations. Equal
            calls get equal answers.
        signals: value strategies for some signals, by name. By default any value that their types allow.
        types: strategies for some declared types.
        failures: whether services may fail with their declared errors.
        now: the wall clock at the start.
        limits: the engine's limits.
        settings: Hypothesis' settings. By default the profile's.

    Raises:
        JournalBroken: a prefix continues in another way.
    """

    def check(data: st.DataObject) -> None:
        fake = FakeServices(data, answers or {}, types or {}, failures)
        waits = _Waits(data, signals or {}, types or {})
        try:
            _Run(definition, request, _Remembered(fake), waits, now, limits).check()
        except JournalBroken as problem:
            found.append(problem)
            raise

    found: list[JournalBroken] = []
    drawn: Any = given(st.data())(check)
    try:
        # One at a time: an exception group would hide the line that the user looks for.
        hypothesis_settings(settings or hypothesis_settings(), report_multiple_bugs=False)(drawn)()
    except Flaky:  # a program that draws takes another way in the next example, where it may not be found
        if found:
            raise found[0] from None
        raise


@attrs.define
class _Remembered:
    """Services that answer equal calls equally."""

    fake: FakeServices
    _known: list[tuple[ServiceCall, object]] = attrs.Factory(list[tuple[ServiceCall, object]])

    def __call__(self, call: ServiceCall) -> object:
        # A list: arguments need not be hashable.
        for known, answer in self._known:
            if known == call:
                return answer
        answer = self.fake.answer(call)
        self._known.append((call, answer))
        return answer


@attrs.frozen
class _Waits:
    """Draws the event that ends a wait."""

    data: st.DataObject
    signals: Mapping[str, st.SearchStrategy[Any]]
    types: Mapping[Any, st.SearchStrategy[Any]]

    def next(self, job: AnyDefinition, instance: Instance, rows: list[str]) -> Any:
        """Return a request: a signal that the program waits for, or its alarm. None if nothing can be drawn."""
        requests = dict.fromkeys(
            (step.request, getattr(step.instruction, "key", None))
            for step in job.replayed(instance, rows)
            if step.request is not None
        )
        events = [*([] if instance.alarm_ms is None else [("alarm", None)]), *requests]
        if not events:
            return None
        event, key = self.data.draw(st.sampled_from(events), label="wait ends with")
        return "alarm" if event == "alarm" else self._signal(job, event, key)

    def _signal(self, job: AnyDefinition, command: str, key: str | None) -> Any:
        declared: Mapping[str, Any] = cast("Any", job).declared
        if command.startswith(_COMPLETE):
            return self._completion(job, command.removeprefix(_COMPLETE))
        name = command.removeprefix("signal.")
        drawn = self.signals[name] if name in self.signals else from_type(declared[name].value, using=self.types)
        value = self.data.draw(drawn, label=name)
        signal = declared[name] if key is None else declared[name].for_key(key)

        def request(flow: Any) -> Any:
            return flow.signal(signal, value)

        return request

    def _completion(self, job: AnyDefinition, name: str) -> Any:
        promise = cast("Any", job).promises[name]
        is_broken = promise.errors is not None and self.data.draw(st.booleans(), label=f"{name} fails")
        form = promise.error if is_broken else promise.value
        value = self.data.draw(from_type(form, using=self.types), label=name)

        def request(flow: Any) -> Any:
            return flow.fail(promise, value) if is_broken else flow.complete(promise, value)

        return request


_COMPLETE: Final = "complete."


@attrs.frozen
class _Run:
    job: Definition[Any, Any, Any]
    request: Any
    answers: _Remembered
    waits: _Waits
    now: datetime
    limits: Limits

    def check(self) -> None:
        request, instance, rows, now = self.request, None, list[str](), self.now
        for _ in range(MAX_WAITS):
            complete = self._explained(request, instance, rows, now)
            expected, last = _end_of(self.job, complete, rows), len(complete.checkpoints)
            claimed = None if complete.claim is None else _instance_of(complete.claim)
            if claimed is not None:
                self._check_replays(claimed, rows)
            for number, transition in enumerate(complete.checkpoints, start=1):
                rows = _rows_after(rows, transition)
                at_checkpoint = _instance_of(transition)
                if at_checkpoint is not None:
                    self._check_prefix(at_checkpoint, rows, expected, f"{number} of {last} checkpoints")
            rows, instance = _rows_after(rows, complete.transition), complete.instance
            if instance is None or instance.suspension is not None or self.job.outcome_of(instance) is not None:
                return
            self._check_replays(instance, rows)
            request = self.waits.next(self.job, instance, rows)
            if request is None:
                return
            due_ms = instance.updated_ms if instance.alarm_ms is None or request != "alarm" else instance.alarm_ms
            # Never back: an alarm that was due before the last event fires at its instant.
            now = from_ms(max(to_ms(now), due_ms))

    def _explained(self, request: Any, instance: Instance | None, rows: list[str], now: datetime) -> Explained:
        return explain(
            self.job,
            "1",
            request,
            instance=instance,
            journal=rows,
            answers=self.answers,
            now=now,
            limits=self.limits,
            strict=True,
        )

    def _check_replays(self, instance: Instance, rows: list[str]) -> None:
        different = nondeterminism(self.job, instance, rows)
        if different is not None:
            raise JournalBroken(different)

    def _check_prefix(self, instance: Instance, rows: list[str], expected: object, where: str) -> None:
        self._check_replays(instance, rows)
        # As after a graceful stop: the run continues from its journal, without the mark of a repeat.
        unclaimed = instance.changed(claim=None, event_claim=None, alarm_ms=instance.updated_ms)
        continued = self._explained("alarm", unclaimed, rows, from_ms(instance.updated_ms))
        found = _end_of(self.job, continued, rows)
        if found != expected:
            raise JournalBroken(f"continued after {where}, it ends as {found}; it had ended as {expected}")


def _end_of(job: Definition[Any, Any, Any], explained: Explained, rows: list[str]) -> object:
    """Return a run's end without its times."""
    for transition in (*explained.checkpoints, explained.transition):
        rows = _rows_after(rows, transition)
    after = explained.instance
    if after is None:
        return "gone"
    # By path, and without times: a continued run performs the same steps at other instants.
    steps = sorted((step.path, step.name, step.status, step.value) for step in job.steps(after, rows))
    return job.report(after).phase, after.state, after.suspension, steps


def _rows_after(rows: list[str], transition: Transition) -> list[str]:
    return rows if transition.journal is None else transition.journal.after(rows)


def _instance_of(transition: Transition) -> Instance | None:
    return transition.write.instance if isinstance(transition.write, Put) else None
