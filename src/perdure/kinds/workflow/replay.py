"""Replays the program of a workflow against its journal, as far as that goes without help. Pure.

The program is interpreted from its beginning, and each instruction receives the answer that the journal holds for it.
Rows are delivered in the order of writing, each when no branch can run: so the branches run in the order of the first
time. The instructions without an answer are the present: steps to perform, timers, signals. A request to cancel the
workflow is delivered to the branches where they wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import attrs
import orjson
from returns.result import Failure, Success

from perdure.codecs import Codec
from perdure.jobs.context import Post
from perdure.jobs.draft import Draft, StateOperations
from perdure.jobs.parts import HeldParts, joined
from perdure.kinds.workflow.children import answer_of_ask, answer_of_child, child_signal, leave_calls, send_call
from perdure.kinds.workflow.commands import NotInWorkflow, NotRecordable, ProgramStopped
from perdure.kinds.workflow.header import CancelRequest, Ended, FailingStep, Header, Publication, cancel_of, deadline_of
from perdure.kinds.workflow.instructions import (
    AskInstance,
    AwaitPromise,
    CallChild,
    OneStep,
    Patched,
    Publish,
    Receive,
    SendReply,
    StepKey,
    WorkflowCancelled,
)
from perdure.kinds.workflow.journal import (
    DIRECT,
    INSTANT,
    NAMES,
    STARTED,
    STOPPED,
    Form,
    Index,
    Large,
    Row,
    TakenOver,
    Unrecorded,
    codec_of,
    codecs_of,
    diverged,
    encoded,
    interrupt,
    is_reply,
    not_recorded,
    published_row,
    reply_row,
    row_of,
)
from perdure.kinds.workflow.progress import FULL_ERRORS, Known, LeftProgram, StepFailure, shortened_error
from perdure.kinds.workflow.tree import AnyExit, Branch, OpenStep, Tree, can_undo_unknown, finalizing_around
from perdure.kinds.workflow.waits import WAITS, Inbox, Timers
from perdure.programs import PASS, Halted, Program, Raised, ServiceCall
from perdure.programs.instructions import Deadline, Jitter, Log, Now
from perdure.programs.interpreter import Fork, interpret
from perdure.values.errors import InvalidInput
from perdure.values.excerpt import REFERENCE
from perdure.values.status import Suspension


def answer_unrecorded(replay: Replay, branch: Branch, instruction: Any) -> Any:
    """Answer the clock, randomness, keys and log records. Refuse any other instruction."""
    kind = instruction.__class__
    if kind is Now:
        return branch.clock_ms
    if kind is Jitter or kind is StepKey:
        # From the position alone: a replay must compute the key with which an interrupted attempt called the service.
        path = f"{branch.prefix}{branch.number}"
        return replay.taken.key(path) if kind is StepKey else replay.taken.chance(path)
    if kind is Log:
        replay.logged += 1
        # A replay comes past the same log records again: only those after the last commit are new.
        if replay.logged > replay.header.logged and not replay.is_taken_over:
            replay.lines.append(instruction)
        return None
    return Raised(NotInWorkflow(instruction))


def serve(replay: Replay, asked: OpenStep) -> bool:
    """Send a message, start a child, or note a patch. Return whether its branch, or another one, can run.

    A message that is too large is a defect of the program, which stops there.
    """
    instruction = asked.instruction
    try:
        if isinstance(instruction, CallChild | AskInstance):
            send_call(replay.draft, instruction, replay.header.run_id, asked.path)
            # The start is a row of its own: a replay without it would send the start a second time.
            replay.record(asked, "mark", path=asked.path + STARTED, at_ms=replay.now_ms)
            replay.start(asked)
            replay.timers.reach(asked, replay.now_ms)
            return True
        if isinstance(instruction, Publish):
            found = published_row(instruction, replay.signals, replay.draft)
            replay.record(asked, "done", value=found.value, at_ms=replay.now_ms, secret=found.secret)
            replay.published.append(found)
            replay.tree.answer(asked, Success(None))
            return True
        if isinstance(instruction, SendReply):
            value, secret = reply_row(instruction, replay.draft.limits.payload_bytes, replay.draft.encode)
            replay.record(asked, "done", value=value, at_ms=replay.now_ms, secret=secret)
            replay.replied.append(instruction.number)
            replay.tree.answer(asked, Success(None))
            return True
        answer = replay.draft.answer(instruction) if isinstance(instruction, Post) else True  # that of a patch
    except NotRecordable as problem:
        replay.stopped = problem
        return False
    except InvalidInput as problem:
        # Raised, it would be taken for a journal that this code cannot follow, and the workflow would be left to other
        # code.
        replay.stopped = InvalidInput(asked.name, problem.problems)
        return False
    replay.record(asked, "mark")
    replay.tree.answer(asked, Success(answer))
    return True


def cancel(replay: Replay, reason: str) -> None:
    """Halt the branches where they wait, and record it: those with a step in progress are halted after its answer.

    A step that a crash may have interrupted counts as in progress: its effect may have happened, and only its answer
    says whether there is something to undo. Unless the program around it can undo a step whose outcome is unknown.
    """
    in_progress: list[str] = []
    unknown: list[str] = []
    for asked in replay.tree.steps.values():
        # A step in progress is not given up: its effect happens anyway, and only its answer tells whether to undo it.
        if asked.begun_ms is not None:
            in_progress.append(asked.path)
        elif asked.path in replay.perhaps_begun or asked.path in replay.failing:
            is_repeated = asked.path in replay.perhaps_begun and not can_undo_unknown(asked)
            (in_progress if is_repeated else unknown).append(asked.path)
    replay.cancelled = True
    # The paths are part of the row: a replay must halt the same branches, and cannot know which steps were in progress.
    value = orjson.dumps([reason, in_progress, unknown]).decode()
    at_ms = replay.now_ms
    replay.new.append(Row(path="", name="cancel", form="cancelled", at_ms=at_ms, began_ms=at_ms, value=value))
    replay.tree.cancel(reason, frozenset(in_progress), frozenset(unknown))
    # A failing step that the halt has answered is not retried.
    for path in [path for path in replay.failing if path not in replay.tree.asked]:
        del replay.failing[path]


def cancelled_again(replay: Replay, row: Row) -> str:
    """Halt the branches as the row says. Return the reason."""
    replay.cancelled = True
    paths: list[list[str]]
    reason, *paths = orjson.loads(row.value)
    replay.tree.cancel(reason, *map(frozenset, paths))
    return str(reason)


def end_dropped(replay: Replay) -> bool:
    """Halt a branch whose step is dropped and not being performed. Return whether there was one."""
    tree = replay.tree
    for asked in tree.dropping.values():
        begun = asked.path in replay.perhaps_begun or asked.path in replay.failing
        if asked.begun_ms is None and not (asked.ending and asked.path in replay.perhaps_begun):
            replay.record(asked, "interrupted" if begun else "dropped")
            tree.stopped(asked, begun=begun)
            return True
    return False


def at_defect(replay: Replay, defect: Exception) -> Halted:
    """Decide on an exception of the program's own code: a workflow that is being cancelled is halted there.

    Raises:
        ProgramStopped: it is not being cancelled, or a finalizer raised: nothing is undone, and changed code can
            continue there.
    """
    branch, row, request = replay.running, replay.next_answer(), replay.request
    # Nothing is undone for a defect of the program: fixed code continues there, with all effects in place.
    if branch is None or branch.halted or branch.dropped or finalizing_around(branch) is not None:
        raise ProgramStopped(defect)
    if isinstance(branch.halt, Halted):  # it was to be halted at its next instruction
        halt, branch.halt, branch.halted = branch.halt, None, True
        return halt
    if row is not None and row.form == "cancelled":
        replay.consume()
        reason = cancelled_again(replay, row)
    # A workflow that its own code stopped can be cancelled without a fix: its compensations begin here.
    elif row is None and request is not None and not replay.cancelled:
        replay.go_live()
        reason = request.reason
        cancel(replay, reason)
    else:
        raise ProgramStopped(defect)
    branch.halted = True
    return Halted(WorkflowCancelled(reason))


@attrs.define(eq=False, repr=False)
class Replay:
    """One replay, and the program after it.

    Attributes:
        draft: holds the state and the messages.
        deliveries: how often the run was delivered. After a crash more than once.
        new: the rows since this run's beginning.
        taken: the rows that it has from the workflow that it was forked from.
        inbox: the signals and the ends of children that the program has not received.
        read_to: how many rows in the stored journal the run knows: it has read them, or written them itself.
        failing: the steps whose last attempt failed, by path.
        logged: the log records that the program has written.
        lines: log records to write.
        cancelled: whether the program has received the request to cancel it.
        failures: the attempts that failed since the last commit.
        replied: the updates that were answered since the last commit.
        published: the values that were published since then.
        fresh: the encoded state that it starts over with.
        stopped: the exception of the program's own code, at which it stands.
        running: the branch that runs, or ran last.
        timers: the waits and the time limits.
        perhaps_begun: the steps that an earlier delivery of this run may have begun: their effects may have happened.
        suspended: whether only those may begin: the instance is paused, or parked.
        interrupted: whether a request has stopped the run, so that its tree no longer changes.
        services: the services that the program was begun with.
        replies: the rows of replies that its runs have written.
        is_kept: whether the program stays in memory at the end of this run.
        left: the end of the run before, if that has kept the program.
        parts: the parts in the journal.
        answers: how many answers the journal holds, without those of `new`.
        starts: how many children the journal starts, and how many instances it asks.
        saved: how many of `new` are committed.
    """

    known: Known
    bodies: Sequence[str]
    draft: Draft
    signals: Mapping[str, Codec[Any]]
    max_steps: int
    now_ms: int
    deliveries: int = 1
    header: Header = attrs.field(init=False)
    new: list[Row] = attrs.Factory(list[Row])
    inbox: Inbox = attrs.field(init=False)
    taken: TakenOver = attrs.field(init=False)
    read_to: int = attrs.field(init=False)
    failing: dict[str, FailingStep] = attrs.Factory(dict[str, FailingStep])
    logged: int = 0
    lines: list[Log] = attrs.Factory(list[Log])
    cancelled: bool = False
    failures: list[StepFailure] = attrs.Factory(list[StepFailure])
    replied: list[int] = attrs.Factory(list[int])
    published: list[Publication] = attrs.Factory(list[Publication])
    end: Ended | None = None
    fresh: str | None = None
    stopped: Exception | None = None
    tree: Tree = attrs.Factory(Tree)
    running: Branch | None = None
    perhaps_begun: frozenset[str] = frozenset()
    suspended: bool = False
    interrupted: bool = False
    began_ms: int = attrs.field(init=False)
    services: Any = None
    replies: list[str] = attrs.Factory(list[str])
    is_kept: bool = False
    left: LeftProgram | None = None
    parts: HeldParts = attrs.Factory(HeldParts)
    _operations: StateOperations = attrs.field(init=False)
    _row: Row | None = None
    _position: int = 0
    _live: bool = False
    _budget: int = 0
    _pending: deque[OpenStep] = attrs.Factory(deque[OpenStep])
    timers: Timers = attrs.field(init=False)
    saved: int = 0
    answers: int = 0
    starts: int = 0
    _index: Index | None = None

    def __attrs_post_init__(self) -> None:
        self.timers, self._operations = Timers(self.tree), StateOperations(self.draft)
        self.header, self.read_to, self.began_ms = self.known.header, len(self.bodies), self.now_ms
        self.inbox = Inbox(self.tree.asked)
        self.taken = TakenOver(self.header.forked, self.header.run_id, self.bodies)
        # The entry without a path is the program's own failure, which no step repeats.
        self.failing = {step.path: step for step in self.header.failing if step.path}

    # ------------------------------------------------------------ replaying
    def begin(self, program: Program[Any, Any, Any], services: Any) -> None:  # the user's own record
        """Begin the program. `advance` runs it."""
        # `at_defect` decides before any `finally` of the program runs: those of a defect must not perform steps that a
        # fix would not.
        self.services = services
        loop = interpret(program, services, (self._operations,), partial(at_defect, self))
        self.tree.start(Branch("", loop, self.header.started_ms))

    def resume(self, draft: Draft, known: Known, arrived: Sequence[str], length: int, now_ms: int) -> None:
        """Continue the program in another run. `advance` runs it.

        Args:
            draft: the run's draft, which takes over the state.
            known: the stored data.
            arrived: the rows that others have appended since the last run.
            length: the stored journal's length.
            now_ms: the present.
        """
        # A kept program continues from the state that it set last, and the new draft begins with the stored one.
        draft.state, draft.encoded = self.draft.state, self.draft.encoded
        self.draft = self._operations.draft = draft
        # Never back: rows of this program may have later instants.
        self.known, self.header, self.began_ms, self.now_ms = known, known.header, now_ms, max(self.now_ms, now_ms)
        self.is_kept = self.suspended = False
        self.left, self.perhaps_begun, self.read_to = None, frozenset(), length
        self.inbox.add_all(arrived)

    def keep(self) -> None:
        """Keep the program after this run, and forget the rows that only a replay needs."""
        # Counted before the rows are forgotten: they still use up `max_steps`.
        self.answers += self.saved
        # Replies outlast `start_over`, and `bodies` is emptied below.
        self.replies[:0] = filter(is_reply, self.bodies)
        del self.new[: self.saved]
        self.is_kept, self.bodies, self.taken = True, (), TakenOver(None, self.header.run_id, ())
        self.saved = self._position = 0

    def close(self) -> None:
        """Drop the program."""
        self.left = None
        self.tree.close()

    def advance(self, instructions: int = 1 << 62) -> bool:
        """Run the branches, deliver the journal's rows, and then the answers that need no help.

        Args:
            instructions: after this many it returns.

        Returns:
            Whether there is more to do.

        Raises:
            Diverged: the journal is not that of this program.
        """
        self._budget, ready = instructions, self.tree.ready
        while self.stopped is None and not self.interrupted:
            while ready and self.stopped is None:
                if self._budget <= 0:
                    return True
                self._run(*ready.popleft())
            if self.stopped is not None:
                break
            if self.tree.exit is None and self._budget <= 0 and not self._live:
                return True
            # Also after the program's end: a row that is left is one that this code does not perform, and must be
            # reported.
            if not self._live:
                row = self.next_row()
                if row is not None:
                    self._deliver(row)
                    continue
                self.go_live()
            if self.tree.left:
                leave_calls(self.draft, self.header, self.tree.left)
            if self.tree.exit is not None or not self._answer_one():
                return False
        return False

    def go_live(self) -> None:
        """Begin the present: children that the replay left were cancelled before, and unrecorded waits begin now."""
        self._live = True
        # Only their names are needed from now on: the same content is not stored a second time.
        self.parts.texts = dict.fromkeys(self.parts.texts, "")
        # Cancelled before: the messages were sent by the run that dropped them.
        self.tree.left.clear()
        self.timers.begin_waits(self.now_ms)
        for path in [path for path in self.failing if path not in self.tree.asked]:
            del self.failing[path]
        # Only after a crash: the dead process may have begun any step that was due, and its effect may have happened.
        if self.deliveries > 1:
            asked = (*self.tree.steps, *self.tree.dropping)
            self.perhaps_begun = frozenset(path for path in asked if self._is_due(path))

    def check_followed(self) -> None:
        """Check that the program did not raise before its journal's end.

        Raises:
            Diverged: it did.
        """
        row = self.next_answer()
        if self.stopped is not None and row is not None:
            raise diverged(self.tree, row, raised=self.stopped)

    def next_row(self) -> Row | None:
        """Return the journal's next answer, decoded. Add the rows that arrived before it to the inbox."""
        while self._row is None and self._position < len(self.bodies):
            row = row_of(self.bodies[self._position])
            if row.form == "arrived":
                self.inbox.add(row, self.parts)
            elif row.form == "part":
                self.parts.hold(row.name, self._position, row.value)
            elif self._position >= self.header.skips:
                self._row = row
                self.parts.name(row.value)
                break
            # Its arrival is kept among the old rows, and it would be received a second time.
            elif row.signal:  # received before the program started over
                self.inbox.take(row.signal)
            self._position += 1
        return self._row

    def next_answer(self) -> Row | None:
        """Return the next row, behind the notes of waits that a program which stops here has written."""
        while (row := self.next_row()) is not None and row.form == "waiting":
            self._row, self._position = None, self._position + 1
        return row

    def consume(self) -> None:
        """Note that the next row is delivered."""
        self._row, self._position, self.answers = None, self._position + 1, self.answers + 1

    def _run(self, branch: Branch, answer: Any) -> None:
        """Run a branch until it waits, or ends."""
        if branch.state == "new" and branch.halt is not None:  # dropped before it began
            branch.loop.close()
            self.tree.ended(branch, branch.halt)
            return
        branch.state, self.running = "begun", branch
        send, tree = branch.loop.send, self.tree
        while True:
            self._budget -= 1
            try:
                instruction, scope = send(answer)
            except StopIteration as stop:
                tree.ended(branch, stop.value)
                return
            except ProgramStopped as stopped:
                self.stopped = stopped.cause
                return
            kind = instruction.__class__
            name_of = NAMES.get(kind)
            if name_of is None:
                answer = answer_unrecorded(self, branch, instruction)
                continue
            # A halt waits for a finalizer: a compensation that is given up half-way leaves the effects of both.
            if branch.halt is not None and finalizing_around(branch) is None:
                answer, branch.halt, branch.halted = branch.halt, None, True
                continue
            path, name = f"{branch.prefix}{branch.number}", name_of(instruction)
            # Asked before the number is taken: for workflows that passed the place without the patch, the later steps
            # keep their paths.
            if kind is Patched and self._is_past(branch.prefix, branch.number, name):
                answer = Success(False)  # noqa: FBT003 - the answer
                continue
            branch.number += 1
            if kind is Fork:
                tree.open(branch, path, instruction)
                return
            answer = self._recorded(OpenStep(path, name, instruction, scope, branch))
            if answer is PASS:
                return

    def _recorded(self, asked: OpenStep) -> Any:
        """Answer an instruction if the next row does, and no other branch can run. PASS if its branch waits."""
        # Only while no other branch can run: rows are delivered in the order of the journal, or branches would see
        # another order.
        if not self._live and not self.tree.ready and self._budget > 0:
            row = self.next_row()
            if row is not None and row.path == asked.path and row.form in DIRECT:
                self.consume()
                return self._answer_of(asked, row)
        self.tree.wait(asked)
        self._waits(asked)
        return PASS

    # ------------------------------------------------------------ rows
    def _deliver(self, row: Row) -> None:
        """Deliver a row in the journal, while no branch can run."""
        self.consume()
        if row.form == "waiting":
            # A note of waits is no answer: it must not use up `max_steps`.
            self.answers -= 1
            self.timers.follow(row, self.taken.counted_ms(0, self._position))
            return
        tree = self.tree
        if row.form == "cancelled":
            cancelled_again(self, row)
            return
        if row.form == "timed_out":
            fork = tree.forks.get(row.path)
            if fork is None or not isinstance(fork.plan, Deadline) or fork.decided is not None:
                raise diverged(self.tree, row)
            tree.expire(fork, row.at_ms)
            return
        asked = tree.asked.get(row.path.removesuffix(STARTED))
        if asked is None or not self.taken.fits(row, asked.name, self._position):
            raise diverged(self.tree, row)
        if row.form in STOPPED and row.path not in tree.dropping:
            if row.form == "dropped" or asked.branch.halt is None:
                raise diverged(self.tree, row)
            tree.interrupt(asked)
        if row.path.endswith(STARTED):
            self.start(asked)
            self.timers.reach(asked, self.taken.counted_ms(row.at_ms, self._position))
        elif row.form in STOPPED:
            # The difference decides whether its compensation runs, and must be the same in each replay.
            tree.stopped(asked, begun=row.form == "interrupted")
        else:
            tree.answer(asked, self._answer_of(asked, row))

    def _answer_of(self, asked: OpenStep, row: Row) -> Any:
        """Return an instruction's recorded answer.

        Raises:
            Diverged: it is the answer of another one, or this code cannot decode it.
        """
        # The name is all that binds a row to its step: without this, changed code would receive the answer of another
        # step.
        if not self.taken.fits(row, asked.name, self._position):
            raise diverged(self.tree, row, asked)
        branch, instruction = asked.branch, asked.instruction
        branch.clock_ms = max(branch.clock_ms, row.at_ms)
        kind = instruction.__class__
        if branch.prefix and kind not in INSTANT:
            self.timers.anchor(branch, self.taken.counted_ms(row.began_ms, self._position), "answered")
        try:
            if kind is ServiceCall or kind is OneStep:
                values, errors = codecs_of(instruction)
                value = joined(row.value, self.parts.texts) if row.value[:1] == REFERENCE else row.value
                if row.form == "done":
                    # `open`, not `decode`: newer code may have written members that this code does not know, and must
                    # not stop for.
                    return Success(self.draft.known(values.open(value.encode())))
                if errors is None:
                    raise InvalidInput(f"error of {row.name}", ("it declares no errors",))  # noqa: TRY301 - as the codec
                return Failure(self.draft.known(errors.open(value.encode())))
            if kind is Receive:
                # By number: the row of a receipt holds no value, because the arrival has it.
                value = self.inbox.take(row.signal).value
                known = self.draft.known(codec_of(self.signals, instruction).open(value.encode()))
                known = known if instruction.key is None else known.value
                return Success((row.signal, known) if instruction.is_update else known)
            if kind is AskInstance or kind is AwaitPromise:
                stored = row.value if kind is AwaitPromise else self.inbox.take(row.signal).value
                return answer_of_ask(instruction, stored, self.draft.known)
            if kind is CallChild:
                answer: Any = answer_of_child(instruction, self.inbox.take(row.signal).value, self.draft.known)
                is_undone = branch.halt is not None and not isinstance(cast("object", answer), Success)
                return branch.halt if is_undone else answer
        except (InvalidInput, NotRecordable) as problem:
            raise diverged(self.tree, row, asked, problem) from problem
        return Success(True) if kind is Patched else Success(None)  # noqa: FBT003 - the answer

    @property
    def is_taken_over(self) -> bool:
        """Whether the program is still at steps that another workflow performed, whose fork this one is."""
        return not self._live and self.taken.has(self._position)

    def _is_past(self, prefix: str, number: int, name: str) -> bool:
        """Return whether the journal continues beyond a patch that it does not hold."""
        if self._live:
            return False
        self._index = self._index or Index(self.bodies, self.header.skips)
        # So a patch can be added to code while workflows are beyond it.
        return self._index.is_past(prefix, number, name)

    # ------------------------------------------------------------ the present
    def _waits(self, asked: OpenStep) -> None:
        """Register the timer, signal or message that a branch waits for."""
        instruction, kind = asked.instruction, asked.instruction.__class__
        if kind is Receive:
            self.inbox.wait(instruction.stored, asked)
        elif kind is CallChild or kind is AskInstance:
            self.inbox.wait(child_signal(self.header.run_id, asked.path), asked)
        if kind in WAITS:
            self.timers.wait(asked, self.now_ms if self._live else None)
        elif kind is not ServiceCall and kind is not OneStep:
            self._pending.append(asked)

    def _answer_one(self) -> bool:
        """Deliver one answer that needs no help. Return whether there was one."""
        # The limits of a commit: more answers would make rows and messages that it cannot hold.
        if self.is_full or self.needs_commit:
            return False
        tree = self.tree
        while self._pending:
            asked = self._pending.popleft()
            # The branch may have been halted since then: nothing waits for this instruction any more.
            if tree.asked.get(asked.path) is asked and not asked.started and serve(self, asked):
                return True
        if end_dropped(self) or self._settle():
            return True
        received = self.inbox.next()
        if received is not None:
            # Without the value, which the row of the arrival holds.
            self._received(received[0], secret=received[1].secret, signal=received[1].signal)
            return True
        if (request := self.request) is not None and not self.cancelled:
            cancel(self, request.reason)
            return True
        return request is not None and interrupt(self.tree, every=request.interrupt)

    def _settle(self) -> bool:
        if (found := self.timers.settled(self.header)) is not None:
            self._received(found[0], found[1].value, secret=found[1].secret)
        return found is not None

    def _received(self, asked: OpenStep, value: str = "", *, secret: bool, signal: int = 0) -> None:
        row = self.record(asked, "done", value=value, at_ms=self.now_ms, secret=secret, signal=signal)
        self.tree.answer(asked, self._answer_of(asked, row))

    def record(
        self,
        asked: OpenStep,
        form: Form,
        *,
        value: str = "",
        at_ms: int | None = None,
        path: str | None = None,
        secret: bool = False,
        signal: int = 0,
    ) -> Row:
        """Add an instruction's row."""
        branch = asked.branch
        # The clock of a branch never goes back, also if that of the machine does: programs compare their instants.
        at_ms = branch.clock_ms if at_ms is None else max(branch.clock_ms, at_ms)
        failed = self.failing.pop(asked.path, None)
        row = Row(
            path=path or asked.path,
            name=asked.name,
            form=form,
            at_ms=at_ms,
            began_ms=at_ms if asked.begun_ms is None else min(asked.begun_ms, at_ms),
            attempts=1 if failed is None else failed.attempts + 1,
            value=value,
            secret=secret,
            signal=signal,
            finalizer=form in DIRECT | STOPPED and finalizing_around(branch) is not None,
        )
        self.new.append(row)
        self.parts.name(value)
        return row

    def start(self, asked: OpenStep) -> None:
        """Note that an instruction has started a child, or asked another instance, by the row before."""
        # A start is no answer: with both, 10,000 children would use up `max_steps` twice.
        asked.started, self.starts, self.answers = True, self.starts + 1, self.answers - 1

    # ------------------------------------------------------------ steps
    def calls(self) -> list[OpenStep]:
        """Return the steps that can be performed now."""
        due = self._due()
        # Paused, only steps that a crash interrupted are performed: until they have an answer, nothing knows whether to
        # undo them.
        return [each for each in due if each.path in self.perhaps_begun] if self.suspended else due

    def _due(self) -> list[OpenStep]:
        if self.is_full or self.is_stopped or self.stopped is not None or self.interrupted:
            return []
        asked = list(self.tree.steps.values())
        if self.tree.dropping:
            asked += [each for each in self.tree.dropping.values() if each.ending]
        return [each for each in asked if each.begun_ms is None and (not self.failing or self._is_due(each.path))]

    def _is_due(self, path: str) -> bool:
        failed = self.failing.get(path)
        return failed is None or (failed.at_ms is not None and failed.at_ms <= self.now_ms)

    def begin_step(self, asked: OpenStep, now_ms: int) -> None:
        """Note that an attempt of a step begins."""
        self.now_ms = max(self.now_ms, now_ms)
        asked.begun_ms = now_ms
        if asked.branch.prefix:
            self.timers.anchor(asked.branch, now_ms, "begun")

    def performed(self, asked: OpenStep, exit_: AnyExit, now_ms: int, stored: Large | None = None) -> Unrecorded:
        """Deliver a step's outcome, and run the program on.

        Args:
            asked: the step.
            exit_: its outcome.
            now_ms: when it ended.
            stored: the reference to the outcome, if its parts are stored.

        Returns:
            The defect that made the attempt fail, for `failed`. Or an outcome larger than a row, for `store_parts`.
        """
        self.now_ms = max(self.now_ms, now_ms)
        # A stopped step has an outcome only if it ended by itself: otherwise its effect may have happened or not.
        if asked.path in self.tree.dropping and not isinstance(exit_, Success | Failure):
            self.record(asked, "interrupted")
            self.tree.stopped(asked, begun=True)
            self.advance()
            return None
        defect: Exception
        match exit_:
            case Success() | Failure():
                if stored is None:
                    try:
                        value, secret = encoded(asked.instruction, exit_, self.draft)
                    except (InvalidInput, NotRecordable) as problem:
                        return not_recorded(asked.name, problem)
                    if len(value) > self.draft.limits.payload_bytes:
                        return Large(value.decode(), secret)
                    text = value.decode()
                else:
                    text, secret = stored.value, stored.secret
                form: Form = "done" if isinstance(exit_, Success) else "failed"
                row = self.record(asked, form, value=text, at_ms=self.now_ms, secret=secret)
                asked.branch.clock_ms = row.at_ms
                if asked.branch.prefix:
                    self.timers.anchor(asked.branch, row.began_ms, "answered")
                self.tree.answer(asked, exit_)
                self.advance()
                return None
            case Halted(signal):
                defect = not_recorded(asked.name, f"it halted with {signal!r}; a step returns a value or an error")
            case Raised(cause):
                defect = cast("Exception", cause)
        return defect

    def failed(self, step: FailingStep, took_ms: int) -> None:
        """Note a failed attempt of a step, or of the program itself."""
        # The header is written with each commit: a thousand tracebacks in it would be written a thousand times.
        full = sum(bool(each.error.traceback) for path, each in self.failing.items() if path != step.path)
        self.failing[step.path] = step if full < FULL_ERRORS else shortened_error(step)
        self.failures.append(StepFailure(step, took_ms))
        if (asked := self.tree.asked.get(step.path)) is not None:
            asked.begun_ms = None
            self.timers.begin_again(asked.branch)

    # ------------------------------------------------------------ time and requests
    def wake_ms(self) -> int | None:
        """Return when the program continues by itself. None if it waits for requests alone."""
        if self.stopped is not None:
            return None
        wakes = [ms for ms in (self.timers.next_ms(), deadline_of(self.header, self.now_ms)) if ms is not None]
        for failed in self.failing.values():
            step = self.tree.steps.get(failed.path)
            if failed.at_ms is not None and failed.at_ms > self.now_ms and step is not None and step.begun_ms is None:
                wakes.append(failed.at_ms)
        return min(wakes, default=None)

    def pass_time(self, now_ms: int) -> None:
        """End the sleeps and the time limits that are due, and run the program on."""
        self.now_ms = max(self.now_ms, now_ms)
        # The deadline may have passed with the time: `request` depends on the present.
        if self.request is not None and not self.cancelled:
            self.advance()
        while (at_ms := self.timers.next_ms()) is not None and at_ms <= self.now_ms:
            # A commit takes no more answers: the other timers are served after it.
            if self.is_full or self.needs_commit or self.interrupted:
                return
            if self.tree.exit is not None or self.stopped is not None:
                return
            timer = self.timers.pop()
            if isinstance(timer, OpenStep):
                # The present, and not the instant that was due: after a downtime, the next wait begins now.
                row = self.record(timer, "done", at_ms=self.now_ms)
                timer.branch.clock_ms = row.at_ms
                self.tree.answer(timer, Success(None))
            else:
                began_ms = self.now_ms if timer.anchor_ms is None else timer.anchor_ms
                row = Row(path=timer.path, name="timeout", form="timed_out", at_ms=self.now_ms, began_ms=began_ms)
                self.new.append(row)
                self.tree.expire(timer, row.at_ms)
            self.advance()

    def notice(self, known: Known, suspension: Suspension | None, now_ms: int) -> None:
        """Take over the requests that arrived since the last commit, and run the program on."""
        self.now_ms, self.suspended = max(self.now_ms, now_ms), suspension is not None
        if known.data != self.known.data:
            self.known, self.header = known, known.header
        self.advance()

    def arrived(self, first: int, bodies: Sequence[str]) -> None:
        """Take over the rows from a place on that were appended since the run has read the journal."""
        self.inbox.add_all(bodies)
        self.read_to = max(self.read_to, first + len(bodies))

    # ------------------------------------------------------------ commits
    def unsaved(self) -> bool:
        """Return whether there is progress that no commit holds."""
        return self.saved < len(self.new) or bool(self.failures)

    @property
    def is_live(self) -> bool:
        """Whether the program has reached its journal's end."""
        return self._live

    @property
    def rows(self) -> int:
        """The number of answers in the journal, with those of this run."""
        # Signals that wait do not count: their senders could use up the steps of the workflow.
        return self.answers + len(self.new)

    @property
    def limit(self) -> int:
        """The journal's limit: a cancelled workflow may write the cancellation and as many rows again, to undo."""
        # As many again: a workflow with a full journal must still be able to undo all of its steps.
        return self.max_steps if self.request is None else 2 * self.max_steps + 1

    @property
    def request(self) -> CancelRequest | None:
        """The request to cancel the workflow. A deadline that passes while it is suspended cancels it afterwards."""
        return self.header.cancel if self.suspended else cancel_of(self.header, self.now_ms)

    def deadline_ms(self) -> int | None:
        """Return when the deadline continues the program. None if it has none, or it can no longer cancel it."""
        return None if self.cancelled else deadline_of(self.header, 0 if self.suspended else self.began_ms)

    @property
    def is_full(self) -> bool:
        """Whether the journal has reached its limit."""
        most = self.max_steps
        # A gather may start all children before their answers, which would find no limit. The first comparisons nearly
        # always return, and save the last one, which computes the request.
        if self.rows < most and self.starts <= most:
            return False
        return (self.rows >= self.limit or self.starts > self.limit) and self.tree.exit is None

    @property
    def is_stopped(self) -> bool:
        """Whether a step failed for good."""
        return bool(self.failing) and any(step.at_ms is None for step in self.failing.values())

    @property
    def needs_commit(self) -> bool:
        """Whether a commit can hold no more messages."""
        return len(self.draft.messages) >= self.draft.limits.messages_per_turn

    @property
    def program_failure(self) -> FailingStep | None:
        """The last failure of the program itself, beside its steps."""
        return next((step for step in self.header.failing if not step.path), None)

    @property
    def in_progress(self) -> list[OpenStep]:
        """The steps that are being performed."""
        asked = (*self.tree.steps.values(), *self.tree.dropping.values())
        return [step for step in asked if step.begun_ms is not None]

    def has_more(self, header: Header, length: int) -> bool:
        """Return whether another run can continue at once.

        Args:
            header: the data that the next run begins with.
            length: the stored journal's length.
        """
        if self.stopped is not None:
            return False
        if self._due() or self.needs_commit or (header.cancel is not None and not header.cancel.delivered):
            return True
        # A signal that arrived during the run has set no alarm: only this lets another run receive it.
        return length > self.read_to or self.inbox.next() is not None or self.timers.settled(header) is not None
