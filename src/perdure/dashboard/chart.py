"""Charts as SVG: bars over time. The text around them is HTML, so that it keeps its size at any width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import htpy as h

_HEIGHT: Final = 100
_STEP: Final = 10
_BAR: Final = 8


@attrs.frozen(kw_only=True)
class Series:
    """One series of a chart.

    Attributes:
        name: its name in the legend.
        tone: its class in the style.
        values: one number for each bar.
    """

    name: str
    tone: str
    values: Sequence[float]


def bars(
    series: Sequence[Series], /, *, label: str, titles: Sequence[str], top: str, ends: tuple[str, str]
) -> h.Element:
    """Draw stacked bars.

    Args:
        series: drawn from the bottom to the top.
        label: describes the chart in a sentence, for a reader that does not see it.
        titles: the text that a pointer over each bar shows.
        top: the text at the top of the axis, for the greatest sum.
        ends: the texts at both ends of the time axis.
    """
    sums = [sum(column) for column in zip(*(each.values for each in series), strict=True)]
    highest = max(sums, default=0)
    return h.figure(".chart")[
        h.figcaption[
            [h.span(class_=f"key {each.tone}")[each.name] for each in series], h.span(".top")[top if highest else ""]
        ],
        h.svg(
            viewBox=f"0 0 {len(titles) * _STEP} {_HEIGHT}",
            preserveAspectRatio="none",
            role="img",
            aria_label=label,
        )[
            h.line(class_="base", x1="0", x2=str(len(titles) * _STEP), y1=str(_HEIGHT), y2=str(_HEIGHT)),
            [
                h.g[h.title[title], _column(series, number, highest), _target(number)]
                for number, title in enumerate(titles)
            ],
        ],
        h.div(".ends", aria_hidden="true")[h.span[ends[0]], h.span[ends[1]]],
    ]


def _target(number: int) -> h.Element:
    """Return an invisible bar of full height, so that a pointer finds a low one."""
    return h.rect(class_="target", x=str(number * _STEP), y="0", width=str(_STEP), height=str(_HEIGHT))


def _column(series: Sequence[Series], number: int, highest: float) -> list[h.Element]:
    shown: list[h.Element] = []
    bottom = float(_HEIGHT)
    for each in series:
        height = _HEIGHT * each.values[number] / highest if highest else 0.0
        if height:
            bottom -= height
            shown.append(
                h.rect(
                    class_=each.tone,
                    x=str(number * _STEP + 1),
                    y=f"{bottom:.2f}",
                    width=str(_BAR),
                    height=f"{height:.2f}",
                )
            )
    return shown
