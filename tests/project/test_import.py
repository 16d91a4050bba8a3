"""`import perdure` is light: its users load the engine, the event loop and the modules of extras."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor, wait
from importlib.util import find_spec
from pathlib import Path

import pytest

import perdure
import perdure.programs
from perdure._lazy import lazy_module

NOT_LOADED = frozenset(
    {
        "aiosqlite",  # the extra `sqlite`
        "asyncio",  # the asyncio runtime, loaded by the driver that runs on it
        "cyclopts",  # the extra `cli`
        "hypothesis",  # the extra `testing`
        "logging",  # telemetry is a sink that the user chooses
        "pytest",  # the extra `testing`
        "rich",  # the extra `cli`
        "sqlite3",  # the sqlite store
    }
)

LIBRARIES = frozenset({"attr", "attrs", "cattrs", "cronsim", "orjson", "returns", "typing_extensions", "uuid_utils"})

PURE = ["perdure.values", "perdure.programs", "perdure.jobs", "perdure.kinds.task", "perdure.engine.running"]

DEFINITIONS = (
    "from perdure import Alarm, Continuous, Debounce, Retry, Task, WorkerPool, Workflow, cron, effect, program, tell"
)

A_TASK = """
from perdure import Alarm, Do, Task, TaskContext, program

@program
def on_event(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.schedule(after="1 minute")
    yield from ctx.set_state(event)

Task("counter", state=int, event=int, initial=0, on_event=on_event)
"""

OF_ENGINES = frozenset(
    {
        "perdure.app",
        "perdure.client",
        "perdure.engine",
        "perdure.codecs.record_reader",
        "perdure.jobs.draft",
        "perdure.jobs.explanation",
        "perdure.jobs.run",
        "perdure.jobs.handle",
        "perdure.jobs.keys",
        "perdure.jobs.recovery",
        "perdure.jobs.step",
        "perdure.jobs.turn",
        "perdure.kinds.continuous.handle",
        "perdure.kinds.continuous.handler",
        "perdure.kinds.debounce.handle",
        "perdure.kinds.debounce.handler",
        "perdure.kinds.task.handle",
        "perdure.kinds.task.handler",
        "perdure.kinds.worker_pool.handle",
        "perdure.kinds.worker_pool.handler",
        "perdure.kinds.workflow.handle",
        "perdure.kinds.workflow.handler",
        "perdure.programs.drivers",
        "perdure.programs.interpreter",
        "perdure.runtime.record",
        "perdure.stores",
        "perdure.values.event",
        "perdure.values.message",
        "perdure.values.transition",
        "perdure.wire",
    }
)

MOST_MODULES = {DEFINITIONS: 104, A_TASK: 67}
"""The most modules of this package that definitions load: of all kinds, and of one task. Lower them when you can."""

MOST_CLASSES = {DEFINITIONS: 264, A_TASK: 145}
"""The same of the classes that attrs generates, which take most of the time."""

COUNT_CLASSES = """
import gc
gc.collect()
classes = [each for each in gc.get_objects() if isinstance(each, type) and each.__module__.startswith("perdure.")]
print(sum("__attrs_attrs__" in vars(each) for each in classes))
"""

MISSING_EXTRA = """
import sys
import tomllib
sys.modules[{module!r}] = None
try:
    import {importing}
except ModuleNotFoundError as error:
    print(error.name, error)
"""


def output(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603 - our own code


def loaded_by(statement: str) -> frozenset[str]:
    """Return the modules whose code ran. A postponed one is listed in `sys.modules` before it does."""
    ran = "print(*(name for name, module in sys.modules.copy().items() if type(module).__name__ != '_Postponed'))"
    return frozenset(output(f"import sys\n{statement}\n{ran}").split())


def of_perdure(modules: frozenset[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] == "perdure"}


@pytest.mark.parametrize("module", PURE)
def test_a_pure_import_loads_no_loop_and_no_extra(module: str) -> None:
    assert loaded_by(f"import {module}") & NOT_LOADED == frozenset()


def test_the_import_alone_loads_nothing() -> None:
    loaded = loaded_by("import perdure")
    assert of_perdure(loaded) == {"perdure", "perdure._lazy"}
    assert loaded & (LIBRARIES | NOT_LOADED) == frozenset()


@pytest.mark.parametrize("definitions", [DEFINITIONS, A_TASK], ids=["all kinds", "a task"])
def test_definitions_load_no_engine_and_no_client(definitions: str) -> None:
    loaded = loaded_by(definitions)
    assert {name for name in loaded if any(f"{name}.".startswith(f"{each}.") for each in OF_ENGINES)} == set()
    assert loaded & (NOT_LOADED | {"cattrs", "_hashlib"}) == frozenset()  # the latter is OpenSSL
    assert len(of_perdure(loaded)) <= MOST_MODULES[definitions]
    assert all(find_spec(each) for each in OF_ENGINES)


@pytest.mark.parametrize("definitions", [DEFINITIONS, A_TASK], ids=["all kinds", "a task"])
def test_definitions_generate_few_classes(definitions: str) -> None:
    assert int(output(f"{definitions}\n{COUNT_CLASSES}")) <= MOST_CLASSES[definitions]


@pytest.mark.parametrize("module", [perdure, perdure.programs])
def test_type_checkers_see_the_postponed_names(module) -> None:
    body = ast.parse(inspect.getsource(module)).body
    imports = next(each for each in body if isinstance(each, ast.If)).body
    seen = {name.name: each.module for each in imports if isinstance(each, ast.ImportFrom) for name in each.names}
    assert seen
    assert set(seen) <= set(module.__all__) <= set(dir(module))
    assert [getattr(module, name) is getattr(importlib.import_module(home), name) for name, home in seen.items()] == [
        True
    ] * len(seen)
    with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'nothing'"):
        _ = module.nothing


def test_every_name_is_postponed() -> None:
    postponed = set(output("import perdure; print(*perdure.__dir__())").split())
    assert set(perdure.__all__) <= postponed
    assert set(output("from perdure import *; print(*globals())").split()) >= set(perdure.__all__)


def test_pydoc_lists_every_name() -> None:
    manual = output("import pydoc, perdure; print(pydoc.plain(pydoc.render_doc(perdure)))")
    assert [name for name in perdure.__all__ if name not in manual] == []


def test_an_engine_runs_the_postponed_modules_before_its_first_request() -> None:
    handlers = {
        f"perdure.kinds.{kind}.handler" for kind in ("continuous", "debounce", "task", "worker_pool", "workflow")
    }
    assert handlers & loaded_by(f"{DEFINITIONS}; import perdure._lazy; perdure._lazy.load_postponed()") == handlers
    opened = "import asyncio, perdure; asyncio.run(perdure.App(None).open('memory://').__aenter__())"
    assert handlers & loaded_by(f"{DEFINITIONS}; {opened}") == handlers


OPENED_WITHOUT = """
import asyncio, importlib.abc, sys

class NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        extras = {"asyncpg", "django", "fastapi", "mcp", "mcp_types", "msgspec", "pydantic", "pydantic_core"}
        if name.partition(".")[0] in extras:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())

