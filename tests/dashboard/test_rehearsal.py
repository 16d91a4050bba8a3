"""The dashboard's page for the result of a rehearsal."""

import re

import orjson
import pytest
from visitor import visit

from perdure.dashboard.timeline import MAX_RESULT_CHARACTERS

RESULT = {
    "begins": "2026-01-01T00:00:00+00:00",
    "ends": "2026-01-31T00:00:00+00:00",
    "instances": 3,
    "differing": 2,
    "notes": ["rehearsed 3 of 3 instances to the end"],
    "groups": [
        {
            "job": "task:plan",
            "sentence": "charge happens twice <b>",
            "instances": 2,
            "more": {"charge": 4},
            "example": {
                "address": "task:plan:c1",
                "before": [{"at": "2026-01-08T00:00:00+00:00", "act": "charge('c1', 100)"}],
                "old": [{"at": "2026-01-15T00:00:00+00:00", "act": "charge('c1', 100)"}],
                "new": [
                    {"at": "2026-01-08T00:00:00+00:00", "act": "charge('c1', 100)"},
                    {"at": "2026-01-15T00:00:00+00:00", "act": "charge('c1', 100)"},
                ],
            },
        }
    ],
}


def test_the_result_of_a_rehearsal_is_shown_with_a_picture():
    async def scenario(visitor):
        csrf = await visitor.token_of_forms("/rehearsal")
        return await visitor.post("/rehearsal", {"csrf": csrf, "result": orjson.dumps(RESULT).decode()})

    page = visit(scenario)
    assert page.status_code == 200
    assert "2 task:plan: charge happens twice &lt;b&gt;" in page.text
    assert "2 of 3 instances have another future, from 2026-01-01 to 2026-01-31" in page.text
    # The second charge of the same instant is the new code's alone: all other acts are equal.
    marks = re.findall(r'<(?:circle|polygon) class="(\w+)"', page.text)
    assert marks == ["same", "same", "same", "same", "new"]
    assert '<li class="other"><time datetime="2026-01-08T00:00:00+00:00">2026-01-08 00:00:00</time>' in page.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        orjson.dumps(RESULT | {"begins": "soon"}).decode(),
        orjson.dumps(RESULT | {"ends": "2026-01-01T00:00:00"}).decode(),
        orjson.dumps(RESULT | {"groups": [{}]}).decode(),
        " " * (MAX_RESULT_CHARACTERS + 1),
    ],
)
def test_a_text_that_is_no_result_of_a_rehearsal_is_refused(text):
    async def scenario(visitor):
        csrf = await visitor.token_of_forms("/rehearsal")
        return await visitor.post("/rehearsal", {"csrf": csrf, "result": text})

    page = visit(scenario)
    assert page.status_code == 400
    assert "result of a rehearsal" in page.text
