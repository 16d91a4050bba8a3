"""The timers of a workflow: ends of sleeps, and time limits of forks."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Any, Literal, TypeAlias

import attrs

from perdure.kinds.workflow.tree import Branch, OpenFork, OpenStep, Tree, deadlines_around
from perdure.programs.instructions import SleepUntil

Anchor: TypeAlias = Literal["waiting", "begun", "answered"]
"""Why a time limit begins to count: a branch inside it waits, a step has begun, or a step has been answered."""


@attrs.define(eq=False)
class Timers:
    """The timers of one replay; one that is no longer needed stays in the heap until it is due.

    Attributes:
        tree: the branches.
    """

    tree: Tree
    _heap: list[tuple[int, int, OpenStep | OpenFork]] = attrs.Factory(list[Any])
    _tick: Iterator[int] = attrs.Factory(count)

    def sleep(self, asked: OpenStep) -> None:
        """Set the end of a sleep."""
        instruction = asked.instruction
        until = isinstance(instruction, SleepUntil)
        asked.wake_ms = instruction.at_ms if until else asked.branch.clock_ms + instruction.delay_ms
        heapq.heappush(self._heap, (asked.wake_ms, next(self._tick), asked))

    def anchor(self, branch: Branch, at_ms: int, why: Anchor) -> None:
        """Let the time limits around a branch count from an instant, unless they count already.

        A limit around a step counts from the beginning of the step, in full for each attempt; a limit around a wait
        counts from the instant at which the branch came to it.

        Args:
            branch: the branch.
            at_ms: the instant.
            why: a step that has only begun may have to begin again.
        """
        for fork in deadlines_around(branch):
            if fork.anchored or fork.decided is not None:
                continue
            fork.anchor_ms = fork.parent.clock_ms if why == "waiting" else at_ms
            fork.anchored = why != "begun"
            deadline_ms = fork.deadline_ms
            if deadline_ms is not None:
                heapq.heappush(self._heap, (deadline_ms, next(self._tick), fork))

    @staticmethod
    def begin_again(branch: Branch) -> None:
        """Let the time limits around a step that failed count from its next attempt."""
        for fork in deadlines_around(branch):
            if not fork.anchored:
                fork.anchor_ms = None

    def next_ms(self) -> int | None:
        """Return when the next timer is due."""
        while self._heap and not self._is_valid(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self) -> OpenStep | OpenFork:
        """Remove the timer that is due next."""
        return heapq.heappop(self._heap)[2]

    def _is_valid(self, entry: tuple[int, int, OpenStep | OpenFork]) -> bool:
        at_ms, _, timer = entry
        if isinstance(timer, OpenStep):
            return self.tree.asked.get(timer.path) is timer
        return self.tree.forks.get(timer.path) is timer and timer.deadline_ms == at_ms
