"""The reference documents every public name, error, event, setting and option of the command line."""

import importlib
import inspect
import re
import sys
from pathlib import Path

import attrs
import pytest

from perdure import Limits
from perdure.cli.commands import COMMANDS
from perdure.server.http_limits import HttpLimits
from perdure.values import errors, event
from perdure.wire.problems import BY_CODE

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
import api  # noqa: E402 - the site shows the names of the library with it
import command_help  # noqa: E402 - the site shows the commands' own help with it

SOURCES = "\n".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "reference").glob("*.md")))
REFERENCE = command_help.expanded(SOURCES)
QUOTED = re.compile(r"`[^`\n]+`|^```\{api\}.*$|^:members:.*$|^\.\. auto.*$", re.MULTILINE)
MENTIONED = set(re.findall(r"\w+(?:-\w+)*", "\n".join(QUOTED.findall(REFERENCE))))

PACKAGES = [
    "perdure",
    "perdure.codecs",
    "perdure.interpreters",
    "perdure.kinds.continuous",
    "perdure.kinds.debounce",
    "perdure.kinds.task",
    "perdure.kinds.workflow",
    "perdure.programs",
    "perdure.rehearsal",
    "perdure.stores.memory",
    "perdure.stores.postgres",
    "perdure.stores.sqlite",
    "perdure.testing",
    "perdure.testing.conformance",
    "perdure.testing.coverage",
    "perdure.testing.laws",
    "perdure.testing.machine",
    "perdure.testing.migration",
    "perdure.testing.typed",
    "perdure.testing.world",
]

# Not documented yet. May only become fewer.
UNDOCUMENTED: dict[str, set[str]] = {}


def own_classes(module: object) -> set[str]:
    name = inspect.getmodule(module).__name__  # type: ignore[union-attr]
    return {
        key
        for key, thing in vars(module).items()
        if inspect.isclass(thing) and thing.__module__ == name and not key.startswith("_")
    }


def missing(names: set[str]) -> set[str]:
    return {name for name in names if name not in MENTIONED}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_documented(package: str) -> None:
    names = set(importlib.import_module(package).__all__)
    assert missing(names) <= UNDOCUMENTED.get(package, set()), sorted(missing(names))


def test_every_problem_refers_to_its_row_on_the_page_of_errors() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    assert [code for code in BY_CODE if f'<a id="{code.replace("_", "-")}"></a>' not in page] == []


def test_every_error_is_documented() -> None:
    assert missing(own_classes(errors)) <= UNDOCUMENTED.get("errors", set()), sorted(missing(own_classes(errors)))


def drawn(error: type, indent: str = "") -> list[str]:
    """The tree of errors below one, as the page draws it."""
    every = (*filter(inspect.isclass, vars(errors).values()), *BY_CODE.values())  # the second: also those of one kind
    below = [cls for cls in dict.fromkeys(every) if error in cls.__bases__]
    lines: list[str] = []
    for cls in below:
        branch, deeper = ("└── ", "    ") if cls is below[-1] else ("├── ", "│   ")
        lines += [f"{indent}{branch}{cls.__name__}", *drawn(cls, indent + deeper)]
    return lines


def test_the_tree_of_errors_is_drawn() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    assert "\n".join(["PerdureError", *drawn(errors.PerdureError)]) in page


def test_every_event_is_documented() -> None:
    types = {
        str(cls.type) for cls in vars(event).values() if inspect.isclass(cls) and isinstance(vars(cls).get("type"), str)
    }
    assert {name for name in types if f"`{name}`" not in REFERENCE} == set()
    assert missing(own_classes(event)) <= UNDOCUMENTED.get("events", set()), sorted(missing(own_classes(event)))


@pytest.mark.parametrize("limits", [Limits, HttpLimits])
def test_every_limit_is_documented(limits: type[attrs.AttrsInstance]) -> None:
    """The reference has a line for each field, with its meaning."""
    (block,) = (each for each in api.BLOCK.finditer(REFERENCE) if each["name"].endswith(f".{limits.__name__}"))
    described = {line.partition(":")[0].strip() for line in lines_of(block) if " -- " in line}
    assert {field.name.removesuffix("_ms") for field in attrs.fields(limits)} <= described


