"""The laws of a journal: every prefix continues to the same end, and every replay does the same."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

import attrs
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from perdure.jobs.definition import Definition
from perdure.jobs.explanation import Asked, Explained
from perdure.programs import Call
from perdure.testing.explanation import explain
from perdure.testing.journal.determinism import nondeterminism
from perdure.testing.simulation.fake_services import Answers, Failures, FakeServices
from perdure.testing.simulation.hook_context import START
from perdure.values.errors import PerdureError
from perdure.values.instance import Instance
from perdure.values.instant import from_ms
from perdure.values.limits import Limits
from perdure.values.transition import Put, Transition

T = TypeVar("T")


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
    types: Mapping[Any, st.SearchStrategy[Any]] | None = None,
    failures: Failures = "drawn",
    now: datetime = START,
    limits: Limits = Limits(),
    settings: hypothesis_settings | None = None,
) -> None:
    """Check that a program continues from every part of its journal as it ran. Nothing is performed.

    Hypothesis draws the answers of the services, and so the journal. The program runs to its end or to its first wait.
    Then, for every prefix of its journal:

    * two replays wait for the same steps, with the same arguments: a program that reads a clock, a service or a value
      that it changes itself is reported with the line that differs;
    * a run that continues from the prefix comes to the same end, with the same steps.

    Call it in a test.

    Args:
        definition: the job.
        request: the request that begins a run, such as ``lambda flow: flow.start(order)``.
        answers: strategies of results for some effects, by name; by default they are drawn from its annotations. Equal
            calls get equal answers.
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
        _Run(definition, request, _Remembered(fake), now, limits).check()

    drawn: Any = given(st.data())(check)
    hypothesis_settings(settings or hypothesis_settings(), report_multiple_bugs=False)(drawn)()


@attrs.define
class _Remembered:
    """Services that answer equal calls equally."""

    fake: FakeServices
    _known: list[tuple[Call, object]] = attrs.Factory(list[tuple[Call, object]])

    def __call__(self, call: Call) -> object:
        for known, answer in self._known:
            if known == call:
                return answer
        answer = self.fake.answer(call)
        self._known.append((call, answer))
        return answer


@attrs.frozen
class _Run:
    job: Definition[Any, Any, Any]
    request: Any
    answers: _Remembered
    now: datetime
    limits: Limits

    def check(self) -> None:
        complete = explain(
            self.job, "1", self.request, answers=self.answers, now=self.now, limits=self.limits, strict=True
        )
        rows: list[str] = []
        expected, last = _end_of(self.job, complete, []), len(complete.checkpoints)
        for number, transition in enumerate(complete.checkpoints, start=1):
            rows = _rows_after(rows, transition)
            instance = _instance_of(transition)
            if instance is not None:
                self._check_prefix(instance, rows, expected, f"{number} of {last} checkpoints")

    def _check_prefix(self, instance: Instance, rows: list[str], expected: object, where: str) -> None:
        different = nondeterminism(self.job, instance, rows)
        if different is not None:
            raise JournalBroken(different)
        unclaimed = instance.changed(claim=None, event_claim=None, alarm_ms=instance.updated_ms)
        continued = explain(
            self.job,
            instance.address.id,
            "alarm",
            instance=unclaimed,
            journal=rows,
            answers=self.answers,
            now=from_ms(instance.updated_ms),
            limits=self.limits,
            strict=True,
        )
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
