"""A value's rest: the part of its JSON that this code does not know, because newer code wrote it."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON of every type passes here as Any, and narrowing it by its class leaves the types of its contents unknown.

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias

import attrs
import orjson

from perdure.codecs.json_schema import TAG
from perdure.values.excerpt import fields_in_line

Place: TypeAlias = int | str
"""The place of a part: its index in a list, its field in an object, its key in a dict."""


@attrs.frozen(kw_only=True)
class ValueRest:
    """The unknown part at one place.

    Attributes:
        known: the JSON at this place without everything unknown.
        parts: the rests below.
        tag: a union's class in which the rest was found.
        held: list or dict elements, by place, as they were when the JSON was read.
    """

    __repr__ = fields_in_line

    known: Any
    unknown: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    parts: Mapping[Place, ValueRest] = attrs.field(factory=dict["Place", "ValueRest"])
    tag: str | None = None
    held: Mapping[Place, Any] = attrs.field(factory=dict["Place", Any], eq=False)


_NO_MEMBERS: Final[Mapping[str, Any]] = {}
_Member: TypeAlias = tuple[str, bytes]
"""A known member of an object: its key, and its JSON as text."""


class NotKept(Exception):
    """An unknown part has no certain place in the new value."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")


def objects_in(value: object) -> frozenset[int]:
    """Return the identities of a value's objects and containers, without scalars, which many values share."""
    found, waiting = set[int](), [value]
    while waiting:
        each = waiting.pop()
        parts = _parts(each)
        # Only containers: small integers and texts are shared, and would make old elements count as new.
        if parts and id(each) not in found:
            found.add(id(each))
            waiting += parts
    return frozenset(found)


def _parts(value: Any) -> list[object]:
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, dict):
        return list(value.values())
    if attrs.has(type(value)):
        return [getattr(value, field.name) for field in attrs.fields(type(value))]
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return []


def with_unknown(known: Any, rest: ValueRest, hidden: object) -> Any:
    """Return JSON with its unknown members, each replaced: only newer code knows whether they are secret."""
    if type(known) is dict:
        shown = {
            key: with_unknown(each, rest.parts[key], hidden) if key in rest.parts else each
            for key, each in known.items()
        }
        # All of them: this code cannot know which ones newer code has marked.
        return {**shown, **dict.fromkeys(rest.unknown, hidden)}
    return [with_unknown(each, rest.parts[at], hidden) if at in rest.parts else each for at, each in enumerate(known)]


# ---------------------------------------------------------------- members that go with their objects
@attrs.frozen
class CarriedMembers:
    """Unknown members, by the objects that a run has read, for values into which the program puts these objects."""

    # With the object: the identity of one that is gone may be that of another one.
    _of: dict[int, tuple[object, Mapping[str, Any]]] = attrs.field(
        factory=dict[int, tuple[object, Mapping[str, Any]]], init=False
    )

    def note(self, value: object, rest: ValueRest) -> None:
        """Remember the objects in a value that was read with a rest."""
        self._of.update((id(held), (held, members)) for held, members in _with_members(value, rest))

    def note_all(self, others: CarriedMembers) -> None:
        """Remember the objects that another run has read."""
        self._of.update(others._of)

    def members_of(self, held: object) -> Mapping[str, Any]:
        """Return the unknown members that belong to an object."""
        return self._of[id(held)][1] if id(held) in self._of else _NO_MEMBERS


def _with_members(value: Any, rest: ValueRest) -> Iterator[tuple[object, Mapping[str, Any]]]:
    if rest.unknown:
        yield value, rest.unknown
    for place, part in rest.parts.items():
        held = rest.held[place] if rest.held else value[place] if isinstance(place, int) else _member(value, place)
        yield from _with_members(held, part)


def _member(value: Any, key: str) -> Any:
    return value.get(key) if type(value) is dict else getattr(value, key, None)


@attrs.frozen
class Element:
    """An element in a list, set or dict.

    Attributes:
        held: the object. None for an old one in a set, which is found by its text alone.
    """

    place: Place
    data: Any
    held: Any

    @property
    def text(self) -> bytes:
        """Its known JSON as text. Equal for equal elements."""
        return orjson.dumps(self.data, option=orjson.OPT_SORT_KEYS)


