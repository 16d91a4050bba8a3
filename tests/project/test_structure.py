"""The house rules that a machine can hold. A ratchet: the exceptions listed here may only become fewer."""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import attrs

import perdure
from perdure.client.client import Client

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "perdure"

MAX_FILE_LINES = 800
MIN_FILE_LINES = 60
MAX_FUNCTION_LINES = 60

# How finely the source is cut. Lower them when you can: a reader opens every file that a request crosses.
MAX_FILES = 413
MAX_IMPORT_LINES_PERCENT = 7.2

TOP_LEVEL = {"LICENSE", "README.md", "docs", "property_tests", "pyproject.toml", "src", "tests", "uv.lock"}
SHAPELESS_NAMES = {"base", "common", "helper", "helpers", "manager", "misc", "shared", "util", "utils"}

# Files below the minimum, and why each stands alone. Written as the path below `src`.
SMALL_FILES = {
    "perdure/__main__.py": "Python looks for it here",
    "perdure/cli/completion.py": "the list of commands imports none of them",
    "perdure/cli/main.py": "needs only the standard library: it reports a missing extra",
    "perdure/codecs/record_reader.py": "loaded with the first reader, with cattrs",
    "perdure/integrations/django/apps.py": "Django looks for it here",
    "perdure/integrations/django/migrations/0001_outbox.py": "Django looks for it here",
    "perdure/integrations/django/models.py": "Django looks for it here",
    "perdure/integrations/fastapi.py": "needs an extra that Starlette's users do without",
    "perdure/remote/transport_errors.py": "the words of other libraries, which no other module knows",
    "perdure/values/status.py": "a stored value of its own",
    "perdure/values/trace.py": "a text of its own format, for every layer",
    "pytest_perdure/coverage.py": "loads perdure, which the plugin without its option does not",
}

# Functions that stay whole, and why. Written as `path::function`.
LONG_FUNCTIONS = {
    "src/perdure/programs/interpreter.py::interpret": "the loop of every program: a call a step would double its cost",
}

# Files where `Any` itself is a parameter or result of a public function. (`Program[Any, E, R]` is not that: there
# it erases a type parameter that the function does not look at.) Written as the path below `src/perdure`.
ANY_ALLOWED = {
    "codecs/codec.py": "the content of a refused value is unknown: that is why it is explained",
    "codecs/models.py": "a type form may be any object",
    "codecs/records.py": "a type form may be any object",
    "codecs/grammar.py": "a type form may be any object",
    "codecs/record_reader.py": "a type form may be any object",
    "codecs/unknown_members.py": "JSON of any type, in which newer code wrote",
    "codecs/shapes.py": "as above",
    "codecs/json_schema.py": "a type form may be any object",
    "coroutines.py": "values of operations, whose types are erased in the journal",
    "durable_loop.py": "arguments of callbacks, as asyncio passes them",
    "engine/runs/effects.py": "the services of a program whose needs are erased",
    "interpreters.py": "the services of a program whose needs are erased",
    "jobs/call.py": "what coroutines send and throw",
    "runtime/tasks.py": "what coroutines send and throw",
    "engine/running.py": "the services of a program whose needs are erased",
    "jobs/transitions.py": "the fields of the event class that the caller names",
    "jobs/run.py": "the fields of the instance that the claim changes as well",
    "values/secret.py": "annotations of every type",
    "values/instance.py": "the fields of the instance that change",
    "kinds/workflow/children.py": "values of a child's own types",
    "integrations/django/tasks.py": "the arguments of a task",
    "integrations/web.py": "the JSON of a webhook",
    "kinds/workflow/run_program.py": "the exits of steps",
    "kinds/workflow/replay.py": "the services of a program whose needs are erased",
    "kinds/workflow/tree.py": "the answers of instructions",
    "programs/instructions.py": "the exits of supervised programs",
    "programs/effect_results.py": "the result of a function of the user",
    "programs/drivers.py": "the services of a program whose needs are erased",
    "stores/sqlite/thread.py": "parameters and rows of SQLite",
    "testing/typed.py": "a type form may be any object",
    "testing/histories.py": "a type form may be any object",
    "wire/records.py": "JSON-able data",
    "wire/explanation.py": "JSON-able data",
    "stores/postgres/connections.py": "the driver has no types, and a row holds any values",
    "stores/postgres/ownership.py": "a connection of the driver, which has no types",
    "stores/postgres/operations.py": "the values of a statement",
    "stores/postgres/schema.py": "the driver has no types",
}

