"""Delivers a request to cancel a workflow to the branches of its program. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from perdure.kinds.workflow.children import cancel_child
from perdure.kinds.workflow.errors import ProgramStopped
from perdure.kinds.workflow.instructions import WorkflowCancelled
from perdure.kinds.workflow.row import Row
from perdure.kinds.workflow.tree import OpenStep, finalizing_around, uninterrupted_around
from perdure.programs import Halted

if TYPE_CHECKING:
    from perdure.kinds.workflow.replay import Replay
    from perdure.kinds.workflow.stored import CancelRequest


def cancel(replay: Replay, reason: str) -> None:
    """Halt the branches where they wait, and record it: those with a step in progress are halted after its answer.

    A step that a crash may have interrupted counts as in progress: its effect may have happened, and only its answer
    says whether there is something to undo; unless the program around it can undo a step whose outcome is unknown.
    """
    in_progress: list[str] = []
    unknown: list[str] = []
    for asked in replay.tree.steps.values():
        if asked.begun_ms is not None:
            in_progress.append(asked.path)
        elif asked.path in replay.perhaps_begun or asked.path in replay.failing:
            is_repeated = asked.path in replay.perhaps_begun and not can_undo_unknown(asked)
            (in_progress if is_repeated else unknown).append(asked.path)
    replay.cancelled = True
    value = orjson.dumps([reason, in_progress, unknown]).decode()
    at_ms = replay.now_ms
    replay.new.append(Row(path="", name="cancel", form="cancelled", at_ms=at_ms, began_ms=at_ms, value=value))
    replay.tree.cancel(reason, frozenset(in_progress), frozenset(unknown))
    for path in [path for path in replay.failing if path not in replay.tree.asked]:
        del replay.failing[path]


def cancelled_again(replay: Replay, row: Row) -> str:
    """Halt the branches as the row says; return the reason."""
    replay.cancelled = True
    paths: list[list[str]]
    reason, *paths = orjson.loads(row.value)
    replay.tree.cancel(reason, *map(frozenset, paths))
    return str(reason)


def can_undo_unknown(asked: OpenStep) -> bool:
    """Return whether the programs around a step can undo it without its value."""
    around = uninterrupted_around(asked.branch)
    return bool(around) and all(one.if_unknown is not None for one in around)


def can_stop(asked: OpenStep) -> bool:
    """Return whether a step may be stopped half-way: it is no compensation, and nothing needs its value."""
    around = uninterrupted_around(asked.branch)
    is_needed = asked.ending or any(one.if_unknown is None for one in around)
    return not is_needed and finalizing_around(asked.branch) is None


def interrupt(replay: Replay) -> bool:
    """Stop the steps that a cancelled program waits for; return whether there were some."""
    waited_for = [asked for asked in replay.tree.steps.values() if asked.branch.halt is not None and can_stop(asked)]
    for asked in waited_for:
        replay.tree.interrupt(asked)
    return bool(waited_for)


def may_stop(replay: Replay) -> bool:
    """Return whether a run may be stopped now: all its steps in progress, and those that a crash interrupted."""
    perhaps = (asked for asked in replay.tree.asked.values() if asked.path in replay.perhaps_begun)
    return all(map(can_stop, (*replay.in_progress, *perhaps)))


def cut(replay: Replay, request: CancelRequest) -> None:
    """Record that the program of a stopped run is cancelled, and that its steps were interrupted; run nothing on."""
    if not replay.cancelled:
        cancel(replay, request.reason)
    interrupt(replay)
    for asked in [asked for asked in replay.tree.dropping.values() if asked.begun_ms is not None]:
        replay.record(asked, "interrupted")
        replay.tree.stopped(asked, "unknown")
    while end_dropped(replay):
        pass


def end_dropped(replay: Replay) -> bool:
    """Halt a branch whose step is dropped and not being performed; return whether there was one."""
    tree = replay.tree
    for asked in tree.dropping.values():
        begun = asked.path in replay.perhaps_begun or asked.path in replay.failing
        if asked.begun_ms is None and not (asked.ending and asked.path in replay.perhaps_begun):
            replay.record(asked, "interrupted" if begun else "dropped")
            tree.stopped(asked, "unknown" if begun else "not begun")
            return True
    return False


def leave_children(replay: Replay) -> None:
    """Cancel the children whose callers no longer wait for them."""
    request = replay.header.cancel
    for left in replay.tree.left:
        if left.started:
            reason = "the caller no longer waits" if request is None else request.reason
            interrupt = request is not None and request.interrupt
            cancel_child(replay.draft, left.instruction, reason, interrupt=interrupt)
    replay.tree.left.clear()


def at_defect(replay: Replay, defect: Exception) -> Halted:
    """Decide on an exception of the program's own code: a workflow that is being cancelled is halted there.

    Raises:
        ProgramStopped: it is not being cancelled, or a finalizer raised: nothing is undone, and changed code can
            continue there.
    """
    branch, row, request = replay.running, replay.next_answer(), replay.header.cancel
    if branch is None or branch.halted or branch.dropped or finalizing_around(branch) is not None:
        raise ProgramStopped(defect)
    if isinstance(branch.halt, Halted):  # it was to be halted at its next instruction
        halt, branch.halt, branch.halted = branch.halt, None, True
        return halt
    if row is not None and row.form == "cancelled":
        replay.consume()
        reason = cancelled_again(replay, row)
    elif row is None and request is not None and not replay.cancelled:
        replay.go_live()
        reason = request.reason
        cancel(replay, reason)
    else:
        raise ProgramStopped(defect)
    branch.halted = True
    return Halted(WorkflowCancelled(reason))
