"""An error is the same after its journey as a problem."""

import attrs
import orjson
import pytest

from perdure.values.errors import AccessDenied, Rejected
from perdure.wire.problems import STATUS, error_of, problem_of

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
