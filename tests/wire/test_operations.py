"""The table of operations: each entry has a typed method, and each argument arrives as it was passed."""

import inspect
from datetime import UTC, datetime
from typing import get_type_hints
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams
from starlette.routing import Match, Route

from perdure.client.by_name import NamedJob
from perdure.client.client import Client
from perdure.client.gateway import JobByName
from perdure.client.local_gateway import LocalGateway
from perdure.remote.gateway import RemoteJob
from perdure.values.address import Address
from perdure.values.errors import InvalidArgument
from perdure.values.limits import MAX_CONCURRENCY, MAX_RATE, Rate
from perdure.values.listings import LISTED_STATUSES
from perdure.values.times import format_duration
from perdure.wire.explanation import readable_answer, with_changes
from perdure.wire.operations import (
    DEAD_LETTERS,
    DEMAND,
    LIST,
    MAX_AHEAD_MS,
    MAX_NUMBER,
    MAX_PAGE,
    OPERATIONS,
    UNRECEIVED_SIGNALS,
    Argument,
    ClientOperation,
)

OF_ENGINE = [operation for operation in OPERATIONS if operation.of == "engine"]
OF_JOB = [operation for operation in OPERATIONS if operation.of != "engine"]


def parameters(method: object) -> dict[str, object]:
    """Return the kinds of a method's parameters by name, without ``self`` and a definition."""
    found = inspect.signature(method).parameters.values()  # type: ignore[arg-type]
    return {each.name.rstrip("_"): each.kind for each in found if each.name not in {"self", "definition"}}


def expected(operation: ClientOperation[object], *, without: frozenset[str] = frozenset()) -> dict[str, object]:
    kinds = {"path": inspect.Parameter.POSITIONAL_ONLY, "query": inspect.Parameter.KEYWORD_ONLY}
    return {each.name: kinds[each.place] for each in operation.arguments if each.name not in without}


@pytest.mark.parametrize("operation", OF_ENGINE, ids=lambda each: each.name)
def test_a_client_has_the_method_of_each_operation_of_the_engine(operation: ClientOperation[object]):
    assert parameters(getattr(Client, operation.name)) == expected(operation)


@pytest.mark.parametrize("operation", OF_ENGINE, ids=lambda each: each.name)
def test_the_default_of_an_argument_is_that_of_the_table(operation: ClientOperation[object]):
    method = inspect.signature(getattr(Client, operation.name)).parameters
    assert {each.name: method[each.name].default for each in operation.in_the("query")} == {
        each.name: each.default for each in operation.in_the("query")
    }


@pytest.mark.parametrize("operation", [each for each in OF_ENGINE if each is not LIST], ids=lambda each: each.name)
def test_the_gateway_of_this_process_has_a_method_for_each_operation_of_the_engine(operation: ClientOperation[object]):
    method = getattr(LocalGateway, operation.name)
    assert set(parameters(method)) == {each.name for each in operation.arguments}


@pytest.mark.parametrize("job", [NamedJob, RemoteJob, JobByName])
@pytest.mark.parametrize("operation", OF_JOB, ids=lambda each: each.name)
def test_a_job_by_its_name_has_the_method_of_each_operation_of_a_job(
    job: type[object], operation: ClientOperation[object]
):
    assert parameters(getattr(job, operation.name)) == expected(operation, without=frozenset({"kind", "name"}))


def test_names_paths_and_ids_are_unique():
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)
    assert len({(each.method, each.path) for each in OPERATIONS}) == len(OPERATIONS)
    assert len({each.id for each in OPERATIONS}) == len(OPERATIONS)


def test_every_argument_in_a_path_is_in_its_path():
    for operation in OPERATIONS:
        for argument in operation.arguments:
            assert (f"{{{argument.name}}}" in operation.path) == (argument.place == "path")


@pytest.mark.parametrize("text", ["90s", "1m30s", "90 seconds", "90000ms"])
def test_a_caller_of_the_demand_may_write_a_duration_in_any_units(text: str) -> None:
    (within,) = DEMAND.arguments
    assert within.type.read(text, "within") == "1m30s"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("soon", "whole numbers, each with its unit"),
        ("-1s", "whole numbers"),
        ("100d", "below 100 days"),
        ("", "whole numbers"),
    ],
)
def test_a_time_that_is_refused_says_the_reason(text: str, expected: str) -> None:
    (within,) = DEMAND.arguments
    with pytest.raises(InvalidArgument, match=expected):
        within.type.read(text, "within")


