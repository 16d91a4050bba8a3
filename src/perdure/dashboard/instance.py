"""One instance: status, alarm, claims, attempts, steps, state, events, related instances, and requests to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import Any, Final, cast
from urllib.parse import urlencode

import attrs
import htpy as h
import orjson

from perdure.dashboard.actions import Action, permitted
from perdure.dashboard.failures import reason_of
from perdure.dashboard.page import (
    Frame,
    Page,
    clock,
    code,
    count,
    fields,
    form_to,
    hidden,
    instance_link,
    link_text,
    moment,
    numeric,
    panel,
    span_text,
    status,
    table,
)
from perdure.dashboard.timeline import Attempt, attempts_in, event_row, failure
from perdure.jobs.display import DisplayField, report_status
from perdure.kinds.workflow.journal import CHILD
from perdure.stores.values import LoggedEvent
from perdure.values.address import Address
from perdure.values.errors import InvalidId
from perdure.values.excerpt import shortened
from perdure.values.instance import Claim, Instance
from perdure.values.listings import StepRecord
from perdure.values.stream import StreamForm, StreamItem
from perdure.values.times import to_ms
from perdure.wire.explanation import MOST_READ, notes_of_future, short_time, why_parked
from perdure.wire.requests import instance_path

MAX_RELATED: Final = 50


@attrs.frozen(kw_only=True)
class RelatedInstance:
    """An instance on a message's other end.

    Attributes:
        relation: ``to`` or ``from``.
        note: the event that names it.
    """

    address: Address
    relation: str
    note: str


def related_instances(events: Sequence[LoggedEvent], instance: Instance | None, /) -> tuple[RelatedInstance, ...]:
    """Return the neighbours that events and claims name, each once in each direction, at most 50."""
    found: dict[tuple[str, str], RelatedInstance] = {}
    for relation, text, note in (*_of_claims(instance), *_of_events(events)):
        try:
            address = Address.parse(text)
        # Events of older releases may hold addresses that no longer parse: the page shows the others.
        except InvalidId:
            continue
        if len(found) < MAX_RELATED:
            found.setdefault((relation, text), RelatedInstance(address=address, relation=relation, note=note))
    return tuple(found.values())


def _of_claims(instance: Instance | None) -> Iterator[tuple[str, str, str]]:
    for claim in () if instance is None else (instance.claim, instance.event_claim):
        if claim is not None and claim.message_sender is not None:
            yield "from", claim.message_sender, "its message is being handled"


def _of_events(events: Sequence[LoggedEvent]) -> Iterator[tuple[str, str, str]]:
    """Read the members by name: any event type that has them names neighbours."""
    for logged in events:
        event: object = logged.event
        note = logged.event.type
        target, sender = getattr(event, "target", None), getattr(event, "sender", None)
        told_by, told = getattr(event, "told_by", None), getattr(event, "told", ())
        for text in (target, *(told or ())):
            if text:
                yield "to", str(text), note
        for text in (sender, told_by):
            if text:
                yield "from", str(text), note


MAX_STEPS: Final = 100
"""How many of the journal's newest rows a page shows."""

MAX_OUTCOME_CHARACTERS: Final = 120

_TONES: Final = {"done": "good", "failed": "bad", "retrying": "bad", "parked": "bad", "timed_out": "bad"}


def steps_panel(frame: Frame, view: InstanceDetails, /) -> h.Node:
    """Show steps ordered by ends, then those in progress, each with the form that forks from it. None: no panel."""
    if not view.steps:
        return None
    headings = ["When", "Step", "Name", "Status", numeric("Took"), numeric("Attempts"), "Outcome"]
    earlier = f"after {view.earlier_steps:,} earlier ones" if view.earlier_steps else None
    forks = any(each.name == "fork" for each in permitted(view.actions, frame.scopes))
    url = frame.links.instance(view.address, "fork")
    note: h.Node = [earlier, " ", h.a(href=url)["fork after the last step"]] if forks else earlier
    rows = [_row(frame, each, url if forks else "") for each in view.steps]
    return panel("Steps", table(headings, rows, caption="Steps", empty=""), id_="steps", note=note)


