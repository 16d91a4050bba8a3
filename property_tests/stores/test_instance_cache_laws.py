"""The cache of recent instances: only the newest commit of each, within its bound."""

from hypothesis import given
from hypothesis import strategies as st

from perdure.stores.sqlite.instance_cache import InstanceCache
from perdure.values.address import Address
from perdure.values.instance import Instance

LIMIT = 8_000

ids = st.sampled_from("abcdef")
texts = st.integers(0, 3_000).map(lambda size: "x" * size)
steps = st.lists(st.one_of(st.tuples(ids, texts), st.tuples(ids, st.none())))


def instance(id_: str, state: str, version: int) -> Instance:
    return Instance(address=Address("task", "orders", id_), created_ms=1, updated_ms=2, state=state, version=version)


@given(steps)
def test_the_cache_returns_the_instance_kept_last(steps):
    recent, model = InstanceCache(max_bytes=LIMIT), {}
    for version, (id_, state) in enumerate(steps):
        if state is None:
            model.pop(id_, None)
            recent.forget(Address("task", "orders", id_))
        else:
            model[id_] = instance(id_, state, version)
            recent.keep(model[id_])
        known = {id_: recent.get(Address("task", "orders", id_)) for id_ in model}
        assert all(found is None or found is model[id_] for id_, found in known.items())
        assert sum(len(found.state) for found in known.values() if found is not None) <= LIMIT


@given(ids, st.lists(ids))
def test_the_last_one_is_known_if_it_fits(last, others):
    recent = InstanceCache(max_bytes=LIMIT)
    for version, id_ in enumerate([*others, last]):
        recent.keep(instance(id_, "x", version))
    assert recent.get(Address("task", "orders", last)) is not None


@given(st.lists(ids, min_size=1))
def test_a_bound_of_nothing_keeps_nothing(given_ids):
    recent = InstanceCache(max_bytes=0)
    for id_ in given_ids:
        recent.keep(instance(id_, "", 1))
        assert recent.get(Address("task", "orders", id_)) is None
