"""Pydantic models and msgspec structs are stored as attrs classes are; other classes as a type that is."""

# ruff: noqa: S105, S106 - tokens of examples

from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, Any, Generic, Self, TypeVar

import attrs
import msgspec
import orjson
import pydantic.dataclasses
import pytest
from attrs import frozen
from hypothesis import given
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FutureDate,
    HttpUrl,
    PrivateAttr,
    RootModel,
    SecretBytes,
    SecretStr,
    field_validator,
    model_validator,
)
from returns.result import Result, Success

from perdure import App, Decision, Secret, Task
from perdure.codecs import Codec, Migrations, NewerOnly, StoredAs, Upgrades
from perdure.testing import World, from_type
from perdure.testing.typed import NoSample, examples_of
from perdure.testing.world.source_code import source_of, written
from perdure.values.errors import DefinitionError, InvalidInput
from perdure.values.excerpt import excerpt

T = TypeVar("T")


class Colour(Enum):
    RED = "red"


class PydanticLine(BaseModel):
    model_config = ConfigDict(frozen=True)
    sku: str
    amount: Annotated[int, Field(gt=0)] = 1


class PydanticOrder(BaseModel):
    """An order.

    More about it.
    """

    model_config = ConfigDict(frozen=True)
    lines: tuple[PydanticLine, ...]
    token: Annotated[str, Secret] = "t-0"
    colour: Colour | None = None
    before: "PydanticOrder | None" = None
    owner: str = Field(alias="ownerName", default="unknown")


class StructLine(msgspec.Struct, frozen=True):
    sku: str
    amount: Annotated[int, msgspec.Meta(gt=0)] = 1