def _name(frame: Frame, name: str) -> h.Node:
    """Return a step's name. A child's name is a link to the child."""
    job, colon, id_ = name.removeprefix(CHILD).partition(":")
    if not name.startswith(CHILD) or not colon:
        return name
    return [CHILD, h.a(href=frame.links.instance(Address("workflow", job, id_)))[f"{job}:{id_}"]]


def _row(frame: Frame, step: StepRecord, fork_url: str) -> h.Element:
    took = None if step.began_ms is None or step.at_ms is None else max(0, step.at_ms - step.began_ms)
    outcome = failure(step.error) if step.error is not None else shortened(step.value or "", MAX_OUTCOME_CHARACTERS)
    return h.tr(data_key=f"{step.path}/{step.status}/{step.at_ms}")[
        h.td[None if step.at_ms is None else moment(frame, step.at_ms)],
        h.td[
            h.code[step.path],
            fork_url
            and [" ", h.a(href=f"{fork_url}?{urlencode({'step': step.path})}", aria_label=f"fork {step.path}")["fork"]],
        ],
        h.th(scope="row")[_name(frame, step.name)],
        h.td[h.span(class_=f"event {_TONES.get(step.status, '')}")[step.status]],
        h.td(".count")["" if took is None else span_text(took)],
        h.td(".count")[f"{step.attempts}" if step.attempts else ""],
        h.td[outcome],
    ]


MAX_OFFSETS: Final = 200
"""How many of a stream's newest offsets a page shows."""

MAX_CHUNK_CHARACTERS: Final = 1_000


@attrs.frozen(kw_only=True)
class StreamDetails:
    """The newest items of a stream.

    Attributes:
        items: the items, without secrets.
        count: how many offsets it has had.
        problem: why it is not readable.
    """

    name: str
    items: tuple[StreamItem, ...] = ()
    count: int = 0
    problem: str = ""


@attrs.define
class _Passage:
    """Successive chunks of one step, or a mark."""

    offset: int
    step: str
    form: StreamForm
    values: list[object]

    def replaced_by(self, mark: _Passage) -> bool:
        """Return whether a mark says that these chunks may repeat."""
        return self.form == "chunk" and mark.step in {"", self.step}

    @property
    def text(self) -> str:
        """Texts as they continue each other, other values as a line of JSON each."""
        is_text = all(isinstance(value, str) for value in self.values)
        shown = (str(value) if is_text else orjson.dumps(value).decode() for value in self.values)
        return ("" if is_text else "\n").join(shortened(each, MAX_CHUNK_CHARACTERS) for each in shown)


def stream_panel(view: StreamDetails, /) -> h.Element:
    """Show a stream's newest chunks, and where a step began again."""
    passages = _passages(view.items)
    first = view.items[0].offset if view.items else 0
    note = f"the newest of {view.count:,}" if first else f"{view.count:,}"
    rows: list[h.Element] = []
    marks: list[_Passage] = []
    # From the end: a mark is known before the chunks that it replaces.
    for each in reversed(passages):
        if each.form == "again":
            marks.append(each)
        rows.append(_passage(each, replaced=any(map(each.replaced_by, marks))))
    shown = (
        h.p(".error")[f"Not readable: {view.problem}"]
        if view.problem
        else h.div(".chunks", tabindex="0", role="region", aria_label=f"Stream {view.name}")[h.ol[reversed(rows)]]
        if rows
        else h.p(".empty")["No chunk is stored."]
    )
    return panel(f"Stream {view.name}", shown, id_=f"stream-{view.name}", note=note)


def _passages(items: Sequence[StreamItem]) -> list[_Passage]:
    found: list[_Passage] = []
    for item in items:
        value: object = orjson.loads(item.value) if item.form == "chunk" else item.count
        if not (found and found[-1].form == item.form == "chunk" and found[-1].step == item.step):
            found.append(_Passage(item.offset, item.step, item.form, []))
        found[-1].values.append(value)
    return found


