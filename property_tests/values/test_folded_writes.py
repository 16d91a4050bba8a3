"""Turns that are folded into one transition leave the row, and write the rest, as if each were stored by itself."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from perdure.values.address import Address
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.transition import KeepInstance, Put, Transition, coalesced

ADDRESS = Address(kind="task", name="orders", id="a")
ROW = Instance(address=ADDRESS, created_ms=1, updated_ms=1, incarnation=3, version=5, state="0", alarm_ms=7)
CLAIM = Claim(owner=1, cause="alarm", run_id="r", claimed_ms=2)
ALWAYS = {"version", "updated_ms"}
FIELDS = {
    "state": {"state", "event_count"},
    "claim": {"claim", "run_count"},
    "run": {"state", "alarm_ms", "claim"},
    "any": {field.name for field in attrs.fields(Instance)},
}
"""The columns that a store may write, by ``Put.changes``."""

verbs = st.lists(st.sampled_from(("state", "claim", "run", "any", "keep")), min_size=1, max_size=6)


def after(row: Instance, verb: str, number: int) -> Instance:
    changed = row.changed(version=row.version + 1, updated_ms=10 + number)
    if verb == "state":
        return changed.changed(state=f"s{number}", event_count=row.event_count + 1)
    if verb == "claim":
        return changed.changed(claim=CLAIM, run_count=row.run_count + 1)
    if verb == "run":
        return changed.changed(state=f"r{number}", alarm_ms=20 + number, claim=None)
    return changed.changed(data=f"d{number}", lane="l", alarm_ms=None)


def stored(row: Instance, transition: Transition) -> Instance:
    """The row that a store leaves that writes only the columns that the transition names."""
    write = transition.write
    if isinstance(write, KeepInstance):
        return row
    assert isinstance(write, Put)
    assert transition.expected == row.fence
    assert transition.before in (None, row)
    fields = FIELDS[write.changes] | ALWAYS
    return row.changed(**{name: getattr(write.instance, name) for name in fields})


@given(verbs=verbs)
def test_folded_turns_leave_the_row_that_they_leave_one_after_the_other(verbs: list[str]) -> None:
    row, whole, told = ROW, Transition(address=ADDRESS), []
    for number, verb in enumerate(verbs):
        if (verb == "claim") == (row.claim is not None) and verb in ("claim", "run"):
            continue  # a claim is of a row without one, and the end of a run of a row with one
        told.append(number)
        messages, events = (number,), (number,)  # only their order counts
        if verb == "keep":
            turn = Transition(address=ADDRESS, messages=messages, events=events)
        else:
            write = Put(after(row, verb, number), verb)
            turn = Transition(
                address=ADDRESS, expected=row.fence, write=write, messages=messages, events=events, before=row
            )
        row = stored(row, turn)
        whole = coalesced(whole, turn)
    once = stored(ROW, whole)
    assert once.changed(version=0) == row.changed(version=0)
    assert whole.messages == whole.events == tuple(told)
    assert whole.expected in (None, Fence(ROW.incarnation, ROW.version))
