"""The life of a job's instances as a diagram: places, and the steps between them that were observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import htpy as h

from perdure.dashboard.components import numeric, table

_WIDTH, _HEIGHT = 96, 30
_PLACES: Final[Mapping[str, tuple[int, int]]] = {
    "new": (60, 60),
    "waiting": (220, 60),
    "running": (400, 60),
    "retrying": (560, 60),
    "paused": (220, 170),
    "ended": (60, 170),
    "failed": (400, 170),
    "parked": (560, 170),
    "left": (60, 280),
}
"""The centre of each place."""


@attrs.frozen(kw_only=True)
class Step:
    """A step of instances from one place to another.

    Attributes:
        before: the place before.
        after: the place after.
        count: how often it was observed.
    """

    before: str
    after: str
    count: int


_UNSEEN: Final = (
    Step(before="waiting", after="running", count=0),
    Step(before="retrying", after="running", count=0),
    Step(before="failed", after="waiting", count=0),
)
"""Steps without an event: they follow from the others."""


def life(steps: Sequence[Step], /) -> h.Node:
    """Draw the steps, and list them for a reader that does not see the picture."""
    if not steps:
        return h.p(".empty")["No step was observed since this engine started."]
    places = {place for step in steps for place in (step.before, step.after)} & set(_PLACES)
    parks = any(step.after == "parked" for step in steps)
    implied = [
        step for step in _UNSEEN if {step.before, step.after} <= places and not (parks and step.before == "failed")
    ]
    bottom = max(_PLACES[place][1] for place in places) + 50
    known = [step for step in (*steps, *implied) if step.before in _PLACES and step.after in _PLACES]
    rows = [h.tr[h.th(scope="row")[step.before], h.td[step.after], h.td(".count")[f"{step.count:,}"]] for step in steps]
    return h.div(".life")[
        h.svg(
            viewBox=f"0 0 640 {bottom}",
            role="img",
            aria_label="Places of an instance, and the observed steps between them",
        )[
            h.defs[
                h.marker(
                    id="arrow", viewBox="0 0 8 8", refX="7", refY="4", markerWidth="7", markerHeight="7", orient="auto"
                )[h.path(d="M0 0 8 4 0 8z")]
            ],
            [_arrow(step) for step in known],
            [_place(name) for name in _PLACES if name in places],
        ],
        h.details[
            h.summary["as a table"],
            table(["From", "To", numeric("Observed")], rows, caption="Observed steps", empty=""),
        ],
    ]


def _place(name: str) -> h.Element:
    x, y = _PLACES[name]
    return h.g(class_=f"place {name}")[
        h.rect(x=str(x - _WIDTH // 2), y=str(y - _HEIGHT // 2), width=str(_WIDTH), height=str(_HEIGHT), rx="6"),
        h.text(x=str(x), y=str(y + 5), text_anchor="middle")[name],
    ]


def _arrow(step: Step) -> h.Element:
    (x1, y1), (x2, y2) = _PLACES[step.before], _PLACES[step.after]
    label = f"{step.count:,}" if step.count else ""
    if step.before == step.after:
        top = y1 - _HEIGHT // 2
        path, at = f"M{x1 - 20} {top} C{x1 - 30} {top - 40} {x1 + 30} {top - 40} {x1 + 20} {top}", (x1, top - 34)
    elif y1 == y2:
        bend, side = (-26 if x2 > x1 else 26), (1 if x2 > x1 else -1)
        edge = y1 + (-_HEIGHT // 2 if x2 > x1 else _HEIGHT // 2)
        start, end = x1 + side * 26, x2 - side * 26
        path, at = (
            f"M{start} {edge} Q{(start + end) // 2} {edge + bend} {end} {edge}",
            ((start + end) // 2, edge + bend),
        )
    else:
        down = 1 if y2 > y1 else -1
        shift = 14 * down
        start_y, end_y = y1 + down * _HEIGHT // 2, y2 - down * _HEIGHT // 2
        path = f"M{x1 + shift} {start_y} L{x2 + shift} {end_y}"
        at = ((x1 + x2) // 2 + shift + 14, (start_y + end_y) // 2)
    return h.g(class_="step" if step.count else "step implied")[
        h.path(d=path, marker_end="url(#arrow)"),
        label and h.text(x=str(at[0]), y=str(at[1] + 4), text_anchor="middle")[label],
    ]
