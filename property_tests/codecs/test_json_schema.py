"""The JSON Schema of a type says which JSON its codec decodes."""

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import attrs
import orjson
import pytest
from drawn_types import Colour, mutations, typed_values
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from perdure.codecs import Codec
from perdure.codecs.json_schema import canonical
from perdure.testing.typed import from_type
from perdure.values.errors import InvalidInput


@attrs.frozen
class Leaf:
    """A value at the end.

    This paragraph is not in the description.
    """

    value: int


@attrs.frozen
class Tree:
    left: "Tree | Leaf"
    right: "Tree | Leaf | None" = None


EVERYTHING = Tree | list[tuple[int, str] | dict[int, Decimal] | None] | Literal["a", 3] | bool | None
FORMS = (
    *(bool, int, float, str, bytes, datetime, date, timedelta, UUID, Decimal, Colour),
    *(Any, Literal["a", 1] | None, Tree, Leaf | Tree | None, EVERYTHING),
    *(tuple[()], tuple[int, str], frozenset[int], dict[UUID, Leaf], dict[int, Colour]),
)


def validator(form):
    schema = Codec.of(form, what="it").json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@given(typed_values)
def test_all_that_is_encoded_validates(typed):
    form, value = typed
    data = orjson.loads(Codec.of(form, what="it").encode(value))
    assert list(validator(form).iter_errors(data)) == []


@given(mutations())
def test_json_that_is_wrong_in_one_place_does_not_validate(mutation):
    form, document, _ = mutation
    assert not validator(form).is_valid(document)


@given(st.sampled_from(FORMS).flatmap(lambda form: st.tuples(st.just(form), from_type(form))))
def test_values_of_the_kit_validate(typed):
    form, value = typed
    data = orjson.loads(Codec.of(form, what="it").encode(value))
    assert list(validator(form).iter_errors(data)) == []


def drawn_from(schema, definitions):  # noqa: C901, PLR0911, PLR0912 - one case for each form of schema
    """Draw JSON that a schema describes, from the schema alone."""
    match schema:
        case {"$ref": reference}:
            return st.deferred(lambda: drawn_from(definitions[reference.removeprefix("#/$defs/")], definitions))
        case {"anyOf": members} | {"oneOf": members}:
            return st.one_of([drawn_from(member, definitions) for member in members])
        case {"const": value}:
            return st.just(value)
        case {"enum": values}:
            return st.sampled_from(values)
        case {"type": "null"}:
            return st.none()
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "integer"}:
            return st.integers(schema["minimum"], schema["maximum"])
        case {"type": "number"}:
            return st.floats(allow_nan=False, allow_infinity=False)
        case {"type": "string", "format": "date-time"}:
            return st.datetimes().map(lambda it: it.isoformat() + "Z")
        case {"type": "string", "format": "date"}:
            return st.dates().map(date.isoformat)
        case {"type": "string", "format": "uuid"}:
            return st.uuids().map(str)
        case {"type": "string", "pattern": pattern}:
            return st.from_regex(pattern.replace("$", r"\Z"))
        case {"type": "string"}:
            return st.text()
        case {"type": "array", "prefixItems": items}:
            return st.tuples(*(drawn_from(item, definitions) for item in items)).map(list)
        case {"type": "array", "maxItems": 0}:
            return st.just([])
        case {"type": "array", "items": item}:
            key = orjson.dumps if schema.get("uniqueItems") else None
            return st.lists(drawn_from(item, definitions), unique_by=key, max_size=3)
        case {"type": "object", "properties": properties, "additionalProperties": False}:
            members = {name: drawn_from(member, definitions) for name, member in properties.items()}
            required = {name: members.pop(name) for name in schema.get("required", ())}
            return st.fixed_dictionaries(required, optional=members)
        case {"type": "object", "additionalProperties": value}:
            keys = drawn_from(schema.get("propertyNames", {"type": "string"}), definitions)
            return st.dictionaries(keys, drawn_from(value, definitions), max_size=3)
    assert schema == {}
    return st.none() | st.text()


def drawn(form):
    schema = Codec.of(form, what="it").json_schema()
    return drawn_from(
        {key: each for key, each in schema.items() if key[0] != "$" or key == "$ref"}, schema.get("$defs")
    )


@given(st.sampled_from(FORMS).flatmap(lambda form: st.tuples(st.just(form), drawn(form))))
def test_every_value_of_the_schema_is_decoded(typed):
    form, data = typed
    codec = Codec.of(form, what="it")
    try:
        codec.decode(orjson.dumps(data))
    except InvalidInput as refused:
        assert all(is_beyond_a_schema(problem) for problem in refused.problems), refused


def is_beyond_a_schema(problem):
    """A number of more digits than Python reads, a length of more days than it counts, an exponent out of range."""
    return any(words in problem for words in ("a whole number as text", "length in seconds", "finite decimal"))


@given(
    st.sampled_from(FORMS),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda it: st.lists(it) | st.dictionaries(st.text(), it),
        max_leaves=5,
    ),
)
@example(bool, -(2**63) - 1)
def test_json_that_does_not_validate_is_refused(form, data):
    if not validator(form).is_valid(data):
        with pytest.raises(InvalidInput):
            Codec.of(form, what="it").decode(json.dumps(data).encode())  # orjson writes no longer numbers than 64 bits


def test_schema_names_classes_and_enums_and_refers_to_them():
    schema = Codec.of(tuple[Colour, Tree | Leaf | None], what="it").json_schema()
    assert schema["prefixItems"][0] == {"$ref": "#/$defs/Colour"}
    assert schema["$defs"]["Colour"] == {"type": ["string", "integer"], "enum": ["red", "blue", 3]}
    assert schema["$defs"]["Leaf"] == {
        "title": "Leaf",
        "description": "A value at the end.",
        "type": "object",
        "properties": {
            "type": {"type": "string", "const": "Leaf"},
            "value": {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1},
        },
        "required": ["type", "value"],
        "additionalProperties": False,
    }
    assert schema["$defs"]["Tree"]["properties"]["left"] == {
        "x-untagged": "Tree",
        "oneOf": [{"$ref": "#/$defs/Leaf"}, {"$ref": "#/$defs/Tree"}],
    }


def test_order_of_a_union_changes_nothing_but_the_class_of_an_object_without_a_tag():
    one = Codec.of(Leaf | Tree | int | None, what="it").json_schema()
    assert Codec.of(None | Leaf | int | Tree, what="it").json_schema() == one
    other = Codec.of(None | Tree | int | Leaf, what="it").json_schema()
    assert canonical(one) == canonical(other)
    assert one["anyOf"][0].pop("x-untagged") == "Leaf"
    assert other["anyOf"][0].pop("x-untagged") == "Tree"
    assert one == other