# attrs classes that must be mutable or unslotted, and why. Written as `module.Class`.
NOT_FROZEN = {
    "perdure.jobs.checkpoint.DryJournal": "collects the commits of one dry run",
    "perdure.jobs.checkpoint.KeptPrograms": "programs in memory between their runs: a cache of the engine",
    "perdure.codecs.grammar.Grammar": "remembers the shapes of one type while it is read",
    "perdure.codecs.json_schema.Definitions": "collects the definitions of one JSON Schema",
    "perdure.jobs.draft.Draft": "collects the requests of one turn, and is discarded with it",
    "perdure.jobs.explanation._DryTurn": "continues from one decision of a dry run to the next",
    "perdure.jobs.explanation.DryRun": "runs once, and knows then the time of the clock",
    "perdure.jobs.draft.Inspection": "collects the mistakes of one run",
    "perdure.kinds.workflow.instructions.Undo": "collects the compensations of one saga",
    "perdure.kinds.workflow.run_program.ParallelSteps": "starts and cancels the steps of one run",
    "perdure.kinds.workflow.run_program.WorkflowDraft": "the draft of one run, discarded with it",
    "perdure.kinds.workflow.journal.TakenOver": "the steps of a fork, read when the first key is asked for",
    "perdure.kinds.workflow.waits.Inbox": "the signals of one replay",
    "perdure.kinds.workflow.replay.Replay": "interprets one program",
    "perdure.jobs.parts.HeldParts": "the parts of one replay",
    "perdure.jobs.draft.StateOperations": "answers from the draft of one run",
    "perdure.kinds.workflow.run_program.Steps": "performs the steps of one run",
    "perdure.kinds.workflow.waits.Timers": "the timers of one replay",
    "perdure.kinds.workflow.tree.Branch": "one branch of one replay",
    "perdure.kinds.workflow.tree.OpenFork": "one fork of one replay",
    "perdure.kinds.workflow.tree.OpenStep": "one instruction of one replay",
    "perdure.kinds.workflow.tree.Tree": "the branches of one replay",
    "perdure.programs.interpreter.Watch": "collects the programs built and run while it watches",
    "perdure.jobs.transitions.EventRecorder": "counts the ids of one turn's events",
}
TURN_VALUES = {  # frozen for the type checkers: see `perdure.values.frozen`
    "perdure.jobs.context.JobContext",
    "perdure.jobs.context.Decision",
    "perdure.jobs.context.SetState",
    "perdure.jobs.request.Inbound",
    "perdure.jobs.request.Request",
    "perdure.jobs.step.Commit",
    "perdure.jobs.step.Execute",
    "perdure.kinds.continuous.context.ContinuousContext",
    "perdure.kinds.debounce.context.AddCommand",
    "perdure.kinds.debounce.context.DebounceContext",
    "perdure.kinds.task.context.SendCommand",
    "perdure.kinds.task.context.AlarmlessTaskContext",
    "perdure.kinds.task.context.AlarmlessTaskErrorContext",
    "perdure.kinds.task.context.TaskContext",
    "perdure.kinds.task.context.TaskErrorContext",
    "perdure.kinds.worker_pool.items.PutCommand",
    "perdure.kinds.worker_pool.batch.BatchContext",
    "perdure.kinds.worker_pool.items.ItemContext",
    "perdure.kinds.workflow.journal.Row",
    "perdure.programs.drivers.Suspended",
    "perdure.values.turn_inputs.Decoded",
    "perdure.values.address.Address",
    "perdure.values.turn_inputs.TurnInputs",
    "perdure.values.instance.Claim",
    "perdure.values.instance.Fence",
    "perdure.values.instance.Instance",
    "perdure.values.instance.PendingRetry",
    "perdure.values.transition.Loaded",
    "perdure.values.transition.NewKeys",
    "perdure.values.transition.Put",
    "perdure.values.transition.Remembered",
    "perdure.values.transition.Transition",
}
NOT_SLOTTED: dict[str, str] = {}
VALUES = ("perdure.values", "perdure.codecs", "perdure.programs", "perdure.jobs", "perdure.kinds")

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


