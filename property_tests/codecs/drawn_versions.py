"""Drawn pairs of versions of a type, the values of both, and the changes that a program makes to a value."""

from datetime import date
from functools import reduce
from operator import or_
from typing import Any, Literal, Optional

import attrs
import orjson
from hypothesis import strategies as st

from perdure.codecs import Codec


@attrs.frozen
class Scalar:
    kind: str  # int, str, bool, date


@attrs.frozen
class Choice:
    choices: tuple[str, ...]


@attrs.frozen
class Record:
    name: str
    fields: tuple[tuple[str, Any, bool], ...]  # its name, its type, whether it has a default


@attrs.frozen
class Union:
    members: tuple[Record, ...]


@attrs.frozen
class Sequence:
    item: Any
    cls: str  # tuple, list, frozenset


@attrs.frozen
class Dict:
    value: Any


@attrs.frozen
class Maybe:
    inner: Any


@attrs.frozen
class Change:
    """Two versions of a type, and whether the newer one only adds."""

    kinds: tuple[str, ...]
    is_additive: bool
    old: Any
    new: Any


EXTRA = Record("Extra", (("f0", Scalar("int"), True),))

scalars = st.sampled_from(["int", "str", "bool", "date"]).map(Scalar)
new_fields = st.sampled_from(
    [
        Scalar("int"),
        Scalar("str"),
        Scalar("bool"),
        Maybe(Scalar("int")),
        Dict(Scalar("int")),
        Sequence(Scalar("int"), "tuple"),
    ]
)


@st.composite
def records(draw, depth, number):
    members = draw(st.lists(types(depth - 1, number), min_size=1, max_size=3))
    fields = tuple((f"f{at}", each, may_default(each) and draw(st.booleans())) for at, each in enumerate(members))
    number[0] += 1
    return Record(f"C{number[0]}", fields)


def types(depth, number):
    simple = st.one_of(scalars, st.just(Choice(("a", "b"))))
    if depth <= 0:
        return simple
    inner = st.deferred(lambda: types(depth - 1, number))
    return st.one_of(
        simple,
        records(depth, number),
        st.lists(records(depth - 1, number), min_size=2, max_size=2).map(lambda found: Union(tuple(found))),
        st.builds(Sequence, records(depth - 1, number) | inner, st.sampled_from(["tuple", "list"])),
        st.builds(Sequence, records(0, number), st.just("frozenset")),
        st.builds(Dict, inner),
        inner.filter(lambda each: not isinstance(each, Maybe)).map(Maybe),
    )


def may_default(node):
    return not isinstance(node, (Record, Union))


@st.composite
def models(draw):
    number = [0]
    unions = st.lists(records(2, number), min_size=2, max_size=3).map(lambda found: Union(tuple(found)))
    return draw(st.one_of(records(3, number), unions))


def variants(node, fresh):  # noqa: C901, PLR0912  one case for each kind of type
    """Yield every change of a type, at every place: its kind, whether it only adds, and the changed type."""
    match node:
        case Scalar(kind):
            yield "scalar: another type", kind == "date", Scalar("str" if kind != "str" else "int")
            if kind == "int":
                yield "scalar: a wider number", True, Scalar("float")
            yield "scalar: optional", True, Maybe(node)
            yield "scalar: a list", False, Sequence(node, "tuple")
        case Choice(choices):
            yield "choice: one more", True, Choice((*choices, "zz"))
            yield "choice: one less", False, Choice(choices[:-1])
        case Record():
            yield from of_record(node, fresh)
        case Union():
            yield from of_union(node, fresh)
        case Sequence(item, cls):
            for kind, additive, changed in variants(item, fresh):
                if cls != "frozenset" or is_hashable(changed):
                    yield kind, additive, Sequence(changed, cls)
        case Dict(value):
            for kind, additive, changed in variants(value, fresh):
                yield kind, additive, Dict(changed)
        case Maybe(inner):
            if may_default(inner):
                yield "optional: required", False, inner
            for kind, additive, changed in variants(inner, fresh):
                if not isinstance(changed, Maybe):
                    yield kind, additive, Maybe(changed)


def of_record(node, fresh):
    name, fields = node.name, node.fields
    for extra in fresh:
        yield "record: a field with a default", True, Record(name, (*fields, ("new", extra, True)))
    yield "record: a required field", False, Record(name, (*fields, ("new", fresh[0], False)))
    if len(fields) > 1:
        yield "record: a field less", False, Record(name, fields[:-1])
    yield "record: a field renamed", False, Record(name, (("renamed", *fields[0][1:]), *fields[1:]))
    yield "record: a class after it", True, Union((node, EXTRA))
    yield "record: a class before it", False, Union((EXTRA, node))
    for at, (field, inner, default) in enumerate(fields):
        if default:
            required = (*fields[:at], (field, inner, False), *fields[at + 1 :])
            yield "record: a default less", False, Record(name, required)
        elif may_default(inner):
            defaulted = (*fields[:at], (field, inner, True), *fields[at + 1 :])
            yield "record: a default more", True, Record(name, defaulted)
        for kind, additive, changed in variants(inner, fresh):
            if not default or may_default(changed):
                yield kind, additive, Record(name, (*fields[:at], (field, changed, default), *fields[at + 1 :]))


