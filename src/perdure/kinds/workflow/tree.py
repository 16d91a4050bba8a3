"""The branches in a program that is replayed: which can run, which wait, and which exit decides a fork."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias, cast

import attrs
from returns.result import Failure, Success

from perdure.kinds.workflow.instructions import AskInstance, BranchDropped, CallChild, OneStep, WorkflowCancelled
from perdure.programs import EffectTimeout, Exit, Halted, Raised, ServiceCall
from perdure.programs.constructors import Uninterrupted
from perdure.programs.instructions import MAP, Deadline, Gather, Orders, Race, Supervision
from perdure.programs.interpreter import Fork, Loop, is_finalizing, stack_of
from perdure.values.excerpt import fields_in_line

AnyExit: TypeAlias = Exit[Any, Any]

DROPPED: AnyExit = Halted(BranchDropped())


@attrs.define(eq=False)
class OpenStep:
    """An instruction without an answer, at which a branch waits.

    Attributes:
        scope: the services in effect there.
        begun_ms: when its attempt in progress began, or when the program reached the wait. None while that is open.
        started: whether the message that starts a child was sent.
        halt: the halt that the branch receives if the step is stopped.
        ending: whether a step whose branch is halted is performed to its end, because its outcome must be known.
    """

    __repr__ = fields_in_line

    path: str
    name: str
    instruction: Any
    scope: Any
    branch: Branch
    begun_ms: int | None = None
    wake_ms: int | None = None
    started: bool = False
    halt: AnyExit = DROPPED
    ending: bool = False


@attrs.define(eq=False)
class Branch:
    """One branch in the program. The first one is the program itself.

    Attributes:
        prefix: the path of its fork and its number, with a dot after each. Empty for the program itself.
        clock_ms: the last answer's instant.
        fork: the fork that it belongs to.
        index: the branch's number in the fork.
        number: the number of its next instruction.
        asked: the instruction that it waits at.
        halt: the halt that its next instruction receives.
        state: whether it has run yet, and whether it has ended.
        halted: whether it received a halt.
        dropped: whether its fork's exit is decided without it.
    """

    __repr__ = fields_in_line

    prefix: str
    loop: Loop[Any, Any]
    clock_ms: int
    fork: OpenFork | None = None
    index: int = 0
    number: int = 0
    asked: OpenStep | None = None
    waits_for: OpenFork | None = None
    halt: AnyExit | None = None
    state: str = "new"
    halted: bool = False
    dropped: bool = False


@attrs.define(eq=False)
class OpenFork:
    """A fork, until all its branches have ended.

    Attributes:
        plan: the programs, and which exit decides.
        begin: makes the loop of one of the programs.
        parent: the branch that waits for it.
        next: the next program's number to start.
        live: the branches that run or wait, by number.
        values: the values of a `gather`, by number.
        keys: the keys of a supervisor's programs, by number.
        halted: the exit of a supervisor's program that was halted, or is a defect.
        decided: the fork's exit, once it is decided.
        anchor_ms: from when a time limit counts. None until something inside it has begun.
        anchored: whether an answer fixed the anchor, or only the attempt in progress.
        expired: whether the time limit has passed.
    """

    __repr__ = fields_in_line

    path: str
    plan: Gather | Race | Deadline | Supervision
    begin: Callable[[Any], Loop[Any, Any]]
    parent: Branch
    clock_ms: int
    next: int = 0
    live: dict[int, Branch] = attrs.Factory(dict[int, Branch])
    values: dict[int, Any] = attrs.Factory(dict[int, Any])
    keys: dict[int, object] = attrs.Factory(dict[int, object])
    halted: AnyExit | None = None
    decided: AnyExit | None = None
    anchor_ms: int | None = None
    anchored: bool = False
    expired: bool = False

    @property
    def programs(self) -> tuple[Any, ...]:
        """The plan's programs. Those of a supervisor are known when it starts them."""
        if isinstance(self.plan, Supervision):
            return ()
        return (self.plan.program,) if isinstance(self.plan, Deadline) else self.plan.programs

    @property
    def deadline_ms(self) -> int | None:
        """When the time limit passes. None while it does not count yet, or there is none."""
        if isinstance(self.plan, Deadline) and self.anchor_ms is not None and self.decided is None:
            return self.anchor_ms + self.plan.after_ms
        return None


