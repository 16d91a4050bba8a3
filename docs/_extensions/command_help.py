"""The commands' own help as Markdown: the text, and a table of arguments and options.

The options that name an engine or a store are the same for most commands. They are in
the table only if no other command is asked for, so a page shows them once.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from textwrap import indent

import attrs
from cyclopts.argument import Argument

from perdure.cli.commands import COMMANDS, command_line
from perdure.cli.target.opening import TargetOptions

TARGET = "target"  # the name of the shared options, for a page
TARGET_OPTIONS = tuple(f"--{field.name}" for field in attrs.fields(TargetOptions))
WITH_TARGET = "health"  # a command that has them
DIRECTIVE = re.compile(r"^```\{command\} (?P<names>[\w -]+)\n```$", re.MULTILINE)

ENVIRONMENT = re.compile(r" *\[env var: (\w+)\]")
CODE_OR_FLAG = re.compile(r"(?P<code>`+[^`]*`+)|(?<![\w-])--[a-z][a-z-]+")


def arguments_of(command: str) -> list[Argument]:
    """Return the arguments and options of a command that its help shows."""
    app = command_line(command)[command]
    arguments = app.assemble_argument_collection(parse_docstring=True)
    shown = [argument for argument in arguments if argument.show]
    return sorted(shown, key=lambda argument: not argument.field_info.is_positional)


def takes_target(arguments: Iterable[Argument]) -> bool:
    """Return whether a command reads and changes instances of an engine or a store."""
    return {argument.name for argument in arguments}.issuperset(TARGET_OPTIONS)


def description(command: str, *, exit_codes: bool) -> str:
    """Return the paragraphs of a command's help that precede its options."""
    text = inspect.cleandoc(COMMANDS[command].load().__doc__ or "")
    text = text.partition("\n\nParameters\n---")[0]
    paragraphs = text.split("\n\n")
    if not exit_codes:
        paragraphs = [each for each in paragraphs if not each.startswith("Exit code")]
    return marked("\n\n".join(paragraphs))


def marked(text: str) -> str:
    """Return a text with its options as code, which they are in a terminal anyway."""
    return CODE_OR_FLAG.sub(lambda match: match["code"] or f"`{match[0]}`", text)


def positional(argument: Argument) -> str:
    """Return an argument as it is written after the command."""
    many = "…" if argument.field_info.kind is inspect.Parameter.VAR_POSITIONAL else ""
    return argument.name + many if argument.required or many else f"[{argument.name}]"


def default(argument: Argument) -> str:
    """Return the default of an option, or nothing if its help says none."""
    value = argument.field_info.default
    if argument.parameter.show_default is False or value in (None, False, ()):
        return ""
    if value is inspect.Parameter.empty:
        many = argument.field_info.kind is inspect.Parameter.VAR_POSITIONAL
        return "" if many else "required"
    return "yes" if value is True else f"`{value}`"


def row(argument: Argument, of: str = "") -> str:
    """Return the row of an argument or an option, with the commands that have it."""
    text = argument.parameter.help or ""
    variables = [*(argument.parameter.env_var or ()), *ENVIRONMENT.findall(text)]
    names = ", ".join(f"`{name}`" for name in [*argument.names, *variables])
    meaning = marked(ENVIRONMENT.sub("", " ".join(text.split())))
    choices = argument.get_choices() or ()
    if choices:
        meaning += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    return f"| {names} | {default(argument)} | {of}{meaning} |"


def rows(commands: dict[str, list[Argument]]) -> Iterator[str]:
    """Return the rows of some commands, each option that they share once."""
    shared: dict[tuple[object, ...], tuple[Argument, list[str]]] = {}
    for command, arguments in commands.items():
        for argument in arguments:
            key = (argument.names, argument.parameter.help)
            shared.setdefault(key, (argument, []))[1].append(command)
    first = sorted(
        shared.values(), key=lambda each: not each[0].field_info.is_positional
    )
    for argument, names in first:
        every = len(names) == len(commands)
        of = "" if every else f"Of {', '.join(f'`{name}`' for name in names)}: "
        yield row(argument, of)


def help_of(names: list[str]) -> str:
    """Return the help of some commands as Markdown, or the options of `target`.

    Args:
        names: the commands, which have one table of options.
    """
    if names == [TARGET]:
        options = [
            argument
            for argument in arguments_of(WITH_TARGET)
            if argument.name in TARGET_OPTIONS
        ]
        return table({WITH_TARGET: options})
    commands: dict[str, list[Argument]] = {}
    texts: list[str] = []
    for name in names:
        arguments = arguments_of(name)
        target = takes_target(arguments)
        text = description(name, exit_codes=not target)
        words = [
            positional(each) for each in arguments if each.field_info.is_positional
        ]
        usage = " ".join(["perdure", name, *words])
        item = f"- **`{usage}`**: {indent(text, '  ').strip()}"
        texts.append(text if len(names) == 1 else item)
        commands[name] = [
            argument
            for argument in arguments
            if not (target and argument.name in TARGET_OPTIONS)
        ]
    return "\n\n".join([*texts, table(commands)]) + "\n"


def table(commands: dict[str, list[Argument]]) -> str:
    """Return the table of the options of some commands; empty if they have none."""
    lines = list(rows(commands))
    head = ["| argument | default | meaning |", "|---|---|---|"]
    return "\n".join([*head, *lines]) if lines else ""


def expanded(page: str) -> str:
    """Replace each directive of a page by the help that it stands for."""
    return DIRECTIVE.sub(lambda match: help_of(match["names"].split()), page)