def test_the_reference_shows_the_help_of_every_command_once() -> None:
    shown = [name for match in command_help.DIRECTIVE.finditer(SOURCES) for name in match["names"].split()]
    assert sorted(shown) == sorted([*COMMANDS, command_help.TARGET])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_each_of_its_options(command: str) -> None:
    shown = command_help.help_of([command]) + command_help.help_of([command_help.TARGET])
    arguments = command_help.arguments_of(command)
    assert [argument.names for argument in arguments if not all(f"`{name}`" in shown for name in argument.names)] == []


def test_every_option_of_the_command_line_is_documented() -> None:
    """Every flag that the source of the commands mentions."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "perdure" / "cli").rglob("*.py"))
    flags = set(re.findall(r"(?<![-\w])--[a-z][a-z-]+", source))
    assert flags
    assert {flag for flag in flags if flag not in REFERENCE} == set()


# ---------------------------------------------------------------- parameters in the pages' own source
MAX_WITHOUT_MEANING = 225
"""Parameters whose name and type must suffice. May only become fewer."""


def lines_of(block: re.Match[str]) -> list[str]:
    """The lines of a block, each with its continuation."""
    return re.sub(r"\n {8}", " ", block["body"]).splitlines()


@pytest.mark.parametrize("page", sorted(api.PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_the_reference_has_the_parameters_of_the_code(page: Path) -> None:
    """Names, types, defaults, units and errors. After a change: ``python docs/write_reference.py``."""
    text = page.read_text(encoding="utf-8")
    assert text == api.rewritten(text)


def test_no_page_shows_a_name_without_its_parameters() -> None:
    assert re.findall(r"^\.\. auto(?!module)\w+::.*$", SOURCES, re.MULTILINE) == []
    assert len(list(api.BLOCK.finditer(SOURCES))) >= 300


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("jitter: bool = True", "jitter: bool = False"),
        ("    max_attempts: int", "    attempts: int"),
        ("retry_if, on_exhausted)", "retry_if)"),
        ("1 to 1,000.", "1 to 100."),
        ("raises DefinitionError: a value is out of its range", "raises ValueError: a value is out of its range"),
    ],
)
def test_a_stale_parameter_is_found(right: str, wrong: str) -> None:
    text = (api.PAGES / "retry.md").read_text(encoding="utf-8")
    stale = text.replace(right, wrong, 1)
    assert stale != text
    assert api.rewritten(stale) == text


def test_a_default_is_shown_as_a_call_writes_it() -> None:
    lines = {line for block in api.BLOCK.finditer(SOURCES) for line in lines_of(block)}
    assert any(line.startswith("    limits: Limits = Limits() --") for line in lines)
    assert any(line.startswith("    run_timeout: Duration = '15 minutes' -- ") for line in lines)
    assert not [line for line in lines if " at 0x" in line]


def test_parameters_have_a_meaning() -> None:
    without = [
        (block["name"], line.strip())
        for block in api.BLOCK.finditer(SOURCES)
        for line in lines_of(block)
        if re.match(r"    \*{0,2}\w+(: | = |$)", line) and " -- " not in line and not line.startswith("    raises")
    ]
    assert len(without) <= MAX_WITHOUT_MEANING, without


POSIX = re.compile(
    r"^import (?:fcntl|resource|termios|pty|pwd|grp)$|AF_UNIX|add_signal_handler|signal\.SIGKILL"
    r"|\bos\.(?:fork|geteuid|getuid|fchmod|register_at_fork|killpg|setsid)\b",
    re.MULTILINE,
)
"""The parts of the standard library that Windows lacks, as the sources use them."""


def test_the_page_lists_each_module_that_needs_posix() -> None:
    root = Path(__file__).parents[2]
    found = {
        ".".join(file.relative_to(root / "src").with_suffix("").parts)
        for file in (root / "src").rglob("*.py")
        if POSIX.search(file.read_text(encoding="utf-8"))
    }
    page = (root / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    section = page.partition("## Operating systems")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(perdure\.[\w.]+)`", section)) == found