@attrs.define(eq=False)
class Tree:
    """All branches.

    Attributes:
        ready: the branches that can run, each with the answer that it receives.
        asked: the instructions without an answer, by path, in the order in which they were asked.
        steps: those of them that are performed by services.
        dropping: steps whose branch is halted by their end's row: they are stopped, unless they are `ending`.
        left: calls of children that their branches no longer wait for.
        forks: the open forks, by path.
        lost: the defects of dropped branches.
        live: every branch that has not ended.
    """

    ready: deque[tuple[Branch, Any]] = attrs.Factory(deque[tuple[Branch, Any]])
    asked: dict[str, OpenStep] = attrs.Factory(dict[str, OpenStep])
    steps: dict[str, OpenStep] = attrs.Factory(dict[str, OpenStep])
    dropping: dict[str, OpenStep] = attrs.Factory(dict[str, OpenStep])
    left: list[OpenStep] = attrs.Factory(list[OpenStep])
    forks: dict[str, OpenFork] = attrs.Factory(dict[str, OpenFork])
    lost: list[Raised] = attrs.Factory(list[Raised])
    exit: AnyExit | None = None
    branches: dict[str, Branch] = attrs.Factory(dict[str, Branch])

    def start(self, branch: Branch) -> None:
        """Let a new branch run."""
        self.branches[branch.prefix] = branch
        self.ready.append((branch, None))

    def wait(self, asked: OpenStep) -> None:
        """Let a branch wait at an instruction."""
        asked.branch.asked = asked
        self.asked[asked.path] = asked
        if isinstance(asked.instruction, ServiceCall | OneStep):
            self.steps[asked.path] = asked

    def answer(self, asked: OpenStep, answer: Any) -> None:
        """Let a branch continue with its instruction's answer."""
        branch = asked.branch
        del self.asked[asked.path]
        self.steps.pop(asked.path, None)
        self.dropping.pop(asked.path, None)
        branch.asked = None
        if answer.__class__ is Halted:
            branch.halted, branch.halt = True, None
        self.ready.append((branch, answer))

    @property
    def waits_beside_steps(self) -> bool:
        """Whether a branch waits for something else than a step in progress: a request may let it continue."""
        return len(self.asked) > len(self.steps) + len(self.dropping) or any(
            asked.begun_ms is None for asked in self.steps.values()
        )

    # ------------------------------------------------------------ forks
    def open(self, branch: Branch, path: str, fork: Fork) -> OpenFork:
        """Start a fork's branches."""
        opened = OpenFork(path, cast("Any", fork.plan), fork.begin, branch, branch.clock_ms)
        self.forks[path] = opened
        branch.waits_for = opened
        if isinstance(opened.plan, Supervision):
            self._follow(opened, opened.plan.supervisor.begun())
            self._close_supervised(opened)
            return opened
        # A fork without branches would never end.
        if not opened.programs:
            opened.decided = Success(())
            self._close(opened)
            return opened
        limit = fork.plan.limit if isinstance(fork.plan, Gather) else len(opened.programs)
        while opened.next < len(opened.programs) and len(opened.live) < limit:
            self._start_next(opened)
        return opened

    def _start_next(self, fork: OpenFork) -> None:
        self._start(fork, fork.programs[fork.next])

    def _start(self, fork: OpenFork, program: Any) -> None:
        index = fork.next
        fork.next += 1
        loop = fork.begin(program)
        branch = Branch(f"{fork.path}.{index}.", loop, fork.clock_ms, fork, index)
        fork.live[index] = branch
        self.start(branch)

    def ended(self, branch: Branch, exit_: AnyExit) -> None:
        """Note a branch's exit.

        Raises:
            BaseException: the exit is a cancellation or a request to end the process.
        """
        # A cancellation of the run must leave the interpreter: recorded as an outcome, the run could not be stopped.
        if isinstance(exit_, Raised) and not isinstance(exit_.cause, Exception):
            raise exit_.cause
        branch.state = "over"
        del self.branches[branch.prefix]
        fork = branch.fork
        if fork is None:
            self.exit = exit_
            return
        # A branch that ended first has not received the halt: lost here, the program would continue as if it was not
        # cancelled.
        if branch.halt is not None and not branch.dropped:  # it ended before its next instruction
            _halt_later(fork.parent, branch.halt)
        del fork.live[branch.index]
        # The fork's clock never goes back: branches that start later, and the program behind the fork, begin at it.
        fork.clock_ms = max(fork.clock_ms, branch.clock_ms)
        if isinstance(fork.plan, Supervision):
            self._supervised_ended(fork, branch, exit_)
            return
        if branch.dropped:
            self._dropped_ended(fork, exit_)
        elif fork.decided is None:
            self._joined(fork, branch.index, exit_)
        if fork.decided is not None and not fork.live:
            self._close(fork)

    def _joined(self, fork: OpenFork, index: int, exit_: AnyExit) -> None:
        if not isinstance(fork.plan, Gather) or not isinstance(exit_, Success):
            self.decide(fork, exit_)
            return
        fork.values[index] = exit_.unwrap()
        if fork.next < len(fork.programs):
            self._start_next(fork)
        elif not fork.live:
            # In the order of the programs, and not of their ends: the value must not depend on timing.
            fork.decided = Success(tuple(fork.values[place] for place in range(len(fork.programs))))

    # ------------------------------------------------------------ supervised programs
    def _supervised_ended(self, fork: OpenFork, branch: Branch, exit_: AnyExit) -> None:
        """Report an end to the supervisor, and follow its orders."""
        key, plan = fork.keys.pop(branch.index), cast("Supervision", fork.plan)
        if branch.dropped:
            self._dropped_ended(fork, exit_)
        elif not isinstance(exit_, Success | Failure) and fork.halted is None:
            fork.halted = exit_
            # The others of a cancelled workflow receive the halt where they wait, those in progress after their end.
            if not (isinstance(exit_, Halted) and isinstance(exit_.signal, WorkflowCancelled)):
                self.decide(fork, exit_)
        orders = plan.supervisor.ended(key, None if branch.dropped else exit_, branch.clock_ms)
        # A halt on its way to the branch around it: what begins now would begin in a cancelled program.
        if fork.halted is None and fork.decided is None and fork.parent.halt is None:
            self._follow(fork, orders)
        self._close_supervised(fork)

    def _follow(self, fork: OpenFork, orders: Orders) -> None:
        for number, key in tuple(fork.keys.items()) if orders.cancel else ():
            if key in orders.cancel:
                self._drop(fork.live[number])
        for key, program in orders.start:
            fork.keys[fork.next] = key
            self._start(fork, program)

    def _close_supervised(self, fork: OpenFork) -> None:
        if not fork.live and self.forks.get(fork.path) is fork:
            fork.decided = fork.decided or fork.halted or Success(None)
            self._close(fork)

    def _dropped_ended(self, fork: OpenFork, exit_: AnyExit) -> None:
        if fork.expired and exit_ != DROPPED:  # its finalizer decided otherwise
            fork.decided = exit_
        elif isinstance(exit_, Raised):
            self.lost.append(exit_)

    def decide(self, fork: OpenFork, exit_: AnyExit) -> None:
        """Decide a fork's exit, and drop the branches that still run."""
        fork.decided = exit_
        for branch in tuple(fork.live.values()):
            self._drop(branch)

    def _close(self, fork: OpenFork) -> None:
        del self.forks[fork.path]
        parent = fork.parent
        parent.waits_for = None
        parent.clock_ms = max(parent.clock_ms, fork.clock_ms)
        if isinstance(fork.decided, Halted):
            parent.halted, parent.halt = True, None
        self.ready.append((parent, fork.decided))

    # ------------------------------------------------------------ halts
    def _drop(self, branch: Branch) -> None:
        """Halt a branch whose outcome no longer matters, wherever it is."""
        if branch.dropped:
            return
        branch.dropped = True
        _pass_halt_on(branch)
        if branch.halted:  # its finalizers run already
            return
        # Nothing can undo an unknown outcome there: stopped, its effect would stay without a compensation.
        if any(one.if_unknown is None for one in uninterrupted_in(branch)):
            self._end_inside(branch)
            return
        asked, inner = branch.asked, branch.waits_for
        if asked is not None:
            # An earlier halt was passed on above: the dropped branch itself receives the drop.
            branch.halt = None
            if isinstance(asked.instruction, ServiceCall | OneStep):
                self._stop(asked, DROPPED)
                return
            # Nothing waits for the call any more: the called instance is notified with the next commit.
            if isinstance(asked.instruction, CallChild | AskInstance):
                self.left.append(asked)
            self.answer(asked, DROPPED)
        elif inner is not None:
            # It is decided, and only its branches are not over: the halt follows their end.
            if inner.decided is not None:
                branch.halt = DROPPED
                return
            self.decide(inner, DROPPED)
            if not inner.live:
                self._close(inner)
        else:
            branch.halt = DROPPED  # it is about to run

    def _stop(self, asked: OpenStep, halt: AnyExit, *, ending: bool = False) -> None:
        """Halt a step's branch by its end's row."""
        self.dropping[asked.path] = asked
        self.steps.pop(asked.path, None)
        # The branch halts by a row, not here: a replay must halt it at the same place of the journal.
        asked.halt, asked.ending, asked.branch.halt = halt, ending, halt

    def interrupt(self, asked: OpenStep) -> None:
        """Stop a step for which a cancelled program waits."""
        self._stop(asked, asked.branch.halt or DROPPED)

    def _end_inside(self, dropped: Branch) -> None:
        """Halt a branch, and those that it waits for, after the steps in progress: their outcomes must be known."""
        dropped.halt = DROPPED
        for asked in tuple(self.asked.values()):
            branch = asked.branch
            if not _is_inside(branch, dropped) or branch.halted or (branch.dropped and branch is not dropped):
                continue
            _pass_halt_on(branch)
            if asked.path in self.steps:
                self._stop(asked, DROPPED, ending=True)
            elif asked.path not in self.dropping and not self._awaits_end(asked, DROPPED):
                self.answer(asked, DROPPED)

    def stopped(self, asked: OpenStep, *, begun: bool) -> None:
        """Halt the branch of a step that is not performed further, and notify the programs around it.

        Args:
            asked: the step.
            begun: whether an attempt began, which may have had its effect.
        """
        if begun:
            self.note_unknown(asked)
        self.answer(asked, asked.halt)

    def note_unknown(self, asked: OpenStep) -> None:
        """Notify the programs around a step that its outcome is not known, the innermost first."""
        for around in uninterrupted_around(asked.branch):
            # Its effect may have happened: the compensation for that case is added before the program halts.
            if around.if_unknown is not None:
                around.if_unknown()

    def expire(self, fork: OpenFork, at_ms: int) -> None:
        """Let the time limit of a fork pass."""
        fork.expired = True
        fork.clock_ms = max(fork.clock_ms, at_ms)
        after_ms = fork.plan.after_ms if isinstance(fork.plan, Deadline) else 0
        self.decide(fork, Failure(EffectTimeout(timedelta(milliseconds=after_ms))))

    def cancel(self, reason: str, in_progress: frozenset[str], unknown: frozenset[str]) -> None:
        """Halt every branch where it waits.

        Args:
            reason: the caller's reason.
            in_progress: the paths of steps that are being performed: their branches are halted after their answer.
            unknown: the paths of steps that began, and are not performed again.
        """
        halt: AnyExit = Halted(WorkflowCancelled(reason))
        for branch, _ in self.ready:  # there are some only if another branch raised
            _halt_later(branch, halt)
        # A copy: answering changes the dictionary.
        for asked in tuple(self.asked.values()):
            branch = asked.branch
            if branch.dropped:
                # A dropped branch takes no halt, but the program that waits for it must be halted.
                _halt_around(branch, halt)
            if branch.halted or branch.dropped or branch.asked is not asked:
                continue
            finalizing = finalizing_around(branch)
            if finalizing is not None:  # a compensation in progress is not given up half-way
                _halt_later(finalizing, halt)
                continue
            if asked.path in in_progress:
                branch.halt = halt
                continue
            if asked.path in unknown:
                self.note_unknown(asked)
            if not self._awaits_end(asked, halt):
                self.answer(asked, halt)

    def _awaits_end(self, asked: OpenStep, halt: AnyExit) -> bool:
        """Leave a call's child. Return whether its branch is halted only after the end of that child.

        A program in `undo.after` needs the child's value: a child may succeed although it was cancelled.
        """
        call = asked.instruction
        if isinstance(call, AskInstance):
            self.left.append(asked)
        if not isinstance(call, CallChild):
            return False
        # The child is cancelled in any case, also if its end is awaited.
        self.left.append(asked)
        around = uninterrupted_around(asked.branch)
        waits = asked.started and call.when_cancelled == "cancel" and any(one.if_unknown is None for one in around)
        if waits:
            asked.branch.halt = halt
        return waits

    def close(self) -> None:
        """Drop all branches. Their `finally` blocks cannot perform instructions."""
        # Inner branches first: their finalizers may use values of the outer ones.
        for branch in reversed(tuple(self.branches.values())):
            branch.loop.close()


