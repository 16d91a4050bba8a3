"""The difference of two JSON values, as `perdure explain` shows it."""

import re
from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from perdure.cli.instances.requests import JsonChange, changes, json_text

NAMES = st.sampled_from(["a", "b", "c"])
LEAVES = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, "", "x"])
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


def applied(value: Any, change: JsonChange) -> Any:
    """Apply a change: the names of a path have one letter, its indexes one digit."""
    steps = [int(step) if step.isdigit() else step for step in re.findall(r"\w", change.path)]
    if not steps:
        return change.after
    inner = value
    for step in steps[:-1]:
        inner = inner[step]
    if change.form == "removed" and isinstance(inner, list):
        del inner[-1]  # further elements are removed one by one, the first path first
    elif change.form == "removed":
        del inner[steps[-1]]
    elif isinstance(inner, list) and change.form == "added":
        inner.append(change.after)
    else:
        inner[steps[-1]] = change.after
    return value


@given(JSON, JSON)
def test_the_changes_lead_from_one_value_to_the_other(before: Any, after: Any) -> None:
    rebuilt = deepcopy(before)
    for change in changes(before, after):
        rebuilt = applied(rebuilt, change)
    assert json_text(rebuilt) == json_text(after) or rebuilt == after  # members may be in another order
    assert list(changes(rebuilt, after)) == []


@given(JSON)
def test_equal_values_have_no_changes(value: Any) -> None:
    assert list(changes(value, deepcopy(value))) == []
