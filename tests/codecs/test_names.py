from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, Optional, TypeVar, Union

import pytest

from perdure.codecs import Codec, describe_type

T = TypeVar("T")


class Outer:
    class Inner(Enum):
        A = 1


def local_class():
    class Local:
        pass

    return Local


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (int, "int"),
        (None, "None"),
        (type(None), "None"),
        (Any, "Any"),
        (Outer.Inner, "Outer.Inner"),
        (local_class(), "Local"),
        (Optional[int], "int | None"),  # noqa: UP045  both spellings have one name
        (Union[int, str], "int | str"),  # noqa: UP007
        (int | str | None, "int | str | None"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[()], "tuple[()]"),
        (dict[str, list[Outer.Inner]], "dict[str, list[Outer.Inner]]"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Callable[[int, str], bool], "Callable[[int, str], bool]"),
        (T, "T"),
    ],
)
def test_a_type_is_named_as_it_is_written(form, name):
    assert describe_type(form) == name


def test_a_codec_knows_the_name_of_its_type():
    codec = Codec.of(int | None, what="state of 'counter'")
    assert (codec.what, codec.type_name) == ("state of 'counter'", "int | None")