class StructOrder(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An order.

    More about it.
    """

    lines: tuple[StructLine, ...]
    token: Annotated[str, Secret] = "t-0"
    colour: Colour | None = None
    before: "StructOrder | None" = None
    owner: str = "unknown"


@frozen
class AttrsLine:
    sku: str
    amount: int = attrs.field(default=1, validator=attrs.validators.gt(0))


@frozen(kw_only=True)
class AttrsOrder:
    """An order.

    More about it.
    """

    lines: tuple[AttrsLine, ...]
    token: Annotated[str, Secret] = "t-0"
    colour: Colour | None = None
    before: "AttrsOrder | None" = None
    owner: str = "unknown"


FAMILIES: list[Any] = [(AttrsOrder, AttrsLine), (PydanticOrder, PydanticLine), (StructOrder, StructLine)]
every_family = pytest.mark.parametrize(("order", "line"), FAMILIES, ids=["attrs", "pydantic", "msgspec"])


def problems(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(InvalidInput) as refused:
        call()
    return refused.value.problems


@every_family
def test_the_json_is_that_of_the_same_attrs_class(order: Any, line: Any) -> None:
    codec = Codec.of(order, what="it")
    value = order(lines=(line(sku="tea", amount=2),), token="t-1", colour=Colour.RED, before=order(lines=()))
    data = codec.encode(value)
    assert data == (
        b'{"lines":[{"sku":"tea","amount":2}],"token":"t-1","colour":"red","before":'
        b'{"lines":[],"token":"t-0","colour":null,"before":null,"owner":"unknown"},"owner":"unknown"}'
    )
    assert codec.decode(data) == value
    assert codec.decode(b'{"lines":[]}') == order(lines=())
    assert codec.redact(data) == data.replace(b"t-1", b"<secret>").replace(b"t-0", b"<secret>")
    assert "t-1" not in excerpt(value)
    plain = Codec.of(AttrsOrder, what="it").json_schema()
    assert (
        orjson.loads(
            orjson.dumps(codec.json_schema())
            .replace(order.__name__.encode(), b"AttrsOrder")
            .replace(line.__name__.encode(), b"AttrsLine")
        )
        == plain
    )
    assert codec.bare(data) == Codec.of(AttrsOrder, what="it").bare(data)


@every_family
def test_json_that_does_not_fit_is_refused_in_its_place(order: Any, line: Any) -> None:
    decode = Codec.of(order, what="it").decode
    assert problems(lambda: decode(b'{"lines":[{"sku":"a","amount":"2"},{"sku":"b","x":1},{}],"ownerName":"me"}')) == (
        "$.lines[0].amount: expected int, got '2'",
        f"$.lines[1]['x']: unknown key; {line.__name__} has sku, amount",
        "$.lines[2].sku: missing; expected str",
        f"$['ownerName']: unknown key; {order.__name__} has lines, token, colour, before, owner",
    )
    (refused,) = problems(lambda: decode(b'{"lines":[{"sku":"a","amount":0}]}'))
    assert refused.startswith("$.lines[0]")


def owned(order: Any, owner: str) -> dict[str, str]:
    return {"ownerName" if order is PydanticOrder else "owner": owner}


@every_family
def test_newer_code_may_add_a_member(order: Any, line: Any) -> None:
    codec = Codec.of(order, what="it")
    opened = codec.open(
        b'{"lines":[{"sku":"a","amount":1,"gift":true}],"token":"t","colour":null,"before":null,"owner":"","note":"x"}'
    )
    assert opened.value == order(lines=(line(sku="a"),), token="t", **owned(order, ""))
    text, _ = codec.close(order(lines=opened.value.lines, **owned(order, "me")), opened)
    assert orjson.loads(text)["note"] == "x"
    assert orjson.loads(text)["lines"] == [{"sku": "a", "amount": 1, "gift": True}]
    assert b'"note":"<secret>"' in codec.redact(text)
    with pytest.raises(NewerOnly):
        codec.accept(b'{"lines":[],"note":"x"}')


@every_family
def test_classes_in_a_union_are_tagged(order: Any, line: Any) -> None:
    codec = Codec.of(order | line, what="it", tags={line: "line"})
    assert codec.encode(line(sku="a")) == b'{"type":"line","sku":"a","amount":1}'
    assert codec.decode(codec.encode(order(lines=()))) == order(lines=())


def test_a_refusal_by_pydantic_names_the_place() -> None:
    class Guest(BaseModel):
        model_config = ConfigDict(frozen=True)
        name: str
        ages: dict[str, list[Annotated[int, Field(ge=18)]]] = Field(default_factory=dict)

        @field_validator("name")
        @classmethod
        def is_known(cls, name: str) -> str:
            if name == "unknown":
                raise ValueError("unknown is no guest")
            return name

        @model_validator(mode="after")
        def has_ages(self) -> Self:
            if self.name == "empty":
                raise ValueError("empty has ages")
            return self

    codec = Codec.of(Guest, what="it")
    assert problems(lambda: codec.decode(b'{"name":"unknown","ages":{"k":[20,3]}}')) == (
        "$.name: Value error, unknown is no guest",
        "$.ages.k[1]: Input should be greater than or equal to 18",
    )
    assert problems(lambda: codec.decode(b'{"name":"empty"}')) == ("$: Value error, empty has ages",)
    unchecked = Guest(name="ann").model_copy(update={"name": "unknown"})
    assert problems(lambda: codec.encode(unchecked)) == ("$.name: Value error, unknown is no guest",)


def test_msgspec_checks_constraints_that_its_constructor_does_not() -> None:
    class Guest(msgspec.Struct, frozen=True):
        ages: dict[str, list[Annotated[int, msgspec.Meta(ge=18)]]]
        name: Annotated[str, msgspec.Meta(description="no constraint")] = ""

    codec = Codec.of(Guest, what="it")
    assert problems(lambda: codec.decode(b'{"ages":{"k":[20,3]}}')) == ("$.ages[...][1]: Expected `int` >= 18",)
    assert problems(lambda: codec.encode(Guest({"k": [3]}))) == ("$.ages[...][0]: Expected `int` >= 18",)


def test_the_reason_of_a_class_with_a_secret_is_not_shown() -> None:
    class Login(BaseModel):
        model_config = ConfigDict(frozen=True)
        password: SecretStr
        user: str = "ann"

        @field_validator("user")
        @classmethod
        def refuse(cls, user: str) -> str:
            raise ValueError(f"no user {user}")

    codec = Codec.of(Login, what="it")
    assert problems(lambda: codec.decode(b'{"password":"hunter2","user":"hunter2"}')) == (
        "$.user: refused (the reason may contain a secret, and is not shown)",
    )


def test_a_model_is_frozen_if_each_field_is() -> None:
    class Each(BaseModel):
        one: int = Field(frozen=True)
        other: str = Field(frozen=True)

    class One(BaseModel):
        one: int = Field(frozen=True)
        other: str

    assert [dict(Codec.of(cls, what="it").mutable) for cls in (Each, One)] == [{}, {One: "One"}]


class Account(BaseModel):
    model_config = ConfigDict(frozen=True)
    password: SecretStr
    key: SecretBytes
    home: HttpUrl
    seen: AwareDatetime


def test_types_of_pydantic_have_the_json_of_a_scalar() -> None:
    seen = datetime(2026, 11, 25, tzinfo=UTC)
    account = Account(password=SecretStr("pw-1234"), key=SecretBytes(b"k"), home=HttpUrl("https://a.b/"), seen=seen)
    codec = Codec.of(Account, what="it")
    data = codec.encode(account)
    assert orjson.loads(data) == {
        "password": "pw-1234",
        "key": "aw==",
        "home": "https://a.b/",
        "seen": "2026-11-25T00:00:00+00:00",
    }
    assert codec.decode(data) == account
    assert b"pw-1234" not in codec.redact(data)
    assert codec.secrets(data) == {"pw-1234", "aw=="}


class PydanticPage(BaseModel, Generic[T]):
    model_config = ConfigDict(frozen=True)
    items: tuple[T, ...]


class StructPage(msgspec.Struct, Generic[T], frozen=True):
    items: tuple[T, ...]


@pytest.mark.parametrize("page", [PydanticPage, StructPage])
def test_a_generic_class_has_its_arguments(page: Any) -> None:
    codec = Codec.of(page[int], what="it")
    assert codec.type_name == f"{page.__name__}[int]"
    value: Any = codec.decode(b'{"items":[1,2]}')
    assert isinstance(value, page)
    assert value.items == (1, 2)
    assert codec.encode(value) == b'{"items":[1,2]}'
    assert problems(lambda: codec.decode(b'{"items":["a"]}')) == ("$.items[0]: expected int, got 'a'",)
    with pytest.raises(DefinitionError, match="a generic class with its arguments"):
        Codec.of(page, what="it")


def test_a_struct_may_name_its_own_tag() -> None:
    class Placed(msgspec.Struct, frozen=True, tag="order-placed"):
        order: str

    class Paid(msgspec.Struct, frozen=True, tag=True):
        cents: int

    codec = Codec.of(Placed | Paid, what="it")
    assert codec.encode(Placed("o")) == b'{"type":"order-placed","order":"o"}'
    assert codec.encode(Paid(1)) == b'{"type":"Paid","cents":1}'
    pinned = Codec.of(Placed | Paid, what="it", tags={Placed: "placed"})
    assert pinned.encode(Placed("o")) == b'{"type":"placed","order":"o"}'


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Remembering(BaseModel):
    a: int
    _seen: int = PrivateAttr(default=0)


class Lost(BaseModel):
    other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


class LostStruct(msgspec.Struct):
    other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


class Numbers(RootModel[list[int]]):
    pass


class Later(BaseModel):
    day: FutureDate


@pytest.mark.parametrize(
    ("form", "path", "advice"),
    [
        (Open, "Open", "extra='allow'"),
        (Remembering, "Remembering._seen", "private attributes"),
        (Lost, "Lost", "'Nowhere' is not defined"),
        (LostStruct, "LostStruct", "'Nowhere' is not defined"),
        (Numbers, "Numbers", "declare its root type itself"),
        (Later, "Later.day", "StoredAs"),
        (Annotated[int | str, StoredAs(str, read=str, write=str)], "int | str", "a class in Annotated"),
    ],
)
def test_a_class_that_would_lose_a_part_is_refused_where_it_is_declared(form: Any, path: str, advice: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        Codec.of(form, what="it")
    assert refused.value.what == f"it: {path}"
    assert advice in refused.value.expected


class LooseModel(BaseModel):
    total: int = 0


class LooseStruct(msgspec.Struct):
    total: int = 0


class FrozenFields(BaseModel):
    total: int = Field(default=0, frozen=True)


@pytest.mark.parametrize(("loose", "advice"), [(LooseModel, "ConfigDict(frozen=True)"), (LooseStruct, "frozen=True)")])
def test_a_state_that_can_be_changed_in_place_is_refused(loose: Any, advice: str) -> None:
    def task(form: Any) -> object:
        return Task("t", state=form, event=int, initial=form(), decide=lambda state, _: Success(Decision(state)))

    with pytest.raises(DefinitionError) as refused:
        task(loose)
    assert advice in refused.value.expected
    assert task(FrozenFields) is not None


def test_a_dataclass_of_pydantic_is_checked_by_pydantic() -> None:
    @pydantic.dataclasses.dataclass(frozen=True)
    class Part:
        name: Annotated[str, pydantic.StringConstraints(to_lower=True)]

    codec = Codec.of(Part, what="it")
    assert codec.decode(b'{"name":"Tea"}') == Part("tea")


def test_a_value_that_its_model_changes_when_it_is_read_is_refused() -> None:
    class Counting(BaseModel):
        model_config = ConfigDict(frozen=True)
        total: int

        @field_validator("total")
        @classmethod
        def more(cls, total: int) -> int:
            return total + 1

    (problem,) = problems(lambda: Codec.of(Counting, what="it").encode(Counting(total=1)))
    assert "changes when it is read back" in problem


# ---------------------------------------------------------------- classes that are stored as another type
class Money:
    def __init__(self, text: str) -> None:
        number, self.currency = text.split()
        self.cents = round(float(number) * 100)

    def __str__(self) -> str:
        return f"{self.cents / 100:.2f} {self.currency}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and str(self) == str(other)

    __hash__ = None  # type: ignore[assignment]


class Dearer(Money):
    pass


Amount = Annotated[Money, StoredAs(str, read=Money, write=str)]
Address = Annotated[IPv4Address, StoredAs(str, read=IPv4Address, write=str)]


@frozen
class Point:
    x: int
    y: int = 0


class Vector:
    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vector) and (self.x, self.y) == (other.x, other.y)

    __hash__ = None  # type: ignore[assignment]


def vector_of(point: Point) -> Vector:
    return Vector(point.x, point.y)


def point_of(vector: Vector) -> Point:
    return Point(vector.x, vector.y)


Arrow = Annotated[Vector, StoredAs(Point, read=vector_of, write=point_of)]


@frozen
class Invoice:
    total: Amount
    hosts: dict[str, Address] = attrs.field(factory=dict[str, IPv4Address])
    arrow: Arrow | None = None
    hidden: Annotated[Money, StoredAs(str, read=Money, write=str), Secret] | None = None


def test_a_class_is_stored_as_another_type() -> None:
    codec = Codec.of(Invoice, what="it")
    value = Invoice(Money("1.50 EUR"), {"a": IPv4Address("127.0.0.1")}, Vector(1, 2), Money("9.99 EUR"))
    data = codec.encode(value)
    assert data == (b'{"total":"1.50 EUR","hosts":{"a":"127.0.0.1"},"arrow":{"x":1,"y":2},"hidden":"9.99 EUR"}')
    assert codec.decode(data) == value
    assert codec.redact(data) == data.replace(b"9.99 EUR", b"<secret>")
    schema: Any = codec.json_schema()["$defs"]
    assert schema["Invoice"]["properties"]["total"] == {"type": "string"}
    assert problems(lambda: codec.decode(b'{"total":5,"arrow":{"x":"1"}}')) == (
        "$.total: expected str, got 5",
        "$.arrow.x: expected int, got '1'",
    )
    assert problems(lambda: codec.decode(b'{"total":"much"}'))[0].startswith("$.total: not enough values to unpack")
    assert problems(lambda: codec.encode(Invoice(Dearer("1 EUR"))))[0].startswith("$.total: expected Money, got")


def test_a_part_that_newer_code_wrote_into_such_a_class_is_left_to_it() -> None:
    codec = Codec.of(Invoice, what="it")
    with pytest.raises(NewerOnly) as newer:
        codec.open(b'{"total":"1 EUR","arrow":{"x":1,"z":3}}')
    assert newer.value.problems == ("$.arrow['z']: unknown key; Point has x, y",)


# ---------------------------------------------------------------- the kit
class Narrow(BaseModel):
    model_config = ConfigDict(frozen=True)
    code: Annotated[str, Field(pattern=r"^[A-Z]{3}-\d{4}$")]
    dozen: Annotated[int, Field(ge=12, lt=1_000, multiple_of=12)]
    names: Annotated[list[str], Field(min_length=2, max_length=3)]
    share: Annotated[float, Field(gt=0, le=1)]
    label: str = Field(alias="theLabel", min_length=5, max_length=6, default="label")


class NarrowStruct(msgspec.Struct, frozen=True):
    code: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}-\d{4}$")]
    dozen: Annotated[int, msgspec.Meta(ge=12, lt=1_000, multiple_of=12)]
    names: Annotated[list[str], msgspec.Meta(min_length=2, max_length=3)]
    share: Annotated[float, msgspec.Meta(gt=0, le=1)]


@given(from_type(Narrow), from_type(NarrowStruct))
def test_drawn_values_are_inside_the_bounds_of_a_class(model: Narrow, struct: NarrowStruct) -> None:
    for value in (model, struct):
        assert Codec.of(type(value), what="it").encode(value)  # type: ignore[arg-type]


@given(from_type(PydanticOrder | StructOrder | Account))
def test_drawn_models_are_stored(value: PydanticOrder | StructOrder | Account) -> None:
    codec = Codec.of(PydanticOrder | StructOrder | Account, what="it")
    assert codec.decode(codec.encode(value)) == value


def test_the_simplest_value_of_a_model() -> None:
    assert examples_of(PydanticOrder) == (PydanticOrder(lines=()),)
    assert examples_of(StructPage[int]) == (StructPage(items=()),)
    with pytest.raises(NoSample, match="refuses"):
        examples_of(Narrow)
    with pytest.raises(NoSample, match="refuses ''"):
        examples_of(Invoice)


def test_a_counterexample_has_the_source_of_a_model() -> None:
    value = PydanticOrder(lines=(PydanticLine(sku="a"),), ownerName="me")
    for each in (value, StructOrder(lines=(StructLine("a"),))):
        found = source_of(each)
        scope: dict[str, Any] = {}
        exec("\n".join(written(found.imports)), scope)  # noqa: S102 - its own source
        assert eval(found.text, scope) == each  # noqa: S307 - as above


# ---------------------------------------------------------------- jobs
class PydanticState(BaseModel):
    model_config = ConfigDict(frozen=True)
    total: int = 0
    last: PydanticLine | None = None


class StructState(msgspec.Struct, frozen=True):
    total: int = 0
    last: StructLine | None = None


@pytest.mark.parametrize(("state", "line"), [(PydanticState, PydanticLine), (StructState, StructLine)])
def test_a_job_works_on_models_over_a_crash(state: Any, line: Any) -> None:
    def decide(now: Any, event: Any) -> Result[Decision[Any], None]:
        return Success(Decision(state(total=now.total + event.amount, last=event)))

    shop = Task("shop", state=state, event=line, initial=state(), decide=decide)
    with World(App(None).with_jobs(shop)) as world:
        orders = world.handle(shop)
        world.run(orders.send("o", line(sku="a", amount=2)))
        world.crash()
        world.open()
        world.run(orders.send("o", line(sku="b", amount=3)))
        assert world.run(orders.get_state("o")) == state(total=5, last=line(sku="b", amount=3))


@pytest.mark.parametrize("state", [PydanticState, StructState])
def test_a_state_of_another_class_is_migrated_to_a_model(state: Any) -> None:
    @frozen
    class Older:
        sum: int

    def upcast(older: Any) -> Any:
        return state(total=older.sum)

    upcast.__annotations__ = {"older": Older, "return": state}
    codec = Codec.of(state, what="state")
    upgrades = Upgrades.of(codec, Migrations(Older).then(upcast), tags=None)
    assert codec.decode(upgrades.upgrade('{"sum":7}', 1).encode()) == state(total=7)
