"""What copies a value of a turn by hand forgets no field: each agrees with ``attrs.evolve``."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.jobs.step import Execute
from perdure.values.instance import Instance

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
    assert execute.recorded("stored") == attrs.evolve(execute, instance="stored", claimed="recorded")