def _passage(passage: _Passage, *, replaced: bool) -> h.Element:
    match passage.form:
        case "chunk":
            shown: h.Node = h.s[passage.text] if replaced else passage.text
            content: h.Node = h.div(".value")[shown, replaced and h.span(".unseen")[" (replaced below)"]]
        case "again":
            content = h.span(".event.bad")["began again"]
        case "dropped":
            content = h.span(".none")[f"{passage.values[0]:,} chunks are no longer kept"]
    return h.li(data_key=f"{passage.offset}")[h.small[f"#{passage.offset:,} {passage.step}"], content]


@attrs.frozen(kw_only=True)
class InstanceDetails:
    """The page's data. Its records have no secrets and, without the scope ``operate``, no tracebacks.

    Attributes:
        instance: the stored row. None if there is none.
        served: whether the engine serves the job.
        actions: the requests that make sense for it.
        phase: the kind's word for where the instance is in its life. Empty if it has none.
        facts: the labelled values that the definition shows.
        state: the state as indented JSON. Empty if there is none.
        state_problem: why the state is not readable.
        has_secrets: whether the state has secrets, which are hidden.
        reveals: whether this page shows them.
        steps: the newest steps and those in progress, if the kind has a journal.
        earlier_steps: how many steps precede them.
        streams: the streams that its job declares.
        events: the address's newest events, the newest first.
        older: the sequence number that the next event page begins before. None if there is none.
        kept_events: how many events its job keeps beyond the log. None if the store keeps none for it.
    """

    address: Address
    instance: Instance | None
    served: bool
    actions: tuple[Action, ...] = ()
    phase: str = ""
    facts: tuple[DisplayField, ...] = ()
    state: str = ""
    state_problem: str = ""
    has_secrets: bool = False
    reveals: bool = False
    steps: tuple[StepRecord, ...] = ()
    earlier_steps: int = 0
    streams: tuple[StreamDetails, ...] = ()
    events: tuple[LoggedEvent, ...] = ()
    older: int | None = None
    kept_events: int | None = None


def instance_page(frame: Frame, view: InstanceDetails, /) -> Page:
    """Return the page."""
    address, links = view.address, frame.links
    # A job that this engine does not serve has no page, but its instances can be listed.
    job_url = links.job(address.kind, address.name) if view.served else links.page("/instances", job=address.name)
    return Page(
        title=address.id,
        section="instances",
        crumbs=(("Instances", links.page("/instances")), (f"{address.kind}:{address.name}", job_url)),
        body=[
            _absent(view) if view.instance is None else _summary(frame, view, view.instance),
            _actions(frame, view),
            _suspended(view.instance, view.events),
            h.div(".grid.two")[_state(frame, view), _work(frame, view.instance)] if view.instance else None,
            steps_panel(frame, view),
            [stream_panel(each) for each in view.streams],
            _attempts(frame, attempts_in(view.events)),
            _timeline(frame, view),
            _related(frame, view),
            _request(frame, view),
            _future(frame, view),
            _debugger(frame, view),
            _keys(frame, view),
        ],
        command=f"perdure show {quote(str(address))} --traceback; perdure history {quote(str(address))}"
        + (f"; perdure steps {quote(str(address))}" if view.steps else ""),
        route=f"GET {instance_path(address)}",
    )


def _absent(view: InstanceDetails) -> h.Element:
    text = "There is no instance at this address."
    return h.p(".empty")[text, " Its history is below." if view.events else ""]


