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


def test_an_instance_has_no_other_fields_to_change():
    with pytest.raises(AttributeError):
        Instance(**dict.fromkeys(NAMES, 0)).changed(colour="red")


@given(fields=st.fixed_dictionaries({field.name: st.integers() for field in attrs.fields(Execute)}))
def test_a_recorded_run_is_the_evolved_one(fields):
    execute = Execute(**fields)
    assert execute.recorded("stored") == attrs.evolve(execute, instance="stored", claimed="recorded")
