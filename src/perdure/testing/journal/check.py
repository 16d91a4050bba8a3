"""The laws of a journal: every prefix continues to the same end, and every replay does the same."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeVar, cast

import attrs
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from perdure.jobs.definition import AnyDefinition, Definition
from perdure.jobs.explanation import Asked, Explained
from perdure.programs import ServiceCall
from perdure.testing.explanation import explain
from perdure.testing.journal.determinism import nondeterminism
from perdure.testing.simulation.fake_services import Answers, Failures, FakeServices
from perdure.testing.simulation.hook_context import START
from perdure.testing.typed import from_type
from perdure.values.errors import PerdureError
from perdure.values.instance import Instance
from perdure.values.limits import Limits
from perdure.values.times import from_ms, to_ms
from perdure.values.transition import Put, Transition

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

    Hypothesis draws the answers of the services, and so the journal. The program runs to its end: whenever it waits,
    either the time passes, or a signal arrives that it waits for, with a drawn value. It stops earlier at the end of a
    child, which is not drawn, and after 20 waits. For every prefix of its journal, the empty one included:

    * two replays wait for the same steps, with the same arguments: a program that reads a service or a value that it
      changes itself is reported with the line that differs;
    * no replay reads a clock or a random source, also if both take the same way;
    * a run that continues from the prefix comes to the same end or wait, with the same steps.

    Call it in a test.

    Args:
        definition: the job.
        request: the request that begins a run, such as ``lambda flow: flow.start(order)``.
        answers: strategies of results for some effects, by name; by default they are drawn from its annotations. Equal
            calls get equal answers.
        signals: strategies of values for some signals, by name; by default any value of their types.
        types: strategies for some of the declared types.
        failures: whether services may fail with their declared errors.
        now: the wall clock at the start.
        limits: the engine's limits.
        settings: Hypothesis' settings; by default those of the profile.

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
        """Return a request: a signal that the program waits for, or its alarm; None if nothing can be drawn."""
        requests = dict.fromkeys(step.request for step in job.replayed(instance, rows) if step.request is not None)
        events = [*([] if instance.alarm_ms is None else ["alarm"]), *requests]
        if not events:
            return None
        event = self.data.draw(st.sampled_from(events), label="wait ends with")
        return "alarm" if event == "alarm" else self._signal(job, event)

    def _signal(self, job: AnyDefinition, command: str) -> Any:
        name, spec = command.removeprefix("signal."), job.plan.commands[command]
        assert spec.input is not None  # noqa: S101 - each signal has a value
        drawn = self.signals[name] if name in self.signals else from_type(spec.input.form, using=self.types)
        value = self.data.draw(drawn, label=name)
        declared: Mapping[str, Any] = cast("Any", job).declared

        def request(flow: Any) -> Any:
            return flow.signal(declared[name], value)

        return request


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
        unclaimed = instance.changed(claim=None, event_claim=None, alarm_ms=instance.updated_ms)
        continued = self._explained("alarm", unclaimed, rows, from_ms(instance.updated_ms))
        found = _end_of(self.job, continued, rows)
        if found != expected:
            raise JournalBroken(f"continued after {where}, it ends as {found}; it had ended as {expected}")


def _end_of(job: Definition[Any, Any, Any], explained: Explained, rows: list[str]) -> object:
    """Return the end of a run without its times."""
    for transition in (*explained.checkpoints, explained.transition):
        rows = _rows_after(rows, transition)
    after = explained.instance
    if after is None:
        return "gone"
    steps = sorted((step.path, step.name, step.status, step.value) for step in job.steps(after, rows))
    return job.report(after).phase, after.state, after.suspension, steps


def _rows_after(rows: list[str], transition: Transition) -> list[str]:
    change = transition.journal
    if change is None:
        return rows
    return [*(rows if change.earlier == "kept" else ()), *change.bodies]


def _instance_of(transition: Transition) -> Instance | None:
    return transition.write.instance if isinstance(transition.write, Put) else None