def _halt_later(branch: Branch, halt: AnyExit) -> None:
    if not (branch.halted or branch.dropped):
        branch.halt = halt


def _pass_halt_on(dropped: Branch) -> None:
    """Let the branch that waits for a dropped one receive the cancellation that the dropped one has not received."""
    if dropped.halt is not None and dropped.halt != DROPPED:
        _halt_around(dropped, dropped.halt)


def _halt_around(dropped: Branch, halt: AnyExit) -> None:
    """Halt the nearest branch around a dropped one that is not dropped itself: it continues when that has ended."""
    fork = dropped.fork
    while fork is not None and fork.parent.dropped:
        fork = fork.parent.fork
    if fork is not None:
        _halt_later(fork.parent, halt)


def _is_inside(branch: Branch, outer: Branch) -> bool:
    around: Branch | None = branch
    while around is not None and around is not outer:
        around = None if around.fork is None else around.fork.parent
    return around is outer


def uninterrupted_in(branch: Branch) -> list[Uninterrupted[Any, Any]]:
    """Return the marks around the instruction at which a branch waits, the innermost first."""
    return [mark for tag, mark in reversed(stack_of(branch.loop)) if tag == MAP and isinstance(mark, Uninterrupted)]


def uninterrupted_around(branch: Branch) -> list[Uninterrupted[Any, Any]]:
    """Return the marks around a branch and those that wait for it, the innermost first."""
    found: list[Uninterrupted[Any, Any]] = []
    around: Branch | None = branch
    while around is not None:
        found += uninterrupted_in(around)
        around = None if around.fork is None else around.fork.parent
    return found


