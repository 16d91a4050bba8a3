"""Every name, value, option and default that a page names exists in the code.

Each family is a function from a text to the names in it that do not exist, so that a wrong text shows that it can fail.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cyclopts import CycloptsError

from perdure import App, Client, Limits
from perdure.cli.commands import COMMANDS, command_line
from perdure.cli.process import UsageError
from perdure.jobs.definition import Definition
from perdure.remote.connecting import SyncClient
from perdure.server.http_limits import HttpLimits
from perdure.testing import JobMachine, World
from perdure.testing.cluster import Cluster
from perdure.values.event import EVENT_TYPES
from perdure.values.live_event import LIVE_EVENT_TYPES

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "perdure"
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
import command_help  # noqa: E402 - the options of the commands, as the site shows them

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<fence>`{3,}).*?^(?P=fence)$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

OF_DJANGO_6 = "perdure.integrations.django.tasks."
"""Imports where that Django does, from Python 3.12 on."""

pytestmark = pytest.mark.xdist_group("docs_names")  # one process reads the names of the library


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def spans(text: str) -> Iterator[str]:
    """Yield the inline code of a page."""
    for found in SPAN.finditer(FENCE.sub("", text)):
        yield found[1]


@cache
def sources() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in SRC.rglob("*.py")}


@cache
def texts() -> frozenset[str]:
    """Return the texts that the sources contain: event types, attributes of spans, variables of the environment."""
    nodes = (node for tree in sources().values() for node in ast.walk(tree))
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


# ---------------------------------------------------------------- dotted names
SQL = {"perdure.demand", "perdure.migrations", "perdure.send"}
"""A table and a function in the schema of PostgreSQL."""


def unknown_modules(text: str) -> Iterator[str]:
    """Yield the dotted names below ``perdure`` that neither import nor occur as a text in the sources."""
    for span in spans(text):
        for name in re.findall(r"(?<![\w.@:/-])perdure(?:\.\w+)+", span):
            if (
                name not in texts() | SQL
                and not name.endswith((".md", ".toml", ".db", ".service"))
                and not _imports(name)
                and not (name.startswith(OF_DJANGO_6) and sys.version_info < (3, 12))
            ):
                yield name


@cache
def _imports(name: str) -> bool:
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            if not hasattr(thing, part) and part not in getattr(thing, "__annotations__", {}):
                return False
            thing = getattr(thing, part, None)
        return True
    return False


# ---------------------------------------------------------------- values of parameters
@cache
def choices() -> dict[str, set[str]]:
    """Return the texts that each parameter or field of the sources takes, if it takes one of some texts."""
    aliases = _aliases()
    found: dict[str, set[str]] = {}
    for tree in sources().values():
        for node in ast.walk(tree):
            match node:
                case ast.arg(arg=name, annotation=ast.expr() as annotation):
                    pass
                case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                    pass
                case _:
                    continue
            words = set(_words(annotation, aliases, set()))
            if words:
                found.setdefault(name, set()).update(words)
    return found


def _aliases() -> dict[str, list[ast.expr]]:
    """Return the values of each top-level name of the sources: modules may use one name for different things."""
    aliases: dict[str, list[ast.expr]] = {}
    for tree in sources().values():
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name):
                        aliases.setdefault(target.id, []).append(node.value)
    return aliases


def _words(annotation: ast.expr, aliases: dict[str, list[ast.expr]], seen: set[str]) -> Iterator[str]:
    for node in ast.walk(annotation):
        match node:
            case ast.Subscript(value=ast.Name(id="Literal"), slice=inside):
                yield from (each.value for each in ast.walk(inside) if isinstance(each, ast.Constant))  # type: ignore[misc]
            case ast.Name(id=name) if name in aliases and name not in seen:
                for meaning in aliases[name]:
                    yield from _words(meaning, aliases, {*seen, name})
            case _:
                pass


def unknown_values(text: str) -> Iterator[str]:
    """Yield the ``name="word"`` whose word that parameter does not take."""
    for span in spans(text):
        for name, word in re.findall(r"(?<![\w.?&])([a-z_]\w*)=[\"']([\w-]+)[\"']", span):
            if name in choices() and word not in choices()[name] | FREE_TEXTS.get(name, set()):
                yield f"{name}={word!r}"


FREE_TEXTS: dict[str, set[str]] = {"what": {"event"}}
"""Words of parameters that take any text in one place and one of some in another."""


# ---------------------------------------------------------------- options and variables
@cache
def options_of(command: str) -> frozenset[str]:
    names = {name for argument in command_help.arguments_of(command) for name in argument.names}
    return frozenset({*names, "--help", "--version"})


OPTIONS_OF_OTHERS = {"--hypothesis-profile", "--perdure-coverage", "--perdure-seed", "--start-period"}
"""Options of pytest, of which the library makes two, and of Docker."""


@cache
def options_of_scripts() -> frozenset[str]:
    """Return the options of the scripts of this repository, and of the plugin of pytest."""
    folders = (ROOT / "docs" / "benchmarks", ROOT / "property_tests", ROOT / "tests" / "plugins", SRC / "testing")
    texts_ = (path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))
    return frozenset(option for text in texts_ for option in re.findall(r"[\"'](--[a-z][\w-]*)[\"']", text))


def unknown_options(text: str) -> Iterator[str]:
    """Yield the options that the command does not have, or no command if the text names none."""
    everywhere = {option for command in COMMANDS for option in options_of(command)} | OPTIONS_OF_OTHERS
    everywhere |= options_of_scripts()
    for span in spans(text):
        if not span.startswith(("perdure ", "--")):
            continue
        command = span.split()[1] if span.startswith("perdure ") and " " in span else ""
        known = options_of(command) if command in COMMANDS else everywhere
        yield from (f"{span}: {name}" for name in re.findall(r"(?<![\w-])--[a-z][\w-]*", span) if name not in known)


def unknown_commands(text: str) -> Iterator[str]:
    """Yield the commands of ``perdure`` that do not exist."""
    for span in spans(text):
        found = re.match(r"perdure ([a-z][a-z-]*)(?= |$)", span)
        if found and found[1] not in COMMANDS:
            yield span


def commands_of(block: str) -> Iterator[list[str]]:
    """Yield the words of each command of ``perdure`` in a block, up to a pipe or redirection."""
    lines = iter(re.sub(r"\\\n\s*", " ", block).splitlines())
    for line in lines:
        if found := re.match(r"(?:\$ )?(?:[A-Z_]+=(?:\S+|\"[^\"]*\") )*perdure (.*)", line):
            command = found[1]
            while command.count("'") % 2:  # a text of several lines
                command += f"\n{next(lines)}"
            words = shlex.split(command, comments=True)
            yield words[: next((at for at, word in enumerate(words) if word in {"|", ">", "&&"}), None)]


def refused_commands(text: str) -> Iterator[str]:
    """Yield the commands in blocks that the command line refuses. It parses them, and runs none."""
    for block in re.findall(r"^```(?:bash|console|sh|text)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for words in commands_of(block):
            is_left_out = "--store" not in words and ("PERDURE_STORE=" in text or "…" in words)
            given = ["--store", "sqlite:///jobs.db"] if words[0] in {"run", "serve"} and is_left_out else []
            try:
                command_line(words[0]).parse_args([*words, *given], exit_on_error=False, print_error=False)
            except (CycloptsError, UsageError) as error:
                yield f"{shlex.join(words)}: {error}"


def unknown_variables(text: str) -> Iterator[str]:
    """Yield the variables of the environment that no source names."""
    help_ = "\n".join(texts())
    for name in re.findall(r"\bPERDURE_[A-Z_]+\b", text):
        if name not in help_ and not any(name in path.read_text(encoding="utf-8") for path in _variable_files()):
            yield name


def _variable_files() -> list[Path]:
    files = [file for folder in ("property_tests", "tests") for file in (ROOT / folder).rglob("*.py")]
    return [ROOT / ".ci" / "run", *(file for file in files if file != Path(__file__))]  # it makes up a variable


# ---------------------------------------------------------------- events and classes
CRASH_POINTS = {"debounce.add", "engine.call", "task.send"}
"""Labels of crash points, and a method, that look like events."""


def unknown_events(text: str) -> Iterator[str]:
    """Yield what looks like the type of an event, stored or live, and is none."""
    types = {*EVENT_TYPES, *LIVE_EVENT_TYPES}
    prefixes = {type_.partition(".")[0] for type_ in types}
    for span in spans(text):
        prefix = span.partition(".")[0]
        looks_like_one = re.fullmatch(r"[a-z]+\.[a-z_]+", span) and not span.endswith((".py", ".md", ".db"))
        if (
            looks_like_one
            and prefix in prefixes
            and prefix not in OBJECTS
            and span not in types | texts() | CRASH_POINTS
        ):
            yield span


@cache
def classes() -> frozenset[str]:
    nodes = (node for tree in sources().values() for node in tree.body)
    names = set(dir(builtins))
    for node in nodes:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.ImportFrom(names=imported):
                names |= {each.asname or each.name for each in imported}
            case _:
                pass
    return frozenset(names)


def unknown_classes(text: str) -> Iterator[str]:
    """Yield the names in CamelCase that neither the sources nor the code of the page define."""
    own = set(re.findall(r"\w+", "\n".join(PYTHON.findall(text))))
    for span in spans(text):
        found = re.match(r"([A-Z][a-z]+(?:[A-Z][a-z0-9]+)+)(?:\(|$)", span)
        if found and found[1] not in classes() | texts() | own | OF_OTHERS:
            yield found[1]


OF_OTHERS = {
    "TaskGroup",
    *("EnvironmentFile", "ExecStart", "StateDirectory", "TimeoutStartSec", "TimeoutStopSec", "WatchdogSec"),  # systemd
    *("ReadWriteOncePod", "RollingUpdate"),  # Kubernetes
    *("ConfigDict", "FutureDate", "HttpUrl", "RootModel"),  # pydantic
    *("HttpOnly", "SecretStr", "SqliteHuey", "TypedDict"),
}
"""Names in CamelCase of other libraries, standards and systems."""


# ---------------------------------------------------------------- attributes
def _names(*things: type) -> set[str]:
    return {name for thing in things for name in (*dir(thing), *getattr(thing, "__annotations__", {}))}


@cache
def _public_of(suffix: str) -> frozenset[str]:
    modules = [path.relative_to(SRC.parent).with_suffix("").parts for path in sources()]
    found: set[str] = set()
    for parts in modules:
        if "kinds" in parts or "jobs" in parts:
            module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
            for thing in vars(module).values():
                if inspect.isclass(thing) and thing.__name__.endswith(suffix):
                    found |= _names(thing)
    return frozenset(found)


OBJECTS: dict[str, Callable[[], set[str] | frozenset[str]]] = {
    "app": lambda: _names(App),
    "jobs": lambda: _names(SyncClient),
    "client": lambda: _names(Client),
    "ctx": lambda: _public_of("Context"),
    "handle": lambda: _public_of("Handle"),
    "world": lambda: _names(World),
    "cluster": lambda: _names(Cluster) | {"effects"},
    "machine": lambda: _names(JobMachine),
    "definition": lambda: _names(Definition),
    "Limits": lambda: _names(Limits),
    "HttpLimits": lambda: _names(HttpLimits),
}


def unknown_attributes(text: str) -> Iterator[str]:
    """Yield the attributes of the objects of every page that their classes do not have."""
    for span in spans(text):
        for name, attribute in re.findall(r"(?<![\w./])(\w+)\.([a-z]\w*)", span):
            if (
                name in OBJECTS
                and attribute not in OBJECTS[name]()
                and attribute not in {"db", "md", "py", "service", "sock"}
            ):
                yield f"{name}.{attribute}"


# ---------------------------------------------------------------- defaults
def defaults_of(name: str) -> set[str]:
    """Return the defaults of the fields and parameters of that name in the sources, as they are written."""
    found: set[str] = set()
    for tree in sources().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                with_default = [*given.posonlyargs, *given.args][-len(given.defaults) :] if given.defaults else []
                pairs = [
                    *zip(with_default, given.defaults, strict=True),
                    *zip(given.kwonlyargs, given.kw_defaults, strict=True),
                ]
                found |= {ast.unparse(value) for arg, value in pairs if arg.arg == name and value is not None}
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and node.target.id == name
                and node.value
            ):
                found.add(ast.unparse(node.value))
    return found


@cache
def constants() -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for tree in sources().values():
        for node in tree.body:
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ):
                    found.setdefault(name, []).append(value)
                case _:
                    pass
    return found


@cache
def shown_defaults(name: str) -> frozenset[str]:
    """Return the defaults of a name as a page shows them: numbers with commas, durations as text."""
    found: set[str] = set()
    for text in defaults_of(name):
        expression = ast.parse(text, mode="eval").body
        values = constants().get(expression.id, []) if isinstance(expression, ast.Name) else [expression]
        for value in values:
            try:
                number = ast.literal_eval(value)
            except ValueError:
                continue
            found.add(f"{number:,}" if type(number) is int else str(number))
    return frozenset(found)


QUANTITY = r"\d[\d,]*(?: (?:ms|seconds?|minutes?|hours?|days?))?"
TABLE = re.compile(r"^\|([^\n]*)\|\n\|[-| :]+\|\n((?:\|[^\n]*(?:\n|\Z))+)", re.MULTILINE)
IN_PROSE = re.compile(rf"`(\w+)`(?: of a definition)? \(({QUANTITY})(?: by default)?\)")


def documented_defaults(text: str) -> Iterator[tuple[str, str]]:
    """Yield names and defaults: of tables with a column ``default``, and of sentences such as ``name (15 minutes)``."""
    for head, rows in TABLE.findall(text):
        cells = [cell.strip() for cell in head.split("|")]
        for row in rows.splitlines() if "default" in cells else ():
            found = [cell.strip() for cell in row.strip().strip("|").split("|")]
            default = re.match(rf"`?({QUANTITY})\b", found[cells.index("default")])
            yield from ((name, default[1]) for name in re.findall(r"`(\w+)=?`", found[0]) if default)
    yield from IN_PROSE.findall(FENCE.sub("", text).replace("\n", " "))
    for sentence in re.split(r"(?<=[.:;|])\s", FENCE.sub("", text)):
        yield from re.findall(r"`([a-z_]+)=[\"']?([\w. ]+)[\"']?` (?:is|\(?by|as) (?:the )?default", sentence)


def wrong_defaults(text: str) -> Iterator[str]:
    """Yield the defaults that a page documents and the code does not have."""
    for name, default in documented_defaults(text):
        if default not in shown_defaults(name) and (defaults_of(name) or "_" in name):
            yield f"{name}: {default}"


# ---------------------------------------------------------------- files
OF_EXAMPLES = {"shop/jobs.py", "shop/web.py"}
FOLDERS = (ROOT, SRC, ROOT / "property_tests", ROOT / "tests", ROOT / "docs")


def unknown_files(text: str) -> Iterator[str]:
    """Yield the Python files with a folder that the repository does not have."""
    for span in spans(text):
        for file in re.findall(r"^[\w/]+/\w+\.py(?=$|::)", span):
            if file not in OF_EXAMPLES and not any((folder / file).exists() for folder in FOLDERS):
                yield file


FAMILIES: dict[str, tuple[Callable[[str], Iterator[str]], str]] = {
    "a dotted name": (unknown_modules, "`perdure.values.instance.Instances`"),
    "a value": (unknown_values, '`on_full="wait"`'),
    "an option": (unknown_options, "`perdure list --everything`"),
    "an option alone": (unknown_options, "`--everything`"),
    "a command": (unknown_commands, "`perdure halt`"),
    "a command in a block": (refused_commands, "```bash\nperdure list --all --limit many\n```"),
    "a variable": (unknown_variables, "`PERDURE_NOTHING`"),
    "an event": (unknown_events, "`job.halted`"),
    "a class": (unknown_classes, "`StoreHalted`"),
    "an attribute": (unknown_attributes, "`jobs.engine`"),
    "an attribute of a context": (unknown_attributes, "`ctx.halt()`"),
    "a default": (wrong_defaults, "`batch_size=7` is the default."),
    "a default in a sentence": (wrong_defaults, "limits of `run_timeout` (16 minutes by default)"),
    "a default in a table": (wrong_defaults, "| limit | default |\n|---|---|\n| `inbox` | 1,001 signals |\n"),
    "a file": (unknown_files, "`jobs/halt.py`"),
}


OF_ANOTHER_LIBRARY = ROOT / "docs" / "explanation" / "where-did-it-go.md"
"""This page names classes and attributes of the library that it compares with."""


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_name_of_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    families = {name: found for name, (found, _) in FAMILIES.items()}
    if page == OF_ANOTHER_LIBRARY:
        families = {name: found for name, found in families.items() if "class" not in name and "attribute" not in name}
    assert {name: sorted(set(found(text))) for name, found in families.items() if set(found(text))} == {}


def test_defaults_are_found() -> None:
    """Many pages document defaults, so that the check above compares something."""
    found = {name for page in PAGES for name, _ in documented_defaults(page.read_text(encoding="utf-8"))}
    assert {"inbox", "max_steps", "run_timeout", "shutdown_timeout"} <= found, found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_wrong_name_is_found(family: str) -> None:
    found, planted = FAMILIES[family]
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    assert len(set(found(f"{text}\n\n{planted}\n"))) == len(set(found(text))) + 1


# ---------------------------------------------------------------- figures
COSTS = ROOT / "docs" / "explanation" / "what-it-costs.md"
RECORDS = (ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "reference" / "opentelemetry.md")
MAX_WORDS_OF_COSTS = 600
FIGURE = r"\d[\d,]*(?:\.\d+)?"
DIFFERENCES = {"25": (70, 45), "92": (145, 53)}
"""Figures that the page computes: those of encryption, with it and without it."""


def figures(text: str) -> set[str]:
    """Return the figures in the cells of tables."""
    rows = [row for _, rows in TABLE.findall(text) for row in rows.splitlines()]
    return {figure.rstrip(",") for row in rows for figure in re.findall(FIGURE, row)}


def test_each_figure_for_users_is_in_the_record() -> None:
    known = {figure.rstrip(",") for page in RECORDS for figure in re.findall(FIGURE, page.read_text(encoding="utf-8"))}
    found = figures(COSTS.read_text(encoding="utf-8"))
    assert len(found) >= 30
    assert {figure for figure, (high, low) in DIFFERENCES.items() if int(figure) != high - low} == set()
    assert found - known - set(DIFFERENCES) == set()


def test_the_page_of_costs_is_short() -> None:
    words = [word for word in COSTS.read_text(encoding="utf-8").split() if re.search(r"\w", word)]
    assert len(words) <= MAX_WORDS_OF_COSTS


# ---------------------------------------------------------------- citations of the page of the behaviour
CITED = re.compile(r"``reference/behaviour\.md`` (\d)(?:, ((?:\*[\w ,]+\*(?:, | and )?)+))?")


def test_every_section_that_a_test_cites_exists() -> None:
    page = (ROOT / "docs" / "reference" / "behaviour.md").read_text(encoding="utf-8")
    numbers = set(re.findall(r"^## (\d)\.", page, re.MULTILINE))
    titles = set(re.findall(r"^\*\*([^*]+)\.\*\*", page, re.MULTILINE))
    files = [path for folder in ("tests", "property_tests") for path in (ROOT / folder).rglob("*.py")]
    cited = [each for path in files for each in CITED.findall(path.read_text(encoding="utf-8"))]
    assert len(cited) >= 15
    assert {number for number, _ in cited} <= numbers
    assert {title for _, names in cited for title in re.findall(r"\*([^*]+)\*", names)} <= titles
