from hypothesis import example, given
from hypothesis import strategies as st

from perdure.stores.sqlite.queries import after_prefix

_text = st.text(st.sampled_from("ab\ud7ff\ue000\uffff\U0010ffff"), max_size=4)


@given(_text, _text)
@example("\ud7ff", "\ud7ff")
@example("a\U0010ffff", "b")
def test_an_id_is_between_a_prefix_and_its_successor_when_it_begins_with_it(prefix, id_):
    after = after_prefix(prefix)
    assert id_.startswith(prefix) == (prefix <= id_ and (after is None or id_ < after))
    assert after is None or after.encode()  # no lone surrogate