def _summary(frame: Frame, view: InstanceDetails, instance: Instance) -> h.Element:
    phase = "" if view.phase == instance.status else view.phase
    return h.section("#summary", aria_label="Status")[
        fields(
            [
                ("status", [status(instance.status), bool(phase) and h.small[f" {phase}"]]),
                ("kept until" if instance.status == "done" else "next run", _due(frame, instance.due_ms)),
                ("alarm", instance.suspension and instance.alarm_ms and clock(instance.alarm_ms)),
                *((fact.label, _fact(frame, fact)) for fact in view.facts),
                ("runs", f"{instance.run_count:,}"),
                ("events", f"{instance.event_count:,}"),
                ("created", moment(frame, instance.created_ms)),
                ("updated", moment(frame, instance.updated_ms)),
                ("version", f"{instance.incarnation}.{instance.version}"),
                ("last error", failure(instance.last_error)),
            ]
        )
    ]


def _due(frame: Frame, due_ms: int | None) -> h.Node:
    return None if due_ms is None else [moment(frame, due_ms), " ", h.small[clock(due_ms)]]


def _fact(frame: Frame, fact: DisplayField) -> h.Node:
    return fact.value if isinstance(fact.value, str) else moment(frame, to_ms(fact.value))


def _actions(frame: Frame, view: InstanceDetails) -> h.Node:
    """Show the requests without input as links to their confirmation."""
    offered = [each for each in permitted(view.actions, frame.scopes) if each.takes != "json"]
    links = frame.links
    if not offered:
        return None
    return h.nav(".toolbar", aria_label="Actions")[
        [
            h.a(class_=f"button {each.effect}", href=links.instance(view.address, "request", each.name))[each.name]
            for each in offered
        ]
    ]


def _suspended(instance: Instance | None, events: Sequence[LoggedEvent]) -> h.Node:
    if instance is None or (instance.suspension is None and instance.left is None):
        return None
    report = report_status(instance)
    detail = why_parked(events) if instance.left is None else instance.left.error.message
    return h.p(".remedy")[h.b[f"{reason_of(report)}. "], report.heals, detail and [" ", h.span(".address")[detail]]]


def _state(frame: Frame, view: InstanceDetails) -> h.Element:
    note: h.Node = None
    if view.has_secrets and frame.may("operate"):
        text = "hide secrets" if view.reveals else "show secrets"
        # Secrets are in no page that the caller has not asked for.
        note = h.a(href=frame.links.instance(view.address) + ("" if view.reveals else "?secrets=shown"))[text]
    content = (
        h.p(".error")[f"Not readable: {view.state_problem}"]
        if view.state_problem
        else code(view.state, label="State")
        if view.state
        else h.p(".empty")["No state is stored."]
    )
    return panel("State", content, id_="state", note=note)


def _work(frame: Frame, instance: Instance) -> h.Element:
    """Show the claims and the pending retry."""
    retry = instance.pending_retry
    claims = [claim for claim in (instance.claim, instance.event_claim) if claim is not None]
    return panel(
        "Work",
        [_claim(frame, claim) for claim in claims],
        None
        if retry is None
        else fields(
            [
                ("pending", "retry"),
                ("due", moment(frame, retry.at_ms) if instance.suspension is None else "once it is resumed"),
                ("next attempt", f"{retry.attempt}"),
                ("run", h.code[retry.run_id]),
                ("first failed", moment(frame, retry.first_failed_ms)),
                ("error", failure(retry.error)),
            ]
        ),
        not claims and retry is None and h.p(".empty")["No run is claimed, and no retry is pending."],
        id_="work",
    )


def _claim(frame: Frame, claim: Claim) -> h.Element:
    return fields(
        [
            ("claimed", [moment(frame, claim.claimed_ms), f" by engine {claim.owner}"]),
            ("cause", claim.cause),
            ("request", claim.action),
            ("attempt", f"{claim.attempt}, delivery {claim.deliveries}"),
            ("recoveries", f"{claim.recoveries}"),
            ("run", h.code[claim.run_id]),
            ("message from", claim.message_sender and link_text(frame, claim.message_sender)),
        ]
    )


