"""The script of a world: what the test did, as the lines of a test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import indent
from typing import Any, Literal

import attrs

from perdure.jobs.request import Request, Terminate
from perdure.values.address import Address


@attrs.define
class Line:
    """One thing that the test did. What it led to is filled in when it happens, so it is no value.

    Attributes:
        method: of the world.
        arguments: plain values.
        calls: the requests that it made.
        ended: how they ended.
    """

    method: str
    arguments: tuple[object, ...] = ()
    calls: list[tuple[Address, Request]] = attrs.Factory(list[tuple[Address, Request]])
    ended: Literal["well", "failed", "died"] = "well"

    def __str__(self) -> str:
        method = "result" if (self.method, self.ended) == ("ask", "failed") else self.method
        shown = [repr(value) for value in self.arguments]
        shown += [_call(address, request) for address, request in self.calls]
        line = f"world.{method}({', '.join(shown)})"
        return f"with suppress(WorkerDied):\n    {line}" if self.ended == "died" else line


def as_test(lines: Iterable[Line], *, seed: int) -> str:
    """Write a test that does it again.

    Args:
        lines: what was done.
        seed: of the world.
    """
    lines = [line for line in lines if line.arguments or line.calls or line.method in _WITHOUT_ARGUMENTS]
    jobs = dict.fromkeys(address.name for line in lines for address, _ in line.calls)
    return "\n".join(
        [
            *_imports(lines),
            "",
            "",
            "def test_it_does_not_happen_again() -> None:",
            f"    with World(app, services, seed={seed}) as world:",
            *(f"        {variable(name)} = world.of(...)  # the definition of {name!r}" for name in jobs),
            *(indent(str(line), " " * 8) for line in lines),
        ]
    )


_WITHOUT_ARGUMENTS = frozenset({"open", "close", "crash", "usurp", "wake", "mend", "jump"})


def variable(name: str) -> str:
    """A name for the handle of a job."""
    made = "".join(letter if letter.isalnum() else "_" for letter in name)
    return made if made.isidentifier() else f"job_{made}"


def _call(address: Address, request: Request) -> str:
    parts = [repr(address.id), *map(repr, _inputs(request))]
    command = request.command
    if isinstance(command, Terminate) and command.when == "interrupt":
        parts.append("interrupt=True")
    if request.wait == "claim":
        parts.append("wait='claim'")
    if request.idempotency_key is not None:
        parts.append(f"idempotency_key={request.idempotency_key!r}")
    return f"{variable(address.name)}.{request.action}({', '.join(parts)})"


def _inputs(request: Request) -> list[object]:
    """What the call was given, besides the id."""
    if isinstance(request.command, Terminate):
        return [request.command.reason]
    return [value for _, value in _fields(request.command)][:1] if request.payload else []


def _fields(value: Any) -> list[tuple[str, object]]:  # an instance of some attrs class
    fields: tuple[attrs.Attribute[object], ...] = attrs.fields(value.__class__)
    return [(field.name, getattr(value, field.name)) for field in fields]


def _imports(lines: Iterable[Line]) -> Iterator[str]:
    names: dict[str, set[str]] = {"perdure.testing": {"World"}}
    for line in lines:
        if line.ended == "died":
            names["perdure.testing"].add("WorkerDied")
            names["contextlib"] = {"suppress"}
        for cls in _classes(_values(line)):
            module = "perdure.testing" if cls.__module__.startswith("perdure.testing.") else cls.__module__
            if "<locals>" not in cls.__qualname__ and module != "builtins":
                names.setdefault(module, set()).add(cls.__qualname__.partition(".")[0])
    for module in sorted(names):
        yield f"from {module} import {', '.join(sorted(names[module]))}"


def _values(line: Line) -> list[object]:
    return [*line.arguments, *(value for _, request in line.calls for value in _inputs(request))]


def _classes(values: Iterable[object]) -> Iterator[type]:
    """The classes whose names the representations of these values use."""
    for value in values:
        cls = type(value)
        if attrs.has(cls):
            yield cls
            yield from _classes(each for _, each in _fields(value))
        elif isinstance(value, tuple | list | set | frozenset):
            yield from _classes(value)  # pyright: ignore[reportUnknownArgumentType] # of any values
        elif isinstance(value, dict):
            yield from _classes(value.values())  # pyright: ignore[reportUnknownArgumentType] # of any values
