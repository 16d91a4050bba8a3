"""Answers the instructions of a workflow that leave no row: each replay answers them alike."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from perdure.kinds.workflow.errors import NotInWorkflow
from perdure.kinds.workflow.instructions import StepKey
from perdure.kinds.workflow.tree import Branch
from perdure.programs import Raised
from perdure.programs.instructions import Jitter, Log, Now

if TYPE_CHECKING:
    from perdure.kinds.workflow.replay import Replay


def unrecorded(replay: Replay, branch: Branch, instruction: Any) -> Any:
    """Answer the clock, randomness, keys and log records; refuse any other instruction."""
    kind = instruction.__class__
    if kind is Now:
        return branch.clock_ms
    if kind is Jitter or kind is StepKey:
        key = f"{replay.header.run_id}/{branch.prefix}{branch.number}"
        return key if kind is StepKey else _chance(key)
    if kind is Log:
        replay.logged += 1
        if replay.logged > replay.header.logged:
            replay.lines.append(instruction)
        return None
    return Raised(NotInWorkflow(instruction))


def _chance(key: str) -> float:
    """Return a number in [0, 1) that is the same for the same key."""
    return int.from_bytes(blake2b(key.encode(), digest_size=7).digest()) / 2**56
