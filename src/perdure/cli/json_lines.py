"""JSON lines on standard output, for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Annotated, TypeAlias

import orjson
from cyclopts import Parameter

JsonOption: TypeAlias = Annotated[bool, Parameter(negative="", help="Print JSON instead of text, one object a line.")]
"""The option ``--json`` of commands that read."""


def write_json(values: Iterable[object]) -> None:
    r"""Write JSON-able values, each on a line of its own, with every character escaped that is not printable.

    >>> write_json([{"id": "\x1b[31m\n\x9b"}])
    {"id":"\u001b[31m\n\u009b"}
    """
    sys.stdout.write("".join(f"{_printable(orjson.dumps(value).decode())}\n" for value in values))


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
