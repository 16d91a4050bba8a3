"""Drawn types with their values, and JSON of a type that is wrong in one place."""

import copy
import dataclasses
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import reduce
from operator import or_
from typing import Any, Literal, NamedTuple, Optional, TypedDict
from uuid import UUID

import attrs
import msgspec
import orjson
from hypothesis import strategies as st
from pydantic import ConfigDict, create_model

from perdure.codecs import Codec


class Colour(Enum):
    RED = "red"
    BLUE = "blue"
    THIRD = 3


@attrs.frozen
class Family:
    """A type, and how its values are drawn."""

    form: Any
    values: st.SearchStrategy[Any]


zones = st.just(UTC) | st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
scalars = st.sampled_from(
    [
        Family(type(None), st.none()),
        Family(bool, st.booleans()),
        Family(int, st.integers(-(2**63), 2**64 - 1)),
        Family(float, st.floats(allow_nan=False, allow_infinity=False)),
        Family(str, st.text(max_size=8)),
        Family(bytes, st.binary(max_size=8)),
        Family(datetime, st.datetimes(timezones=zones)),
        Family(date, st.dates()),
        Family(timedelta, st.timedeltas()),
        Family(UUID, st.uuids()),
        Family(Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
        Family(Colour, st.sampled_from(Colour)),
        Family(Literal["a", 1, True], st.sampled_from(["a", 1, True])),
    ]
)


def attrs_class(name, fields):
    return attrs.make_class(name, {key: attrs.field(type=form) for key, form in fields.items()}, frozen=True)


def data_class(name, fields):
    return dataclasses.make_dataclass(name, fields.items())


def named_tuple(name, fields):
    return NamedTuple(name, fields.items())


def typed_dict(name, fields):
    return TypedDict(name, fields)


def pydantic_model(name, fields):
    config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    return create_model(name, __config__=config, **{key: (form, ...) for key, form in fields.items()})


def msgspec_struct(name, fields):
    return msgspec.defstruct(name, list(fields.items()), frozen=True)


def record(name, make, members):
    keys = [f"f{at}" for at in range(len(members))]
    cls = make(name, dict(zip(keys, (member.form for member in members), strict=True)))
    drawn = st.fixed_dictionaries(dict(zip(keys, (member.values for member in members), strict=True)))
    return Family(cls, drawn.map(lambda fields: cls(**fields)))


def tagged(members):
    makers = (attrs_class, pydantic_model, msgspec_struct)
    records = [record(f"C{at}", makers[at], [member]) for at, member in enumerate(members)]
    return Family(reduce(or_, [each.form for each in records]), st.one_of([each.values for each in records]))


RECORDS = [attrs_class, data_class, named_tuple, typed_dict, pydantic_model, msgspec_struct]


def richer(inner):
    members = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        inner.map(lambda it: Family(list[it.form], st.lists(it.values, max_size=3))),
        inner.map(lambda it: Family(tuple[it.form, ...], st.lists(it.values, max_size=3).map(tuple))),
        inner.map(lambda it: Family(Optional[it.form], st.none() | it.values)),  # noqa: UP045  as a function, it takes any form
        inner.map(lambda it: Family(dict[str, it.form], st.dictionaries(keys, it.values, max_size=3))),
        scalars.map(lambda it: Family(frozenset[it.form], st.frozensets(it.values, max_size=3))),
        members.map(lambda them: Family(tuple[tuple(it.form for it in them)], st.tuples(*(it.values for it in them)))),
        st.builds(record, st.just("C"), st.sampled_from(RECORDS), members),
        st.lists(inner, min_size=2, max_size=3).map(tagged),
    )


keys = st.text(max_size=4).map("k".__add__)
families = st.recursive(scalars, richer, max_leaves=8)
typed_values = families.flatmap(lambda it: st.tuples(st.just(it.form), it.values))


ALIEN = reduce(lambda inner, _: {"\0": inner}, range(20), 0)
"""Deeper than any drawn type, so that it fits none of them."""


@attrs.frozen
class Node:
    """One place in a JSON document: its path in problems, the keys that lead to it, its value."""

    path: str
    keys: tuple[Any, ...]
    value: Any

    @property
    def is_record(self):
        return isinstance(self.value, dict) and any(key.startswith("f") for key in self.value)


def nodes(value, path="$", keys=()):
    node = Node(path, keys, value)
    yield node
    if isinstance(value, list):
        for at, each in enumerate(value):
            yield from nodes(each, f"{path}[{at}]", (*keys, at))
    if isinstance(value, dict):
        for key, each in value.items():
            step = f".{key}" if node.is_record else f"[{key!r}]"
            yield from nodes(each, path + step, (*keys, key))


def replaced(document, keys, value):
    if not keys:
        return value
    changed = copy.deepcopy(document)
    outer = reduce(lambda inner, key: inner[key], keys[:-1], changed)
    outer[keys[-1]] = value
    return changed


@st.composite
def mutations(draw):
    """Draw a type, JSON that is wrong in one place, and the path of that place."""
    form, value = draw(typed_values)
    document = orjson.loads(Codec.of(form, what="it").encode(value))
    node = draw(st.sampled_from(list(nodes(document))))
    ways = ["alien", "extra", "missing", "tag"] if node.is_record else ["alien"]
    match draw(st.sampled_from(ways)):
        case "alien":
            return form, replaced(document, node.keys, ALIEN), node.path
        case "extra":
            return form, replaced(document, node.keys, {**node.value, "zzz": None}), f"{node.path}['zzz']"
        case "missing":
            gone = draw(st.sampled_from(sorted(node.value)))
            rest = {key: each for key, each in node.value.items() if key != gone}
            return form, replaced(document, node.keys, rest), f"{node.path}.{gone}"
        case _:
            path = f"{node.path}.type" if "type" in node.value else f"{node.path}['type']"
            return form, replaced(document, node.keys, {**node.value, "type": "C9"}), path