from perdure import App, Task

task = Task("t", state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.set_state(event))

async def main():
    async with App(None).with_jobs(task).open("sqlite:///jobs.db") as jobs:
        print((await jobs.handle(task).send("a", 1)).created)

asyncio.run(main())
"""


def test_an_engine_opens_without_the_packages_of_extras_that_it_does_not_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening runs every postponed module: none of them may need a package that its extra brings."""
    monkeypatch.chdir(tmp_path)
    assert output(OPENED_WITHOUT) == "True\n"


def test_a_postponed_module_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'perdure\.nothing'"):
        lazy_module("perdure.nothing")


def test_a_module_that_its_package_imports_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To find the module imports the package, which imports the module itself."""
    (tmp_path / "of_two").mkdir()
    (tmp_path / "of_two" / "__init__.py").write_text("from of_two.part import Part\n")
    (tmp_path / "of_two" / "part.py").write_text("class Part: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    part = lazy_module("of_two.part")
    assert part.Part is importlib.import_module("of_two").Part


def test_a_thread_that_reads_a_postponed_module_waits_until_another_one_has_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gate_of_a_slow_module.py").write_text(
        "import threading; begun, go = threading.Event(), threading.Event()"
    )
    (tmp_path / "a_slow_module.py").write_text(
        "import gate_of_a_slow_module as gate; gate.begun.set(); gate.go.wait(); value = 1"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    gate, slow = importlib.import_module("gate_of_a_slow_module"), lazy_module("a_slow_module")
    with ThreadPoolExecutor() as threads:
        first = threads.submit(lambda: slow.value)
        gate.begun.wait()
        second = threads.submit(lambda: slow.value)
        wait([second], timeout=0.2)
        gate.go.set()
        assert (first.result(), second.result()) == (1, 1)


@pytest.mark.parametrize(
    ("module", "importing", "extra"),
    [("starlette", "perdure.server.api", "server"), ("hypothesis", "perdure.testing", "testing")],
)
def test_a_module_whose_extra_is_not_installed_names_it(module: str, importing: str, extra: str) -> None:
    printed = output(MISSING_EXTRA.format(module=module, importing=importing))
    assert printed.startswith(module)
    assert f"{importing} needs the extra {extra!r}: pip install 'perdure[{extra}]'" in printed


OF_EXTRAS = {
    "sqlite": ("aiosqlite",),
    "postgres": ("asyncpg",),
    "cli": ("cyclopts", "rich"),
    "fastapi": ("fastapi", "opentelemetry"),
    "litestar": ("litestar",),
    "django": ("django",),
    "client": ("h11", "httpx2"),
    "dashboard": ("htpy",),
    "server": ("httptools", "starlette", "uvicorn", "h11", "anyio"),
    "encryption": ("cryptography",),
    "backup": ("obstore",),
    "processes": ("anyio",),
    "pydantic": ("pydantic",),
    "msgspec": ("msgspec",),
    "pydantic-ai": ("pydantic_ai", "pydantic"),
    "restate": ("hypercorn", "restate"),
    "mcp": ("mcp",),
    "opentelemetry": ("opentelemetry",),
    "sentry": ("sentry_sdk",),
    "prometheus": ("prometheus_client",),
    "testing": ("hypothesis", "pytest"),
}
"""The modules that each extra installs, also by its dependencies, as far as this library imports them."""

INSTALLED = {
    ("cli", "sqlite"): ("perdure.cli.commands", "perdure.cli.run", "perdure.stores.sqlite"),
    ("cli", "postgres"): ("perdure.cli.commands", "perdure.cli.run", "perdure.stores.postgres"),
    ("cli", "server", "sqlite"): ("perdure.cli.run", "perdure.server.api", "perdure.server.serving"),
    ("server",): ("perdure.server.api", "perdure.server.serving"),
    ("client",): ("perdure.remote",),
    ("client", "server", "fastapi", "pydantic"): ("perdure.integrations.fastapi",),
    ("sqlite", "testing"): ("perdure.testing", "pytest_perdure.plugin"),
}

WITHOUT = """
import importlib, sys
sys.modules.update(dict.fromkeys({blocked!r}))
for module in {modules!r}:
    importlib.import_module(module)
"""


@pytest.mark.parametrize("extras", INSTALLED, ids=",".join)
def test_an_installation_needs_no_other_extra(extras: tuple[str, ...]) -> None:
    installed = {module for extra in extras for module in OF_EXTRAS[extra]}
    blocked = sorted({module for modules in OF_EXTRAS.values() for module in modules} - installed)
    assert output(WITHOUT.format(blocked=blocked, modules=INSTALLED[extras])) == ""


def test_each_extra_is_known() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert OF_EXTRAS.keys() == project["optional-dependencies"].keys() - {"all"}
