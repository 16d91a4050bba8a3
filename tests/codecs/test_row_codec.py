"""A reader that keeps the values of the last texts of rows."""

import attrs
import pytest

from perdure.codecs import Codec
from perdure.codecs.codec import KEPT_VALUES, LONGEST_KEPT, RowCodec
from perdure.kinds.workflow.header import Header, written
from perdure.values.errors import InvalidInput


@attrs.frozen
class Note:
    text: str = ""


NOTES: Codec[Note] = Codec.of(Note, what="a note")


def text_of(length: int) -> str:
    """Return the JSON of a note that is so long."""
    return NOTES.encode(Note("x" * (length - len('{"text":""}')))).decode()


def test_a_text_is_decoded_once() -> None:
    read = RowCodec(NOTES).read
    assert read(text_of(LONGEST_KEPT)) is read(text_of(LONGEST_KEPT))


def test_a_long_text_is_decoded_each_time() -> None:
    read, long = RowCodec(NOTES).read, text_of(LONGEST_KEPT + 1)
    assert read(long) == read(long)
    assert read(long) is not read(long)


def test_a_value_that_was_written_is_read_without_being_decoded() -> None:
    data, note = RowCodec(NOTES), Note("written")
    assert data.read(data.write(note)) is note


def test_values_are_dropped_when_there_are_too_many() -> None:
    read = RowCodec(NOTES).read
    texts = [NOTES.encode(Note(str(number))).decode() for number in range(KEPT_VALUES + 1)]
    first = read(texts[0])
    values = [read(text) for text in texts[1:]]
    assert values[-1] is read(texts[-1])
    assert first is not read(texts[0])


def test_a_refused_text_is_refused_each_time() -> None:
    read = RowCodec(NOTES).read
    for _ in range(2):
        with pytest.raises(InvalidInput, match="a note"):
            read('{"other":1}')


def test_the_last_member_with_its_default_may_be_left_out() -> None:
    codec = RowCodec(NOTES, left_out=('"text":""}',))
    assert codec.write(Note("x")) == '{"text":"x"}'
    assert codec.write(Note()) == "{}"
    assert codec.read("{}") == Note()


def test_rows_of_workflows_that_share_nothing_are_those_of_earlier_code() -> None:
    assert written(Header(run_id="a", started_ms=1)).endswith(',"unanswered":[]}')
