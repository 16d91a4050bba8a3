"""Measure imports and the start of the command line: `python docs/benchmarks/import_time.py`.

Each runs in a fresh interpreter, all of them in turns so that a busy machine disturbs them alike. The least CPU time of
all rounds is the cost: noise only ever adds. The script fails if a module that defines a task takes more than 1.8 times
the CPU of the libraries that perdure stands on.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence

ROUNDS = 15
MOST = 1.8

LIBRARIES_OF_TASKS = "import attrs, orjson, typing_extensions"
LIBRARIES_OF_TASKS += ", returns.context, returns.future, returns.io, returns.result"
LIBRARIES = f"{LIBRARIES_OF_TASKS}, cattrs, cronsim, uuid_utils"

A_TASK = """
import attrs
from perdure import Alarm, Do, Task, TaskContext, program

@attrs.frozen
class Order:
    total: int = 0

@attrs.frozen
class Paid:
    amount: int

@program
def on_event(ctx: TaskContext[Order], event: Paid) -> Do[None]:
    order = yield from ctx.state
    yield from ctx.set_state(Order(order.total + event.amount))
    yield from ctx.schedule(after="1 day")

orders = Task("order", state=Order, event=Paid, initial=Order(), on_event=on_event)
"""

KINDS = "Alarm, Continuous, Debounce, Retry, Task, WorkerPool, Workflow, cron, effect, program, tell"

IMPORTS = {
    "libraries": LIBRARIES,
    "those of a task": LIBRARIES_OF_TASKS,
    "import perdure": "import perdure",
    "a task": A_TASK,
    "all kinds": f"from perdure import {KINDS}",
    "the engine": "from perdure import *",
    "an engine on SQLite": "from perdure import *; import asyncio, perdure.stores.sqlite, perdure.runtime.on_asyncio",
}

COMMANDS = {"perdure --version": ["--version"], "perdure --help": ["--help"], "perdure list --help": ["list", "--help"]}


def cpu_ms(arguments: Sequence[str], bytecode: str) -> float:
    """Run Python with byte code in a folder, and return the CPU time of the process in milliseconds."""
    cached = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    cached |= {"PYTHONPYCACHEPREFIX": bytecode, "COLUMNS": "80"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env=cached, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000


def main() -> int:
    """Print the CPU time of each import beyond a bare interpreter, and of each command."""
    runs = {"interpreter": ["-c", "pass"]}
    runs |= {name: ["-c", statement] for name, statement in IMPORTS.items()}
    runs |= {name: ["-m", "perdure", *arguments] for name, arguments in COMMANDS.items()}
    with tempfile.TemporaryDirectory() as bytecode:
        for arguments in runs.values():
            cpu_ms(arguments, bytecode)  # writes the byte code
        rounds = [{name: cpu_ms(arguments, bytecode) for name, arguments in runs.items()} for _ in range(ROUNDS)]
    least = {name: min(each[name] for each in rounds) for name in runs}
    bare, libraries = least["interpreter"], least["libraries"] - least["interpreter"]
    for name in IMPORTS:
        print(f"{name:<22}{least[name] - bare:7.1f} ms{(least[name] - bare) / libraries:7.2f} of the libraries")
    for name in COMMANDS:
        print(f"{name:<22}{least[name]:7.1f} ms with the interpreter, which takes {bare:.1f}")
    return int(least["a task"] - bare > MOST * libraries)


if __name__ == "__main__":
    sys.exit(main())