def python_files() -> list[Path]:
    folders = [ROOT / name for name in ("src", "tests", "property_tests", "docs")]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def shipped_files() -> list[Path]:
    return sorted((ROOT / "src").rglob("*.py"))


def import_lines(text: str) -> int:
    found = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom))
    return sum((node.end_lineno or 0) - node.lineno + 1 for node in found)


def text_files() -> list[Path]:
    pages = [ROOT / "README.md", ROOT / "pyproject.toml", ROOT / ".ci" / "run", *(ROOT / "docs").rglob("*.md")]
    return [*pages, *python_files()]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def offences(pattern: str, paths: list[Path]) -> list[str]:
    return [
        f"{named(path)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(pattern, line)
    ]


def functions(path: Path) -> Iterator[AnyFunction]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, AnyFunction))


def lines_without_docstring(function: AnyFunction) -> int:
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    docstring_lines = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring_lines


def is_overload(node: ast.AST) -> bool:
    return isinstance(node, AnyFunction) and any(ast.unparse(mark) == "overload" for mark in node.decorator_list)


def public_functions(body: list[ast.stmt]) -> Iterator[AnyFunction]:
    """Walk the visible signatures: not the body of an overloaded function, whose own signature no checker shows."""
    overloaded = {node.name for node in body if isinstance(node, AnyFunction) and is_overload(node)}
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        elif isinstance(node, AnyFunction) and not node.name.startswith("_"):
            seen = node.name not in overloaded or is_overload(node)
            yield from [node] if seen else []


def annotations(function: AnyFunction) -> Iterator[ast.expr]:
    spec = function.args
    arguments = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg]
    yield from (given.annotation for given in arguments if given is not None and given.annotation is not None)
    if function.returns is not None:
        yield function.returns


def is_any(annotation: ast.expr) -> bool:
    match annotation:
        case ast.Name("Any") | ast.Attribute(attr="Any"):
            return True
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return is_any(left) or is_any(right)
        case _:
            return False


def is_vague(path: Path) -> bool:
    functions_of = public_functions(ast.parse(path.read_text()).body)
    return any(is_any(annotation) for function in functions_of for annotation in annotations(function))


def modules() -> list[ModuleType]:
    names = [module.name for module in pkgutil.walk_packages(perdure.__path__, "perdure.")]
    left_out = {"perdure.__main__"} | ({"perdure.integrations.django.tasks"} if sys.version_info < (3, 12) else set())
    return [perdure, *(importlib.import_module(name) for name in names if name not in left_out)]


def classes() -> list[type]:
    everything = {
        thing
        for module in modules()
        for thing in vars(module).values()
        if inspect.isclass(thing) and thing.__module__ == module.__name__
    }
    return sorted(everything, key=lambda cls: f"{cls.__module__}.{cls.__qualname__}")


def full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def test_the_top_level_exports_the_names_of_the_first_lessons() -> None:
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert visible - TOP_LEVEL == set()


def test_a_client_offers_calls_of_its_users_and_nothing_that_handles_need() -> None:
    """What handles call is the gateway's: a caller of a client meets no half of a call."""
    offered = {name for name in dir(Client) if not name.startswith("_")}
    reads = {"counts", "dead_letters", "explain", "health", "history", "in_flight", "info", "list", "metrics", "until"}
    calls = reads | {"backup", "bury", "demand", "forget_key", "left_messages", "members", "redrive", "stopped"}
    calls |= {"together", "limits", "set_limit", "reset_limit"}
    assert offered == {*calls, "handle", "handle_by_name"}


