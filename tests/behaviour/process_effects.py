"""Effects that processes perform: a process imports this module."""

from __future__ import annotations

import os
import signal
from typing import Any, Never

from returns.result import Result, Success

from perdure import effect


@effect(on="process")
def compute(_services: object, number: int) -> Result[tuple[int, int], str]:
    return Success((number, os.getpid()))


@effect(on="process")
def die(_services: object) -> Result[int, str]:
    os.kill(os.getpid(), signal.SIGKILL)
    return Success(1)


@effect(on="process")
def exits(_services: object) -> Result[int, str]:
    raise SystemExit(3)


@effect(on="process")
def raises(_services: object, number: int) -> Result[int, str]:
    return Success(1 // number)


class NeverPickled(Exception):
    """Two arguments, of which pickle restores none."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


@effect(on="process")
def raises_oddly(_services: object) -> Result[int, str]:
    raise NeverPickled(1, 2)


@effect(on="process")
def returns_a_function(_services: object) -> Result[Any, str]:
    return Success(lambda: 1)


@effect(on="process")
def loops(_services: object) -> Result[Never, str]:
    while True:
        pass
