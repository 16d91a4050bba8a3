"""Whatever a value holds, its printed text is bounded: in messages, in logs and in a debugger."""

import asyncio
import importlib
import pkgutil
import re
from typing import Annotated, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Result, Success

import perdure.testing
from perdure import App, Client, Decision, Limits, Secret, Task, TaskContext, cron
from perdure.app import OpenApp
from perdure.client.by_name import NamedJob
from perdure.client.local_gateway import LocalGateway, engine_of
from perdure.examples.order_processor import order_processor
from perdure.examples.token_refresher import token_refresher
from perdure.examples.webhook_batcher import webhook_batcher
from perdure.jobs.context import JobContext
from perdure.jobs.definition import Definition
from perdure.jobs.handle import JobHandle
from perdure.stores.contract import Store
from perdure.stores.memory import memory_store
from perdure.testing import Crash, Delay, Fail, Hang, Raise, RedeliveryResult, Simulated, Succeed, coverage
from perdure.testing.world import trace
from perdure.values.address import Address
from perdure.values.cron_ticks import CronLine
from perdure.values.errors import PerdureError, Rejected
from perdure.values.excerpt import (
    MAX_LINE_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    excerpt,
    fields_in_line,
    one_line,
    shortened,
)
from perdure.values.instance import Claim, Instance
from perdure.values.schedule import Cron
from perdure.values.secret import shown_fields
from perdure.values.status import Defect, FailureRecord, InstanceStatus
from perdure.values.status_wait import WaitCondition

HUGE = "\x1b[31m\n" + "x" * 5_000


class Endless:
    def __repr__(self) -> str:
        return HUGE

    def __str__(self) -> str:
        return HUGE


def decide(state: int, event: int) -> Result[Decision[int], str]:
    return Success(Decision(state + event))


class Broken:
    def __repr__(self) -> str:
        raise ValueError(HUGE)


PACKAGES = ("values", "jobs", "kinds", "client", "app", "stores.store", "programs")
"""The packages of the values that users, stores and kinds handle. The errors of every package are checked, too."""

UNBOUNDED = (Crash, Delay, Fail, Hang, Raise, RedeliveryResult, Simulated, Succeed)
"""The classes of the kit that print more: faults print code that a test can contain, simulated runs print a trace."""

KIT = {
    value
    for module in (perdure.testing, coverage, trace)
    for value in vars(module).values()
    if isinstance(value, type) and attrs.has(value) and not issubclass(value, UNBOUNDED)
}


THINGS = (App, CronLine, Cron, Definition, Client, JobContext, JobHandle, NamedJob, OpenApp, Address, Store)
"""Fields without unbounded text: each was checked when it was made, or is left out of the ``repr``. See below."""


def classes():
    for found in pkgutil.walk_packages(perdure.__path__, "perdure."):
        module = found.name
        if module.startswith(("perdure.cli", "perdure.examples", "perdure.integrations", "perdure.__main__")):
            continue
        for name, value in vars(importlib.import_module(module)).items():
            if isinstance(value, type) and value.__module__ == module and attrs.has(value) and not name.startswith("_"):
                data = module.removeprefix("perdure.").startswith(PACKAGES) or value in KIT
                if (data and not issubclass(value, THINGS)) or issubclass(value, PerdureError):
                    yield value


RECORD = FailureRecord(form="defect", error_type=HUGE, message=HUGE, data=HUGE, traceback=HUGE)
ANYTHING = re.compile(r"\b(str|object|Any|[A-Z]|[A-Z]_\w+)\b")
"""Annotations of fields that can hold text, or a value of the user's own."""


def filled(cls: type, content: object) -> Any:
    """Make a value whose fields are as large as what users and stores put into them.

    A test before this one may have resolved the annotations of its class.
    """
    value = cls.__new__(cls)
    for field in attrs.fields(cls):
        annotation = (
            str(field.type)
            .removeprefix("collections.abc.")
            .replace("Literal", "")
            .replace("datetime.timedelta | str", "Duration")
        )
        if "FailureRecord" in annotation:
            held: object = RECORD
        elif "WaitCondition" in annotation:
            held = WaitCondition(statuses=(HUGE,), phases=(HUGE,))  # type: ignore[arg-type]
        elif annotation.endswith("InstanceStatus"):
            held = InstanceStatus(status=HUGE)  # type: ignore[arg-type]
        elif annotation == "int":
            held = 10**15
        elif annotation == "BaseException":
            held = ValueError(content)
        elif annotation.startswith("Mapping"):
            held = {str(content): content, "key": content}
        elif annotation.startswith("tuple"):
            held = (content,) * 100
        else:
            held = content if ANYTHING.search(re.sub(r"\[.*\]", "", annotation)) else None
        object.__setattr__(value, field.name, held)
    return value


CLASSES = sorted(set(classes()), key=lambda cls: (cls.__module__, cls.__name__))
ERRORS = [cls for cls in CLASSES if issubclass(cls, PerdureError)]


def test_there_are_many_classes_and_errors():
    assert len(CLASSES) > 100
    assert len(ERRORS) > 30