def of_union(node, fresh):
    members = node.members
    yield "union: a class more", True, Union((*members, EXTRA))
    yield "union: a class more, as the first", False, Union((EXTRA, *members))
    yield "union: another order", False, Union(members[::-1])
    if len(members) > 2:
        yield "union: a class less", False, Union(members[:-1])
    yield "union: a class renamed", False, Union((attrs.evolve(members[0], name="Other"), *members[1:]))
    for at, member in enumerate(members):
        for kind, additive, changed in variants(member, fresh):
            if isinstance(changed, Record):
                yield kind, additive, Union((*members[:at], changed, *members[at + 1 :]))


def is_hashable(node):
    match node:
        case Dict() | Sequence(_, "list"):
            return False
        case Sequence(inner, _) | Maybe(inner):
            return is_hashable(inner)
        case Record(_, fields):
            return all(is_hashable(inner) for _, inner, _ in fields)
        case Union(members):
            return all(map(is_hashable, members))
        case _:
            return True


@st.composite
def changes(draw, wanted="any", most=1):
    """Draw a change: one, or two in a row."""
    model = draw(models())
    before, kinds, is_additive = model, [], True
    for _ in range(draw(st.integers(1, most))):
        every = [each for each in variants(model, [draw(new_fields)]) if wanted == "any" or each[1]]
        if kinds:
            every = [each for each in every if is_valid(repr(each[2]))]
        if not every:
            break
        kind = draw(st.sampled_from(sorted({each[0] for each in every})))
        one = draw(st.sampled_from([each for each in every if each[0] == kind]))
        kinds.append(one[0])
        is_additive &= one[1]
        model = one[2]
    return Change(tuple(kinds), is_additive, before, model)


def is_valid(shown):
    """Whether two changes do not make the same name, or a choice of nothing."""
    once = all(shown.count(f"'{name}'") < 2 for name in ("new", "Extra", "Other", "renamed"))
    return once and "choices=()" not in shown and "'zz', 'zz'" not in shown


@st.composite
def kept_changes(draw):
    """Draw a record below a list, a dict, a union or a set that gets a field with a default."""
    first = Record("C1", (("f0", Scalar("int"), False), ("f1", Scalar("str"), True)))
    second = Record("C2", (("f0", Scalar("int"), False),))
    held = draw(st.sampled_from([first, Union((first, second))]))
    wraps = [
        lambda node: Sequence(node, "tuple"),
        lambda node: Sequence(node, "list"),
        Dict,
        Maybe,
        lambda node: Sequence(node, "frozenset"),
        lambda node: node,
    ]
    inner = draw(st.sampled_from(wraps))(held)
    if not isinstance(inner, Maybe) and draw(st.booleans()) and is_hashable(inner):
        inner = draw(st.sampled_from([lambda node: Sequence(node, "tuple"), Dict, Maybe]))(inner)
    root = Record("Root", (("f0", inner, False), ("f1", Scalar("int"), True)))
    fresh = [draw(new_fields.filter(lambda node: not isinstance(node, Dict)))]
    kinds = ("record: a field with a default", "union: a class more")
    every = [each for each in variants(root, fresh) if each[0] in kinds]
    one = draw(st.sampled_from([each for each in every if each[2].fields[0] != root.fields[0]]))
    return Change((one[0],), True, root, one[2])


class Built:
    """A type of a model: its classes, its codec, its values."""

    def __init__(self, model):
        self.model, self.classes = model, {}
        self.codec = Codec.of(self.form(model), what="it")

    def form(self, node):  # noqa: PLR0911  as above
        match node:
            case Scalar(kind):
                return {"int": int, "str": str, "bool": bool, "date": date, "float": float}[kind]
            case Choice(choices):
                return Literal[choices]
            case Record(name, fields):
                if name not in self.classes:
                    self.classes[name] = self.make(name, fields)
                return self.classes[name]
            case Union(members):
                return reduce(or_, [self.form(member) for member in members])
            case Sequence(item, cls):
                inner = self.form(item)
                return {"tuple": tuple[inner, ...], "list": list[inner], "frozenset": frozenset[inner]}[cls]
            case Dict(value):
                return dict[str, self.form(value)]
            case Maybe(inner):
                return Optional[self.form(inner)]  # noqa: UP045  as a function, it takes any form

    def make(self, name, fields):
        made = {}
        for field, inner, default in fields:
            given = {"default": attrs.Factory(lambda inner=inner: default_of(inner))} if default else {}
            made[field] = attrs.field(type=self.form(inner), kw_only=True, **given)
        return attrs.make_class(name, made, frozen=True, hash=True)

    def json(self, node, value):
        return orjson.loads(Codec.of(self.form(node), what="part").encode(value))

    def open(self, node, data):
        return Codec.of(self.form(node), what="part").open(orjson.dumps(data)).value

    def values(self, node=None):  # noqa: PLR0911  as above
        node = self.model if node is None else node
        match node:
            case Scalar(kind):
                return SCALAR_VALUES[kind]
            case Choice(choices):
                return st.sampled_from(choices)
            case Record(name, fields):
                return st.builds(self.classes[name], **{field: self.values(inner) for field, inner, _ in fields})
            case Union(members):
                return st.one_of([self.values(member) for member in members])
            case Sequence(item, "frozenset"):
                return st.frozensets(self.values(item), max_size=3)
            case Sequence(item, cls):
                listed = st.lists(self.values(item), min_size=isinstance(item, (Record, Union)), max_size=4)
                return listed.map(tuple) if cls == "tuple" else listed
            case Dict(value):
                return st.dictionaries(st.sampled_from("kmn"), self.values(value), max_size=3)
            case Maybe(inner):
                return st.none() | self.values(inner)