def _attempts(frame: Frame, attempts: Sequence[Attempt]) -> h.Node:
    rows = [
        h.tr(data_key=f"{each.run_id}/{each.attempt}/{each.at_ms}")[
            h.td[moment(frame, each.at_ms)],
            h.th(scope="row")[h.code[each.run_id[-8:]]],
            h.td(".count")[f"{each.attempt}"],
            h.td(".count")["" if each.duration_ms is None else span_text(each.duration_ms)],
            h.td[h.span(class_=f"event {each.tone}")[each.outcome]],
            h.td[failure(each.error)],
        ]
        for each in attempts
    ]
    headings = ["When", "Run", numeric("Attempt"), numeric("Took"), "Outcome", "Error"]
    return panel(
        "Attempts", table(headings, rows, caption="Attempts", empty="No attempt is in the history."), id_="attempts"
    )


def _timeline(frame: Frame, view: InstanceDetails) -> h.Element:
    older = (
        view.older
        and h.nav(".pages", aria_label="Pages of the timeline")[
            h.a(rel="next", href=frame.links.instance(view.address) + f"?before={view.older}")["Older events"]
        ]
    )
    rows = [event_row(frame, each) for each in view.events]
    shown = table(
        ["When", "Event", "Details", numeric("Number")], rows, caption="Timeline", empty="The log has no event of it."
    )
    kept = "" if view.kept_events is None else f", its job keeps {count(view.kept_events, 'event')} beyond the log"
    return panel("Timeline", shown, older, id_="timeline", note=f"the newest first{kept}")


def _related(frame: Frame, view: InstanceDetails) -> h.Node:
    found = related_instances(view.events, view.instance)
    if not found:
        return None
    return panel(
        "Neighbours",
        h.ul(".neighbours")[
            [
                h.li[h.span(".none")[each.relation], " ", instance_link(frame, each.address), h.small[f" {each.note}"]]
                for each in found
            ]
        ],
        id_="neighbours",
        note=f"{count(len(found), 'instance')} through messages",
    )


def _request(frame: Frame, view: InstanceDetails) -> h.Node:
    """Show a form that explains a request, and that sends it if the caller may."""
    if not view.served:
        return None
    names = [each.name for each in view.actions]
    if view.instance is not None:
        names.append("alarm")
    sends = frame.may("call")
    links = frame.links
    return panel(
        "Request",
        form_to(
            frame,
            links.instance(view.address, "explain"),
            h.div(".request")[
                h.label["Action", h.select(name="action")[[h.option(value=name)[name] for name in names]]],
                h.label(".wide")[
                    "Input as JSON, if it takes one",
                    h.textarea(name="payload", rows="3", spellcheck="false", maxlength="262144"),
                ],
            ],
            h.div(".toolbar")[
                h.button(type="submit")["Explain"],
                sends and h.small["Explain shows the effect and changes nothing. You can send the request from there."],
            ],
        ),
        id_="request",
    )


def _future(frame: Frame, view: InstanceDetails) -> h.Node:
    """Show the form that asks for the instance's future."""
    if not view.served:
        return None
    actions = [each.name for each in view.actions]
    return panel("Future", future_form(frame, view.address, actions, FutureForm()), id_="future")


def _debugger(frame: Frame, view: InstanceDetails) -> h.Node:
    """Show the link to the debugger, for operators: it shows lines of code, as tracebacks do."""
    if not (view.served and frame.may("operate")):
        return None
    text = "Go through its runs, with lines, states and local variables"
    return panel("Debugger", h.p[h.a(href=frame.links.instance(view.address, "debug"))[text]], id_="debugger")


@attrs.frozen(kw_only=True)
class FutureForm:
    """The fields of the form that asks for a future.

    Attributes:
        lasting: for how long.
        action: the action of the event. Empty: no event comes.
        payload: the event as JSON.
        after: how long from now it comes.
        twice: ``yes`` if it comes twice.
        down: the effect of a service that is down. Empty: none.
        down_for: how long it is down.
        never: the action of messages that never come. Empty: all come.
        answers: the answers of effects, as a JSON object. Empty: none.
        instances: how many instances are read at most.
    """

    lasting: str = "30 days"
    action: str = ""
    payload: str = ""
    after: str = "0 ms"
    twice: str = ""
    down: str = ""
    down_for: str = "1 day"
    never: str = ""
    answers: str = ""
    instances: str = str(MOST_READ)


