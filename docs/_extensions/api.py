"""Show a name of the library: a fence `{api} class perdure.Retry`.

The site shows the signature and the docstring. The fence holds the parameters with
their types, defaults, units and errors as text, so that the page's source is complete
without a build. `write_reference.py` writes that text, and a test compares it with the
code.
"""

import enum
import importlib
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ForwardRef

import attrs

PAGES = Path(__file__).parents[1] / "reference"
BLOCK = re.compile(
    r"^```\{api\} (?P<kind>\w+) (?P<name>[\w.]+)(?P<bare>\(\))?\n"
    r"(?P<options>(?::[^\n]*\n)*)(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SECTION = re.compile(r"^(Args|Attributes|Raises):\n((?:(?:    .*)?\n)*)", re.MULTILINE)
ITEM = re.compile(r"^    (\*{0,2}\w+): (.*(?:\n     .*)*)", re.MULTILINE)
WIDTH = 100
INDENT = "    "
UNBROKEN = "\N{NO-BREAK SPACE}"
STARS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def resolve(name: str) -> Any:
    """Return the object of a dotted name."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            find = inspect.getattr_static if inspect.isclass(thing) else getattr
            thing = find(thing, part)
        return (
            thing.__func__ if isinstance(thing, classmethod | staticmethod) else thing
        )
    raise ImportError(name)


def described(thing: object, section: str) -> dict[str, str]:
    """Return the items of a docstring's section, each on one line."""
    doc = f"{inspect.getdoc(thing) or ''}\n"
    return {
        item[1].lstrip("*"): " ".join(item[2].split()).replace("``", "`")
        for found in SECTION.finditer(doc)
        if found[1] in section
        for item in ITEM.finditer(found[2])
    }


def annotation(of: Any) -> str:
    """Return an annotation as a page shows it, without modules."""
    if of is inspect.Parameter.empty or of is None:
        return ""
    if isinstance(of, ForwardRef):
        of = of.__forward_arg__
    text = of if isinstance(of, str) else inspect.formatannotation(of)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text)


def value(of: Any) -> str:
    """Return a default as a page shows it."""
    match of:
        case enum.Enum():
            return f"{type(of).__name__}.{of.name}"
        case _ if inspect.isroutine(of) or inspect.isclass(of):
            return str(of.__qualname__)
        case _ if attrs.has(type(of)):
            return made(of)
        case _:
            text = re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", repr(of))
            return "..." if " at 0x" in text or text == "NOTHING" else text


def _is_optional(field: Any) -> bool:
    return not field.init or field.default is not attrs.NOTHING


def made(of: Any) -> str:
    """Return an attrs value as a call that makes it, without defaults."""
    fields = attrs.fields(type(of))
    usual = type(of)() if all(_is_optional(field) for field in fields) else None
    shown = {
        field.alias: getattr(of, field.name)
        for field in fields
        if field.init
        and (usual is None or getattr(of, field.name) != getattr(usual, field.name))
    }
    inside = ", ".join(f"{name}={value(each)}" for name, each in shown.items())
    return f"{type(of).__name__}({inside})"


def parameters(thing: Any) -> tuple[list[inspect.Parameter], str]:
    """Return the parameters of a callable, and its result."""
    if getattr(thing, "_is_protocol", False) or thing.__init__ is Exception.__init__:
        return [], ""
    signature = inspect.signature(thing)
    result = "" if inspect.isclass(thing) else annotation(signature.return_annotation)
    every = signature.parameters.values()
    hidden = ("self", "cls")
    return [p for p in every if p.name not in hidden and p.name[0] != "_"], result


