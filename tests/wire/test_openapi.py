"""The OpenAPI document describes the interface of an engine with the types of its definitions."""

from functools import lru_cache

import attrs
import orjson
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from reminder import Reminder

from perdure import Task, succeed
from perdure.examples.order_processor import order_processor
from perdure.examples.token_refresher import token_refresher
from perdure.examples.webhook_batcher import webhook_batcher
from perdure.stores.values import Health
from perdure.testing.typed import from_type
from perdure.values.errors import Rejected, ServerUnreachable
from perdure.values.listings import InFlight, Listed
from perdure.values.message import StoredMessage
from perdure.values.status import InstanceStatus
from perdure.wire.openapi import openapi
from perdure.wire.openapi_components import problem_name
from perdure.wire.problems import STATUS, problem_of
from perdure.wire.records import EngineInfo, data_of

JOBS = (order_processor, webhook_batcher, token_refresher)


def document_of(*jobs):
    return openapi(jobs, title="Shop", version="1")


DOCUMENT = document_of(*JOBS)


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def operation_of(document, name):
    (found,) = [operation for _, _, operation in operations(document) if operation["operationId"] == name]
    return found


@lru_cache
def component(name):
    reference = f"#/components/schemas/{name}"
    return Draft202012Validator({"$ref": reference, "components": DOCUMENT["components"]})


def test_the_document_is_valid():
    validate(DOCUMENT)


def test_a_document_of_no_jobs_and_one_of_a_kind_of_your_own_are_valid():
    validate(document_of())
    own = document_of(Reminder.of("birthdays", lambda ctx: succeed(None)))
    validate(own)
    assert operation_of(own, "birthdays_status")


def test_the_order_of_the_definitions_does_not_matter():
    assert document_of(*reversed(JOBS)) == DOCUMENT


def test_each_action_of_each_job_is_an_operation_with_its_types():
    actions = {f"{job.name.replace('-', '_')}_{action}" for job in JOBS for action in job.plan.commands}
    assert actions <= {operation["operationId"] for _, _, operation in operations(DOCUMENT)}
    send = operation_of(DOCUMENT, "order_processor_send")
    assert send["requestBody"]["content"]["application/json"]["schema"]["oneOf"][1] == {
        "$ref": "#/components/schemas/Delivered"
    }
    assert send["responses"]["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Sent"}
    assert [parameter["name"] for parameter in send["parameters"]] == ["id", "Idempotency-Key", "traceparent"]
    rejected = DOCUMENT["components"]["schemas"]["order_processor_RejectedProblem"]
    references = {name: f"#/components/schemas/{name}" for name in ("IllegalTransition", "MailBounced")}
    assert rejected["properties"]["error"] == {
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "discriminator": {"propertyName": "type", "mapping": references},
    }


def test_operation_ids_are_unique_and_each_operation_has_a_tag_and_a_summary():
    found = [operation for _, _, operation in operations(DOCUMENT)]
    assert len({operation["operationId"] for operation in found}) == len(found)
    assert all(operation["tags"] and operation["summary"] for operation in found)


def task(name, state):
    return Task(name, state=state, event=state, initial=lambda _: None, on_event=lambda ctx, event: succeed(None))


def test_two_types_of_one_name_are_two_components_and_the_same_type_is_one():
    one, other = attrs.make_class("Order", {"a": attrs.field(type=int)}, frozen=True), None
    same = attrs.make_class("Order", {"a": attrs.field(type=int)}, frozen=True)
    other = attrs.make_class("Order", {"b": attrs.field(type=str)}, frozen=True)
    document = document_of(task("a", one), task("b", same), task("c", other))
    validate(document)
    schemas = document["components"]["schemas"]
    assert [name for name in schemas if "Order" in name] == ["Order", "c_Order"]
    assert schemas["c_Order"]["properties"] == {"b": {"type": "string"}}


def test_classes_of_a_definition_keep_their_names_beside_those_of_the_library():
    sent = attrs.make_class("Sent", {"parcel": attrs.field(type=str)}, frozen=True)
    document = document_of(task("a", sent))
    assert document["components"]["schemas"]["Sent"]["properties"] == {"parcel": {"type": "string"}}
    answer = operation_of(document, "a_send")["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/perdure_Sent"}


def test_jobs_whose_names_look_alike_have_different_operations():
    document = document_of(task("re-index", int), task("re index", int))
    validate(document)
    names = {operation["operationId"] for _, _, operation in operations(document)}
    assert {name for name in names if name.endswith("x_send")} == {"task_re_index_send", "task_task_re_index_send"}
    assert "/v1/jobs/task/re%20index/instances/{id}/send" in document["paths"]


def as_json(data):
    return orjson.loads(orjson.dumps(data))


DESCRIBED = tuple(cls for cls in STATUS if cls not in {Rejected, ServerUnreachable})


@given(st.sampled_from(DESCRIBED).flatmap(from_type))
def test_every_problem_is_as_the_document_says_and_no_other_one(error):
    problem = as_json(problem_of(error))
    assert list(component(problem_name(type(error))).iter_errors(problem)) == []
    assert [cls for cls in DESCRIBED if component(problem_name(cls)).is_valid(problem)] == [type(error)]


@given(from_type(order_processor.plan.errors.form) | st.builds(ValueError))
def test_a_rejection_is_as_the_document_says(error):
    problem = as_json(problem_of(Rejected(error), order_processor.plan.errors))
    assert list(component("order_processor_RejectedProblem").iter_errors(problem)) == []


ANSWERS = (InstanceStatus, Listed, StoredMessage, Health, InFlight, EngineInfo)


@given(st.sampled_from(ANSWERS).flatmap(from_type))
def test_every_answer_of_a_read_is_as_the_document_says(answer):
    name, data = type(answer).__name__, as_json(data_of(answer))
    assert list(component(name).iter_errors(data)) == []
    assert set(DOCUMENT["components"]["schemas"][name]["required"]) == set(data)


@given(from_type(order_processor.plan.answers.form))
def test_every_answer_of_an_action_is_as_the_document_says(answer):
    data = orjson.loads(order_processor.plan.answers.encode(answer))
    assert list(component(type(answer).__name__).iter_errors(data)) == []


def test_only_the_probe_that_may_fail_has_a_refusal():
    responses = [set(DOCUMENT["paths"][path]["get"]["responses"]) for path in ("/live", "/ready")]
    assert responses == [{"200"}, {"200", "503"}]