# ---------------------------------------------------------------- from the client to the server
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=512)
PARTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":"), min_size=1, max_size=512)
FILLED = TEXTS.filter(bool)
WINDOWS = st.integers(1, 999_999_999) | st.integers(1, 9_999).map(lambda days: days * 86_400_000)
VALUES: dict[str, st.SearchStrategy[object]] = {
    "within": st.integers(0, MAX_AHEAD_MS).map(format_duration),
    "kind": FILLED,
    "name": FILLED,
    "id": FILLED,
    "status": st.sampled_from(LISTED_STATUSES),
    "id_prefix": TEXTS,
    "due_before": st.datetimes(datetime(1970, 1, 2), datetime(2999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    "limit": st.integers(1, MAX_PAGE),
    "max_scanned": st.integers(1, MAX_NUMBER),
    **dict.fromkeys(("concurrency", "concurrency_per_key"), st.integers(1, MAX_CONCURRENCY)),
    **dict.fromkeys(("rate", "rate_per_key"), st.builds(Rate, st.integers(1, MAX_RATE), WINDOWS)),
    "before": st.integers(0, MAX_NUMBER),
    "ticket": st.from_regex(r"\A[0-9]{1,19}\.[0-9]{1,19}\.[0-9]{1,19}\Z"),
    "value": FILLED,
    "key": FILLED,
    "message_id": st.integers(0, MAX_NUMBER),
    "step": FILLED,
    "suffix": st.text("-_.ab1", min_size=1, max_size=20),
    "signals": st.sampled_from(UNRECEIVED_SIGNALS),
    **dict.fromkeys(("accept_undone", "dry_run"), st.booleans()),
    "where": st.lists(st.sampled_from(("amount>1", "tenant=a&b", "past_due")), max_size=3).map(tuple),
}
ADDRESSES = st.builds(Address, PARTS, PARTS, FILLED)


def values_of(operation: ClientOperation[object], argument: Argument) -> st.SearchStrategy[object]:
    if argument.name == "after":
        values: st.SearchStrategy[object] = st.integers(0, MAX_NUMBER) if operation is DEAD_LETTERS else ADDRESSES
    else:
        values = VALUES[argument.name]
    may_be_absent = argument.place == "query" and argument.default is None
    return st.none() | values if may_be_absent else values


def read(operation: ClientOperation[object], url: str) -> dict[str, object]:
    """Read the arguments of a request as a server does."""
    parts = urlsplit(url)
    route = Route(operation.path, lambda _: None, methods=[operation.method])
    match, scope = route.matches({"type": "http", "path": parts.path, "method": operation.method})
    assert match is Match.FULL
    query = QueryParams(parts.query)
    found: dict[str, object] = {}
    for each in operation.arguments:
        if each.place == "path":
            found[each.name] = each.type.read(unquote(scope["path_params"][each.name]), each.name)
        else:
            if each.type.is_repeated:
                found[each.name] = tuple(each.type.read(text, each.parameter) for text in query.getlist(each.parameter))
                continue
            text = query.get(each.parameter)
            found[each.name] = each.default if text is None else each.type.read(text, each.parameter)
    return found


@given(st.data())
def test_a_server_reads_the_arguments_that_a_client_sends(data: st.DataObject):
    operation = data.draw(st.sampled_from(OPERATIONS))
    passed = {each.name: data.draw(values_of(operation, each), each.name) for each in operation.arguments}
    checked = operation.checked(passed)
    assert checked == passed
    assert read(operation, operation.url(checked)) == passed


def test_an_argument_has_its_own_name_in_a_url():
    given: dict[str, object] = {each.name: each.default for each in LIST.arguments}
    checked = LIST.checked(
        {**given, "name": "orders", "where": ["a>1", "b=2"], "after": Address("task", "a b", "1"), "limit": 7}
    )
    assert (
        LIST.url(checked) == "/v1/instances?job=orders&id_prefix=&where=a%3E1&where=b%3D2&after=task%3Aa+b%3A1&limit=7"
    )


WRONG = st.none() | st.booleans() | st.floats() | st.binary() | st.integers(max_value=-1) | st.just("\ud800")


@given(st.data())
def test_a_wrong_argument_is_refused_by_its_name(data: st.DataObject):
    operation = data.draw(st.sampled_from([each for each in OPERATIONS if each.arguments]))
    argument = data.draw(st.sampled_from(operation.arguments))
    value = data.draw(WRONG)
    if value is None and argument.place == "query" and argument.default is None:
        assert operation.checked({argument.name: value}) == {argument.name: None}
        return
    with pytest.raises(InvalidArgument) as refused:
        operation.checked({argument.name: value})
    assert refused.value.what == f"{argument.name} of {operation.name}"


def test_the_type_of_an_answer_is_that_of_the_method():
    for operation in OF_ENGINE:
        answered = get_type_hints(getattr(LocalGateway, operation.name))["return"] if operation is not LIST else None
        assert answered is None or answered.__args__[0] == operation.answer


@pytest.mark.parametrize(
    ("shown", "old", "new", "expected"),
    [
        (["<secret>", 1], ["<secret>1", 1], ["<secret>2", 1], ["<secret> (changed)", 1]),
        (["<secret>", "<secret>"], ["<secret>1"], ["<secret>1", "<secret>2"], ["<secret>", "<secret>"]),
        ([["<secret>"]], [["<secret>1"]], [["<secret>1"]], [["<secret>"]]),
        (["<secret>"], None, ["<secret>1"], ["<secret>"]),
    ],
)
def test_a_secret_in_a_list_that_changed_is_marked(shown, old, new, expected):
    assert with_changes(shown, old, new) == expected


@pytest.mark.parametrize(
    ("kind", "found", "expected"),
    [
        ("workflow", "running", {"workflow": "has not ended"}),
        ("workflow", "ended", {"workflow": "has ended"}),
        ("workflow", "absent", {"workflow": "absent"}),
        ("task", "running", {"found": "running"}),
    ],
)
def test_the_answer_to_a_signal_says_whether_the_workflow_has_ended(kind, found, expected):
    answer = {"type": "Signalled", "accepted": True, "found": found, "status": "idle"}
    rest = {"type": "Signalled", "accepted": True, "status": "idle"}
    assert readable_answer(kind, answer) == rest | expected
