"""The chain of versions: the refusals of a definition, and the checks of an upgrade."""

from functools import partial
from traceback import format_exception
from typing import Annotated, Any, TypeAlias

import pytest
from attrs import frozen

from perdure import Continuous, ContinuousContext, Migrations, Program, Secret, every, succeed
from perdure.codecs import Codec, UpcastFailed, Upgrades
from perdure.values.errors import DefinitionError, InvalidInput


@frozen
class V1:
    n: int


@frozen
class V2:
    n: int
    m: int = 0


@frozen
class Left:
    n: int


@frozen
class Right:
    n: int


Either: TypeAlias = Left | Right


def to_v2(old: V1) -> V2:
    return V2(old.n)


def to_either(old: V2) -> Either:
    return Left(old.n) if old.n >= 0 else Right(-old.n)


def doubled(old: Either) -> Left | Right:
    return type(old)(old.n * 2)


def of_any(old: object) -> V2:
    return V2(1)


def of_both(old: V1 | V2) -> V2:
    return V2(old.n)


def upgrades(versions: Migrations[Any], state: Any, **tags: type) -> Upgrades:
    pinned = {cls: tag for tag, cls in tags.items()}
    present = Codec.of(state, what="state of 'it'", tags=pinned, ignores_other_tags=True)
    return Upgrades.of(present, versions, tags=pinned)


def test_each_version_has_its_number():
    chain = Migrations(V1, number=4).then(to_v2).then(to_either).then(doubled)
    assert (chain.number, chain.present, chain.newest) == (4, 7, Either)
    assert [step.returns for step in chain.upcasts] == [V2, Either, Either]
    assert Migrations(V1).present == 1


def test_a_chain_is_a_value_and_then_returns_another():
    one = Migrations(V1)
    assert one.then(to_v2).present == 2
    assert one.present == 1


def test_every_version_becomes_the_present_one():
    chain = upgrades(Migrations(V1).then(to_v2).then(to_either).then(doubled), Either)
    assert chain.upgrade('{"n":3}', 1) == '{"type":"Left","n":6}'
    assert chain.upgrade('{"n":-3,"m":1}', 2) == '{"type":"Right","n":6}'
    assert chain.upgrade('{"type":"Left","n":3}', 3) == '{"type":"Left","n":6}'
    assert chain.upgrade("untouched", 4) == "untouched"
    assert chain.upgrade("", 1) == ""


def test_tags_hold_for_the_classes_of_every_version():
    chain = upgrades(Migrations(Either).then(doubled), Either, links=Left)
    assert chain.upgrade('{"type":"links","n":3}', 1) == '{"type":"links","n":6}'


@pytest.mark.parametrize("version", [0, 1, 4])
def test_a_version_that_is_not_known_is_refused_even_without_a_state(version):
    chain = upgrades(Migrations(V2, number=2).then(to_either), Either)
    with pytest.raises(InvalidInput, match=f"its version is {version}, and this code reads versions 2 to 3"):
        chain.upgrade("", version)


def test_a_value_of_another_version_is_refused_with_the_version():
    chain = upgrades(Migrations(V1).then(to_v2).then(to_either), Either)
    with pytest.raises(InvalidInput) as refused:
        chain.upgrade('{"n":"3"}', 1)
    assert str(refused.value) == "state of 'it', version 1: $.n: expected int, got '3'"


def lying(old: V1) -> V2:
    return V2("three")  # type: ignore[arg-type] # the mistake under test


def breaking(old: V1) -> V2:
    raise ZeroDivisionError("no")


def test_an_upcaster_that_returns_a_value_of_another_type_is_named():
    with pytest.raises(InvalidInput) as refused:
        upgrades(Migrations(V1).then(lying).then(to_either), Either).upgrade('{"n":3}', 1)
    assert str(refused.value) == "state of 'it', version 2, as lying returned it: $.n: expected int, got 'three'"


def test_an_upcaster_that_raises_is_a_defect_with_its_step():
    with pytest.raises(UpcastFailed) as refused:
        upgrades(Migrations(V1, number=6).then(breaking), V2).upgrade('{"n":3}', 6)
    assert refused.value.upcast == "breaking (version 6 to 7)"
    assert isinstance(refused.value.defect, ZeroDivisionError)


@frozen
class Guarded:
    card: Annotated[str, Secret]


def to_number(old: Guarded) -> V2:
    return V2(int(old.card))


def test_a_secret_that_an_upcaster_prints_is_in_no_part_of_its_error():
    card, chain = "x" * 12, upgrades(Migrations(Guarded).then(to_number), V2)
    with pytest.raises(UpcastFailed) as refused:
        chain.upgrade(f'{{"card":"{card}"}}', 1)
    assert card not in "".join(format_exception(refused.value))
    with pytest.raises(UpcastFailed) as refused:
        upgrades(Migrations(V1).then(breaking), V2).upgrade('{"n":3}', 1)
    assert "ZeroDivisionError: no\n" in "".join(format_exception(refused.value))


# ---------------------------------------------------------------- definitions
def no_annotations(old):
    return V2(old.n)


def no_answer(old: V1):
    return V2(old.n)


def two_arguments(old: V1, more: int) -> V2:
    return V2(old.n + more)


async def later(old: V1) -> V2:
    return V2(old.n)


def unknown_name(old: "Nowhere") -> V2:  # type: ignore[name-defined]  # noqa: F821 - the mistake under test
    return V2(1)


@pytest.mark.parametrize(
    "wrong", [3, V2, no_annotations, no_answer, two_arguments, later, unknown_name, to_either, partial(to_v2)]
)
def test_an_upcaster_of_another_version_than_the_previous_is_refused(wrong):
    with pytest.raises(DefinitionError, match="versions of a state"):
        Migrations(V1).then(wrong)


@pytest.mark.parametrize("taking_more", [of_any, of_both])
def test_an_upcaster_may_take_more_than_it_gets(taking_more):
    assert Migrations(V1).then(taking_more).newest is V2


def test_an_upcaster_that_takes_only_a_part_of_a_union_is_refused():
    def left(old: Left) -> V2:
        return V2(old.n)

    left.__annotations__ = {"old": Left, "return": V2}
    with pytest.raises(DefinitionError, match=r"expected a function of Left \| Right"):
        Migrations(Either).then(left)


@pytest.mark.parametrize("number", [0, -1, True, "1", 1.0, 10**7])
def test_a_number_that_is_none_is_refused(number):
    with pytest.raises(DefinitionError, match="the oldest version"):
        Migrations(V1, number=number)


def run(ctx: ContinuousContext[Any]) -> Program[None]:
    return succeed(None)


def define(versions: Any) -> None:
    Continuous("it", state=V2, schedule=every("1 hour"), execute=run, versions=versions)


@pytest.mark.parametrize("wrong", [Migrations(V1), Migrations(V1).then(to_v2).then(to_either), (V1, to_v2), 3])
def test_versions_end_with_the_type_of_the_state(wrong):
    with pytest.raises(DefinitionError, match="versions of continuous:it"):
        define(wrong)


def test_an_older_type_without_a_json_form_is_refused_with_its_version():
    @frozen
    class Callback:
        call: Any
        function: type

    def old(value: Callback) -> V2:
        return V2(1)

    old.__annotations__ = {"value": Callback, "return": V2}
    with pytest.raises(DefinitionError, match="state of continuous:it, version 1"):
        define(Migrations(Callback).then(old))
