"""Laws of the bare form: older and newer code write one value in the same way, and nothing of a value is lost by it."""

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from type_pairs import Built, changes

from perdure.codecs import Codec
from perdure.jobs.request import CommandSpec
from perdure.values.errors import InvalidInput


@given(changes(additive=True, most=2), st.data())
def test_a_value_of_older_code_has_the_same_bare_form_in_newer_code(change, data):
    """An input that arrives through both is one request."""
    old, new = Built(change.old), Built(change.new)
    text = old.codec.encode(data.draw(old.values))
    read = new.codec.accept(text)
    assert new.codec.bare(text) == new.codec.bare(new.codec.encode(read)) == new.codec.bare(old.codec.bare(text))


@given(changes(additive=True, most=2), st.data())
def test_the_bare_form_is_read_as_the_same_value(change, data):
    for built in (Built(change.old), Built(change.new)):
        value = data.draw(built.values)
        bare = built.codec.bare(built.codec.encode(value))
        assert built.codec.accept(bare) == value
        assert built.codec.bare(bare) == bare


@given(changes(additive=True, most=2), st.data())
def test_values_that_differ_have_different_bare_forms(change, data):
    built = Built(change.new)
    one, other = data.draw(built.values), data.draw(built.values)
    texts = [built.codec.encode(one), built.codec.encode(other)]
    same = built.codec.decode(texts[0]) == built.codec.decode(texts[1])
    assert (built.codec.bare(texts[0]) == built.codec.bare(texts[1])) == same


@given(changes(additive=True, most=2), st.data())
def test_older_code_accepts_an_input_with_its_bare_form_only_if_it_loses_nothing(change, data):
    """And then it would write the value as newer code would, also if the two have different defaults."""
    old, new = Built(change.old), Built(change.new)
    value = data.draw(new.values)
    payload = new.codec.encode(value)
    bare = new.codec.bare(payload)
    spec = CommandSpec(name="send", command=lambda accepted: accepted, input=old.codec)
    try:
        accepted, written = spec.accept(payload.decode(), bare.decode())
    except InvalidInput:
        return
    assert new.codec.accept(written.encode()) == new.codec.accept(old.codec.encode(accepted)) == value
    assert old.codec.bare(bare) == bare or orjson.loads(old.codec.bare(bare)) == orjson.loads(bare)


@given(changes(additive=True, most=3), st.data())
def test_an_input_has_one_digest_at_engines_of_two_versions_whichever_client_sends_it(change, data):
    """Also if a member has its default in one version only, and the versions write different members."""
    old, new = Built(change.old), Built(change.new)
    value, other = old.codec.encode(data.draw(old.values)), old.codec.encode(data.draw(old.values))
    is_same = old.codec.accept(value) == old.codec.accept(other)
    texts = [(old, value), (new, value), (new, new.codec.encode(new.codec.accept(value)))]
    others = [(old, other), (new, other), (new, new.codec.encode(new.codec.accept(other)))]
    for first, sent in texts:
        digest = first.codec.input_digest(sent)
        for engine, text in others:
            assert engine.codec.is_same_input(text, digest) == is_same
        for engine, text in texts:
            assert engine.codec.is_same_input(text, digest)


def test_inputs_that_have_the_different_defaults_of_two_versions_are_two_requests():
    old = Codec.of(attrs.make_class("Pay", {"cents": attrs.field(type=int, default=0)}), what="it")
    new = Codec.of(attrs.make_class("Pay", {"cents": attrs.field(type=int, default=100)}), what="it")
    for first, second in ((old, new), (new, old)):
        for one in (b'{"cents":0}', b'{"cents":100}'):
            for other in (b'{"cents":0}', b'{"cents":100}'):
                assert second.is_same_input(other, first.input_digest(one)) == (one == other)


def wide(*, required=(), optional=()):
    """Return the codec for a class with these members."""
    fields = {name: attrs.field(type=int) for name in required}
    fields |= {name: attrs.field(type=int, default=0) for name in optional}
    return Codec.of(attrs.make_class("Wide", fields, kw_only=True), what="it")


@pytest.mark.parametrize("count", [1, 16, 17, 100])
def test_inputs_of_two_versions_are_one_request_with_any_number_of_defaults(count):
    names = [f"f{at}" for at in range(count)]
    old = wide(required=["r"], optional=names)
    new = wide(optional=["r", *names, *(f"n{at}" for at in range(count))])
    text, other = b'{"r":0}', b'{"r":1}'
    for first, second in ((old, new), (new, old)):
        for value in (text, first.encode(first.decode(text))):
            assert second.is_same_input(text, first.input_digest(value))
            assert not second.is_same_input(other, first.input_digest(value))


@pytest.mark.parametrize("count", [6, 7])
def test_a_repeat_is_recognized_behind_six_members_that_only_newer_code_may_leave_out(count):
    """More are more sets than an engine tries for a repeat that may well be another request."""
    names = [f"f{at}" for at in range(count)]
    old, new = wide(required=names), wide(optional=names)
    text = orjson.dumps(dict.fromkeys(names, 0))
    assert old.is_same_input(text, new.input_digest(text))
    assert new.is_same_input(text, old.input_digest(text)) == (count == 6)


@pytest.mark.parametrize(("count", "is_known"), [(2_000, True), (5_000, False)])
def test_a_large_input_is_compared_in_fewer_forms(count, is_known):
    """Sixty-four walks of the largest input would block an engine for minutes."""
    old, new = (Codec.of(list[each.form], what="it") for each in (wide(required="ab"), wide(optional="ab")))
    text = orjson.dumps([{"a": 0, "b": 0}] * count)
    assert new.is_same_input(text, old.input_digest(text)) == is_known
    assert new.is_same_input(text, new.input_digest(text))


@attrs.frozen
class Tree:
    left: "Tree | None" = None
    right: "Tree | Leaf | None" = None
    weight: int = 0


@attrs.frozen
class Leaf:
    weight: int = 0


def test_the_type_bounds_a_digest():
    names = [f"f{at}" for at in range(40)]
    codec = wide(optional=names)
    assert len(codec.input_digest(b"{}")) == 32 + 40 * 12
    assert len(codec.input_digest(orjson.dumps(dict.fromkeys(names, 1)))) == 32
    trees, tree = Codec.of(Tree, what="it"), Tree(weight=1)
    lengths = set()
    for _ in range(20):
        tree = Tree(Tree(), Tree(None, tree))
        lengths.add(len(trees.input_digest(trees.encode(tree))))
    assert max(lengths) <= 32 + 12 * 2 * 4, "each of the fields has one place in the outer object and one inside"
    text = trees.encode(tree)
    assert trees.is_same_input(text, trees.input_digest(text))


@given(st.sampled_from(["[1]", '"text"', "7", "null", '{"a":[]}', '{"a":{"b":1}}']))
def test_json_of_another_form_stays_as_it_is(text):
    for form in (dict[str, dict[str, int]], dict[str, list[int]], list[dict[str, int]]):
        assert orjson.loads(Codec.of(form, what="it").bare(text.encode())) == orjson.loads(text)
