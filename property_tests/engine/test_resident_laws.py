"""The instances in memory: the committed row of each, within the bound."""

from hypothesis import example, given
from hypothesis import strategies as st

from perdure import Task, TaskContext, program
from perdure.engine.mailbox.entry import MailboxEntry
from perdure.engine.mailbox.instance_cache import MOST_CURRENT, MOST_NEW, InstanceCache, KnownKeys
from perdure.engine.mailbox.instance_cell import InstanceCell
from perdure.jobs.request import Request
from perdure.runtime.record import Sizes
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import overlay
from perdure.stores.memory import MemoryBackend
from perdure.values.instance import Instance
from perdure.values.transition import Loaded, Remembered
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
@example([("busy", "a"), ("purge", "a"), ("doubt all", "b")])
@example([("keep", "a", 0, False), ("busy", "d"), ("keep", "c", 0, False), ("keep", "d", 1167, True), ("purge", "b")])
def test_a_row_is_the_one_kept_last_and_the_bound_holds_at_rest(steps):
    cache = InstanceCache(overlay(MemoryBackend().open(), cache_bytes=LIMIT))
    model: dict[str, Loaded] = {}
    for version, (verb, id_, *how) in enumerate(steps):
        cell = cache.at(orders, orders.address(id_))
        match verb:
            case "keep":
                row = instance(id_, how[0], version)
                model[id_] = Loaded(instance=row)
                cache.keep(cell, model[id_], Decoded(row.state, 1) if how[1] else None)
            case "purge":
                model[id_] = Loaded()
                cache.keep(cell, model[id_])
            case "doubt":
                model.pop(id_, None)
                cache.doubt(cell)
            case "doubt all":
                model.clear()
                cache.doubt_all()
            case "busy":
                cell.state = "busy"
            case _:
                cell.state = "idle"
        if cell.state == "idle":
            cache.rest(cell)
        held = [cache.get(orders.address(other)) for other in "abcdef"]
        known = [one for one in held if one is not None and one.loaded is not None]
        assert all(one.loaded is model[one.address.id] for one in known)
        assert cache.size_bytes == sum(one.weight for one in held if one is not None)
        busy = sum(one.weight for one in held if one is not None and one.state == "busy")
        if cell.state == "idle":
            assert cache.size_bytes <= max(LIMIT, busy)


@given(ids, st.lists(ids))
def test_the_last_one_is_known_if_it_fits(last, others):
    cache = InstanceCache(overlay(MemoryBackend().open(), cache_bytes=LIMIT))
    for version, id_ in enumerate([*others, last]):
        cell = cache.at(orders, orders.address(id_))
        cache.keep(cell, Loaded(instance=instance(id_, 1, version)))
        cache.rest(cell)
    assert cache.row(orders.address(last)) is not None


@given(st.sampled_from(("written", "doubted", "nothing")))
def test_a_row_that_changed_during_a_read_is_not_replaced_by_it(meanwhile):
    cache = InstanceCache(MemoryBackend().open())
    changed = cache.begin_read()
    read = instance("a", 1, 1)
    if meanwhile == "written":
        cell = cache.at(orders, read.address)
        cache.keep(cell, Loaded(instance=instance("a", 1, 2)))
        cache.keep(cell, Loaded())  # it was purged
        cache.rest(cell)
    elif meanwhile == "doubted":
        cache.doubt_all()
    cache.end_read(changed, {("task", "orders"): orders}, [read])
    assert cache.row(read.address) is (read if meanwhile == "nothing" else None)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.sets(st.integers(0, 9), max_size=3))
def test_of_instances_that_no_caller_asked_those_that_ended_last_are_kept(finished, asked):
    """Those of which a caller asked something are kept besides, within the bound in bytes."""
    cache = InstanceCache(MemoryBackend().open(), sizes=Sizes(unasked_instances=3))
    for version, number in enumerate(finished):
        cell = cache.at(orders, orders.address(str(number)))
        cell.use = "once" if number in asked else "never"
        cache.keep(cell, Loaded(instance=instance(str(number), 1, version)))
        cache.rest(cell)
    last_first = dict.fromkeys(number for number in reversed(finished) if number not in asked)
    kept = {number for number in range(10) if cache.row(orders.address(str(number))) is not None}
    assert kept == {number for number in finished if number in asked} | set(list(last_first)[:3])
    assert cache.size_bytes == sum(cache.at(orders, orders.address(str(number))).weight for number in kept)


def remembered(key: str, answer: str) -> Remembered:
    return Remembered(key=key, action="send", fingerprint="f", answer=answer, expires_ms=9)


def keys_with(sizes: Sizes) -> tuple[KnownKeys, InstanceCell]:
    cache = InstanceCache(MemoryBackend().open(), sizes=sizes)
    return KnownKeys(cache, max_keys=1_000), cache.at(orders, orders.address("a"))


@given(most=st.integers(1, 5), longest=st.integers(1, 5), answers=st.lists(st.integers(0, 8), max_size=12))
def test_the_keys_in_memory_are_the_newest_with_a_short_answer(most, longest, answers):
    known, cell = keys_with(Sizes(known_keys=most, known_answer=longest))
    for number, length in enumerate(answers):
        known.stored(cell, [remembered(f"k{number}", "x" * length)])
    kept = [number for number in range(len(answers)) if known.find(cell, f"k{number}", 0) is not None]
    assert kept == [number for number, length in enumerate(answers) if length <= longest][-most:]


@example(lately=1, repeats=0)
@given(lately=st.integers(1, 100), repeats=st.integers(0, 15))
def test_keys_are_looked_up_first_once_they_were_repeated_lately(lately, repeats):
    known, cell = keys_with(Sizes(lately=lately))
    for _ in range(1 + repeats):
        known.looked_up(cell, Loaded(remembered=remembered("k", "")))
    request = MailboxEntry(Request(command=1, action="send", idempotency_key="k"), Simulation().runtime.future())
    assert known.may_skip(cell, request) == ((1 - 1 / lately) ** (1 + repeats) >= MOST_NEW)


@example(lately=1, outdated=1)
@given(lately=st.integers(1, 100), outdated=st.integers(1, 15))
def test_rows_in_memory_are_not_relied_on_once_they_were_outdated_lately(lately, outdated):
    cache = InstanceCache(MemoryBackend().open(), sizes=Sizes(lately=lately))
    cache.may_use_rows = False  # other engines write the same instances
    for _ in range(outdated):
        cache._note_current(0.0)  # pyright: ignore[reportPrivateUsage]
    assert cache.are_current == ((1 - 1 / lately) ** outdated >= MOST_CURRENT)
