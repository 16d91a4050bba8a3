"""What copies a value of a turn by hand forgets no field: each agrees with ``attrs.evolve``."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.jobs.recovery import MAX_RECOVERIES, is_delivered_beside_others
from perdure.jobs.step import Commit, Execute
from perdure.jobs.turn import merge_background_run
from perdure.values.address import Address
from perdure.values.instance import Claim, Instance
from perdure.values.message import Consumed
from perdure.values.transition import Loaded, NewKeys, Purge, Remembered, Transition
from perdure.values.turn_inputs import OtherEngines

NAMES = [field.name for field in attrs.fields(Instance)]
FIELDS = st.fixed_dictionaries({name: st.integers() for name in NAMES})
SOME_FIELDS = st.dictionaries(st.sampled_from(NAMES), st.integers())


@given(fields=FIELDS, changes=SOME_FIELDS)
def test_a_changed_instance_is_the_evolved_one(fields, changes):
    instance = Instance(**fields)
    assert instance.changed(**changes) == attrs.evolve(instance, **changes)
    assert attrs.asdict(instance) == fields


@given(fields=FIELDS, state=st.text(), now_ms=st.integers(), alarm_ms=st.none() | st.integers())
def test_an_instance_after_an_event_is_the_evolved_one(fields, state, now_ms, alarm_ms):
    instance = Instance(**fields)
    assert instance.after_event(state, now_ms, alarm_ms) == attrs.evolve(
        instance,
        version=instance.version + 1,
        event_count=instance.event_count + 1,
        state=state,
        updated_ms=now_ms,
        alarm_ms=alarm_ms,
        event_claim=None,
    )


def test_an_instance_has_no_other_fields_to_change():
    with pytest.raises(AttributeError):
        Instance(**dict.fromkeys(NAMES, 0)).changed(colour="red")


@given(fields=st.fixed_dictionaries({field.name: st.integers() for field in attrs.fields(Execute)}))
def test_a_recorded_run_is_the_evolved_one(fields):
    execute = Execute(**fields)
    assert execute.recorded("stored") == attrs.evolve(execute, instance="stored", claimed="recorded", is_row=True)


EPOCHS = st.integers(0, 5)
CODES = st.frozensets(st.tuples(st.just("task"), st.sampled_from("ab"), st.sampled_from("xy")), max_size=4)


@given(living=st.frozensets(EPOCHS), known_up_to=EPOCHS, me=EPOCHS, epoch=EPOCHS | st.none() | st.just("3"))
def test_an_engine_may_be_alive_if_it_was_or_joined_since_and_is_another_one(living, known_up_to, me, epoch):
    others = OtherEngines(living, known_up_to, me)
    joined_since = type(epoch) is int and epoch > known_up_to and epoch != me
    assert (epoch in others) == (epoch in living or joined_since)


@given(codes=CODES, kind=st.sampled_from(["task", "pool"]), name=st.sampled_from("ab"), code=st.sampled_from("xy"))
def test_a_job_is_served_otherwise_by_an_engine_of_other_code(codes, kind, name, code):
    served = {known for of_kind, of_name, known in codes if (of_kind, of_name) == (kind, name)}
    assert OtherEngines(codes=codes).serve_otherwise(kind, name, code) == bool(served - {code})


INSTANCE = Instance(**dict.fromkeys(NAMES, 0) | {"address": Address("task", "a", "1")})
RUN = Claim(owner=1, cause="alarm", run_id="r", claimed_ms=0)


@pytest.mark.parametrize(
    ("claim", "goes_with_it"),
    [
        (RUN, True),
        (attrs.evolve(RUN, run_id="another run"), False),
        (attrs.evolve(RUN, owner=2), False),  # taken over by an engine that lives
        (attrs.evolve(RUN, owner=3), True),
        (None, False),
    ],
)
def test_a_run_beside_the_mailbox_changes_its_instance_only_while_it_has_the_claim(claim, goes_with_it):
    fields = {field.name: 0 for field in attrs.fields(Execute)}
    execute = Execute(**fields | {"claim": RUN, "instance": INSTANCE})
    stored = INSTANCE.changed(claim=claim, version=9)
    found = merge_background_run(execute, Loaded(instance=stored), OtherEngines(frozenset({2}), known_up_to=3, me=1))
    assert found == attrs.evolve(execute, instance=stored) if goes_with_it else isinstance(found, Commit)


def test_a_run_beside_the_mailbox_changes_nothing_once_its_instance_is_gone():
    fields = {field.name: 0 for field in attrs.fields(Execute)}
    found = merge_background_run(Execute(**fields | {"claim": RUN, "instance": INSTANCE}), Loaded())
    assert isinstance(found, Commit)
    assert found.transition.is_empty


@pytest.mark.parametrize(
    "change",
    [
        {"write": Purge()},
        {"remember": (Remembered(key="k", action="send", fingerprint="", answer="", expires_ms=1),)},
        {"new_keys": NewKeys(("k",), 1)},
        {"inbound": Consumed(1)},
        {"messages": ("a message",)},
        {"events": ("an event",)},
        {},
    ],
    ids=lambda change: next(iter(change), "nothing"),
)
def test_a_transition_is_empty_if_it_writes_nothing(change):
    assert Transition(address=INSTANCE.address, **change).is_empty == (not change)


@pytest.mark.parametrize("recoveries", range(MAX_RECOVERIES + 1))
@pytest.mark.parametrize("of", ["claim", "event_claim"])
def test_the_last_delivery_of_a_run_is_alone(recoveries, of):
    claim = attrs.evolve(RUN, recoveries=recoveries)
    row = INSTANCE.changed(**{"claim": None, "event_claim": None} | {of: claim})
    assert is_delivered_beside_others(row) == (recoveries < MAX_RECOVERIES - 1)