SCALAR_VALUES = {
    "int": st.integers(-3, 3),
    "float": st.sampled_from([0.5, 1.0, 2.0]),
    "str": st.sampled_from(["", "x", "y", "a"]),
    "bool": st.booleans(),
    "date": st.sampled_from([date(2020, 1, 1), date(2021, 2, 2)]),
}


def default_of(node):
    match node:
        case Scalar(kind):
            return {"int": 0, "float": 0.0, "str": "", "bool": False, "date": date(2020, 1, 1)}[kind]
        case Choice(choices):
            return choices[0]
        case Sequence(_, cls):
            return {"tuple": (), "list": [], "frozenset": frozenset()}[cls]
        case Dict():
            return {}
        case Maybe():
            return None


def edited(draw, built, node, value, data):  # noqa: C901, PLR0911  as above
    """Return a value as a program of the older version changes it, and the JSON of newer code with the same change."""
    match node:
        case Scalar() | Choice():
            new = draw(built.values(node))
            return new, built.json(node, new)
        case Maybe(inner):
            if value is None or draw(st.booleans()):
                return None, None
            return edited(draw, built, inner, value, data)
        case Union(members):
            if draw(st.booleans()):
                other = draw(built.values(node))
                if type(other) is not type(value):  # what newer code wrote into an object goes with it
                    return other, built.json(node, other)
            member = next(each for each in members if type(value) is built.classes[each.name])
            return edited(draw, built, member, value, data)
        case Record(_, fields):
            held = [each for each in fields if not isinstance(each[1], (Scalar, Choice))] * 4
            field, inner, _ = draw(st.sampled_from([*held, *fields]))
            part, data_part = edited(draw, built, inner, getattr(value, field), data.get(field))
            if field not in data and part == getattr(value, field):
                return value, data
            return attrs.evolve(value, **{field: part}), {**data, field: data_part}
        case Dict(inner):
            return edited_dict(draw, built, inner, value, data)
        case Sequence(item, "frozenset"):
            known = {orjson.dumps(built.json(item, each)): each for each in value}
            if not known:
                return value, data
            gone = known[draw(st.sampled_from(sorted(known)))]
            return value - {gone}, [each for each in data if built.open(item, each) != gone]
        case Sequence(item, cls):
            values, data = edited_list(draw, built, item, list(value), list(data))
            return (tuple(values) if cls == "tuple" else values), data


def edited_dict(draw, built, inner, value, data):
    if not value:
        return value, data
    key = draw(st.sampled_from(sorted(value)))
    match draw(st.sampled_from(["edit", "pop", "move", "swap"])):
        case "edit":
            part, data_part = edited(draw, built, inner, value[key], data[key])
            return {**value, key: part}, {**data, key: data_part}
        case "pop":
            return without(value, key), without(data, key)
        case "move":
            return renamed(value, {key: "q"}), renamed(data, {key: "q"})
        case "swap":
            keys = sorted(value)
            to = dict(zip(keys, keys[::-1], strict=True))
            return renamed(value, to), renamed(data, to)


def without(mapping, key):
    return {each: value for each, value in mapping.items() if each != key}


def renamed(mapping, names):
    return {names.get(key, key): value for key, value in mapping.items()}


def edited_list(draw, built, item, values, data):
    if not values:
        return values, data
    at = draw(st.integers(0, len(values) - 1))
    match draw(st.sampled_from(["edit", "edit all", "drop", "reverse", "swap out", "add"])):
        case "edit":
            values[at], data[at] = edited(draw, built, item, values[at], data[at])
        case "edit all":
            pairs = [edited(draw, built, item, one, other) for one, other in zip(values, data, strict=True)]
            values, data = [one for one, _ in pairs], [other for _, other in pairs]
        case "drop":
            del values[at], data[at]
        case "reverse":
            values, data = values[::-1], data[::-1]
        case "swap out":  # the last one moves into the place of another: a usual way to remove one
            values[at], data[at] = values[-1], data[-1]
            values, data = values[:-1], data[:-1]
        case "add":
            new = draw(built.values(item))
            values, data = [*values, new], [*data, built.json(item, new)]
    return values, data
