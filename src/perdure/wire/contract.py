"""The contract of a definition: the JSON Schemas of its types, and their fingerprints.

Tools compare them. A server compares none: it decodes the input of each call, and refuses a part that it does not know.
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

MAX_CACHED: Final = 1_024
"""The number of definitions whose contracts are kept."""


@attrs.frozen
class ContractPart:
    """One type of a definition.

    Attributes:
        schema: its JSON Schema; None if there is no such type: an action without input, or no declared errors.
        fingerprint: 32 hexadecimal digits, the same for all types with the same JSON.
    """

    schema: JsonSchema | None
    fingerprint: str


@attrs.frozen(kw_only=True)
class Contract:
    """The types of a definition that its clients use.

    Attributes:
        kind: the kind of the job.
        name: its name.
        parts: its types, by name: ``state``, ``errors``, and ``input of send`` for each action.
    """

    kind: str
    name: str
    parts: Mapping[str, ContractPart]

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each part, by its name."""
        return {name: part.fingerprint for name, part in self.parts.items()}


def contract_of(definition: AnyDefinition) -> Contract:
    """Return the contract of a definition. It is computed once for each definition.

    Names of classes, docstrings, and the order of fields, choices and members of unions do not change a fingerprint.
    Tags do: they are part of the JSON.
    """
    return _contract(_Identity(definition))


@attrs.frozen(eq=False)
class _Identity:
    """A definition as a key: a kind of your own may compare its definitions by their fields."""

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