def future_form(frame: Frame, address: Address, actions: Sequence[str], form: FutureForm, /) -> h.Element:
    """Return the form that asks for an instance's future.

    Args:
        frame: the page's frame.
        address: the instance.
        actions: the actions of the events that may come.
        form: the values of the fields.
    """
    return form_to(
        frame,
        frame.links.instance(address, "future"),
        h.div(".request")[
            _text("For", "lasting", form.lasting),
            h.label[
                "An event comes",
                h.select(name="action")[
                    h.option(value="")["none"],
                    [h.option(value=name, selected=name == form.action)[name] for name in actions],
                ],
            ],
            h.label(".wide")[
                "The event as JSON",
                h.textarea(name="payload", rows="2", spellcheck="false", maxlength="262144")[form.payload],
            ],
            _text("After", "after", form.after),
            h.label[h.input(type="checkbox", name="twice", value="yes", checked=form.twice == "yes"), " Twice"],
            _text("An effect whose service is down", "down", form.down),
            _text("Down for", "down_for", form.down_for),
            _text("Messages that never come, by their action", "never", form.never),
            _text("Instances read at most", "instances", form.instances),
            h.label(".wide")[
                'Answers of effects, such as {"fetch": 3}',
                h.textarea(name="answers", rows="2", spellcheck="false", maxlength="262144")[form.answers],
            ],
        ],
        h.div(".toolbar")[
            h.button(type="submit")["Show the future"],
            h.small["A copy runs in virtual time. Nothing is written, and no service is called."],
        ],
    )


def _text(label: str, name: str, value: str) -> h.Element:
    return h.label[label, h.input(name=name, value=value, maxlength="200", autocomplete="off")]


def future_page(
    frame: Frame,
    address: Address,
    actions: Sequence[str],
    form: FutureForm,
    future: Mapping[str, Any],
    /,
    *,
    problem: str = "",
) -> Page:
    """Return the page with an instance's future.

    Args:
        frame: the page's frame.
        address: the instance.
        actions: the actions of the events that may come.
        form: the values of the fields.
        future: the timeline as JSON-able data. Empty if it could not be computed.
        problem: why not.
    """
    back = frame.links.instance(address)
    entries: list[dict[str, str]] = future.get("entries", [])
    rows = [
        h.tr[
            h.td[short_time(each["at"])],
            h.th(scope="row")[h.span(class_=f"event {_FUTURE_TONES.get(each['what'], 'calm')}")[each["what"]]],
            h.td[each["text"]],
        ]
        for each in entries
    ]
    return Page(
        title=f"future of {address.id}",
        section="instances",
        crumbs=(("Instances", frame.links.page("/instances")), (str(address), back)),
        body=[
            problem and h.p(".error", role="alert")[problem],
            bool(future)
            and [
                panel(
                    "Timeline", table(["When", "Entry", "Details"], rows, caption="Future", empty="Nothing happens.")
                ),
                [h.p(".note")[f"{note[0].upper()}{note[1:]}."] for note in notes_of_future(future)],
            ],
            panel("Another question", future_form(frame, address, actions, form), id_="future"),
        ],
        command=f"perdure future {quote(str(address))} --for {quote(form.lasting)}{_options(form)}",
        route=f"POST {instance_path(address, 'future')}",
    )


_FUTURE_TONES: Final = {"effect": "good", "retry": "warn", "parked": "bad", "left": "bad", "paused": "held"}


