"""The instances in memory: the committed row of each, within the bound."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from perdure import Task, TaskContext, program
from perdure.engine.residents import Residents
from perdure.stores.memory import MemoryBackend
from perdure.values.instance import Instance
from perdure.values.transition import Loaded
from perdure.values.turn_inputs import Decoded

LIMIT = 8_000


@program
def ignore(ctx: TaskContext[str], event: int):
    yield from ctx.set_state("")


orders = Task("orders", state=str, event=int, initial="", on_event=ignore)
ids = st.sampled_from("abcdef")
steps = st.lists(
    st.tuples(st.just("keep"), ids, st.integers(0, 1_500), st.booleans())
    | st.tuples(st.sampled_from(("purge", "doubt", "doubt all", "rest", "busy")), ids)
)


def instance(id_: str, size: int, version: int) -> Instance:
    return Instance(
        address=orders.address(id_), created_ms=1, updated_ms=2, state="x" * size, incarnation=1, version=version
    )


@given(steps)
def test_a_row_is_the_one_kept_last_and_the_bound_holds_at_rest(steps):
    residents = Residents(attrs.evolve(MemoryBackend().open(), cache_bytes=LIMIT))
    model: dict[str, Loaded] = {}
    for version, (verb, id_, *how) in enumerate(steps):
        resident = residents.at(orders, orders.address(id_))
        match verb:
            case "keep":
                row = instance(id_, how[0], version)
                model[id_] = Loaded(instance=row)
                residents.keep(resident, model[id_], Decoded(row.state, 1) if how[1] else None)
            case "purge":
                model[id_] = Loaded()
                residents.keep(resident, model[id_])
            case "doubt":
                model.pop(id_, None)
                residents.doubt(resident)
            case "doubt all":
                model.clear()
                residents.doubt_all()
            case "busy":
                resident.state = "busy"
            case _:
                resident.state = "idle"
        if resident.state == "idle":
            residents.rest(resident)
        held = [residents.get(orders.address(other)) for other in "abcdef"]
        known = [one for one in held if one is not None and one.loaded is not None]
        assert all(one.loaded is model[one.address.id] for one in known)
        assert residents.size_bytes == sum(one.weight for one in held if one is not None)
        busy = sum(one.weight for one in held if one is not None and one.state == "busy")
        if resident.state == "idle":
            assert residents.size_bytes <= max(LIMIT, busy)


@given(ids, st.lists(ids))
def test_the_last_one_is_known_if_it_fits(last, others):
    residents = Residents(attrs.evolve(MemoryBackend().open(), cache_bytes=LIMIT))
    for version, id_ in enumerate([*others, last]):
        resident = residents.at(orders, orders.address(id_))
        residents.keep(resident, Loaded(instance=instance(id_, 1, version)))
        residents.rest(resident)
    assert residents.row(orders.address(last)) is not None


@given(st.sampled_from(("written", "doubted", "nothing")))
def test_a_row_that_changed_during_a_read_is_not_replaced_by_it(meanwhile):
    residents = Residents(MemoryBackend().open())
    changed = residents.begin_read()
    read = instance("a", 1, 1)
    if meanwhile == "written":
        resident = residents.at(orders, read.address)
        residents.keep(resident, Loaded(instance=instance("a", 1, 2)))
        residents.keep(resident, Loaded())  # it was purged
        residents.rest(resident)
    elif meanwhile == "doubted":
        residents.doubt_all()
    residents.end_read(changed, {("task", "orders"): orders}, [read])
    assert residents.row(read.address) is (read if meanwhile == "nothing" else None)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.sets(st.integers(0, 9), max_size=3))
def test_of_instances_that_no_caller_asked_those_that_ended_last_are_kept(finished, asked):
    """Those of which a caller asked something are kept besides, within the bound in bytes."""
    residents = Residents(MemoryBackend().open(), max_unasked=3)
    for version, number in enumerate(finished):
        resident = residents.at(orders, orders.address(str(number)))
        resident.use = "once" if number in asked else "never"
        residents.keep(resident, Loaded(instance=instance(str(number), 1, version)))
        residents.rest(resident)
    last_first = dict.fromkeys(number for number in reversed(finished) if number not in asked)
    kept = {number for number in range(10) if residents.row(orders.address(str(number))) is not None}
    assert kept == {number for number in finished if number in asked} | set(list(last_first)[:3])
    assert residents.size_bytes == sum(residents.at(orders, orders.address(str(number))).weight for number in kept)
