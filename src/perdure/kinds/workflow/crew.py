"""Performs the parallel steps of a workflow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, cast

import attrs
from returns.result import Success

from perdure.jobs.checkpoint import Checkpoint
from perdure.kinds.workflow.progress import News
from perdure.kinds.workflow.steps import Steps
from perdure.kinds.workflow.tree import OpenStep
from perdure.programs import Do, Halted, Program, Raised, perform, program, sleep
from perdure.programs.instructions import Now, Orders

_TIMER: Final = "timer"
_COMMIT: Final = "commit"


@attrs.define(eq=False)
class Crew:
    """Performs parallel steps: starts each when its predecessors are committed, and cancels those that lost.

    Attributes:
        steps: performs one step.
        running: the keys of the running programs.
        timer_ms: when the running timer ends.
        stopping: whether no further step may begin.
    """

    steps: Steps
    running: set[object] = attrs.Factory(set[object])
    timer_ms: int | None = None
    stopping: bool = False
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
        if replay.unsaved() or replay.needs_commit:
            return self._orders([]) if _COMMIT in self.running else self._orders([], commit=True)
        return self._orders(replay.calls())

    def _note(self, key: object, exit_: Any) -> None:
        """Run the program of the workflow on after the end of a program."""
        replay = self.steps.replay
        if key == _TIMER:
            self.timer_ms = None
            if isinstance(exit_, Success):
                replay.pass_time(cast("Success[int]", exit_).unwrap())
        elif key == _COMMIT:
            if isinstance(exit_, Halted):  # the claim is lost
                self.stopping = True
            elif isinstance(exit_, Success):
                news = cast("Success[News | None]", exit_).unwrap()
                if news is not None:
                    replay.notice(news.known, replay.now_ms)
                    self.stopping = self.stopping or news.suspension is not None
        elif exit_ is None:  # a step that was cancelled
            asked = replay.tree.dropping.get(cast("str", key))
            if asked is not None:
                replay.performed(asked, Success(None), replay.now_ms)

    def _orders(self, calls: list[OpenStep], *, commit: bool = False) -> Orders:
        start: list[tuple[object, Program[Any, Any, Any]]] = []
        if commit:
            start.append((_COMMIT, perform(Checkpoint(self.steps.replay.take))))
        replay = self.steps.replay
        for asked in calls:
            replay.begin_step(asked, replay.now_ms)
            start.append((asked.path, self.steps.performed(asked)))
        self.running.update(key for key, _ in start)
        cancel = [path for path in replay.tree.dropping if path in self.running and path not in self.cancelling]
        self.cancelling.update(cancel)
        orders = self._timer()
        return Orders((*start, *orders.start), (*cancel, *orders.cancel))

    def _timer(self) -> Orders:
        """Keep a timer for the next instant at which the program continues by itself, while steps are in progress."""
        replay = self.steps.replay
        others = self.running - {_TIMER}
        wanted_ms = replay.wake_ms() if others and replay.exit is None and not self.stopping else None
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
def _until(at_ms: int) -> Do[int, Any, Any]:
    now_ms = yield from perform(Now())
    if now_ms < at_ms:
        yield from sleep(timedelta(milliseconds=at_ms - now_ms))
        now_ms = yield from perform(Now())
    return now_ms