def _options(form: FutureForm) -> str:
    found = ""
    if form.action:
        event = f"{form.action}={form.payload}" if form.payload else form.action
        found += f" --event {quote(event)} --after {quote(form.after)}" + (" --twice" if form.twice == "yes" else "")
    found += f" --down {quote(f'{form.down}={form.down_for}')}" if form.down else ""
    found += f" --never {quote(form.never)}" if form.never else ""
    found += f" --instances {quote(form.instances)}" if form.instances != str(MOST_READ) else ""
    return found + "".join(f" --answer {quote(f'{name}={_json(value)}')}" for name, value in given_in(form).items())


def given_in(form: FutureForm, /) -> dict[str, Any]:
    """Return the answers of effects in a form. Empty if they are no JSON object."""
    try:
        found: Any = orjson.loads(form.answers) if form.answers else {}
    except orjson.JSONDecodeError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _keys(frame: Frame, view: InstanceDetails) -> h.Node:
    """Show a form that forgets an idempotency key, for operators."""
    if not (view.served and frame.may("operate")):
        return None
    return panel(
        "Idempotency key",
        form_to(
            frame,
            frame.links.instance(view.address, "forget-key"),
            h.label[
                "Key of a request that is to be made again",
                h.input(name="key", maxlength="512", required=True, autocomplete="off"),
            ],
            h.div(".toolbar")[h.button(type="submit")["Forget"]],
        ),
        id_="keys",
    )


def forget_key_page(frame: Frame, address: Address, key: str, /) -> Page:
    """Return the page that asks before a key is forgotten."""
    back = frame.links.instance(address)
    return Page(
        title="Forget a key",
        section="instances",
        crumbs=(("Instances", frame.links.page("/instances")), (str(address), back)),
        body=[
            h.p(".question")["Forget the idempotency key ", h.code[key], "?"],
            h.p(".lead")["The request that used it is applied again if it is made again. The history records this."],
            form_to(
                frame,
                frame.links.instance(address, "forget-key"),
                hidden(confirmed="yes", key=key),
                h.div(".toolbar")[
                    h.button(".primary", type="submit", autofocus=True)["Forget"], h.a(".button", href=back)["Cancel"]
                ],
            ),
        ],
        command=f"perdure forget-key {quote(str(address))} {quote(key)}",
        route=f"POST {instance_path(address)}/keys/{{key}}/forget",
    )


def fork_page(frame: Frame, address: Address, step: str, key: str, /, problem: str = "") -> Page:
    """Return the form that forks a workflow.

    Args:
        frame: the page's frame.
        address: the workflow.
        step: the first step that is performed again. Empty: the steps that have ended are kept.
        key: the idempotency key that the request carries, so that a form that is sent twice counts once.
        problem: why a first request was refused.
    """
    back = frame.links.instance(address)
    return Page(
        title=f"fork {address.id}",
        section="instances",
        crumbs=(("Instances", frame.links.page("/instances")), (str(address), back)),
        body=[
            problem and h.p(".error", role="alert")[problem],
            h.p(".lead")["A new workflow takes over the steps before this one, and performs exactly the rest again."],
            form_to(
                frame,
                frame.links.instance(address, "fork"),
                hidden(key=key),
                h.label["Id of the fork", h.input(name="into", value=f"{address.id}-fork", maxlength="512")],
                h.label[
                    "First step that is performed again: its path or name. Without one, all that have ended are kept",
                    h.input(name="step", value=step, maxlength="512"),
                ],
                _checkbox("drop", "Drop the signals that the kept steps have not received"),
                _checkbox("accept_undone", "Also if compensations have undone steps that are kept"),
                h.div(".toolbar")[
                    h.button(".primary", type="submit", autofocus=True)["Fork"], h.a(".button", href=back)["Cancel"]
                ],
            ),
        ],
        command=f"perdure fork {quote(str(address))}" + (f" --step {quote(step)}" if step else ""),
        route=f"POST {instance_path(address, 'fork')}",
    )


def _checkbox(name: str, text: str) -> h.Element:
    return h.label[h.input(type="checkbox", name=name, value="yes"), f" {text}"]
