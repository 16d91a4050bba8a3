"""Timelines: events as rows, run attempts, the positions of a debugger, and the two futures of a rehearsal.

A new event type shows up with its fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from shlex import quote
from typing import Any, Final, cast

import attrs
import htpy as h
import orjson
from cattrs import Converter
from markupsafe import Markup

from perdure.dashboard.page import (
    Frame,
    Page,
    clock,
    code,
    error_line,
    fields,
    hidden,
    link_text,
    moment,
    panel,
    span_text,
    table,
)
from perdure.stores.values import LoggedEvent, UnreadEvent
from perdure.values.address import Address
from perdure.values.errors import InvalidInput
from perdure.values.event import DebounceFlushed, Event, JobExecuted, JobFailed, JobRecovered, JobRetryExhausted
from perdure.values.excerpt import fields_in_line, shortened
from perdure.values.status import FailureRecord
from perdure.values.times import from_ms, to_ms

_HEADER: Final = {"event_id", "at_ms", "address", "run_count"}
_ADDRESSES: Final = {"target", "sender", "told_by"}
_TONES: Final = {
    "job.failed": "warn",
    "job.retry_exhausted": "bad",
    "job.parked": "bad",
    "job.left": "bad",
    "job.executed": "good",
    "debounce.flushed": "good",
    "message.rejected": "warn",
    "message.dead_lettered": "bad",
    "job.paused": "held",
}


def event_row(frame: Frame, logged: LoggedEvent, /) -> h.Element:
    """Show an event."""
    event = logged.event
    return h.tr(data_key=str(logged.sequence))[
        h.td[moment(frame, event.at_ms)],
        h.th(scope="row")[h.span(class_=f"event {_TONES.get(event.type, 'calm')}")[event.type]],
        h.td[_unread(event) if isinstance(event, UnreadEvent) else _fields(frame, event)],
        h.td(".count")[f"#{logged.sequence}"],
    ]


def _unread(event: UnreadEvent) -> h.Node:
    return ["not readable by this version: ", h.code[event.reason]]


def _fields(frame: Frame, event: Event) -> list[h.Node]:
    members = {field.name: getattr(event, field.name) for field in attrs.fields(type(event))}
    given = {name: value for name, value in members.items() if name not in _HEADER and value not in (None, "", ())}
    errors = [value for value in given.values() if isinstance(value, FailureRecord)]
    pairs = [h.span(".pair")[_value(frame, name, value)] for name, value in given.items() if value not in errors]
    return [*pairs, *(h.div[failure(error)] for error in errors)]


def _value(frame: Frame, name: str, value: object) -> h.Node:
    label = name.removesuffix("_ms").replace("_", " ")
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        return [f"{label} ", [[link_text(frame, str(item)), " "] for item in items]]
    match value:
        case int() if name == "duration_ms":
            shown: h.Node = h.b[span_text(value)]
        case int() if name.endswith("_ms"):
            shown = h.b[moment(frame, value), " ", h.small[clock(value)]]
        case str() if name in _ADDRESSES:
            shown = link_text(frame, value)
        case str() if name == "state":
            return h.details[h.summary["state"], code(indented(value), label="State")]
        case _:
            shown = h.b[str(value)]
    return [f"{label} ", shown]


def failure(error: FailureRecord | None, /) -> h.Node:
    """Show an error, if there is one: its class and text, and behind a button its data and its traceback."""
    if error is None:
        return None
    return [
        h.span(".failure")[error_line(error.error_type, error.message)],
        error.data and h.details[h.summary["data"], code(indented(error.data), label="Data of the error")],
        error.traceback and h.details[h.summary["traceback"], code(error.traceback, label="Traceback")],
    ]


def indented(encoded: str, /) -> str:
    """Return JSON text with indentation. Other text as it is."""
    try:
        return orjson.dumps(orjson.loads(encoded), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return encoded


@attrs.frozen(kw_only=True)
class Attempt:
    """One run attempt.

    Attributes:
        tone: the outcome's class in the style.
        duration_ms: how long it took. None if that is not known.
    """

    at_ms: int
    run_id: str
    attempt: int
    outcome: str
    tone: str
    duration_ms: int | None = None
    error: FailureRecord | None = None


def attempts_in(events: Sequence[LoggedEvent], /) -> tuple[Attempt, ...]:
    """Return the attempts in events, in their order."""
    found = (_attempt(logged) for logged in events)
    return tuple(each for each in found if each is not None)


def _attempt(logged: LoggedEvent) -> Attempt | None:
    match logged.event:
        case JobExecuted() as event:
            return Attempt(
                at_ms=event.at_ms,
                run_id=event.run_id,
                attempt=event.attempt,
                outcome="succeeded",
                tone="good",
                duration_ms=event.duration_ms,
            )
        case DebounceFlushed() as event:
            return Attempt(at_ms=event.at_ms, run_id=event.run_id, attempt=1, outcome="flushed", tone="good")
        case JobFailed() as event:
            return Attempt(
                at_ms=event.at_ms,
                run_id=event.run_id,
                attempt=event.attempt,
                outcome=f"{event.hook} failed" if event.retry_at_ms is None else "failed, retried",
                tone="warn",
                duration_ms=event.duration_ms,
                error=event.error,
            )
        case JobRetryExhausted() as event:
            outcome = f"given up: {event.reason.replace('_', ' ')}"
            return Attempt(at_ms=event.at_ms, run_id=event.run_id, attempt=event.attempt, outcome=outcome, tone="bad")
        case JobRecovered() as event:
            return Attempt(
                at_ms=event.at_ms, run_id=event.run_id, attempt=event.attempt, outcome="recovered", tone="warn"
            )
        case _:
            return None


# ---------------------------------------------------------------- debuggers
@attrs.frozen(kw_only=True)
class DebuggedInstance:
    """A position in the journal of a workflow, or in the history of another instance.

    Attributes:
        position: the position as JSON-able data, without secrets. Empty if there is none.
        problem: why there is none.
    """

    __repr__ = fields_in_line

    address: Address
    position: dict[str, Any]
    problem: str = ""


def debug_page(frame: Frame, view: DebuggedInstance, /) -> Page:
    """Return the page that shows a position, with links to the others. It changes nothing."""
    at, back = view.position, frame.links.instance(view.address)
    number = f" --at {at['number']}" if at else ""
    return Page(
        title=f"debug {view.address.id}",
        section="instances",
        crumbs=(("Instances", frame.links.page("/instances")), (str(view.address), back)),
        body=[view.problem and h.p(".error", role="alert")[view.problem], bool(at) and _position(frame, view)],
        command=f"perdure debug {quote(str(view.address))}{number} --store URL --app MODULE:APP",
    )


def _position(frame: Frame, view: DebuggedInstance) -> list[h.Node]:
    at = view.position
    what = "answers" if at["form"] == "journal" else "requests and runs"
    frames: list[dict[str, Any]] = at["frames"]
    none = at["form"] == "journal" and not frames and h.p(".empty")["No do-block of the program is suspended here."]
    return [
        h.p(".lead")[f"{at['number']} of {at['of']} {what}"],
        h.nav(".toolbar", aria_label="Positions")[
            at["number"] > at["first"] and h.a(".button", rel="prev", href=_at(frame, view, at["number"] - 1))["Back"],
            at["number"] < at["of"] and h.a(".button", rel="next", href=_at(frame, view, at["number"] + 1))["Next"],
        ],
        panel("Position", fields([(label, text) for label, text in at["facts"]]), id_="position"),
        h.div(".grid.two")[
            at["form"] == "history" and _shown_state("State before", at["before"]),
            _shown_state("State" if at["form"] == "journal" else "State after", at["state"]),
        ],
        [_call(number, each) for number, each in enumerate(at["calls"], start=1)],
        (frames or none) and panel("Local variables", none, [_locals(each) for each in frames], id_="locals"),
        at["entries"]
        and panel("What else it did", fields([(what_, text) for what_, text in at["entries"]]), id_="entries"),
        panel(
            "Positions",
            h.ol(".steps")[
                [
                    h.li(aria_current="step" if each == at["number"] else None)[
                        h.a(href=_at(frame, view, each))[f"{each}"], " ", text
                    ]
                    for each, text in at["steps"]
                ]
            ],
            id_="positions",
        ),
    ]


def _at(frame: Frame, view: DebuggedInstance, number: int) -> str:
    return f"{frame.links.instance(view.address, 'debug')}?at={number}"


def _shown_state(title: str, state: str | None) -> h.Element:
    shown = h.p(".empty")["There is no instance."] if state is None else code(indented(state), label=title)
    return panel(title, shown)


def _call(number: int, call: dict[str, Any]) -> h.Element:
    facts = fields([("call", call["call"]), ("line", call["line"]), ("answer", call["answer"] or "none")])
    return panel(f"Effect {number}", facts, [_locals(each) for each in call["frames"]])


def _locals(frame: dict[str, Any]) -> h.Node:
    rows = [h.tr[h.th(scope="row")[name], h.td[h.code[value]]] for name, value in frame["locals"]]
    caption = f"{frame['function']} at {frame['line']}"
    return [h.h3[caption], table(["Name", "Value"], rows, caption=caption, empty="No local variables.")]


# ---------------------------------------------------------------- rehearsals
MAX_SHOWN_GROUPS: Final = 50
"""How many differences a page shows. The largest groups are the first."""

MAX_RESULT_CHARACTERS: Final = 500_000
"""How long the JSON of a result may be that the dashboard shows."""

_SHOWN_STEPS: Final = 12
_WIDTH, _LEFT, _RIGHT = 720, 14, 706
_LANES: Final = (("deployed code", 58), ("new code", 118))
_AXIS: Final = 158
_CHARACTERS: Final = 46


def _instant(text: str) -> str:
    """Check an instant's text."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(text)
    return from_ms(to_ms(instant)).isoformat()