def places_in_list(rest: ValueRest, news: Sequence[Element], path: str) -> Iterator[tuple[Place, Place]]:
    """Yield the old and the new place of each element that has a rest. An element that is gone has no new place.

    Raises:
        NotKept: elements are gone, others came, and a new one may be an old one.
    """
    search = _Search(rest, [Element(at, each, rest.held[at]) for at, each in enumerate(rest.known)], news, path)
    # The steps are ordered by certainty. A step that guesses earlier would attach members to the wrong element, which
    # nothing detects.
    search.by_identity()
    if not search.is_done:
        search.by_place()
        search.by_text()
        # When in doubt, the run is left to newer code: a wrong guess would lose or move data silently.
        search.refuse_changed(is_ordered=True)
    return search.found()


def places_in_set(rest: ValueRest, news: Sequence[Element], path: str) -> Iterator[tuple[Place, Place]]:
    """Do the same for a set, whose elements have no identity and no place.

    Raises:
        NotKept: as above.
    """
    search = _Search(rest, [Element(at, each, None) for at, each in enumerate(rest.known)], news, path)
    search.by_text()
    search.refuse_changed(is_ordered=False)
    return search.found()


def places_in_dict(rest: ValueRest, news: Sequence[Element], path: str) -> Iterator[tuple[Place, Place]]:
    """Do the same for a dict, in which a key is a place, unless its object is found at another key.

    Raises:
        NotKept: as above.
    """
    search = _Search(rest, [Element(key, each, rest.held[key]) for key, each in rest.known.items()], news, path)
    # Before keys: an object that moved to another key keeps its members.
    search.by_identity()
    if not search.is_done:
        search.by_key()
        search.by_text()
        search.refuse_changed(is_ordered=False)
    return search.found()


