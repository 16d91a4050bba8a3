"""Marked parts of a type are hidden, wherever the type has them, and stored bytes stay as they are."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, NewType, TypedDict

import orjson
import pytest
from attrs import field, frozen, validators
from hypothesis import given
from hypothesis import strategies as st

from perdure import Migrations, Secret
from perdure.codecs import Codec, Upgrades
from perdure.testing.typed import from_type
from perdure.values.errors import InvalidInput
from perdure.values.excerpt import excerpt
from perdure.values.secret import HIDDEN

Token = Annotated[str, Secret]
Named = NewType("Named", str)


class Pair(NamedTuple):
    key: str
    token: Token


class Header(TypedDict):
    name: str
    value: Annotated[bytes, Secret]


@frozen
class Tree:
    token: Token
    children: tuple[Tree, ...] = ()
    label: str = "shown"


@frozen
class Card:
    number: Annotated[int, Secret()]
    owner: str = "ann"


@frozen
class Cash:
    amount: int = 5


@frozen
class Checked:
    token: Token = field(validator=validators.matches_re("[a-z]+"))


SECRET = "s3cret-7421"  # noqa: S105 - of a test
CASES: list[tuple[Any, Any, Any]] = [
    (Token, SECRET, "<secret>"),
    (Annotated[Named, Secret], SECRET, "<secret>"),
    (Token | None, SECRET, "<secret>"),
    (list[Token], [SECRET, SECRET], ["<secret>", "<secret>"]),
    (dict[str, Token], {"a": SECRET}, {"a": "<secret>"}),
    (dict[Token, int], {SECRET: 1, SECRET + "b": 2}, {"<secret>": 1, "<secret> 2": 2}),
    (Annotated[dict[str, int], Secret], {SECRET: 1}, "<secret>"),
    (tuple[int, Token], (1, SECRET), [1, "<secret>"]),
    (Pair, Pair("k", SECRET), {"key": "k", "token": "<secret>"}),
    (Header, {"name": "n", "value": SECRET.encode()}, {"name": "n", "value": "<secret>"}),
    (Card | Cash, Card(74217421), {"type": "Card", "number": "<secret>", "owner": "ann"}),
    (Card | Cash, Cash(), {"type": "Cash", "amount": 5}),
    (
        Tree,
        Tree(SECRET, (Tree(SECRET),)),
        {
            "token": "<secret>",
            "children": [{"token": "<secret>", "children": [], "label": "shown"}],
            "label": "shown",
        },
    ),
]


@pytest.mark.parametrize(("form", "value", "expected"), CASES)
def test_marked_parts_are_hidden_and_bytes_are_unchanged(form: Any, value: Any, expected: Any) -> None:
    codec = Codec.of(form, what="a value")
    data = codec.encode(value)
    assert codec.decode(data) == value
    assert orjson.loads(codec.redact(data)) == expected
    assert codec.secret
    assert SECRET not in excerpt(value) or not hasattr(type(value), "__annotations__")


def test_a_type_without_secrets_is_not_touched() -> None:
    codec = Codec.of(Cash, what="a value")
    assert not codec.secret
    assert codec.redact(b"not json") == b"not json"


@given(from_type(Tree), st.binary(max_size=40))
def test_every_text_of_a_secret_is_found_and_hidden(tree: Tree, junk: bytes) -> None:
    codec = Codec.of(Tree, what="a value")
    data = codec.encode(tree)
    assert tree.token in codec.secrets(data)
    hidden = codec.decode(codec.redact(data))
    assert hidden.token == HIDDEN
    assert hidden.label == tree.label
    codec.redact(junk)


@pytest.mark.parametrize(
    "wrong",
    [
        [SECRET],
        SECRET,
        {"token": [SECRET]},
        {"token": {SECRET: SECRET}},
        {"token": "x", "children": SECRET},
        {"token": "x", "children": [SECRET]},
        {"token": "x", "children": [{"token": 7421}]},
        {"token": SECRET, "label": 1},
        {"tokn": SECRET},
    ],
)
def test_a_problem_with_a_value_does_not_show_its_secrets(wrong: object) -> None:
    codec = Codec.of(Tree, what="a value")
    with pytest.raises(InvalidInput) as refused:
        codec.decode(orjson.dumps(wrong))
    assert "7421" not in f"{refused.value!r} {refused.value}"
    assert refused.value.__cause__ is None
    assert "7421" not in codec.redact(orjson.dumps(wrong)).decode()


def test_the_text_of_a_validator_is_not_shown() -> None:
    codec = Codec.of(Checked, what="a value")
    with pytest.raises(InvalidInput, match=r"^a value: \$: ValueError \(its text may contain a secret"):
        codec.decode(b'{"token":"74-21"}')


def test_an_upcaster_does_not_show_a_secret() -> None:
    def broken(old: Card) -> Tree:
        raise ValueError(f"no tree for {old.number}")

    versions = Migrations(Card).then(broken)
    upgrades = Upgrades.of(Codec.of(Tree, what="a tree"), versions, tags=None)
    with pytest.raises(InvalidInput, match=r"raised ValueError: no tree for <secret>"):
        upgrades.upgrade('{"number":74217421,"owner":"ann"}', 1)
