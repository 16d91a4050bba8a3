"""Examples of the one grammar of durations."""

from datetime import timedelta

import pytest

from perdure.values.errors import DefinitionError
from perdure.values.times import MAX_DURATION_MS, duration_ms, format_duration


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        ("30 minutes", 1_800_000),
        ("5s", 5_000),
        ("1h30m", 5_400_000),
        ("500 ms", 500),
        ("1 hour 30 minutes", 5_400_000),
        ("1week 2days", 777_600_000),
        ("1m1ms", 60_001),
        ("1 millisecond", 1),
        ("0h 5s", 5_000),
        ("36525d", MAX_DURATION_MS),
        (timedelta(minutes=30), 1_800_000),
        (timedelta(seconds=0.25), 250),
    ],
)
def test_reads_text_and_timedelta(value, milliseconds):
    assert duration_ms(value, what="delay") == milliseconds


@pytest.mark.parametrize("number", [5, 5.0, True, 0, None])
def test_refuses_a_bare_number_and_names_the_missing_unit(number):
    with pytest.raises(DefinitionError, match="a bare number has no unit") as refused:
        duration_ms(number, what="delay")
    assert refused.value.got is number


@pytest.mark.parametrize(
    "text",
    [
        "5",
        "",
        " ",
        "s",
        "5S",
        "1.5h",
        "-5s",
        "+5s",
        "30m 1h",
        "1h 1h",
        "1h30",
        "5 s ",
        " 5s",
        "5s, 3ms",
        "٣s",
        "1 month",
    ],
)
def test_refuses_text_outside_the_grammar(text):
    with pytest.raises(DefinitionError, match="each with its unit") as refused:
        duration_ms(text, what="delay")
    assert (refused.value.what, refused.value.got) == ("delay", text)


@pytest.mark.parametrize("value", ["0s", "36525d1ms", "999999999999999w", timedelta(0), timedelta(seconds=-1)])
def test_refuses_durations_too_short_or_longer_than_100_years(value):
    with pytest.raises(DefinitionError, match="from 1ms to 100 years"):
        duration_ms(value, what="delay")


@pytest.mark.parametrize("digits", [16, 100_000])
def test_refuses_a_number_of_very_many_digits_without_reading_it(digits):
    with pytest.raises(DefinitionError):
        duration_ms("9" * digits + "s", what="delay")


@pytest.mark.parametrize(("microseconds", "rounded_ms"), [(1, 1), (1_000, 1), (1_001, 2), (1_999, 2)])
def test_rounds_microseconds_up(microseconds, rounded_ms):
    assert duration_ms(timedelta(microseconds=microseconds), what="delay") == rounded_ms


def test_refuses_a_negative_duration_of_microseconds():
    with pytest.raises(DefinitionError, match="from 1ms"):
        duration_ms(timedelta(microseconds=-1), what="delay")


@pytest.mark.parametrize("value", ["0s", "0 ms", timedelta(0)])
def test_takes_zero_where_zero_makes_sense(value):
    assert duration_ms(value, what="delay of an alarm", minimum_ms=0) == 0


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0, "0ms"), (1, "1ms"), (5_400_000, "1h30m"), (604_861_005, "7d1m1s5ms")]
)
def test_prints_the_shortest_form(milliseconds, text):
    assert format_duration(milliseconds) == text


def test_refuses_to_print_a_negative_duration():
    with pytest.raises(DefinitionError, match="0 or more"):
        format_duration(-1)
