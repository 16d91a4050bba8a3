"""Laws of two versions of a type: older and newer code work on the same values, and lose nothing."""

import copy

import orjson
from edits import edited, kept_changes
from hypothesis import given, settings
from hypothesis import strategies as st
from type_pairs import FAMILIES, Built, Many, Maybe, Named, OneOf, Record, changes

from perdure.codecs import Codec, NewerOnly
from perdure.codecs.compatibility import verdict
from perdure.codecs.unknown_members import CarriedMembers
from perdure.values.errors import InvalidInput
from perdure.values.secret import HIDDEN

families = st.sampled_from(FAMILIES)
MANY = settings(max_examples=3 * settings().max_examples)


def wholly(codec, data):
    """Read a value of which nothing may be unknown."""
    opened = codec.open(data)
    assert opened.rest is None, opened.rest
    return opened.value


def verdict_of(old, new):
    return verdict(old.codec.json_schema(), new.codec.json_schema())


@given(changes(additive=True, most=2), st.data(), families)
def test_newer_code_reads_all_that_older_code_wrote(change, data, family):
    old, new = Built(change.old, family), Built(change.new, family)
    value = data.draw(old.values)
    read = wholly(new.codec, old.codec.encode(value))
    try:
        again = old.codec.open(new.codec.encode(read))  # and older code reads it again
    except NewerOnly:
        assert {each.kind for each in verdict_of(old, new).backwards} - {"unknown member"}
    except InvalidInput:
        assert {each.kind for each in verdict_of(old, new).backwards} & {"other type", "missing member"}
    else:
        assert again.value == value


@given(changes(additive=True, most=2), st.data(), families)
def test_a_value_that_older_code_does_not_change_is_unchanged(change, data, family):
    """It is left for newer code only if the verdict names a reason."""
    old, new = Built(change.old, family), Built(change.new, family)
    value = data.draw(new.values)
    text = new.codec.encode(value)
    try:
        opened = old.codec.open(text)
    except InvalidInput as refused:
        kinds = {each.kind for each in verdict_of(old, new).backwards} - {"unknown member"}
        assert kinds or "frozenset" in repr(change.old)
        assert isinstance(refused, NewerOnly) or kinds & {"other type", "missing member"}
        return
    closed, again = old.codec.close(opened.value, opened)
    assert wholly(new.codec, closed) == value
    assert old.codec.open(closed) == again


@MANY
@given(kept_changes(), st.data(), families)
def test_the_objects_of_a_value_keep_their_members_in_a_value_of_another_type(change, data, family):
    """In sets and dicts, too: each object is found by its identity, wherever a program puts it."""
    old, new = Built(change.old, family), Built(change.new, family)
    values = data.draw(st.lists(new.values, min_size=1, max_size=3))
    opened = []
    for each in values:
        try:
            opened.append(old.codec.open(new.codec.encode(each)))
        except NewerOnly:
            return
    carried = CarriedMembers()
    for each in opened:
        if each.rest is not None:
            carried.note(each.value, each.rest)
    order = data.draw(st.permutations(range(len(values))))
    other = Codec.of(dict[int, tuple[old.form, ...]], what="another type")
    value = {7: tuple(opened[at].value for at in order), 8: ()}
    text = other.carry(other.encode(value), value, carried)
    expected = {7: tuple(values[at] for at in order), 8: ()}
    assert wholly(Codec.of(dict[int, tuple[new.form, ...]], what="another type"), text) == expected


@MANY
@given(kept_changes(), st.data(), families)
def test_after_changes_by_older_code_each_unknown_member_is_at_its_own_object(change, data, family):
    """Over one or two turns; where a place is not certain, the value is left for newer code."""
    old, new = Built(change.old, family), Built(change.new, family)
    expected = orjson.loads(new.codec.encode(data.draw(new.values)))
    try:
        opened = old.codec.open(orjson.dumps(expected))
    except NewerOnly:
        return
    keeps_objects = data.draw(st.booleans(), label="the program keeps objects that it does not change")
    for _ in range(data.draw(st.integers(1, 2), label="turns")):
        if not keeps_objects and opened.rest is not None and has_twins(opened.rest):
            return  # copies of elements that are equal to older code cannot be told apart
        start = opened.value if keeps_objects else copy.deepcopy(opened.value)
        after, expected = edited(data.draw, old, change.old, start, expected)
        try:
            text, opened = old.codec.close(after, opened)
        except NewerOnly:
            assert not (keeps_objects and is_without_elements(change.old))
            return
        assert wholly(new.codec, text) == wholly(new.codec, orjson.dumps(expected))
        assert old.codec.open(text) == opened


def has_twins(rest):
    """Whether two elements of a list or dict are equal to older code and different to newer code."""
    if type(rest.known) in (list, dict):
        seen = {}
        for at, each in enumerate(rest.known) if type(rest.known) is list else rest.known.items():
            if seen.setdefault(orjson.dumps(each), rest.parts.get(at)) != rest.parts.get(at):
                return True
    return any(map(has_twins, rest.parts.values()))


def is_without_elements(node):
    """Whether each object has its place by a path: then nothing may be left."""
    match node:
        case Many() | Named():
            return False
        case Record(_, fields):
            return all(is_without_elements(field.model) for field in fields)
        case OneOf(members):
            return all(map(is_without_elements, members))
        case Maybe(inner):
            return is_without_elements(inner)
        case _:
            return True


@given(changes(additive=True, most=2), st.data(), families)
def test_an_input_is_accepted_whole_or_refused(change, data, family):
    old, new = Built(change.old, family), Built(change.new, family)
    value = data.draw(new.values)
    try:
        accepted = old.codec.accept(new.codec.encode(value))
    except InvalidInput as refused:
        assert refused.problems
        assert verdict_of(old, new).backwards
    else:
        assert wholly(new.codec, old.codec.encode(accepted)) == value


@given(kept_changes() | changes(additive=True, most=2), st.data(), families)
def test_no_member_that_newer_code_wrote_is_shown(change, data, family):
    old, new = Built(change.old, family), Built(change.new, family)
    text = new.codec.encode(data.draw(new.values))
    try:
        opened = old.codec.open(text)
    except InvalidInput:
        return
    shown = old.codec.open(old.codec.redact(text))
    assert shown.value == opened.value
    assert (shown.rest is None) == (opened.rest is None)
    assert shown.rest is None or is_hidden(shown.rest)


def is_hidden(rest):
    return all(each == HIDDEN for each in rest.unknown.values()) and all(map(is_hidden, rest.parts.values()))


@given(changes(), families)
def test_the_verdict_on_a_change_says_whether_it_only_adds(change, family):
    found = verdict_of(Built(change.old, family), Built(change.new, family))
    assert found.is_additive == change.additive, found


@given(changes(most=2), st.data(), families)
def test_where_the_verdict_finds_nothing_every_value_is_read(change, data, family):
    old, new = Built(change.old, family), Built(change.new, family)
    found = verdict_of(old, new)
    if not found.forwards:
        wholly(new.codec, old.codec.encode(data.draw(old.values)))
    if {each.kind for each in found.backwards} <= {"unknown member"} and "frozenset" not in repr(change.old):
        old.codec.open(new.codec.encode(data.draw(new.values)))
