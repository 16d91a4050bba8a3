"""The components of a document: responses, and the definitions of many JSON Schemas under unique names."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# A schema is JSON of any form, and narrowing a part of it by its class leaves its type arguments unknown.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, cast

import attrs
import orjson

from perdure.codecs.json_schema import OWN_TAG, REFERENCE, TAG, UNTAGGED, JsonSchema, canonical

COMPONENT: Final = "#/components/schemas/"
"""The prefix of a reference to a component schema."""

Direction = Literal["exact", "answer"]
"""How a schema is used: for exactly the JSON that a codec decodes, or for an answer, whose fields are all present and
which later versions of the library may extend."""


@attrs.define
class Components:
    """Collects the components of a document.

    Definitions of one name and the same JSON are one component. Another one of the same name gets the name of its job
    in front.
    """

    schemas: dict[str, JsonSchema] = attrs.field(factory=dict[str, JsonSchema])
    responses: dict[str, JsonSchema] = attrs.field(factory=dict[str, JsonSchema])
    _known: dict[tuple[str, bytes], str] = attrs.field(factory=dict[tuple[str, bytes], str])

    def add(self, schema: JsonSchema, *, owner: str, direction: Direction = "exact") -> JsonSchema:
        """Add the definitions of a schema.

        Args:
            schema: a complete JSON Schema, as `Codec.json_schema` returns it.
            owner: of its definitions, in front of names that are taken.
            direction: how the schema is used.

        Returns:
            The schema, with references to components.
        """
        definitions = cast("dict[str, JsonSchema]", schema.get("$defs", {}))
        names: dict[str, str] = {}
        added: list[str] = []
        for name in _reachable(schema, definitions):
            key = (name, orjson.dumps(canonical({"$ref": REFERENCE + name, "$defs": definitions})))
            if key not in self._known:
                self._known[key] = free(self.schemas, name, owner)
                self.schemas[self._known[key]] = {}  # takes the name
                added.append(name)
            names[name] = self._known[key]
        for name in added:
            self.schemas[names[name]] = self._component(definitions[name], definitions, names, direction)
        root = {word: schema[word] for word in schema if word not in {"$schema", "$defs"}}
        return self._component(root, definitions, names, direction)

    def named(self, name: str, schema: JsonSchema) -> JsonSchema:
        """Add a schema that already refers to components, under a name that must be free."""
        self.schemas[name] = schema
        return {"$ref": COMPONENT + name}

    def _component(
        self,
        schema: JsonSchema,
        definitions: Mapping[str, JsonSchema],
        names: Mapping[str, str],
        direction: Direction,
    ) -> JsonSchema:
        found = cast("JsonSchema", _referring(schema, definitions, names))
        if found.get("type") != "object" or "title" not in found:
            return found
        del found["title"]  # generators would prefer it to the name of the component, which is unique
        if direction == "answer":
            found.pop("additionalProperties", None)
            found["required"] = list(cast("JsonSchema", found.get("properties", {})))
        return found


def free(taken: Mapping[str, object], name: str, owner: str) -> str:
    """Return a name that is not taken: the name itself, with its owner in front, or with a number."""
    candidates = iter((name, f"{owner}_{name}", *(f"{owner}_{name}_{number}" for number in range(2, len(taken) + 3))))
    return next(candidate for candidate in candidates if candidate not in taken)


def _reachable(schema: JsonSchema, definitions: Mapping[str, JsonSchema]) -> list[str]:
    """Return the names of the definitions that a schema needs."""
    found: list[str] = []
    waiting: list[Any] = [{word: schema[word] for word in schema if word != "$defs"}]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        if not isinstance(node, dict):
            continue
        waiting += node.values()
        name = str(node.get("$ref", "")).removeprefix(REFERENCE)
        if name in definitions and name not in found:
            found.append(name)
            waiting.append(definitions[name])
    return found


def _referring(node: Any, definitions: Mapping[str, Any], names: Mapping[str, str]) -> Any:  # JSON of any form
    """Copy a schema, with references to components, and with the tags of tagged unions as their discriminator."""
    if isinstance(node, list):
        return [_referring(each, definitions, names) for each in node]
    if not isinstance(node, dict):
        return node
    ours = (UNTAGGED, OWN_TAG)  # for other versions of the code only
    found = {word: _referring(each, definitions, names) for word, each in node.items() if word not in ours}
    if isinstance(node.get("$ref"), str):
        found["$ref"] = COMPONENT + names[node["$ref"].removeprefix(REFERENCE)]
    if isinstance(node.get("oneOf"), list):  # the members of a tagged union
        members = (definitions[each["$ref"].removeprefix(REFERENCE)] for each in node["oneOf"])
        tags = [member["properties"][TAG]["const"] for member in members]
        mapping = {tag: each["$ref"] for tag, each in zip(tags, found["oneOf"], strict=True)}
        found["discriminator"] = {"propertyName": TAG, "mapping": mapping}
    return found