@attrs.frozen
class _Search:
    """Finds old elements among new ones. Each step considers the elements that no step before has found."""

    rest: ValueRest
    olds: Sequence[Element]
    news: Sequence[Element]
    path: str
    _new_of: dict[Place, Place] = attrs.field(factory=dict["Place", "Place"], init=False)
    _taken: set[Place] = attrs.field(factory=set["Place"], init=False)
    _holders: Counter[_Member] = attrs.field(factory=Counter["_Member"], init=False)

    def found(self) -> Iterator[tuple[Place, Place]]:
        return ((old, new) for old, new in self._new_of.items() if old in self.rest.parts)

    @property
    def is_done(self) -> bool:
        """Whether no element with a rest is lost, or none came that could be it."""
        # The common case, in which nothing moved, ends after the first step.
        return all(old in self._new_of for old in self.rest.parts) or len(self._taken) == len(self.news)

    def by_identity(self) -> None:
        """Find an object that is once in both: a program that changes an element makes a new object."""
        olds, news = _once(self.olds), _once(self.news)
        for identity, old in olds.items():
            if identity in news:
                self._take(old, news[identity])

    def by_key(self) -> None:
        """Find the elements whose keys are still there."""
        free = {new.place: new for new in self._free()}
        # All pairs are checked before any is taken: two entries may have been exchanged.
        pairs = [(old, free[old.place]) for old in self._lost() if old.place in free]
        self._refuse_moved(pairs)
        for old, new in pairs:
            self._take(old, new)

    def by_place(self) -> None:
        """Find elements between others that stayed, if there are as many as before."""
        for olds, news in self._gaps():
            pairs = list(zip(olds, news, strict=False))
            # With another number, each place could be that of a neighbour.
            if len(olds) != len(news):
                continue
            self._refuse_moved(pairs)
            are_alike = all(old.text == new.text or self._are_alike(old, new) for old, new in pairs)
            for old, new in pairs:
                if are_alike or old.text == new.text:
                    self._take(old, new)

    def by_text(self) -> None:
        """Find equal elements, unless it is uncertain which is which."""
        came, lost = _grouped(self._free()), _grouped(self._lost())
        for text, old in lost.items():
            new = came.get(text, [])
            if not new or not any(each.place in self.rest.parts for each in old):
                continue
            do_differ = any(self._part(each) != self._part(old[0]) for each in old)
            is_one_changed = len(old) > len(new) and (do_differ or not came.keys() <= lost.keys())
            # Equal to this code, different to newer code: it cannot know which of them is gone.
            if len(old) < len(new) or is_one_changed:
                raise NotKept(self.path, "elements that are equal to this code became more or fewer")
            for one, other in zip(old, new, strict=False):
                self._take(one, other)

    def refuse_changed(self, *, is_ordered: bool) -> None:
        """Refuse that elements are gone if others came that may be the same ones, changed."""
        gone = [old for old in self._lost() if old.place in self.rest.parts]
        # A member in common is a sign that the new element is the old one, changed.
        came = {member for new in self._free() for member in _members(new)}
        replaced = {old.place for olds, news in self._gaps() if news for old in olds} if is_ordered else set[Place]()
        for old in gone:
            if old.place in replaced or any(self._is_own(member) for member in _members(old) & came):
                raise NotKept(self._at(old), "newer code wrote into it, and it was changed or replaced")

    def _refuse_moved(self, pairs: Sequence[tuple[Element, Element]]) -> None:
        """Refuse an element that was changed at its place, or is another one that took it, if their rests differ."""
        olds = {old.text: old for old, _ in pairs}
        for old, new in pairs:
            other = olds.get(new.text, old)
            # Equal rests may be exchanged without harm.
            if old.text != new.text and self._part(other) != self._part(old):
                raise NotKept(self._at(new), "it was changed, or took the place of another one")

    def _are_alike(self, old: Element, new: Element) -> bool:
        return any(self._is_own(member) for member in _members(old) & _members(new))

    def _is_own(self, member: _Member) -> bool:
        """Whether only one old element has a member. A member that all have does not tell them apart."""
        if not self._holders:
            self._holders.update(each for old in self.olds for each in _members(old))
        # A member that several had, such as a currency, is no sign of identity.
        return self._holders[member] == 1

    def _gaps(self) -> list[tuple[list[Element], list[Element]]]:
        """Return the lost and the free elements between those that were found, if these kept their order."""
        index = {new.place: at for at, new in enumerate(self.news)}
        kept = [(at, index[self._new_of[old.place]]) for at, old in enumerate(self.olds) if old.place in self._new_of]
        anchors = [(-1, -1), *kept, (len(self.olds), len(self.news))]
        # Reordered: places between the elements mean nothing then.
        if any(one[1] >= other[1] for one, other in pairwise(anchors)):
            return [(list(self._lost()), list(self._free()))]
        return [
            (
                list(self.olds[old + 1 : next_old]),
                [each for each in self.news[new + 1 : next_new] if each.place not in self._taken],
            )
            for (old, new), (next_old, next_new) in pairwise(anchors)
        ]

    def _at(self, element: Element) -> str:
        # Messages are logged: a key may be secret, an index is not.
        return f"{self.path}[{element.place}]" if type(element.place) is int else self.path  # a key may be secret

    def _part(self, old: Element) -> ValueRest | None:
        return self.rest.parts.get(old.place)

    def _lost(self) -> Iterator[Element]:
        return (old for old in self.olds if old.place not in self._new_of)

    def _free(self) -> Iterator[Element]:
        return (new for new in self.news if new.place not in self._taken)

    def _take(self, old: Element, new: Element) -> None:
        self._new_of[old.place] = new.place
        self._taken.add(new.place)


def _members(element: Element) -> set[_Member]:
    if type(element.data) is not dict:
        return set()
    return {(key, orjson.dumps(each)) for key, each in element.data.items() if key != TAG}


def _once(elements: Sequence[Element]) -> dict[int, Element]:
    # An object that is in a list twice has no one place.
    counts = Counter(id(each.held) for each in elements)
    return {id(each.held): each for each in elements if counts[id(each.held)] == 1}


def _grouped(elements: Iterable[Element]) -> dict[bytes, list[Element]]:
    found = dict[bytes, list[Element]]()
    for each in elements:
        found.setdefault(each.text, []).append(each)
    return found
