"""The names of steps, which a replay compares with those of its journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from perdure.jobs.operations import Post
from perdure.kinds.workflow.instructions import CallChild, OneStep, Patched, Receive
from perdure.programs import ServiceCall
from perdure.programs.instructions import Deadline, Gather, Race, Sleep, SleepUntil, Supervision
from perdure.programs.interpreter import Fork

CHILD: Final = "child "
"""Begins the name of the step that starts a child and waits for it."""

SIGNAL: Final = "signal "
"""Begins the name of the step that receives a signal."""

NAMES: Final[Mapping[type, Callable[[Any], str]]] = {
    ServiceCall: lambda call: cast("str", call.name),
    OneStep: lambda one: cast("str", one.name),
    Sleep: lambda _: "sleep",
    SleepUntil: lambda _: "sleep until",
    Receive: lambda receive: f"{SIGNAL}{receive.name}",
    Post: lambda post: f"tell {post.target}.{post.action}",
    CallChild: lambda call: f"{CHILD}{call.job.name}:{call.id}",
    Patched: lambda patched: f"patch {patched.name}",
    Fork: lambda fork: _FORKS[type(fork.plan)],
}
_FORKS: Final[Mapping[type, str]] = {Gather: "gather", Race: "race", Deadline: "timeout", Supervision: "supervised"}
"""The name of each instruction that has a place in the journal."""
