"""Pairs of versions of a type: a drawn model, and every model that one change makes of it.

A model describes a type, so that two versions of one class can exist beside each other: `Built` makes the classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import reduce
from operator import or_
from typing import Any, Final, Literal

import attrs
import msgspec
from attrs import frozen
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, create_model
from pydantic import Field as PydanticField

from perdure.codecs import Codec

PYTHON = {"int": int, "str": str, "bool": bool, "date": date, "float": float}
DEFAULTS = {"int": 0, "str": "", "bool": False, "date": date(2020, 1, 1), "float": 0.0}
DRAWN: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-3, 3),
    "str": st.sampled_from(["", "x", "y", "a"]),
    "float": st.sampled_from([0.5, 1.0, 2.0]),
    "bool": st.booleans(),
    "date": st.sampled_from([date(2020, 1, 1), date(2021, 2, 2)]),
}


# ---------------------------------------------------------------- models
@frozen
class Change:
    """One change of a type.

    Attributes:
        name: the change, in words.
        additive: whether each version of the code continues instances that the other one wrote.
        model: the newer type.
    """

    name: str
    additive: bool
    model: Any


class Model:
    """A type.

    Attributes:
        default: the default of a field of this type.
        has_default: whether there is one.
        is_hashable: whether its values can be in a frozenset.
    """

    default: Any = None
    has_default: bool = True
    is_hashable: bool = True

    def changes(self, fresh: Model) -> Iterator[Change]:
        """Yield every change in one place, wherever that is; ``fresh`` is the type of a new field."""
        raise NotImplementedError

    def form(self, built: Built) -> Any:
        """Return the type, of classes that ``built`` makes."""
        raise NotImplementedError

    def values(self, built: Built) -> st.SearchStrategy[Any]:
        """Return the strategy of its values, of classes that ``built`` has made."""
        raise NotImplementedError


@frozen
class Scalar(Model):
    """An int, a str, a bool, a date, or one of several of them."""

    kinds: tuple[str, ...]

    @property
    def default(self) -> Any:
        return DEFAULTS[self.kinds[0]]

    def changes(self, fresh: Model) -> Iterator[Change]:
        if self.kinds in {("int",), ("bool",)}:
            yield Change("a wider type", True, Scalar((*self.kinds, "str")))
        if self.kinds == ("int",):
            yield Change("a wider number", True, Scalar(("float",)))
        if self.kinds == ("date",):
            yield Change("a wider type", True, Scalar(("str",)))  # the JSON of a date is a text
        else:
            yield Change("another type", False, Scalar(("int",) if "str" in self.kinds else ("str",)))
        yield Change("an optional", True, Maybe(self))
        yield Change("a list", False, Many(self, tuple))

    def form(self, built: Built) -> Any:
        return reduce(or_, [PYTHON[kind] for kind in self.kinds])

    def values(self, built: Built) -> st.SearchStrategy[Any]:
        return st.one_of([DRAWN[kind] for kind in self.kinds])


@frozen
class Choice(Model):
    """One of some texts."""

    choices: tuple[str, ...]

    @property
    def default(self) -> Any:
        return self.choices[0]

    def changes(self, fresh: Model) -> Iterator[Change]:
        yield Change("a further choice", True, Choice((*self.choices, "zz")))
        if len(self.choices) > 1:  # a type has at least one value
            yield Change("a choice less", False, Choice(self.choices[:-1]))

    def form(self, built: Built) -> Any:
        return Literal[self.choices]

    def values(self, built: Built) -> st.SearchStrategy[Any]:
        return st.sampled_from(self.choices)


@frozen
class Field:
    """A field of a record."""

    name: str
    model: Model
    default: bool = False


@frozen
class Record(Model):
    """An attrs class."""

    name: str
    fields: tuple[Field, ...]
    has_default = False

    @property
    def is_hashable(self) -> bool:
        return all(field.model.is_hashable for field in self.fields)

    def changes(self, fresh: Model) -> Iterator[Change]:
        yield Change("a field with a default", True, self._with(Field("new", fresh, default=True)))
        yield Change("a required field", False, self._with(Field("new", fresh)))
        if len(self.fields) > 1:
            yield Change("a field less", False, Record(self.name, self.fields[:-1]))
        yield Change("a field is renamed", False, self._replaced(0, attrs.evolve(self.fields[0], name="renamed")))
        yield Change("a class after it", True, OneOf((self, NEW_CLASS)))
        yield Change("a class before it", False, OneOf((NEW_CLASS, self)))
        for at, field in enumerate(self.fields):
            if field.default:
                yield Change("a default less", False, self._replaced(at, attrs.evolve(field, default=False)))
            elif field.model.has_default:
                yield Change("a default more", True, self._replaced(at, attrs.evolve(field, default=True)))
            for change in field.model.changes(fresh):
                # With another default, older and newer code mean different values by a member that is missing.
                keeps_default = change.model.has_default and change.model.default == field.model.default
                if not field.default or keeps_default:
                    yield attrs.evolve(change, model=self._replaced(at, attrs.evolve(field, model=change.model)))

    def _with(self, field: Field) -> Record:
        return Record(self.name, (*self.fields, field))

    def _replaced(self, at: int, field: Field) -> Record:
        return Record(self.name, (*self.fields[:at], field, *self.fields[at + 1 :]))

    def form(self, built: Built) -> Any:
        return built.class_of(self)

    def values(self, built: Built) -> st.SearchStrategy[Any]:
        return st.builds(built.class_of(self), **{field.name: field.model.values(built) for field in self.fields})


@frozen
class OneOf(Model):
    """One of several classes."""

    members: tuple[Record, ...]
    has_default = False

    @property
    def is_hashable(self) -> bool:
        return all(member.is_hashable for member in self.members)

    def changes(self, fresh: Model) -> Iterator[Change]:
        yield Change("a new class", True, OneOf((*self.members, NEW_CLASS)))
        yield Change("a new class, as the first", False, OneOf((NEW_CLASS, *self.members)))
        yield Change("another order of the classes", False, OneOf(self.members[::-1]))
        if len(self.members) > 2:
            yield Change("a class less", False, OneOf(self.members[:-1]))
        yield Change("a class is renamed", False, self._replaced(0, attrs.evolve(self.members[0], name="Other")))
        for at, member in enumerate(self.members):
            for change in member.changes(fresh):
                if isinstance(change.model, Record):
                    yield attrs.evolve(change, model=self._replaced(at, change.model))

    def _replaced(self, at: int, member: Record) -> OneOf:
        return OneOf((*self.members[:at], member, *self.members[at + 1 :]))

    def form(self, built: Built) -> Any:
        return reduce(or_, [member.form(built) for member in self.members])

    def values(self, built: Built) -> st.SearchStrategy[Any]:
        return st.one_of([member.values(built) for member in self.members])


@frozen
class Many(Model):
    """A tuple, a list or a frozenset."""

    item: Model
    of: type

    @property
    def default(self) -> Any:
        return self.of()

    @property
    def is_hashable(self) -> bool:
        return self.of is not list and self.item.is_hashable

    def changes(self, fresh: Model) -> Iterator[Change]:
        for change in self.item.changes(fresh):
            if self.of is not frozenset or change.model.is_hashable:
                yield attrs.evolve(change, model=Many(change.model, self.of))

    def form(self, built: Built) -> Any:
        item = self.item.form(built)
        return {tuple: tuple[item, ...], list: list[item], frozenset: frozenset[item]}[self.of]

    def values(self, built: Built) -> st.SearchStrategy[Any]:
        item = self.item.values(built)
        return st.frozensets(item, max_size=3) if self.of is frozenset else st.lists(item, max_size=4).map(self.of)


@frozen
class Named(Model):
    """A dict with texts as its keys."""

    value: Model
    is_hashable = False

    @property
    def default(self) -> Any:
        return {}

    def changes(self, fresh: Model) -> Iterator[Change]:
        for change in self.value.changes(fresh):
            yield attrs.evolve(change, model=Named(change.model))

    def form(self, built: Built) -> Any:
        return dict[str, self.value.form(built)]

    def values(self, built: Built) -> st.SearchStrategy[Any]:
        return st.dictionaries(st.sampled_from("kmn"), self.value.values(built), max_size=3)


@frozen
class Maybe(Model):
    """A value or None."""

    inner: Model

    @property
    def is_hashable(self) -> bool:
        return self.inner.is_hashable

    def changes(self, fresh: Model) -> Iterator[Change]:
        if self.inner.has_default:
            yield Change("no longer optional", False, self.inner)
        for change in self.inner.changes(fresh):
            if not isinstance(change.model, Maybe):
                yield attrs.evolve(change, model=Maybe(change.model))

    def form(self, built: Built) -> Any:
        return self.inner.form(built) | None

    def values(self, built: Built) -> st.SearchStrategy[Any]:
        return st.none() | self.inner.values(built)


INT = Scalar(("int",))
NEW_CLASS = Record("Extra", (Field("f0", INT, default=True),))


# ---------------------------------------------------------------- strategies
class _Names:
    """Numbers the classes of one model."""

    def __init__(self) -> None:
        self.count = 0

    def next(self) -> str:
        self.count += 1
        return f"C{self.count}"


scalars = st.sampled_from([Scalar((kind,)) for kind in PYTHON])
new_fields = st.sampled_from([INT, Scalar(("str",)), Scalar(("bool",)), Maybe(INT), Named(INT), Many(INT, tuple)])


@st.composite
def _records(draw: st.DrawFn, depth: int, names: _Names) -> Record:
    models = draw(st.lists(_models(depth - 1, names), min_size=1, max_size=3))
    fields = [Field(f"f{at}", each, each.has_default and draw(st.booleans())) for at, each in enumerate(models)]
    return Record(names.next(), tuple(fields))


def _models(depth: int, names: _Names) -> st.SearchStrategy[Model]:
    simple: st.SearchStrategy[Model] = st.one_of(scalars, st.just(Choice(("a", "b"))))
    if depth <= 0:
        return simple
    inner = st.deferred(lambda: _models(depth - 1, names))
    return st.one_of(
        simple,
        _records(depth, names),
        st.lists(_records(depth - 1, names), min_size=2, max_size=2).map(lambda two: OneOf(tuple(two))),
        st.builds(Many, _records(depth - 1, names) | inner, st.sampled_from([tuple, list])),
        st.builds(Many, _records(0, names), st.just(frozenset)),
        st.builds(Named, inner),
        inner.filter(lambda model: not isinstance(model, Maybe)).map(Maybe),
    )


@st.composite
def payloads(draw: st.DrawFn) -> Record | OneOf:
    """Draw a record or a union of records, three levels deep at most."""
    names = _Names()
    unions = st.lists(_records(2, names), min_size=2, max_size=3).map(lambda found: OneOf(tuple(found)))
    return draw(_records(3, names) | unions)


@frozen
class Chain:
    """One change, or two in a row.

    Attributes:
        names: the changes, in words.
        additive: whether each of them only adds.
        old: the older type.
        new: the newer type.
    """

    names: tuple[str, ...]
    additive: bool
    old: Model
    new: Model


@st.composite
def changes(draw: st.DrawFn, model: Model | None = None, *, additive: bool | None = None, most: int = 1) -> Chain:
    """Draw changes of a type; each kind of change is as likely as the others.

    Args:
        draw: draws.
        model: the older type, by default any of `payloads`.
        additive: whether each change must only add, or must not; None: either.
        most: how many changes in a row, at most.
    """
    old = new = draw(payloads()) if model is None else model
    names, only_adds = (), True
    for _ in range(draw(st.integers(1, most))):
        every = [each for each in new.changes(draw(new_fields)) if additive in {None, each.additive}]
        possible = [each for each in every if is_valid(repr(each.model))]
        if not possible:
            break
        name = draw(st.sampled_from(sorted({each.name for each in possible})))
        one = draw(st.sampled_from([each for each in possible if each.name == name]))
        names, only_adds, new = (*names, one.name), only_adds and one.additive, one.model
    return Chain(names, only_adds, old, new)


def is_valid(shown: str) -> bool:
    """Return whether two changes in a row do not make one name twice, or a choice of nothing."""
    once = all(shown.count(f"'{name}'") < 2 for name in ("new", "Extra", "Other", "renamed"))
    return once and "choices=()" not in shown and "'zz', 'zz'" not in shown


# ---------------------------------------------------------------- classes and values
class Built:
    """The classes of one version of a model.

    Attributes:
        form: the type.
    """

    def __init__(self, model: Model, family: str = "attrs") -> None:
        self._model = model
        self._family = family
        self._classes: dict[str, Any] = {}
        self.form = model.form(self)

    @functools.cached_property
    def codec(self) -> Codec[Any]:
        """The codec of the type."""
        return Codec.of(self.form, what="it")

    @property
    def values(self) -> st.SearchStrategy[Any]:
        """The strategy of the values of the model."""
        return self._model.values(self)

    def class_of(self, record: Record) -> Any:
        """Return the class of a record, made once."""
        if record.name not in self._classes:
            fields = {field.name: (field.model.form(self), field) for field in record.fields}
            self._classes[record.name] = _MAKERS[self._family_of(record)](record.name, fields)
        return self._classes[record.name]

    def _family_of(self, record: Record) -> str:
        # The same family in both versions, as the name of a class is the same.
        return sorted(_MAKERS)[sum(record.name.encode()) % len(_MAKERS)] if self._family == "mixed" else self._family


def _of_attrs(name: str, fields: Mapping[str, tuple[Any, Field]]) -> Any:
    def made(form: Any, field: Field) -> Any:
        given = {"default": attrs.Factory(lambda: field.model.default)} if field.default else {}
        return attrs.field(type=form, kw_only=True, **given)

    return attrs.make_class(name, {key: made(*each) for key, each in fields.items()}, frozen=True, hash=True)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, protected_namespaces=())


def _of_pydantic(name: str, fields: Mapping[str, tuple[Any, Field]]) -> Any:
    def made(form: Any, field: Field) -> Any:
        return form, PydanticField(default_factory=lambda: field.model.default) if field.default else ...

    return create_model(name, __base__=_Model, **{key: made(*each) for key, each in fields.items()})


def _of_msgspec(name: str, fields: Mapping[str, tuple[Any, Field]]) -> Any:
    def made(key: str, form: Any, field: Field) -> Any:
        return (key, form, msgspec.field(default_factory=lambda: field.model.default)) if field.default else (key, form)

    return msgspec.defstruct(name, [made(key, *each) for key, each in fields.items()], frozen=True, kw_only=True)


_MAKERS: Final[Mapping[str, Callable[[str, Mapping[str, tuple[Any, Field]]], Any]]] = {
    "attrs": _of_attrs,
    "msgspec": _of_msgspec,
    "pydantic": _of_pydantic,
}

FAMILIES: Final = (*_MAKERS, "mixed")
"""The libraries of the classes of a model. Mixed: each class is of one of them."""


def evolved(value: Any, **changes: Any) -> Any:
    """Return a copy of a value of any family, with other fields."""
    if attrs.has(type(value)):
        return attrs.evolve(value, **changes)
    return (
        value.model_copy(update=changes) if isinstance(value, BaseModel) else msgspec.structs.replace(value, **changes)
    )
