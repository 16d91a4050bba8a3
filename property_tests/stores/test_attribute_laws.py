"""The instances that a filter finds are those whose states its attributes are computed from, at each step of a history.

Engines of code with other attributes, or none, work on the same store before and between; sizes are small, so that each
history crosses every portion. Keys are in the order of their values.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Coroutine, Generator
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from enum import Enum
from itertools import count
from typing import Any, Final

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from postgres_server import running_server
from returns.result import Success

from perdure import App, Attribute, Client, Decision, Task, attribute
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import DEFAULT_SIZES, Sizes
from perdure.stores.memory import MemoryBackend
from perdure.values.address import Address
from perdure.values.attributes import AttributeType, key_ranges

IDS: Final = "abcdefgh"
TENANTS: Final = ("", "acme", "beta")


@attrs.frozen
class Account:
    tenant: str = ""
    amount: int = 0


@attribute
def tenant(state: Account) -> str | None:
    return state.tenant or None


@attribute
def amount(state: Account) -> int:
    return state.amount


@attribute(name="amount", version=2)
def doubled(state: Account) -> int:
    return 2 * state.amount


@attribute
def is_rich(state: Account) -> bool:
    return state.amount > 1


ATTRIBUTES: Final[tuple[tuple[Attribute[Account, Any], ...], ...]] = (
    (),
    (tenant,),
    (tenant, amount),
    (is_rich, doubled),
    (tenant, amount, is_rich),
)
WHERE: Final = (
    ("tenant=acme",),
    ("tenant>acme",),
    ("tenant<=acme",),
    ("amount>=1",),
    ("amount>0", "amount<3"),
    ("tenant=acme", "amount>1"),
    ("is_rich",),
    ("is_rich=false", "tenant<b"),
)


def decide(_: Account, event: Account) -> Success[Decision[Account]]:
    return Success(Decision(event))


def job_with(attributes: tuple[Attribute[Account, Any], ...]) -> Task[Account, Account, Any, Any]:
    return Task("accounts", state=Account, event=Account, initial=Account(), decide=decide, attributes=attributes)


def meets(attributes: tuple[Attribute[Account, Any], ...], where: tuple[str, ...], state: Account) -> bool:
    """Compute the attributes of a state, and compare them as Python does."""
    values = {one.name: one(state) for one in attributes}
    for text in where:
        for symbol in ("<=", ">=", "=", "<", ">"):
            name, found, wanted = text.partition(symbol)
            if found:
                break
        value = values[name]
        if value is None:
            return False
        given: Any = True if not found or wanted == "true" else False if wanted == "false" else type(value)(wanted)
        compared = {
            "<=": value <= given,
            ">=": value >= given,
            "=": value == given,
            "<": value < given,
            ">": value > given,
        }
        if not compared[symbol if found else "="]:
            return False
    return True


@attrs.frozen
class Send:
    id: str
    state: Account


@attrs.frozen
class End:
    id: str


@attrs.frozen
class Deploy:
    attributes: int


steps = st.lists(
    st.one_of(
        st.builds(Send, st.sampled_from(IDS), st.builds(Account, st.sampled_from(TENANTS), st.integers(-1, 3))),
        st.builds(Send, st.sampled_from(IDS), st.builds(Account, st.sampled_from(TENANTS), st.integers(-1, 3))),
        st.builds(End, st.sampled_from(IDS)),
        st.builds(Deploy, st.integers(0, len(ATTRIBUTES) - 1)),
    ),
    max_size=20,
)
sizes = st.sampled_from(
    (DEFAULT_SIZES, *(Sizes(**{field.name: size for field in attrs.fields(Sizes)}) for size in (1, 2)))
)


async def check(jobs: Client, definition: Any, attributes: Any, states: dict[str, Account]) -> bool:
    """Compare each filter with the states. Return whether all answers were complete."""
    all_complete = True
    names = {one.name for one in attributes}
    for where in WHERE:
        if not {text.split("<")[0].split(">")[0].split("=")[0] for text in where} <= names:
            continue
        expected = sorted(id_ for id_, state in states.items() if meets(attributes, where, state))
        counted = await jobs.handle(definition).count_matching(where=where)
        found: list[str] = []
        after: Address | None = None
        while True:
            page = await jobs.list(definition, where=where, limit=2, after=after)
            all_complete = all_complete and page.complete and counted.complete
            found += [one.address.id for one in page]
            if (after := page.after) is None:
                break
        if page.complete:
            assert found == expected, (where, states)
        if counted.complete:
            assert counted.number == len(expected), (where, states)
    return all_complete


async def play(store: Callable[[], Any], history: list[Any], size: Sizes) -> None:
    states: dict[str, Account] = {}
    deploys: list[tuple[int, list[Any]]] = [(0, [])]
    for step in history:
        if isinstance(step, Deploy):
            deploys.append((step.attributes, []))
        else:
            deploys[-1][1].append(step)
    for place, (number, work) in enumerate(deploys):
        attributes = ATTRIBUTES[number]
        definition = job_with(attributes)
        runtime = attrs.evolve(asyncio_runtime(), sizes=size)
        async with App(None).with_jobs(definition).open(store(), runtime=runtime) as jobs:
            handle = jobs.handle(definition)
            await check(jobs, definition, attributes, states)  # before anything is filled
            for step in work:
                if isinstance(step, Send):
                    await handle.send(step.id, step.state)
                    states[step.id] = step.state
                else:
                    await handle.terminate(step.id)
                    states.pop(step.id, None)
                await check(jobs, definition, attributes, states)
            if place == len(deploys) - 1 or place % 2:  # some are replaced before their attributes are whole
                for _ in range(400):
                    if await check(jobs, definition, attributes, states):
                        break
                    await runtime.sleep(5)
                else:
                    pytest.fail("the attributes did not become whole")


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


EARLIER = [Send("a", Account("acme", 1)), Send("b", Account("beta", 2)), Deploy(2), Send("a", Account("beta", 1))]
CROSSED = [
    *(Deploy(2), Send("a", Account("acme", 1)), Send("b", Account("acme", 3))),
    *(Send("c", Account("beta", 3)), Send("d", Account("acme", 0))),
]
MANY = [*(Send(id_, Account("acme", 1)) for id_ in IDS), Deploy(2)]
MIXED = [*(Send(id_, Account(TENANTS[n % 3], n % 4)) for n, id_ in enumerate(IDS)), Deploy(4), End("c")]
ONES: Final = Sizes(**{field.name: 1 for field in attrs.fields(Sizes)})
LOOKED_UP: Final = attrs.evolve(ONES, walked_keys=100)
ROLLBACK = [Deploy(2), Send("a", Account("acme", 1)), Deploy(0), Send("a", Account("beta", 3)), End("a"), Deploy(2)]


@settings(max_examples=25)
@given(steps, sizes)
@example(EARLIER, DEFAULT_SIZES)
@example(ROLLBACK, DEFAULT_SIZES)
@example(CROSSED, DEFAULT_SIZES)
@example(MANY, ONES)
@example(MIXED, ONES)
@example(MIXED, LOOKED_UP)
def test_filters_agree_with_the_functions_in_memory(history: list[Any], size: Sizes) -> None:
    backend = MemoryBackend()
    run(play(backend.open, history, size))


@settings(max_examples=20)
@given(steps, sizes)
@example(EARLIER, DEFAULT_SIZES)
@example(ROLLBACK, DEFAULT_SIZES)
@example(CROSSED, DEFAULT_SIZES)
@example(MANY, ONES)
@example(MIXED, ONES)
@example(MIXED, LOOKED_UP)
def test_filters_agree_with_the_functions_in_sqlite(history: list[Any], size: Sizes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run(play(lambda: f"sqlite:///{folder}/jobs.db?durability=relaxed", history, size))


schemas = count()


@contextlib.contextmanager
def schema(options: str) -> Generator[Callable[[], str]]:
    url = running_server()
    name = f"attributes_{next(schemas)}"
    yield lambda: f"{url}{'&' if '?' in url else '?'}schema={name}{options}"


@pytest.mark.parametrize("options", ["", "&ownership=shared"])
def test_filters_agree_with_the_functions_in_postgresql(options: str) -> None:
    @settings(max_examples=6)
    @given(steps, sizes)
    @example(EARLIER, DEFAULT_SIZES)
    @example(ROLLBACK, DEFAULT_SIZES)
    @example(MIXED, ONES)
    @example(MIXED, LOOKED_UP)
    def find(history: list[Any], size: Sizes) -> None:
        with schema(options) as url:
            run(play(url, history, size))

    find()


# ---------------------------------------------------------------- keys
class Plan(Enum):
    FREE = "free"
    PAID = 2


instants = st.datetimes(timezones=st.sampled_from((UTC, timezone(timedelta(hours=5)))))
amounts = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9)
VALUES: Final[dict[str, tuple[AttributeType, st.SearchStrategy[Any]]]] = {
    "int": (AttributeType(word="int"), st.integers(-(2**63), 2**63 - 1)),
    "str": (AttributeType(word="str"), st.text(max_size=20)),
    "datetime": (AttributeType(word="datetime"), instants),
    "Decimal": (AttributeType(word="Decimal"), amounts | st.sampled_from((Decimal("1E+99"), Decimal("-0.001")))),
    "bool": (AttributeType(word="bool"), st.booleans()),
    "enum": (AttributeType(word="enum", enum=Plan), st.sampled_from(Plan)),
}


@pytest.mark.parametrize("word", VALUES)
def test_keys_are_in_the_order_of_their_values(word: str) -> None:
    type_, values = VALUES[word]

    @given(values, values)
    def compare(one: Any, other: Any) -> None:
        key, second = type_.key(one), type_.key(other)
        assert (key == second) == (one == other)
        if type_.is_ordered and word != "str":
            assert (key < second) == (one < other)
        if word == "str":
            assert (key < second) == ([*map(ord, one)] < [*map(ord, other)])

    compare()


def test_keys_of_near_decimals_are_in_order() -> None:
    key = VALUES["Decimal"][0].key
    values = [Decimal(tenths) / 10 for tenths in range(-30, 31)]
    assert sorted(values, key=key) == values


@pytest.mark.parametrize("word", VALUES)
def test_the_text_of_a_condition_is_read_back(word: str) -> None:
    type_, values = VALUES[word]
    one: Attribute[Any, Any] = Attribute("one", type_, lambda state: state)

    @given(values, values)
    def read(wanted: Any, value: Any) -> None:
        (only,) = key_ranges({"one": type_}, [str(one == wanted)], "task:a")
        assert (type_.key(value) in only) == (value == wanted)
        if type_.is_ordered:
            (at_most,) = key_ranges({"one": type_}, [str(one <= wanted)], "task:a")
            (at_least,) = key_ranges({"one": type_}, [str(one >= wanted)], "task:a")
            assert type_.key(wanted) in at_most
            assert type_.key(wanted) in at_least
            (below,) = key_ranges({"one": type_}, [str(one < wanted), str(one <= wanted)], "task:a")
            (above,) = key_ranges({"one": type_}, [str(one >= wanted), str(one > wanted)], "task:a")
            assert (type_.key(value) in below) == (type_.key(value) < type_.key(wanted))
            assert (type_.key(value) in above) == (type_.key(value) > type_.key(wanted))

    read()
