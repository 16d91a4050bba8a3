"""An error is the same after its journey as a problem."""

from typing import Annotated, get_args

import attrs
import orjson
import pytest

from perdure import Defect, Secret
from perdure.codecs import Codec
from perdure.values.errors import AccessCause, AccessDenied, Rejected
from perdure.values.secret import HIDDEN
from perdure.wire.problems import STATUS, error_of, problem_of, status_of

VALUES = {
    "int": 7,
    "tuple[str, ...]": ("a", "b"),
    "AccessCause": "small_scope",
    "int | None": 7,
    "ForkRefusal": "undone",
    "Literal['app', 'client']": "client",
    "Literal['absent', 'ended']": "ended",
}


@pytest.mark.parametrize("cls", [cls for cls in STATUS if cls is not Rejected])
def test_an_error_is_rebuilt_from_its_problem(cls):
    error = cls(**{field.name: VALUES.get(str(field.type), "text \u2192") for field in attrs.fields(cls)})
    rebuilt = error_of(orjson.loads(orjson.dumps(problem_of(error))))
    assert (type(rebuilt), str(rebuilt)) == (cls, str(error))
    assert [getattr(rebuilt, field.name) for field in attrs.fields(cls) if field.name != "got"] == [
        getattr(error, field.name) for field in attrs.fields(cls) if field.name != "got"
    ]


@pytest.mark.parametrize("cls", [cls for cls in STATUS if cls is not Rejected])
def test_rebuilding_an_error_leaves_its_class_as_it_is(cls):
    before = [field.type for field in attrs.fields(cls)]
    error = cls(**{field.name: VALUES.get(str(field.type), "text") for field in attrs.fields(cls)})
    error_of(problem_of(error))
    assert [field.type for field in attrs.fields(cls)] == before


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_a_proxy_is_a_refusal(status):
    error = error_of({"status": status, "detail": "no entry"})
    assert (type(error), error.reason) == (AccessDenied, "no entry")


@pytest.mark.parametrize("cause", get_args(AccessCause))
def test_a_caller_without_a_valid_token_is_asked_for_one(cause):
    """401 requests another token; 403 does not, because another one would not help."""
    error = AccessDenied("call", cause, "no entry")
    expected = 401 if cause.endswith("_token") else 403
    assert (status_of(error), problem_of(error)["status"]) == (expected, expected)


@attrs.frozen
class Declined:
    cents: int
    card: Annotated[str, Secret] = ""


@attrs.frozen
class Unpaid:
    cents: int


@pytest.mark.parametrize("error", [Declined(5, "4111-1111"), Unpaid(5)])
def test_a_typed_error_is_rebuilt_by_its_type_and_shown_without_secrets_to_others(error):
    typed = Codec.of(type(error), what="error")
    problem = orjson.loads(orjson.dumps(problem_of(Rejected(error), typed)))
    assert error_of(problem, typed).error == error
    shown = error_of(problem).error
    assert isinstance(shown, Defect)
    assert shown.error_type == type(error).__name__
    assert orjson.loads(shown.message) == {"cents": 5} | ({"card": HIDDEN} if type(error) is Declined else {})
