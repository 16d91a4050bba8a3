"""How large the source is, and how far an everyday request travels through it.

Run it with ``python docs/benchmarks/source.py``. First the size: files, lines, and which share of the lines are
imports and comments. Then, for each request, the calls of functions (Python and C), the distinct functions and the
distinct files of the library that it crosses, from the client to the commit, on a SQLite file and as opened by
default. These are counts: they do not depend on the machine or its load. Each request was served before, so that
nothing is imported or compiled while it is counted.
"""

from __future__ import annotations

import ast
import asyncio
import io
import statistics
import sys
import tempfile
import threading
import tokenize
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType

from attrs import evolve, field, frozen, mutable
from returns.result import Result, Success

import perdure
from perdure import (
    App,
    Continuous,
    ContinuousContext,
    Do,
    Task,
    TaskContext,
    Workflow,
    WorkflowContext,
    effect,
    every,
    program,
)
from perdure.programs import sleep

HOME = Path(perdure.__file__).parent


@frozen
class Size:
    """The size of some files.

    Attributes:
        lines: of each file.
        imports: the lines of import statements.
        comments: the lines that are comments.
    """

    lines: tuple[int, ...]
    imports: int
    comments: int


def size_of(folder: Path) -> Size:
    """Measure the Python files below a folder."""
    lines: list[int] = []
    imports = comments = 0
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines.append(text.count("\n"))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imports += (node.end_lineno or node.lineno) - node.lineno + 1
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments += sum(token.type == tokenize.COMMENT and token.line.lstrip().startswith("#") for token in tokens)
    return Size(tuple(lines), imports, comments)


@mutable
class Trace:
    """Counts calls while it is the profile function of all threads."""

    calls: int = 0
    functions: Counter[tuple[str, str]] = field(factory=Counter[tuple[str, str]])

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Count one call."""
        self.calls += event in {"call", "c_call"}
        if event == "call" and frame.f_code.co_filename.startswith(f"{HOME}"):
            self.functions[frame.f_code.co_filename, frame.f_code.co_qualname] += 1


@frozen
class Count:
    """A state."""

    n: int = 0


@frozen
class Add:
    """An event whose handler needs no service."""

    n: int


@frozen
class Charge:
    """An event whose handler calls a service that answers without waiting."""

    n: int


@effect
def charge(_services: object, n: int) -> Result[int, str]:
    """Answer without waiting."""
    return Success(n)


@effect
async def fetch(_services: object, n: int) -> Result[int, str]:
    """Answer in the next step of the event loop."""
    await asyncio.sleep(0)
    return Success(n)


@program
def on_event(ctx: TaskContext[Count], event: Add | Charge) -> Do[None, str]:
    """Add to the state."""
    count = yield from ctx.state
    n = event.n if isinstance(event, Add) else (yield from charge(event.n))
    yield from ctx.set_state(evolve(count, n=count.n + n))


@program
def tick(ctx: ContinuousContext[Count]) -> Do[None, str]:
    """Add what the service answers."""
    count = yield from ctx.state
    n = yield from fetch(1)
    yield from ctx.set_state(evolve(count, n=count.n + n))


@program
def flow(ctx: WorkflowContext[int]) -> Do[int, str]:
    """Three steps, and a durable sleep between the second and the third."""
    start = yield from ctx.state
    first = yield from fetch(start)
    second = yield from fetch(first)
    yield from sleep("300 ms")
    return (yield from fetch(second))


counter = Task("counter", state=Count, event=Add | Charge, initial=Count(), on_event=on_event)
ticker = Continuous("ticker", state=Count, schedule=every("400 ms"), execute=tick)
flows = Workflow("flows", state=int, run=flow)


async def counted(name: str, work: Callable[[], Awaitable[object]]) -> None:
    """Print how far one request travels."""
    trace = Trace()
    threading.setprofile(trace)
    sys.setprofile(trace)
    try:
        await work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    files = len({file for file, _ in trace.functions})
    print(f"{name:46} {trace.calls:6,} {len(trace.functions):10,} {files:6,}")


async def requests(url: str) -> None:
    """Count the everyday requests."""
    app = App(object()).with_jobs(counter, ticker, flows)
    async with app.open(url) as jobs:
        handle = jobs.handle(counter)
        for _ in range(3):
            await handle.send("a", Add(1))
        await counted("send", lambda: handle.send("a", Add(1)))
        await handle.send("a", Add(1), idempotency_key="k0")
        await counted("send with an idempotency key", lambda: handle.send("a", Add(1), idempotency_key="k1"))
        await handle.send("a", Charge(1))
        await counted("send whose handler calls a service", lambda: handle.send("a", Charge(1)))
        await handle.send("a", Charge(1), idempotency_key="k2")
        await counted("send with both", lambda: handle.send("a", Charge(1), idempotency_key="k3"))
        await jobs.handle(ticker).start("t", Count())
        await asyncio.sleep(1)
        await counted("alarm of a Continuous that awaits a service", lambda: asyncio.sleep(0.4))
        await jobs.handle(ticker).terminate("t")

        async def run(id_: str) -> None:
            await jobs.handle(flows).start(id_, 1)
            await jobs.until(flows, id_)

        await run("warm")
        await counted("workflow of three steps and a sleep", lambda: run("counted"))


def main() -> None:
    """Print both tables."""
    size = size_of(HOME)
    total = sum(size.lines)
    print(f"{len(size.lines):,} files of a median of {statistics.median(size.lines):.0f} lines, {total:,} lines in all")
    print(f"imports {100 * size.imports / total:.1f} %, comments {100 * size.comments / total:.1f} % of the lines\n")
    print(f"{'request':46} {'calls':>6} {'functions':>10} {'files':>6}")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(requests(f"sqlite:///{folder}/jobs.db"))


if __name__ == "__main__":
    main()
