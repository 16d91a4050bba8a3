"""Laws of durations: printing and reading are inverse, and spelling does not matter."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from perdure.values.errors import DefinitionError
from perdure.values.times import MAX_DURATION_MS, duration_ms, format_duration

lengths_ms = st.integers(1, 10_000) | st.integers(1, MAX_DURATION_MS)
counts = st.integers(0, 999)
SPELLINGS = (
    (604_800_000, ("w", "week", "weeks")),
    (86_400_000, ("d", "day", "days")),
    (3_600_000, ("h", "hour", "hours")),
    (60_000, ("m", "minute", "minutes")),
    (1_000, ("s", "second", "seconds")),
    (1, ("ms", "millisecond", "milliseconds")),
)


@given(lengths_ms)
def test_printed_values_are_read_back(length_ms):
    assert duration_ms(format_duration(length_ms), what="it") == length_ms


@given(lengths_ms)
def test_a_timedelta_is_read_exactly(length_ms):
    assert duration_ms(timedelta(milliseconds=length_ms), what="it") == length_ms


@given(st.timedeltas(timedelta(microseconds=1), timedelta(days=36_500)))
def test_a_timedelta_is_rounded_up_by_less_than_a_millisecond(length):
    assert timedelta(0) <= timedelta(milliseconds=duration_ms(length, what="it")) - length < timedelta(milliseconds=1)


@given(st.data(), st.lists(st.sampled_from(SPELLINGS), min_size=1, unique=True))
def test_any_units_in_falling_order_add_up_however_they_are_spelt(data, chosen):
    total_ms, text = 0, ""
    for size_ms, names in sorted(chosen, reverse=True):
        count = data.draw(counts)
        total_ms += count * size_ms
        spaces = st.integers(0, 3).map(" ".__mul__)
        text += f"{data.draw(spaces) if text else ''}{count}{data.draw(spaces)}{data.draw(st.sampled_from(names))}"
    assert duration_ms(text, what="it", minimum_ms=0) == total_ms


@given(st.text() | st.text("0123456789 wdhms"))
def test_any_text_is_read_or_refused_with_the_text_in_the_error(text):
    try:
        length_ms = duration_ms(text, what="it")
    except DefinitionError as refused:
        outcome = refused.got
    else:
        outcome = text if duration_ms(format_duration(length_ms), what="it") == length_ms else length_ms
    assert outcome == text
