"""The panel of an instance's steps, of a kind with a journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import htpy as h

from perdure.dashboard.components import moment, numeric, panel, span_text, table
from perdure.dashboard.frame import Frame
from perdure.dashboard.happenings import failure
from perdure.kinds.workflow.journal import CHILD
from perdure.values.address import Address
from perdure.values.excerpt import shortened
from perdure.values.listings import StepRecord

MAX_STEPS: Final = 100
"""The number of newest rows of the journal that a page shows."""

MAX_OUTCOME_CHARACTERS: Final = 120

_TONES: Final = {"done": "good", "failed": "bad", "retrying": "bad", "parked": "bad", "timed_out": "bad"}


def steps_panel(frame: Frame, steps: Sequence[StepRecord], earlier: int, /) -> h.Node:
    """Show steps in the order of their ends, then those in progress.

    Args:
        frame: the frame of the page.
        steps: the steps; none: no panel.
        earlier: how many steps precede them.
    """
    if not steps:
        return None
    headings = ["When", "Step", "Name", "Status", numeric("Took"), numeric("Attempts"), "Outcome"]
    note = f"after {earlier:,} earlier ones" if earlier else None
    rows = [_row(frame, each) for each in steps]
    return panel("Steps", table(headings, rows, caption="Steps", empty=""), id_="steps", note=note)


def _name(frame: Frame, name: str) -> h.Node:
    """Return the name of a step; that of a child is a link to it."""
    job, colon, id_ = name.removeprefix(CHILD).partition(":")
    if not name.startswith(CHILD) or not colon:
        return name
    return [CHILD, h.a(href=frame.links.instance(Address("workflow", job, id_)))[f"{job}:{id_}"]]


def _row(frame: Frame, step: StepRecord) -> h.Element:
    took = None if step.began_ms is None or step.at_ms is None else max(0, step.at_ms - step.began_ms)
    outcome = failure(step.error) if step.error is not None else shortened(step.value or "", MAX_OUTCOME_CHARACTERS)
    return h.tr(data_key=f"{step.path}/{step.status}/{step.at_ms}")[
        h.td[None if step.at_ms is None else moment(frame, step.at_ms)],
        h.td[h.code[step.path]],
        h.th(scope="row")[_name(frame, step.name)],
        h.td[h.span(class_=f"event {_TONES.get(step.status, '')}")[step.status]],
        h.td(".count")["" if took is None else span_text(took)],
        h.td(".count")[f"{step.attempts}" if step.attempts else ""],
        h.td[outcome],
    ]
