import pytest

from perdure.codecs import fingerprint
from perdure.values.errors import InvalidInput


def test_the_fingerprint_of_a_payload_never_changes():
    assert fingerprint(b'{"a":1,"b":[1,2]}') == "dfa78bb8697a5e09925c310f8b18bc8c"


def test_the_order_of_keys_and_the_spacing_do_not_count():
    assert fingerprint(b'{"a":{"c":1,"d":2},"b":2}') == fingerprint(b'{"b": 2, "a": {"d": 2, "c": 1}}')


@pytest.mark.parametrize("other", [b'{"a":1,"b":[2,1]}', b'{"a":1.0,"b":[1,2]}', b'{"a":1}', b"null"])
def test_another_payload_has_another_fingerprint(other):
    assert fingerprint(b'{"a":1,"b":[1,2]}') != fingerprint(other)


def test_a_value_that_is_not_json_has_no_fingerprint():
    with pytest.raises(InvalidInput, match=r"payload to fingerprint: \$: not JSON"):
        fingerprint(b"{")
