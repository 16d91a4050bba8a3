"""Events as lines of a file."""

from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.examples.incoming import INCOMING, IncomingOrder, IncomingWebhook, Malformed, read_incoming
from perdure.examples.order_processor import Cancelled, Delivered, OrderPlaced, PaymentReceived, Shipped

text = st.text(min_size=1, max_size=20)
orders = st.builds(
    IncomingOrder,
    text,
    text,
    st.one_of(
        st.builds(OrderPlaced, text, st.integers(0, 10**6)),
        st.builds(PaymentReceived, st.integers(0, 10**6)),
        st.builds(Shipped, text),
        st.just(Delivered()),
        st.builds(Cancelled, text),
    ),
)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=10,
)
webhooks = st.builds(IncomingWebhook, text, text, text, json)


@given(st.lists(orders | webhooks, unique_by=lambda incoming: incoming.id))
def test_written_values_are_read(events):
    lines = [INCOMING.encode(event) for event in events]
    assert list(read_incoming(lines)) == events


@given(st.lists(orders | webhooks, min_size=1, max_size=5, unique_by=lambda incoming: incoming.id), st.data())
def test_an_event_may_come_again_under_its_id_and_nothing_else_may(events, data):
    again = data.draw(st.sampled_from(events))
    other = IncomingWebhook(again.id, "another sender", "something else", None)
    lines = [INCOMING.encode(event) for event in (*events, again, other)]
    *read, last = read_incoming(lines)
    assert read == [*events, again]
    assert isinstance(last, Malformed) or other == again


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "not JSON"),
        (b"{}", "$.type: missing; expected one of 'webhook', 'order'"),
        (b'{"type":"webhook","id":"a","contact":"c","kind":"k","payload":1,"more":2}', "unknown key"),
        (b'{"type":"webhook","id":"","contact":"c","kind":"k","payload":1}', "text of 1 to 512 characters"),
        (b'{"type":"order","id":"a","order":"","event":{"type":"delivered"}}', "text of 1 to 512 characters"),
        (b'{"type":"order","id":"a","order":"o","event":{"type":"lost"}}', "$.event.type: expected one of"),
        (b"\xff", "not JSON"),
    ],
)
def test_an_invalid_line_is_reported_with_the_reason(line, problem):
    (read,) = read_incoming([b"\n", line])
    assert isinstance(read, Malformed)
    assert read.line == 2
    assert problem in read.problem


def test_the_shipped_events_are_valid_and_include_those_of_the_demo():
    with files("perdure.examples").joinpath("events.jsonl").open("rb") as lines:
        events = list(read_incoming(lines))
    assert not [event for event in events if isinstance(event, Malformed)]
    kinds = {type(event.event) for event in events if isinstance(event, IncomingOrder)}
    assert kinds == {OrderPlaced, PaymentReceived, Shipped, Delivered, Cancelled}
    assert len({event.contact for event in events if isinstance(event, IncomingWebhook)}) > 10
    assert len(events) - len({event.id for event in events}) > 10
