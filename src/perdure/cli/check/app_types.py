"""The types of an app's jobs as a file, which a later version of the app is compared with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import orjson

from perdure.cli.usage_error import UsageError
from perdure.codecs import Codec
from perdure.codecs.json_schema import JsonSchema
from perdure.jobs.definition import AnyDefinition
from perdure.values.errors import InvalidInput
from perdure.values.frozen import frozen

SIGNAL: Final = "signal."
"""The start of the name of an action that sends a signal."""


@frozen(kw_only=True)
class JobTypes:
    """The types of one job.

    Attributes:
        version: the version of the state that the code writes.
        states: the JSON Schema of each version that it reads.
        types: those of its inputs, answers, errors and signals, by name.
    """

    version: int
    states: dict[int, JsonSchema]
    types: dict[str, JsonSchema]


@frozen(kw_only=True)
class AppTypes:
    """The types of an app.

    Attributes:
        format: of the file.
        jobs: the jobs, printed ``kind:name``.
    """

    format: Literal[1] = 1
    jobs: dict[str, JobTypes]


FILE: Final = Codec.of(AppTypes, what="definitions of an app")


def types_of(definitions: Iterable[AnyDefinition]) -> AppTypes:
    """Return the types of an app's definitions."""
    return AppTypes(jobs={f"{each.kind}:{each.name}": _types(each) for each in definitions})


def text_of(types: AppTypes) -> str:
    """Return the file. Equal definitions have equal text."""
    return json.dumps(orjson.loads(FILE.encode(types)), indent=2, sort_keys=True)


def read_types(path: Path) -> AppTypes:
    """Read a file that ``perdure definitions`` has printed.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return FILE.decode(path.read_bytes())
    except (OSError, InvalidInput) as error:
        raise UsageError(f"{path}: {error}; write the file with `perdure definitions MODULE:APP`") from error


def _types(job: AnyDefinition) -> JobTypes:
    plan = job.plan
    older = {step.version: step.codec.json_schema() for step in plan.upgrades.steps}
    inputs = {_input(name): spec.input for name, spec in plan.commands.items()}
    results = {"result" if at == 0 else f"result {at + 1}": codec for at, codec in enumerate(plan.kept)}
    named = {**inputs, **results, "errors": plan.errors}
    return JobTypes(
        version=plan.state_version,
        states={**older, plan.state_version: plan.state.json_schema()},
        types={name: codec.json_schema() for name, codec in named.items() if codec is not None},
    )


def _input(action: str) -> str:
    return f"signal {action.removeprefix(SIGNAL)}" if action.startswith(SIGNAL) else f"input of {action}"
