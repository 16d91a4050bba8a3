"""Performs the parallel steps of a workflow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, Literal, cast

import attrs
from returns.result import Success

from perdure.jobs.checkpoint import AwaitChange
from perdure.kinds.workflow.progress import Known, News
from perdure.kinds.workflow.replay import Replay
from perdure.kinds.workflow.steps import Steps, commit_progress, read_arrivals
from perdure.kinds.workflow.stored import header_of
from perdure.kinds.workflow.tree import DROPPED, OpenStep
from perdure.programs import Do, Halted, Program, Raised, perform, program, sleep
from perdure.programs.instructions import Now, Orders
from perdure.values.instance import Instance

_TIMER: Final = "timer"
_COMMIT: Final = "commit"
_CHANGE: Final = "change"


@attrs.define(eq=False)
class Crew:
    """Performs parallel steps: starts each when its predecessors are committed, and cancels those that lost.

    Attributes:
        steps: performs one step.
        running: the keys of the running programs.
        timer_ms: when the running timer ends.
        changes: whether requests that arrive meanwhile are looked at; a dry run has none.
        stopping: whether no further step may begin, because the claim is lost.
    """

    steps: Steps
    running: set[object] = attrs.Factory(set[object])
    timer_ms: int | None = None
    stopping: bool = False
    changes: Literal["wanted", "none"] = "wanted"
    cancelling: set[object] = attrs.Factory(set[object])

    def begun(self) -> Orders:
        """Start the first steps: their predecessors are committed."""
        return self._orders(self.steps.replay.calls())

    def ended(self, key: object, exit_: Any) -> Orders:
        """Start the steps that can begin after the end of a program."""
        replay = self.steps.replay
        self.running.discard(key)
        self.cancelling.discard(key)
        if isinstance(exit_, Raised):
            raise exit_.cause
        self._note(key, exit_)
        if self.stopping or replay.exit is not None or replay.stopped is not None:
            return self._orders([])
        calls = replay.calls()
        if replay.unsaved() or replay.needs_commit:
            waits = _COMMIT in self.running or not (calls or replay.needs_commit or self._is_settled)
            return self._orders([], commit=not waits)
        return self._orders(calls)

    @property
    def _is_settled(self) -> bool:
        """Whether no cancelled step is about to end, whose row the same commit can hold."""
        return not any(
            asked.path in self.running for asked in self.steps.replay.tree.dropping.values() if not asked.ending
        )

    def _note(self, key: object, exit_: Any) -> None:
        """Run the program of the workflow on after the end of a program."""
        replay = self.steps.replay
        if key == _TIMER:
            self.timer_ms = None
            if isinstance(exit_, Success):
                replay.pass_time(cast("Success[int]", exit_).unwrap())
        elif key in {_COMMIT, _CHANGE}:
            self._see(key, exit_)
        elif exit_ is None:  # a step that was cancelled
            asked = replay.tree.dropping.get(cast("str", key))
            if asked is not None:
                replay.performed(asked, DROPPED, replay.now_ms)

    def _see(self, key: object, exit_: Any) -> None:
        """Take over the requests that a commit, or a change of the row, has shown."""
        if isinstance(exit_, Halted):  # the claim is lost
            self.stopping = True
        if not isinstance(exit_, Success):
            return
        seen, now_ms = cast("Success[tuple[News | None, int]]", exit_).unwrap()
        if seen is not None:
            self.steps.replay.notice(seen.known, seen.suspension, now_ms)
        elif key == _CHANGE:
            self.changes = "none"

    def _orders(self, calls: list[OpenStep], *, commit: bool = False) -> Orders:
        start: list[tuple[object, Program[Any, Any, Any]]] = []
        if commit:
            start.append((_COMMIT, _timed(commit_progress(self.steps.replay))))
        replay = self.steps.replay
        for asked in calls:
            replay.begin_step(asked, replay.now_ms)
            start.append((asked.path, self.steps.performed(asked)))
        self.running.update(key for key, _ in start)
        stopped = (asked.path for asked in replay.tree.dropping.values() if not asked.ending)
        cancel = [path for path in stopped if path in self.running and path not in self.cancelling]
        self.cancelling.update(cancel)
        timer, change = self._timer(), self._change()
        return Orders((*start, *timer.start, *change.start), (*cancel, *timer.cancel, *change.cancel))

    @property
    def _is_busy(self) -> bool:
        """Whether steps or a commit are in progress, and more may follow."""
        over = self.stopping or self.steps.replay.suspended or self.steps.replay.exit is not None
        return not over and bool(self.running - {_TIMER, _CHANGE})

    def _change(self) -> Orders:
        """Wait for requests that change what the program waits for, while steps are in progress."""
        wanted = self._is_busy and self.changes == "wanted" and self.steps.replay.tree.waits_beside_steps
        if wanted == (_CHANGE in self.running):
            return Orders()
        if wanted:
            self.running.add(_CHANGE)
            return Orders(start=((_CHANGE, _timed(_changed(self.steps.replay))),))
        if _CHANGE in self.cancelling:
            return Orders()
        self.cancelling.add(_CHANGE)
        return Orders(cancel=(_CHANGE,))

    def _timer(self) -> Orders:
        """Keep a timer for the next instant at which the program continues by itself, while steps are in progress."""
        wanted_ms = self.steps.replay.wake_ms() if self._is_busy else None
        if wanted_ms == self.timer_ms:
            return Orders()
        if _TIMER in self.running:
            if _TIMER in self.cancelling:
                return Orders()
            self.cancelling.add(_TIMER)
            return Orders(cancel=(_TIMER,))
        if wanted_ms is None:
            return Orders()
        self.timer_ms = wanted_ms
        self.running.add(_TIMER)
        return Orders(start=((_TIMER, _until(wanted_ms)),))


@program
def _timed(inner: Program[News | None, Any, Any]) -> Do[tuple[News | None, int], Any, Any]:
    """Return the value of a program and when it ended: a wait that begins then must not begin earlier."""
    value = yield from inner
    return value, (yield from perform(Now()))


@program
def _changed(replay: Replay) -> Do[News | None, Any, Any]:
    """Wait for a change of the row, and read the rows that have arrived; None in a dry run."""
    row: Instance | None = yield from perform(AwaitChange())
    if row is None:
        return None
    yield from read_arrivals(replay, row.journal_length)
    return News(Known(row.data, header_of(row)), row.suspension, row.journal_length, row.journal_length)


@program
def _until(at_ms: int) -> Do[int, Any, Any]:
    now_ms = yield from perform(Now())
    if now_ms < at_ms:
        yield from sleep(timedelta(milliseconds=at_ms - now_ms))
        now_ms = yield from perform(Now())
    return now_ms
