"""Trace contexts: a valid one is returned in version 00, any other text is ignored."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from perdure.values.trace import trace_context

HEX = "0123456789abcdef"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def hexadecimal(size: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=size, max_size=size)


@given(hexadecimal(32), hexadecimal(16), hexadecimal(2))
def test_a_valid_context_is_returned(trace_id: str, span_id: str, flags: str) -> None:
    text = f"00-{trace_id}-{span_id}-{flags}"
    valid = trace_id.strip("0") and span_id.strip("0")
    assert trace_context(text) == (text if valid else None)


@given(hexadecimal(2).filter(lambda version: version not in {"00", "ff"}), st.text().filter(str.isprintable))
def test_a_later_version_is_read_as_this_one(version: str, more: str) -> None:
    given_text = TRACE.replace("00-", f"{version}-", 1)
    assert trace_context(given_text) == TRACE
    assert trace_context(f"{given_text}-{more}") in {TRACE, None}


@given(st.one_of(st.text(), st.none(), st.binary(), st.from_regex(r"[0-9a-f]{2}-[0-9a-f-]{0,60}")))
@example(TRACE.upper())
@example(f"{TRACE}\n")
@example(f"{TRACE}-more")
@example("ff" + TRACE[2:])
@example("01" + TRACE[2:] + "-" + 500 * "x")
def test_any_other_value_is_ignored(value: object) -> None:
    found = trace_context(value)
    assert found is None or re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", found)
    assert found is None or not isinstance(value, str) or value[2:55] == found[2:]


def test_examples_that_are_not_valid() -> None:
    for text in (TRACE.upper(), f"{TRACE}\n", f"{TRACE}-more", "ff" + TRACE[2:], "01" + TRACE[2:] + "-" + 500 * "x"):
        assert trace_context(text) is None
