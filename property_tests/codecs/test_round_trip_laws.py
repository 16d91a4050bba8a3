"""Laws of the codecs over drawn types: written values are read back, and a defect is refused where it is."""

import dataclasses
from typing import Annotated

import attrs
import msgspec
import orjson
import pytest
from drawn_types import mutations, typed_values
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from pydantic import Field as PydanticField

from perdure.codecs import Codec, NewerOnly, StoredAs, fingerprint
from perdure.testing.laws import writes_what_it_reads
from perdure.values.errors import InvalidInput
from perdure.values.secret import argument_names, is_model


@given(typed_values)
def test_written_rows_are_read_back(typed):
    form, value = typed
    writes_what_it_reads(Codec.of(form, what="it"), value)


@given(typed_values)
def test_a_payload_reordered_by_a_json_library_is_the_same(typed):
    form, value = typed
    codec = Codec.of(form, what="it")
    data = codec.encode(value)
    reordered = orjson.dumps(backwards(orjson.loads(data)))
    assert codec.decode(reordered) == value
    assert fingerprint(reordered) == fingerprint(data)


def backwards(node):
    if isinstance(node, dict):
        return {key: backwards(each) for key, each in reversed(node.items())}
    return [backwards(each) for each in node] if isinstance(node, list) else node


@given(mutations())
def test_json_that_is_wrong_in_one_place_is_refused_there(mutation):
    form, document, path = mutation
    with pytest.raises(InvalidInput) as caught:
        Codec.of(form, what="it").decode(orjson.dumps(document))
    assert caught.value.problems
    assert [line for line in caught.value.problems if not line.startswith(path)] == []


MUTABLE = (list, dict, set)


@given(typed_values)
def test_a_value_that_may_be_kept_behaves_as_the_one_that_is_read(typed):
    form, value = typed
    codec = Codec.of(form, what="it")
    if not codec.may_be_kept(value):
        return
    read = codec.decode(codec.encode(value))
    assert read == value
    parts = list(parts_of(value))
    assert not any(type(part) in MUTABLE for part in parts)
    if not any(type(part) is frozenset for part in parts):  # its order is that of no declaration
        assert repr(read) == repr(value)


def parts_of(value):
    yield value
    if attrs.has(type(value)) or dataclasses.is_dataclass(value):
        names = (field.name for field in (attrs.fields if attrs.has(type(value)) else dataclasses.fields)(type(value)))
        for name in names:
            yield from parts_of(getattr(value, name))
    elif is_model(type(value)):
        for name, _ in argument_names(type(value)):
            yield from parts_of(getattr(value, name))
    elif isinstance(value, (tuple, frozenset, list)):
        for item in value:
            yield from parts_of(item)


class Adult(BaseModel):
    model_config = ConfigDict(frozen=True)
    age: int = PydanticField(ge=18)


class AdultStruct(msgspec.Struct, frozen=True):
    age: Annotated[int, msgspec.Meta(ge=18)]


@given(st.integers(0, 40))
@example(17)
@example(18)
def test_a_model_that_was_built_without_validation_is_not_stored(age):
    for codec, value in (
        (Codec.of(Adult, what="it"), Adult(age=18).model_copy(update={"age": age})),
        (Codec.of(AdultStruct, what="it"), AdultStruct(age)),
    ):
        if age >= 18:
            assert codec.decode(codec.encode(value)) == value
        else:
            with pytest.raises(InvalidInput):
                codec.encode(value)


class Grade:
    def __init__(self, age):
        self.age = age


Graded = Annotated[Grade, StoredAs(Adult, read=lambda adult: Grade(adult.age), write=lambda it: Adult(age=it.age))]


@given(st.sampled_from(["name", "z"]))
@example("name")
def test_a_member_that_newer_code_added_to_a_class_stored_as_another_type_is_left_to_it(member):
    codec = Codec.of(Graded, what="it")
    with pytest.raises(NewerOnly):
        codec.open(orjson.dumps({"age": 18, member: 1}))