CONTENTS = {"text": HUGE, "object": Endless()}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_the_repr_of_every_class_is_one_bounded_line(cls, content):
    text = repr(filled(cls, content))
    assert 0 < len(text) <= MAX_TEXT_CHARACTERS
    assert text.isprintable()


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
def test_the_message_of_every_error_is_one_bounded_line(cls):
    text = str(filled(cls, HUGE))
    assert 0 < len(text) <= MAX_TEXT_CHARACTERS
    assert text.isprintable()


def test_a_rejection_that_a_client_cannot_decode_says_its_error():
    assert str(Rejected(Defect("str", '"negative"'))) == 'the job rejected the request: str: "negative"'


def test_every_object_of_an_app_prints_one_short_line():
    @attrs.frozen
    class ServicesOfAll:
        mailer: str = HUGE
        auth: str = HUGE
        sink: str = HUGE

    async def main():
        many = [
            Task(f"{number:03}-{'n' * 100}", state=int, event=int, initial=0, decide=decide) for number in range(60)
        ]
        kinds = (order_processor, token_refresher, webhook_batcher)
        services: Any = ServicesOfAll()
        app = App(services, limits=Limits()).with_jobs(*kinds, *many)
        things: list[object] = [app, app.open(memory_store()), *kinds, *many]
        async with App(None).with_jobs(many[0]).open(memory_store()) as jobs:
            engine = engine_of(jobs)
            things += [jobs, jobs.handle(many[0]), jobs.handle_by_name("task", many[0].name), engine, engine.store]
        served = Client(LocalGateway(attrs.evolve(engine, jobs=app.served, stopped=engine.stopped)))
        things += [served, *(served.handle(job) for job in kinds), *(served.handle(job) for job in many)]
        instance = Instance(address=Address("task", "n" * 128, "\0" * 512), created_ms=0, updated_ms=0, state=HUGE)
        claim = Claim(owner=1, cause="event", run_id="r-1", claimed_ms=0, payload=HUGE)
        things.append(TaskContext[Any](instance, claim))
        for value in (instance.address, cron(f"{','.join(map(str, range(60)))} * * * *")):
            assert len(repr(value)) <= MAX_TEXT_CHARACTERS
        for thing in things:
            assert len(repr(thing)) <= MAX_LINE_CHARACTERS, repr(thing)
        assert repr(order_processor) == "<Task 'order-processor'>"
        assert repr(served.handle(order_processor)) == "<TaskHandle of task:order-processor>"

    asyncio.run(main())


values = st.recursive(
    st.none() | st.text() | st.binary() | st.integers() | st.just(HUGE),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@pytest.mark.parametrize("value", [Endless(), [Endless()] * 10, {"a": Endless()}], ids=["one", "list", "dict"])
def test_an_excerpt_is_bounded_whatever_a_repr_returns(value):
    assert len(excerpt(value)) <= MAX_LINE_CHARACTERS
    assert excerpt(value).isprintable()


def test_an_excerpt_names_a_value_whose_repr_raises():
    assert "Broken" in excerpt(Broken())
    assert "Broken" in excerpt((Broken(), 1))


@given(values, st.integers(20, 300))
def test_an_excerpt_is_one_line_within_its_limit(value, limit):
    text = excerpt(value, limit)
    assert len(text) <= limit
    assert text.isprintable()


@given(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers(-(10**30), 10**30)
    | st.text(st.characters(codec="ascii"), max_size=30)
)
def test_an_excerpt_of_a_small_value_is_its_repr(value):
    assert excerpt(value) == one_line(repr(value))


@given(st.text(max_size=80), st.integers(10, 50))
def test_text_is_shortened_in_its_middle(text, limit):
    short = shortened(text, limit)
    assert len(short) <= limit
    assert (short == text) == (len(text) <= limit)
    if short != text:
        head, _, tail = short.partition("...") if "..." not in text else (short[:1], "", short[-1:])
        assert text.startswith(head)
        assert text.endswith(tail)


@given(st.text())
def test_one_line_keeps_printable_characters(text):
    assert one_line(text).isprintable()
    assert (one_line(text) == text) == text.isprintable()


@pytest.mark.parametrize(
    "value",
    [1 << 100_000, "x" * 10_000_000, b"x" * 10_000_000, list(range(1_000_000))],
    ids=["int", "str", "bytes", "list"],
)
def test_an_excerpt_of_a_huge_value_is_bounded(value):
    assert len(excerpt(value)) <= MAX_LINE_CHARACTERS


def test_a_repr_of_fields_leaves_out_fields_without_repr():
    @attrs.frozen
    class Pair:
        shown: int
        hidden: int = attrs.field(repr=False)
        _private: int = 3

    assert fields_in_line(Pair(1, 2)) == "Pair(shown=1, private=3)"


class Undeclared:
    """Neither an attrs class nor a dataclass: its annotations mark no field."""

    token: Annotated[str, Secret]


@attrs.frozen
class Holder:
    held: Undeclared
    number: int = 0


def test_only_declared_classes_have_marked_fields() -> None:
    assert shown_fields(Holder) is None