def finalizing_around(branch: Branch) -> Branch | None:
    """Return the outermost branch around this one, itself included, that waits in a finalizer. None if none does."""
    found: Branch | None = None
    around: Branch | None = branch
    while around is not None:
        if is_finalizing(around.loop):
            # The outermost: a halt inside of it would end the inner finalizer, and the outer one would run half.
            found = around
        around = None if around.fork is None else around.fork.parent
    return found


def deadlines_around(branch: Branch) -> list[OpenFork]:
    """Return the forks with a time limit that a branch is inside of, the innermost first."""
    found: list[OpenFork] = []
    fork = branch.fork
    while fork is not None:
        if isinstance(fork.plan, Deadline):
            found.append(fork)
        fork = fork.parent.fork
    return found


def can_undo_unknown(asked: OpenStep) -> bool:
    """Return whether the programs around a step can undo it without its value."""
    around = uninterrupted_around(asked.branch)
    return bool(around) and all(one.if_unknown is not None for one in around)


def can_stop(asked: OpenStep) -> bool:
    """Return whether a step may be stopped half-way: it is no compensation, and nothing needs its value."""
    around = uninterrupted_around(asked.branch)
    # Without its value there is no compensation for it: the step must end.
    is_needed = asked.ending or any(one.if_unknown is None for one in around)
    return not is_needed and finalizing_around(asked.branch) is None