def wrapped(text: str, indent: str) -> str:
    """Wrap a line, with its continuation one step further in."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def parameter_line(parameter: inspect.Parameter, text: str) -> str:
    """Return the line of one parameter: its name, type, default and meaning."""
    line = f"{STARS.get(parameter.kind, '')}{parameter.name}"
    type_ = annotation(parameter.annotation)
    line += f": {type_}" if type_ not in ("", "Any") else ""
    if parameter.default is not parameter.empty:
        line += f" = {value(parameter.default)}"
    return wrapped(f"{line} -- {text}" if text else line, INDENT)


def in_brackets(listed: list[inspect.Parameter]) -> str:
    """Return the names of parameters as a call takes them."""
    names: list[str] = []
    for each in listed:
        if each.kind is each.KEYWORD_ONLY and not any("*" in name for name in names):
            names.append("*")
        names.append(f"{STARS.get(each.kind, '')}{each.name}")
    return f"({', '.join(names)})"


def callable_lines(title: str, thing: Any, *, bare: bool) -> Iterator[str]:
    """Yield the signature of a class or function, a line for each parameter."""
    texts = described(thing, "Args Attributes")
    listed, result = ([], "") if bare else parameters(thing)
    brackets = "" if bare else in_brackets(listed)
    # The result stays in the arrow's line: alone it would look like a parameter.
    returns = f" ->{UNBROKEN}{result}" if result else ""
    yield wrapped(f"{title}{brackets}{returns}", "").replace(UNBROKEN, " ")
    for each in listed:
        passed = texts.pop(f"{each.name}_ms", "")
        text = texts.pop(each.name, passed.removeprefix(f"passed as `{each.name}`. "))
        yield parameter_line(each, text)
    for name, text in texts.items():
        yield wrapped(f".{name} -- {text}", INDENT)
    for name, text in described(thing, "Raises").items():
        yield wrapped(f"raises {name}: {text}", INDENT)


def own_members(thing: Any) -> list[str]:
    """Return the public methods and properties of a class with a docstring."""
    return [
        name
        for name, each in vars(thing).items()
        if not name.startswith("_")
        and isinstance(each, Callable | property | classmethod | staticmethod)  # type: ignore[arg-type]
        and inspect.getdoc(each)
    ]


def entry(block: re.Match[str]) -> str:
    """Return the text of a block, from the code."""
    thing = resolve(block["name"])
    short = block["name"].rpartition(".")[2]
    if block["kind"] == "data":
        choices = typing.get_origin(thing) is typing.Literal
        shown = choices or isinstance(thing, int | str)
        text = annotation(thing) if choices else value(thing)
        return f"{wrapped(f'{short} = {text}', '')}\n" if shown else ""
    lines = list(callable_lines(short, thing, bare=bool(block["bare"])))
    options = dict(re.findall(r"^:([\w-]+):(.*)$", block["options"], re.MULTILINE))
    if "members" in options:
        hidden = re.findall(r"\w+", options.get("exclude-members", ""))
        for name in re.findall(r"\w+", options["members"]) or own_members(thing):
            if name not in hidden:
                lines += member_lines(thing, name)
    if "docstrings" in options:
        lines += [docstring_line(thing, name) for name in own_members(thing)]
    return "".join(f"{line}\n" for line in lines)


def docstring_line(thing: Any, name: str) -> str:
    """Return a method or property with its whole docstring."""
    member = resolve_member(thing, name)
    text = " ".join((inspect.getdoc(member) or "").split()).replace("``", "`")
    is_called = not isinstance(member, property)
    brackets = in_brackets(parameters(member)[0]) if is_called else ""
    return wrapped(f".{name}{brackets} -- {text}", INDENT)


def member_lines(thing: Any, name: str) -> Iterator[str]:
    """Yield the lines of a method or property."""
    member = resolve_member(thing, name)
    if isinstance(member, property):
        result = annotation(member.fget.__annotations__["return"])
        yield wrapped(f".{name}: {result}" if result else f".{name}", "")
    elif inspect.isroutine(member):
        yield from callable_lines(f".{name}", member, bare=False)


def resolve_member(thing: Any, name: str) -> Any:
    """Return a member without its binding to the class."""
    member = inspect.getattr_static(thing, name, None)
    return member.__func__ if isinstance(member, classmethod | staticmethod) else member


def rewritten(page: str) -> str:
    """Return the text of a page with every block from the code."""

    def block(found: re.Match[str]) -> str:
        head = found[0][: found.start("body") - found.start()]
        return f"{head}{entry(found)}```"

    return BLOCK.sub(block, page)
