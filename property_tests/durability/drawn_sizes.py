"""A runtime whose internal sizes are small in every other process, for the scripts that are killed."""

from __future__ import annotations

import sys
from random import Random

import attrs

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import DEFAULT_SIZES, Runtime, Sizes


def sizes_of(random: Random) -> Sizes:
    """Draw the sizes of production, or each between 1 and 5."""
    if random.random() < 0.5:
        return DEFAULT_SIZES
    return Sizes(**{field.name: random.randint(1, 5) for field in attrs.fields(Sizes)})


def runtime_of_this_process() -> Runtime:
    """Return the runtime of a process that may be killed, and tell its sizes on the error output."""
    sizes = sizes_of(Random())  # noqa: S311 - each process draws its own
    sys.stderr.write(f"{sizes}\n")
    return attrs.evolve(asyncio_runtime(), sizes=sizes)