@attrs.frozen
class RehearsedAct:
    """One act of an example.

    Attributes:
        at: when, ISO 8601.
        act: the act in one line, without secrets.
    """

    at: str = attrs.field(converter=_instant)
    act: str


@attrs.frozen
class RehearsedExample:
    """One instance of a group, step by step.

    Attributes:
        before: the last acts under both.
        old: the next acts under the deployed code.
        new: the next acts under the new code.
    """

    __repr__ = fields_in_line

    address: str
    before: tuple[RehearsedAct, ...]
    old: tuple[RehearsedAct, ...]
    new: tuple[RehearsedAct, ...]


@attrs.frozen
class RehearsedGroup:
    """The instances whose futures differ for one cause.

    Attributes:
        job: the job, printed ``kind:name``.
        more: how many acts the new code adds, by name.
        example: one of them.
    """

    __repr__ = fields_in_line

    job: str
    sentence: str
    instances: int
    more: dict[str, int] = attrs.Factory(dict[str, int])
    example: RehearsedExample | None = None


@attrs.frozen(kw_only=True)
class RehearsalResult:
    """The result of a rehearsal, as ``perdure rehearse --json`` prints it.

    Attributes:
        begins: the moment of the image, ISO 8601.
        ends: the end of the rehearsal, ISO 8601.
        instances: how many futures were compared.
        groups: the differences, the largest group first.
        notes: over how many instances it counts, and which answers were made up.
    """

    __repr__ = fields_in_line

    begins: str = attrs.field(converter=_instant)
    ends: str = attrs.field(converter=_instant)
    instances: int
    differing: int
    groups: tuple[RehearsedGroup, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> RehearsalResult:
        """Decode a result.

        Args:
            text: the output of the command.

        Raises:
            InvalidInput: it is not such a result.
        """
        if len(text) > MAX_RESULT_CHARACTERS:
            raise InvalidInput(_RESULT, (f"$: expected at most {MAX_RESULT_CHARACTERS:,} characters",))
        try:
            return _converter.structure(orjson.loads(text), cls)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise InvalidInput(_RESULT, ("$: expected the JSON of perdure rehearse --json",)) from problem


def rehearsal_page(frame: Frame, result: RehearsalResult | None = None, problem: str = "", /) -> Page:
    """Return the page that shows the result of a rehearsal, which the caller passes: no engine keeps it."""
    return Page(
        title="Rehearsal",
        section="rehearsal",
        body=[
            problem and h.p(".error", role="alert")[problem],
            result is not None and rehearsal_panels(result),
            h.section(".panel")[
                h.h2["Show a result"],
                h.p["Run ", h.code["perdure rehearse ... --json > result.json"], " and choose the file, or paste it."],
                h.form(".rehearsal", method="post", action=frame.links.page("/rehearsal"))[
                    hidden(csrf=frame.csrf),
                    h.label["File", h.input("#result-file", type="file", accept=".json,application/json")],
                    h.label[
                        "Result",
                        h.textarea(
                            "#result", name="result", rows="4", required=True, maxlength=str(MAX_RESULT_CHARACTERS)
                        ),
                    ],
                    h.button(".primary", type="submit")["Show"],
                ],
            ],
        ],
        command="perdure rehearse NEW:app --against OLD:app --store URL --html report.html",
    )


def rehearsal_report(result: RehearsalResult, style: str, /) -> str:
    """Return the result as an HTML file of its own."""
    return str(
        h.html(lang="en")[
            h.head[
                h.meta(charset="utf-8"),
                h.meta(name="viewport", content="width=device-width, initial-scale=1"),
                h.meta(name="color-scheme", content="light dark"),
                h.title["Rehearsal · perdure"],
                h.style[Markup(style)],  # noqa: S704 - of this package
            ],
            h.body[h.main("#main")[h.h1["Rehearsal"], rehearsal_panels(result)]],
        ]
    )


def rehearsal_panels(result: RehearsalResult, /) -> h.Node:
    """Show a rehearsal: its numbers, and each difference with a picture and its steps."""
    left = len(result.groups) - MAX_SHOWN_GROUPS
    return [
        h.p(".lead")[
            f"{result.differing:,} of {result.instances:,} instances have another future, from "
            f"{_day(result.begins)} to {_day(result.ends)} in virtual time."
        ],
        [_group_panel(result, group) for group in result.groups[:MAX_SHOWN_GROUPS]],
        left > 0 and h.p(".note")[f"{left:,} smaller groups are not shown; --json has them."],
        h.section(".panel")[
            h.h2["Over how many it counts"], h.ul(".ticks")[[h.li[note.strip()] for note in result.notes]]
        ],
    ]


def _group_panel(result: RehearsalResult, group: RehearsedGroup) -> h.Element:
    counts = ", ".join(f"{number:+,} {name}" for name, number in group.more.items())
    return h.section(".panel.rehearsed")[
        h.h2[f"{group.instances:,} {group.job}: {group.sentence}"],
        counts and h.p(".none")[f"Over all of them: {counts}"],
        [] if group.example is None else _shown(result, group.example),
    ]


def _shown(result: RehearsalResult, example: RehearsedExample) -> list[h.Node]:
    return [
        h.p["For example ", h.code[example.address]],
        h.div(".scroll", tabindex="0", role="region", aria_label=f"Timelines of {example.address}")[
            _picture(result, example)
        ],
        h.div(".grid.two")[_steps("Deployed code", example, example.old), _steps("New code", example, example.new)],
    ]


def _steps(title: str, example: RehearsedExample, acts: Sequence[RehearsedAct]) -> h.Element:
    marked = _marked(acts[:_SHOWN_STEPS], _common(example), "other")
    shown = [*((each, "same") for each in example.before[-2:]), *marked]
    return h.div[
        h.h3[title],
        h.ol(".steps")[
            [h.li(class_=mark)[h.time(datetime=each.at)[_moment(each.at)], " ", each.act] for each, mark in shown]
        ],
        not acts and h.p(".empty")["Nothing follows."],
        len(acts) > _SHOWN_STEPS and h.p(".none")["and so on"],
    ]


def rehearsal_picture(result: RehearsalResult, group: RehearsedGroup, /) -> str:
    """Return the two timelines of a group's example as an SVG file of its own."""
    if group.example is None:
        return ""
    title = f"{group.instances:,} {group.job}: {group.sentence}"
    picture = _picture(result, group.example, title=title, style=_SVG_STYLE)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{picture}\n'


def _picture(result: RehearsalResult, example: RehearsedExample, *, title: str = "", style: str = "") -> h.Element:
    """Draw both timelines: equal acts grey, others coloured, and the first of these by name."""
    begin, end = _ms(result.begins), _ms(result.ends)

    def place(at: str) -> float:
        return _LEFT + (_RIGHT - _LEFT) * min(1.0, max(0.0, (_ms(at) - begin) / max(1, end - begin)))

    drawn: list[h.Node] = []
    for (name, y), acts, tone in zip(_LANES, (example.old, example.new), ("old", "new"), strict=True):
        marked = [*((each, "same") for each in example.before), *_marked(acts, _common(example), tone)]
        drawn.append(h.text(class_="lane", x=str(_LEFT), y=str(y - 22))[name])
        drawn.append(h.line(class_="base", x1=str(_LEFT), x2=str(_RIGHT), y1=str(y), y2=str(y)))
        # Those that differ are drawn last: several acts may have the same instant.
        ordered = sorted(marked, key=lambda pair: pair[1] != "same")
        drawn.extend(_mark(place(each.at), y, each, mark) for each, mark in ordered)
        drawn.extend(
            _label(place(each.at), y, f"{_moment(each.at)} {each.act}")
            for each in [each for each, mark in marked if mark != "same"][:1]
        )
    days = [begin + (end - begin) * part // 4 for part in range(5)]
    ticks = [_tick(number, at_ms) for number, at_ms in enumerate(days)]
    top = 28 if title else 0
    return h.svg(
        ".timelines",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 {-top} {_WIDTH} {_AXIS + 22 + top}",
        role="img",
        aria_label=f"Both timelines of {example.address}",
    )[
        style and h.style[Markup(style)],  # noqa: S704 - of this package
        title and h.text(class_="title", x=str(_LEFT), y="-8")[shortened(title, 90)],
        drawn,
        ticks,
    ]


def _common(example: RehearsedExample) -> Counter[RehearsedAct]:
    return Counter(example.old) & Counter(example.new)


def _marked(acts: Sequence[RehearsedAct], common: Counter[RehearsedAct], tone: str) -> list[tuple[RehearsedAct, str]]:
    """Return the acts with their marks: ``same`` as often as the other side has them too, else the tone."""
    left = Counter(common)
    found: list[tuple[RehearsedAct, str]] = []
    for each in acts:
        found.append((each, "same" if left[each] > 0 else tone))
        left[each] -= 1
    return found


def _mark(x: float, y: int, act: RehearsedAct, tone: str) -> h.Element:
    title = h.title[f"{_moment(act.at)} {act.act}"]
    if tone == "new":
        points = f"{x:.1f},{y - 7} {x + 7:.1f},{y} {x:.1f},{y + 7} {x - 7:.1f},{y}"
        return h.polygon(class_=tone, points=points)[title]
    return h.circle(class_=tone, cx=f"{x:.1f}", cy=str(y), r="4" if tone == "same" else "6")[title]


def _label(x: float, y: int, text: str) -> h.Element:
    anchor = "start" if x < _WIDTH / 2 else "end"
    return h.text(class_="first", x=f"{x:.1f}", y=str(y + 21), text_anchor=anchor)[shortened(text, _CHARACTERS)]


def _tick(number: int, at_ms: int) -> h.Element:
    anchor = ("start", "middle", "middle", "middle", "end")[number]
    x = _LEFT + (_RIGHT - _LEFT) * number / 4
    return h.text(class_="tick", x=f"{x:.1f}", y=str(_AXIS + 12), text_anchor=anchor)[f"{from_ms(at_ms):%Y-%m-%d}"]


def _ms(at: str) -> int:
    return to_ms(datetime.fromisoformat(at))


def _moment(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M:%S}"


def _day(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d}"


_converter: Final = Converter(detailed_validation=False)
_RESULT: Final = "result of a rehearsal"
_SVG_STYLE: Final = """
svg { background: #fff; color: #1b2329; font: 13px system-ui, sans-serif; }
.base { stroke: #dfe3e7; stroke-width: 2; } .same { fill: #8b98a3; } .old { fill: #a9232f; } .new { fill: #1d6f42; }
text { fill: #1b2329; } .title { font-weight: 600; font-size: 15px; } .lane, .tick { fill: #56636e; }
@media (prefers-color-scheme: dark) {
  svg { background: #1a2127; } .base { stroke: #303a42; } .old { fill: #f69aa0; } .new { fill: #7fd3a4; }
  text { fill: #e3e8ec; } .lane, .tick { fill: #9dabb6; }
}
"""
