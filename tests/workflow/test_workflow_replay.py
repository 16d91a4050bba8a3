"""The pure replay: in chunks, so that it does not block the event loop, and complete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from flows import act
from hypothesis import given
from hypothesis import strategies as st

from perdure import Do, Workflow, WorkflowContext, program
from perdure.kinds.workflow.header import Header, written
from perdure.kinds.workflow.journal import Index, Row, body_of, row_of
from perdure.values.address import Address
from perdure.values.errors import InvalidInput
from perdure.values.instance import Instance


@program
def counting(ctx: WorkflowContext[int]) -> Do[int, str]:
    most = yield from ctx.state
    number = 0
    for _ in range(most):
        number = yield from act(number)
    return number


job = Workflow("counting", state=int, run=counting)


def recorded(steps: int) -> tuple[Instance, list[str]]:
    rows = [
        body_of(Row(path=f"{n}", name="act", form="done", value=f"{n + 1}", at_ms=n, began_ms=n)) for n in range(steps)
    ]
    header = Header(run_id="r", started_ms=0)
    address = Address("workflow", "counting", "c")
    return Instance(address=address, created_ms=0, updated_ms=0, state=f"{steps}", data=written(header)), rows


class Counted(Sequence[str]):
    """Rows that count how many were read."""

    def __init__(self, rows: list[str]) -> None:
        self.rows = rows
        self.read = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        self.read += 1
        found: Any = self.rows[place]
        return found


def test_a_patch_reads_no_more_rows_than_it_needs() -> None:
    """A journal of 100,000 rows would block the event loop for a fifth of a second."""
    _, bodies = recorded(1_000)
    rows = Counted(bodies)
    index = Index(rows)
    assert index.is_past("", 0, "patch new")
    assert index.is_past("", 10, "patch new")
    assert rows.read == 11
    assert not index.is_past("", 1_000, "patch new")


@given(st.lists(st.tuples(st.sampled_from(["", "0.0.", "0.1.", "0.1.2.0."]), st.booleans()), max_size=30))
def test_an_index_that_reads_few_rows_answers_as_one_that_read_all(drawn: list[tuple[str, bool]]) -> None:
    """Rows of the branches of a fork: each branch in the order of its numbers, and a patch at some of them."""
    numbers = dict.fromkeys(("", "0.0.", "0.1.", "0.1.2.0."), -1) | {"": 0, "0.1.": 2}
    bodies: list[str] = []
    for prefix, patch in drawn:
        numbers[prefix] += 1
        name = "patch new" if patch else "act"
        bodies.append(body_of(Row(path=f"{prefix}{numbers[prefix]}", name=name, form="mark", at_ms=0, began_ms=0)))
    complete = Index(bodies)
    complete.is_past("none.", 0, "")
    for prefix, last in numbers.items():
        for number in range(last + 2):
            assert Index(bodies).is_past(prefix, number, "patch new") == complete.is_past(prefix, number, "patch new")


def test_a_replay_ends_at_the_first_step_without_an_outcome() -> None:
    instance, rows = recorded(3)
    [following] = job.replayed(instance, rows[:2])
    assert (following.path, following.name) == ("2", "act")
    assert [step.status for step in job.steps(instance, rows)] == ["done"] * 3


@pytest.mark.parametrize("body", ["", "{}", '["0"]\n', '["0", "act", "done", "x", 0, 1]\n1'])
def test_a_row_of_another_form_is_refused(body: str) -> None:
    with pytest.raises(InvalidInput):
        row_of(body)


def test_a_row_is_read_as_it_was_written() -> None:
    row = Row(path="4.1.0", name="act", form="failed", at_ms=9, began_ms=7, attempts=3, value='"a\\nb"', secret=True)
    assert row_of(body_of(row)) == row