def test_no_file_is_too_long() -> None:
    lengths = {
        named(path): sum(not line.lstrip().startswith("#") for line in path.read_text().splitlines())
        for path in python_files()
    }  # without comments: the reason of a line must not cost one
    assert {path: length for path, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_no_file_is_too_short_to_stand_alone() -> None:
    lengths = {
        path.relative_to(ROOT / "src").as_posix(): len(path.read_text().splitlines())
        for path in shipped_files()
        if path.name != "__init__.py"
    }
    short = {path: length for path, length in lengths.items() if length < MIN_FILE_LINES and path not in SMALL_FILES}
    assert short == {}, "move it into the module that it serves, or say in SMALL_FILES why it stands alone"


def test_the_source_is_not_cut_into_more_files() -> None:
    assert len(shipped_files()) <= MAX_FILES, "grow a module that exists, or merge two"


def test_few_lines_are_imports() -> None:
    """Many imports are the price of many small modules."""
    texts = [path.read_text() for path in shipped_files()]
    lines = sum(len(text.splitlines()) for text in texts)
    imports = sum(import_lines(text) for text in texts)
    assert 100 * imports / lines <= MAX_IMPORT_LINES_PERCENT


def test_every_file_is_named_after_its_content() -> None:
    assert [named(path) for path in python_files() if {path.stem.strip("_"), path.parent.name} & SHAPELESS_NAMES] == []


def test_no_function_is_too_long() -> None:
    long = {
        f"{named(path)}::{function.name}"
        for path in python_files()
        for function in functions(path)
        if lines_without_docstring(function) > MAX_FUNCTION_LINES
    }
    assert long == set(LONG_FUNCTIONS)


def test_nothing_is_left_for_later() -> None:
    assert offences(r"\b(TOD[O]|FIXM[E]|XX[X]|HAC[K])\b", text_files()) == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    assert offences(r"(?<![\w.])/(work|root|home|Users)/", text_files()) == []


def test_every_public_module_class_and_function_is_documented() -> None:
    undocumented = [module.__name__ for module in modules() if not (module.__doc__ or "").strip()]
    for module in modules():
        for name, thing in vars(module).items():
            own = (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == module.__name__
            if own and not name.startswith("_") and not (thing.__doc__ or "").strip():
                undocumented.append(f"{module.__name__}.{name}")
    assert undocumented == []


def test_a_public_signature_names_its_parameters_and_result() -> None:
    vague = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if is_vague(path)}
    assert vague == set(ANY_ALLOWED)


def test_every_attrs_class_has_slots() -> None:
    unslotted = {full_name(cls) for cls in classes() if attrs.has(cls) and "__slots__" not in vars(cls)}
    assert unslotted == set(NOT_SLOTTED)


def test_every_value_is_frozen() -> None:
    mutable = {
        full_name(cls)
        for cls in classes()
        if attrs.has(cls) and cls.__module__.startswith(VALUES) and not attrs.inspect(cls).is_frozen
    }
    assert mutable == set(NOT_FROZEN) | TURN_VALUES


# ---------------------------------------------------------------- the kernel
MAX_KERNEL_LINES = 7_025
KERNEL_MODULE = re.compile(r"^\| `([\w/]+\.py)` \| (\d+) \|", re.MULTILINE)


def test_the_kernel_reads_in_an_afternoon() -> None:
    """The page of the kernel lists its modules: they exist, and have about as many lines as it says."""
    page = (ROOT / "docs" / "contributing" / "the-kernel.md").read_text(encoding="utf-8")
    listed = {module: int(lines) for module, lines in KERNEL_MODULE.findall(page)}
    lines = {module: len((SOURCE / module).read_text(encoding="utf-8").splitlines()) for module in listed}
    assert len(listed) >= 17
    assert sum(lines.values()) <= MAX_KERNEL_LINES
    assert {module for module in listed if abs(lines[module] - listed[module]) > 20 + lines[module] // 10} == set()
