"""An engine's description: its version, its limits, and its jobs with their contracts.

A contract has the JSON Schemas for a definition's types, with their fingerprints: a client compares it with its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import attrs
import orjson

from perdure.codecs import Codec, fingerprint
from perdure.codecs.json_schema import JsonSchema, canonical
from perdure.jobs.definition import AnyDefinition
from perdure.values.status import Hold

MAX_CACHED: Final = 1_024
"""How many definitions' contracts are kept."""


@attrs.frozen
class ContractPart:
    """One type in a definition.

    Attributes:
        schema: the type's JSON Schema. None if there is no such type: an action without input, or no declared errors.
        fingerprint: 32 hexadecimal digits, the same for all types with the same JSON.
    """

    schema: JsonSchema | None
    fingerprint: str


@attrs.frozen(kw_only=True)
class Contract:
    """The types in a definition that its clients use.

    Attributes:
        kind: the job's kind.
        name: the job's name.
        parts: the types, by name: ``state``, ``errors``, and ``input of send`` for each action.
    """

    kind: str
    name: str
    parts: Mapping[str, ContractPart]

    @property
    def fingerprints(self) -> dict[str, str]:
        """Each part's fingerprint, by its name."""
        return {name: part.fingerprint for name, part in self.parts.items()}


def contract_of(definition: AnyDefinition) -> Contract:
    """Return a definition's contract. It is computed once for each definition.

    Class names, docstrings, and the order of fields, choices and union members do not change a fingerprint. Tags do:
    the JSON contains them.
    """
    return _contract(_Identity(definition))


@attrs.frozen(eq=False)
class _Identity:
    """A definition as a key: your own kind may compare its definitions by their fields."""

    definition: AnyDefinition

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.definition is self.definition

    def __hash__(self) -> int:
        return id(self.definition)


@lru_cache(maxsize=MAX_CACHED)
def _contract(key: _Identity) -> Contract:
    definition, plan = key.definition, key.definition.plan
    parts = {
        "state": _part(plan.state),
        "errors": _part(plan.errors),
        **{f"input of {action}": _part(spec.input) for action, spec in plan.commands.items()},
    }
    return Contract(kind=definition.kind, name=definition.name, parts=parts)


def _part(codec: Codec[Any] | None) -> ContractPart:
    schema = None if codec is None else codec.json_schema()
    return ContractPart(schema, fingerprint(orjson.dumps(None if schema is None else canonical(schema))))


@attrs.frozen(kw_only=True)
class JobInfo:
    """A job that an engine serves.

    Attributes:
        kind: the job's kind.
        name: the job's name.
        actions: the requests that the job's instances accept.
        fingerprints: the fingerprints of the job's types, by name. See `Contract`.
        hold: whether it is held.
        run_now: the action that runs an instance now that waits for a retry. None if there is none.
    """

    kind: str
    name: str
    actions: tuple[str, ...]
    fingerprints: Mapping[str, str]
    hold: Hold = "released"
    run_now: str | None = None


@attrs.frozen
class EngineInfo:
    """An engine as its clients see it.

    Attributes:
        version: the library version that it runs.
        jobs: the jobs that it serves.
        payload_bytes: an encoded input's maximum size.
        state_bytes: an encoded state's maximum size.
    """

    version: str
    jobs: tuple[JobInfo, ...]
    payload_bytes: int
    state_bytes: int


def job_info(job: AnyDefinition, hold: Hold) -> JobInfo:
    """Describe a job by its definition."""
    return JobInfo(
        kind=job.kind,
        name=job.name,
        actions=tuple(job.plan.offered),
        fingerprints=contract_of(job).fingerprints,
        hold=hold,
        run_now=job.run_now,
    )


def installed_version() -> str:
    """Return the installed library's version. Empty in a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - imports a random generator

    try:
        return version("perdure")
    except PackageNotFoundError:
        return ""
