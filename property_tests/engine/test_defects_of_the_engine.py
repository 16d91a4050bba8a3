"""A defect of the engine, wherever it happens, leaves no caller without an answer and blocks no instance.

The defect is a call of the engine to its runtime that raises, each such call of a scenario once; or a line of the
dispatcher that raises, as a `MemoryError` may at any line.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import attrs
import pytest
from hypothesis import settings
from machine import Add, OnAlarm, Refuse, Say, machine, steps
from mailbag import Letter, mailbag
from world import World, completed

from perdure import App, Limits
from perdure.client.local_gateway import engine_of
from perdure.engine import dispatcher as dispatcher_module
from perdure.engine.running import RunningEngine
from perdure.runtime.record import Runtime

PARTS = ("dispatcher", "turns", "runner", "runs")
CALLS = ("now_ms", "monotonic_ms", "random", "new_id", "future", "call_soon", "call_later", "spawn", "spawn_eagerly")


class Defect(Exception):
    """A defect of the engine."""


@attrs.define
class Brittle:
    """Counts the calls of one part of an engine to its runtime, and lets one raise.

    Attributes:
        at: the number of the call that raises; 0: none.
        calls: how many there were.
        state: whether it counts.
    """

    at: int = 0
    calls: int = 0
    state: Literal["brittle", "whole"] = "brittle"

    def over(self, runtime: Runtime) -> Runtime:
        return attrs.evolve(runtime, **{name: self._counted(getattr(runtime, name)) for name in CALLS})

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            self.calls += self.state == "brittle"
            if self.calls == self.at and self.state == "brittle":
                for work in given:
                    if hasattr(work, "close"):
                        work.close()  # a coroutine that no task runs
                raise Defect
            return call(*given, **named)

        return counted


def put_under(engine: RunningEngine, part: str, brittle: Brittle) -> None:
    """Let a part of the engine use a brittle runtime."""
    dispatcher = engine.dispatcher
    if isinstance(brittle, BrittleLines):
        sys.settrace(brittle.trace)
        return
    parts: dict[str, Any] = {
        "dispatcher": dispatcher,
        "turns": dispatcher.turns,
        "runner": engine.runner,
        "runs": dispatcher.runs,
    }
    owner = parts[part]
    owner.runtime = brittle.over(owner.runtime)


async def scenario(world: World, part: str, brittle: Brittle) -> None:
    """Send requests of every kind to an engine with a defect, then to the same instances once more."""
    bag = mailbag()
    jobs = await world.open(App(world.outside, limits=Limits(shutdown_timeout="1000 ms")).with_jobs(machine, bag))
    calls, bags = jobs.handle(machine), jobs.handle(bag)
    engine = engine_of(jobs)
    await world.run(calls.send("b", steps(Add())))
    put_under(engine, part, brittle)
    asked = [
        world.start(calls.send("a", steps(Add()))),
        world.start(calls.send("b", steps(Add()))),
        world.start(calls.send("b", steps(Refuse()))),
        world.start(calls.send("b", steps(Add()), idempotency_key="k")),
        world.start(calls.send("b", steps(Say("x")))),
        world.start(calls.send("c", OnAlarm(0, (Say("y"),)))),
        world.start(calls.send("d", OnAlarm(10, (Say("z"),)))),
        world.start(calls.send("f", steps(Say("w")), idempotency_key="s")),  # begins alone, and has an effect
        world.start(calls.send("f", steps(Add()), idempotency_key="t")),  # waits behind it
        world.start(bags.add("e", Letter("1"))),
        world.start(bags.add("e", Letter("2"))),
        world.start(bags.flush("e")),
    ]
    await world.advance(minutes=2)
    assert all(task.done() for task in asked), [number for number, task in enumerate(asked) if not task.done()]
    if engine.stopped.done():
        return
    brittle.state = "whole"
    again = [world.start(calls.send(id_, steps(Add()))) for id_ in "abcdf"]
    again.append(world.start(bags.add("e", Letter("3"))))
    await world.advance(minutes=2)
    assert [str(task.result()) for task in again if not task.done() or "Failure" in str(task.result())] == []
    assert engine.in_flight().is_empty, engine.in_flight()


def played(folder: Path, part: str, brittle: Brittle) -> int:
    """Play the scenario with a defect, and return how many calls there were."""
    world, tracing = World("memory", folder), sys.gettrace()
    try:
        completed(scenario(world, part, brittle))
    finally:
        sys.settrace(tracing)
        completed(world.leave())
    return brittle.calls


@pytest.mark.parametrize("part", PARTS)
def test_every_caller_is_answered_and_every_instance_continues(part: str, tmp_path: Path) -> None:
    calls = played(tmp_path, part, Brittle())
    assert calls
    for at in range(1, calls + 1):
        try:
            played(tmp_path, part, Brittle(at))
        except Exception as error:
            error.add_note(f"the defect was call {at} of {calls} of {part}")
            raise


# ---------------------------------------------------------------- lines
GUARDS = {"_fail", "_drop", "_dropped", "_recover_mailbox", "_internal_error", "_in_doubt", "broken_rule", "in_flight"}
"""They run after an exception, or only read."""


def lines_of_turns() -> frozenset[int]:
    """Return the lines of the dispatcher that may raise, except those that handle an exception."""
    tree = ast.parse(inspect.getsource(dispatcher_module))
    functions = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS) and node.name not in GUARDS]
    inside = [node for function in functions for node in ast.walk(function)]
    lines = {node.lineno for node in inside if isinstance(node, ast.stmt)}
    handlers = [node for node in inside if isinstance(node, ast.ExceptHandler)]
    handling = {line for node in handlers for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    return frozenset(lines - handling - {node.lineno for node in inside if is_harmless(node)})


def is_harmless(node: ast.AST) -> bool:
    """Whether a line does nothing that may raise: a ``try``, a definition, or an attribute that a local name gets."""
    match node:
        case ast.Assign(targets=[ast.Name()], value=ast.Attribute(value=ast.Name()) | ast.Constant()):
            return True
        case ast.If(test=ast.Compare(left=ast.Name(), comparators=[ast.Constant()])):
            return True
        case _:
            return isinstance(node, (ast.Try, *FUNCTIONS))


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@attrs.define
class BrittleLines(Brittle):
    """Counts the lines that the dispatcher runs, and lets one raise.

    Attributes:
        line: the number of that line.
    """

    line: int = 0

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if self.state == "whole" or frame.f_code.co_filename != dispatcher_module.__file__:
            return None
        if event == "line" and frame.f_lineno in LINES and frame.f_code.co_name not in GUARDS:
            self.calls += 1
            if self.calls == self.at:
                self.line = frame.f_lineno
                raise MemoryError
        return self.trace


LINES = lines_of_turns()
STRIDE = 1 if settings.get_current_profile_name() in {"nightly", "mutants"} else 8
"""A run of the tests takes each eighth step of the scenario; a nightly run and that of a seeded mutant take all."""


def test_an_exception_at_a_line_of_the_dispatcher_blocks_no_instance(tmp_path: Path) -> None:
    calls = played(tmp_path, "lines", BrittleLines())
    assert calls
    for at in range(1, calls + 1, STRIDE):
        brittle = BrittleLines(at)
        try:
            played(tmp_path, "lines", brittle)
        except Exception as error:
            error.add_note(f"the exception was raised at line {brittle.line} of the dispatcher: step {at} of {calls}")
            raise
