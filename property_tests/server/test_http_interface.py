"""The server answers requests as `/openapi.json` says, and refused ones write nothing.

Schemathesis draws the requests. `--hypothesis-profile=nightly` draws a thousand of each.
"""

import re
from collections.abc import Iterator

import attrs
import orjson
import pytest
import requests
import schemathesis
from engine_thread import engine_served
from hypothesis import event, given
from hypothesis import strategies as st
from rich_jobs import APP
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
REFUSALS = ["401", "403", "404", "405", "409", "413", "414", "422", "431"]
CONFIG = {"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}}
BEYOND_A_SCHEMA = re.compile(
    r"expected (int|int \| str|.*64 bits.*|.*length in seconds.*|a finite decimal.*|.*number as text|.*repeated.*), got"
)
"""Rules that JSON Schema cannot express: see `Codec.json_schema`."""


@attrs.frozen
class Fuzzed:
    """A served engine.

    Attributes:
        url: of the server.
        session: its connections.
        operations: those of its description.
    """

    url: str
    session: requests.Session
    operations: list[schemathesis.APIOperation]

    def stored(self) -> bytes:
        """Return the stored state of the engine, in short."""
        return self.session.get(f"{self.url}/v1/instances?limit=1000").content


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Fuzzed]:
    with engine_served(APP) as url, requests.Session() as session:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=SchemathesisConfig.from_dict(CONFIG))
        found = [result.ok() for result in schema.get_all_operations()]
        # Server-sent events last a minute where no instance is.
        yield Fuzzed(url, session, [each for each in found if not each.path.endswith("/events")])


def answered(fuzzed, case, checks):
    """Send a request; check its response, and that a refused one has written nothing. Return the response."""
    before = fuzzed.stored()
    response = case.call(session=fuzzed.session)
    case.validate_response(response, checks=checks)
    assert "Traceback" not in response.text
    assert response.status_code < 400 or fuzzed.stored() == before, response.text
    event(f"{response.status_code}")
    return response


@given(data=st.data())
def test_requests_that_the_document_permits_are_answered_as_it_says(fuzzed, data):
    operation = data.draw(st.sampled_from(fuzzed.operations), label="operation")
    case = data.draw(operation.as_strategy(generation_mode=GenerationMode.POSITIVE), label="request")
    if "id" in case.path_parameters and data.draw(st.booleans(), label="of an instance that may exist"):
        case.path_parameters["id"] = "one"
    if "/wait" in operation.path or "/streams/" in operation.path:
        case.query = {**(case.query or {}), "timeout": "1 ms"}  # each answer could take 20 seconds
    response = answered(fuzzed, case, CHECKS)
    if response.status_code == 422:
        problems = response.json().get("problems", ())
        # The document does not know the attributes of a job, and so no condition; nor the values that it publishes. No
        # schema says that one of several parameters must be there, or which answers a service of a job has.
        unknown = {"where", "published"} & {*(case.query or {})}
        unknown |= {end for end in ("/limits/{name}", "/future") if operation.path.endswith(end)}
        assert unknown or (problems and all(map(BEYOND_A_SCHEMA.search, problems))), response.text
    elif response.status_code == 404:
        assert response.json()["code"] in {"metrics_disabled", "unknown_limit"}, response.text
    else:
        assert response.status_code in {200, 409}, response.text


@given(data=st.data())
def test_requests_that_the_document_does_not_permit_are_refused(fuzzed, data):
    variable = [each for each in fuzzed.operations if each.definition.raw.get("parameters")]
    operation = data.draw(st.sampled_from(variable), label="operation")
    case = data.draw(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE), label="request")
    answered(fuzzed, case, [*CHECKS, negative_data_rejection])


ENVELOPE = {"n": 1, "kind": "debounce", "job": "batch", "id": "one", "action": "add", "payload": {"value": 1}}
JSON = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=9) | st.just([]) | st.just({})
MEMBERS = st.sampled_from([*ENVELOPE, "key", "wait_for", "interrupt", "definition", "other"])
CHANGED = st.dictionaries(MEMBERS, JSON, max_size=2).map(lambda changes: orjson.dumps({**ENVELOPE, **changes}))


@given(st.lists(st.binary(max_size=9) | CHANGED, max_size=4))
def test_a_batch_of_any_lines_is_answered_line_by_line_or_refused(fuzzed, lines):
    response = fuzzed.session.post(f"{fuzzed.url}/v1/calls", data=b"\n".join(lines))
    assert response.status_code in {200, 413, 422}, response.text
    assert "Traceback" not in response.text
    problems = [line.get("problem") for line in map(orjson.loads, response.content.splitlines())] if response.ok else []
    assert all(problem is None or problem["status"] < 500 for problem in problems), response.text
