from random import Random

from hypothesis import given
from hypothesis import strategies as st

from perdure.stores.memory.instances import Ordered

_entries = st.tuples(st.integers(0, 50), st.integers(0, 5_000))


@given(st.sets(_entries), st.integers(), st.integers(0, 60))
def test_entries_are_found_in_order_from_any_place(few, seed, bound):
    added = sorted({(number % 50, number) for number in range(3_000)} | few)  # enough for several blocks
    Random(seed).shuffle(added)  # noqa: S311 - not for secrets
    ordered = Ordered()
    for entry in added:
        ordered.add(entry)
    removed = set(added[::3])
    for entry in removed:
        ordered.remove(entry)
    left = sorted(set(added) - removed)
    assert list(ordered) == left
    assert list(ordered.from_((bound,))) == [entry for entry in left if entry >= (bound,)]
    assert all((entry in ordered) == (entry not in removed) for entry in added[:100])
    assert max(len(block) for block in ordered._blocks) <= 1_024  # the promise: a change moves a few hundred entries
