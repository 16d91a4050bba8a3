"""The changes that a program of older code makes to a value of newer code, and drawn types in which these matter."""

import orjson
from hypothesis import strategies as st
from type_pairs import INT, Chain, Choice, Field, Many, Maybe, Named, OneOf, Record, Scalar, evolved, new_fields

from perdure.codecs import Codec

KEPT = {"a field with a default", "a new class"}


@st.composite
def kept_changes(draw):
    """Draw a record below a list, a dict, a union or a set that gets a field with a default."""
    first = Record("C1", (Field("f0", INT), Field("f1", Scalar(("str",)), default=True)))
    second = Record("C2", (Field("f0", INT),))
    held = draw(st.sampled_from([first, OneOf((first, second))]))
    wraps = [
        lambda model: Many(model, tuple),
        lambda model: Many(model, list),
        Named,
        Maybe,
        lambda model: Many(model, frozenset),
        lambda model: model,
    ]
    inner = draw(st.sampled_from(wraps))(held)
    if not isinstance(inner, Maybe) and draw(st.booleans()) and inner.is_hashable:
        inner = draw(st.sampled_from([lambda model: Many(model, tuple), Named, Maybe]))(inner)
    root = Record("Root", (Field("f0", inner), Field("f1", INT, default=True)))
    fresh = draw(new_fields.filter(lambda model: not isinstance(model, Named)))
    every = [each for each in root.changes(fresh) if each.name in KEPT and isinstance(each.model, Record)]
    one = draw(st.sampled_from([each for each in every if each.model.fields[0] != root.fields[0]]))
    return Chain((one.name,), True, root, one.model)


def json_of(built, model, value):
    return orjson.loads(Codec.of(model.form(built), what="part").encode(value))


def opened(built, model, data):
    return Codec.of(model.form(built), what="part").open(orjson.dumps(data)).value


def edited(draw, built, node, value, data):  # noqa: C901, PLR0911  as above
    """Return a value as a program of the older version changes it, and the JSON of newer code with the same change."""
    match node:
        case Scalar() | Choice():
            new = draw(node.values(built))
            return new, json_of(built, node, new)
        case Maybe(inner):
            if value is None or draw(st.booleans()):
                return None, None
            return edited(draw, built, inner, value, data)
        case OneOf(members):
            if draw(st.booleans()):
                other = draw(node.values(built))
                if type(other) is not type(value):  # what newer code wrote into an object goes with it
                    return other, json_of(built, node, other)
            member = next(each for each in members if type(value) is built.class_of(each))
            return edited(draw, built, member, value, data)
        case Record(_, fields):
            held = [each for each in fields if not isinstance(each.model, (Scalar, Choice))] * 4
            field = draw(st.sampled_from([*held, *fields]))
            name, before = field.name, getattr(value, field.name)
            part, data_part = edited(draw, built, field.model, before, data.get(name))
            if name not in data and part == before:
                return value, data
            return evolved(value, **{name: part}), {**data, name: data_part}
        case Named(inner):
            return edited_dict(draw, built, inner, value, data)
        case Many(item, of) if of is frozenset:
            known = {orjson.dumps(json_of(built, item, each)): each for each in value}
            if not known:
                return value, data
            gone = known[draw(st.sampled_from(sorted(known)))]
            return value - {gone}, [each for each in data if opened(built, item, each) != gone]
        case Many(item, of):
            values, data = edited_list(draw, built, item, list(value), list(data))
            return (tuple(values) if of is tuple else values), data


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
            new = draw(item.values(built))
            values, data = [*values, new], [*data, json_of(built, item, new)]
    return values, data
