"""Explanations as JSON-able data, for tools without the definition, and answers in words that a person understands.

A client with its own definition reads `ExplainInputs` and explains by itself. Changed secrets are marked, not shown.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# The patterns narrow JSON-able data to objects and arrays of any values.

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

import attrs
import orjson
from returns.result import Failure, Success

from perdure.codecs import Codec
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.explanation import Explained, Explanation, NeedsAnswer, WaitsForRun
from perdure.jobs.redaction import (
    has_secrets,
    redacted_failure,
    redacted_instance,
    redacted_payload,
    secrets_of_instance,
)
from perdure.stores.rows import event_body
from perdure.stores.values import LoggedEvent
from perdure.values.answer import RunAnswer
from perdure.values.event import JobParked
from perdure.values.excerpt import excerpt
from perdure.values.instance import Instance
from perdure.values.message import Message
from perdure.values.outcome import Replied
from perdure.values.secret import HIDDEN, Hide, hide, scrubbed
from perdure.values.times import from_ms
from perdure.values.transition import Loaded, Purge, Put, Transition
from perdure.values.turn_inputs import TurnInputs
from perdure.wire.problems import problem_of
from perdure.wire.records import data_of, record_of

CHANGED: Final = f"{HIDDEN} (changed)"
"""Stands for a secret that changed."""


def with_changes(shown: object, old: object, new: object) -> object:
    """Return JSON with each hidden secret that changed replaced by `CHANGED`.

    >>> with_changes({"token": "<secret>"}, {"token": "<secret>1"}, {"token": "<secret>2"})
    {'token': '<secret> (changed)'}

    Args:
        shown: JSON with each secret hidden.
        old: the JSON before, with a label in each secret's place: equal secrets have equal labels.
        new: ``shown`` with such labels.
    """
    match shown, old, new:
        case dict(), dict(), dict():
            pairs = zip(shown.items(), new.items(), strict=True)
            return {name: with_changes(each, old.get(key), inner) for (name, each), (key, inner) in pairs}
        case list(), list(), list():
            return [with_changes(each, *both) for each, *both in zip(shown, _filled(old, len(shown)), new, strict=True)]
        case str(), str(), str() if shown == HIDDEN and old.startswith(HIDDEN) and old != new:
            return CHANGED
        case _:
            return shown


def _filled(values: list[Any], size: int) -> list[Any]:
    return [*values, *[None] * size][:size]


@attrs.frozen
class ExplainInputs:
    """An address at one moment.

    Attributes:
        inputs: the inputs that the engine would decide with.
        waits_for: the limits with a name that a run would wait for.
    """

    loaded: Loaded
    inputs: TurnInputs
    journal: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()


def encode_explain_inputs(moment: ExplainInputs) -> bytes:
    """Encode a moment as JSON."""
    # Decoded values stay in the process: the client decodes with its own types.
    inputs = data_of(attrs.evolve(moment.inputs, decoded=None, row=None))
    del inputs["row"]
    inputs["id_base"] = f"{inputs['id_base']:x}"  # 128 bits: more than a number in JSON
    data = {"loaded": data_of(moment.loaded), "inputs": inputs, "journal": moment.journal}
    return orjson.dumps(data | ({"waits_for": moment.waits_for} if moment.waits_for else {}))


def explain_inputs_of(data: Any) -> ExplainInputs:
    """Decode a moment from parsed JSON.

    Raises:
        OutcomeUnknown: the data does not describe a moment.
    """
    inputs = {**data["inputs"], "id_base": int(data["inputs"]["id_base"], 16)}
    journal, waits_for = (tuple(map(str, data.get(name, ()))) for name in ("journal", "waits_for"))
    return ExplainInputs(record_of(Loaded, data["loaded"]), record_of(TurnInputs, inputs), journal, waits_for)


def explanation_data(job: AnyDefinition, explanation: Explanation) -> dict[str, Any]:
    """Describe an explanation.

    Args:
        job: the instance's definition.
        explanation: explains one request to it.

    Returns:
        A dict with a ``form``: ``explained`` with the instance ``before`` and ``after``, the ``write``, ``messages``,
        ``events`` and the ``answer`` or the ``problem``. ``needs_answer`` with the effect. ``waits_for_run`` with the
        run. ``waits_for`` has the limits with a name that the run would wait for, if there are some.
    """
    match explanation:
        case Explained() | NeedsAnswer() if explanation.waits_for:
            first = explanation_data(job, attrs.evolve(explanation, waits_for=()))
            return {**first, "waits_for": list(explanation.waits_for)}
        case NeedsAnswer(effect=effect, args=args, kwargs=kwargs):
            show = explanation.shown
            shown = {
                # The excerpt hides marked fields, and `show` the secrets in all other text.
                "args": [show(excerpt(each)) for each in args],
                "kwargs": {key: show(excerpt(kwargs[key])) for key in kwargs},
            }
            return {"form": "needs_answer", "effect": effect, **shown}
        case WaitsForRun(run_id=run_id):
            return {"form": "waits_for_run", "run_id": run_id}
        case Explained():
            return _explained(job, explanation)


def _explained(job: AnyDefinition, explained: Explained) -> dict[str, Any]:
    transition = explained.transition
    commits = [each for each in (explained.claim, *explained.checkpoints, transition) if each is not None]
    after = explained.instance if isinstance(transition.write, Put) else _unwritten(explained)
    return {
        "form": "explained",
        "version": explained.version,
        "before": instance_data(job, explained.before),
        "after": _after(job, explained.before, after),
        "write": _write(transition),
        "messages": [data_of(_shown(job, explained, message)) for commit in commits for message in commit.messages],
        "events": [
            {"type": event.type, **orjson.loads(event_body(event))} for commit in commits for event in commit.events
        ],
        **_result(job, explained),
    }


def _write(transition: Transition) -> str:
    match transition.write:
        case Put():
            return "put"
        case Purge():
            return "purge"
        case _:
            return "keep"


def _unwritten(explained: Explained) -> Instance | None:
    return None if isinstance(explained.transition.write, Purge) else explained.before


def _after(job: AnyDefinition, before: Instance | None, after: Instance | None) -> dict[str, Any] | None:
    """Return the instance's data after the request, with ``<secret> (changed)`` for each secret that changed."""
    shown = instance_data(job, after)
    if shown is None or before is None or not has_secrets(job):
        return shown
    labels: dict[bytes, str] = {}

    def label(value: object) -> str:
        # Labels instead of the secrets: whether one has changed may be shown, the secret itself may not.
        return labels.setdefault(orjson.dumps(value), f"{HIDDEN}{len(labels)}")

    old, new = (instance_data(job, each, hide=label) for each in (before, after))
    return {name: with_changes(each, (old or {}).get(name), (new or {}).get(name)) for name, each in shown.items()}


def _shown(job: AnyDefinition, explained: Explained, message: Message) -> Message:
    """Return a message without secrets. Another job's definition is not known here, the sender's secrets are."""
    if (message.target.kind, message.target.name) == (job.kind, job.name):
        return attrs.evolve(message, payload=redacted_payload(job, message.action, message.payload))
    secrets = secrets_of_instance(job, explained.before) | secrets_of_instance(job, explained.instance)
    return attrs.evolve(message, payload=scrubbed(message.payload, secrets))


def _result(job: AnyDefinition, explained: Explained) -> dict[str, Any]:
    match explained.result:
        case Success(answer):
            return {"answer": _answer(job, answer)}
        case Failure(error):
            problem = problem_of(error, job.plan.errors)
            if "shown_error" in problem:
                # An explanation is shown to people, so the form without secrets takes the place of the other one.
                problem["error"] = problem.pop("shown_error")
            return {"problem": problem}
        case other:
            raise TypeError(other)


def _answer(job: AnyDefinition, answer: object) -> object:
    """Return the answer as data. None for an alarm's answer, which no caller waits for."""
    if isinstance(answer, RunAnswer) and answer.outcome is not None and answer.outcome.error is not None:
        error = redacted_failure(job, answer.outcome.error)
        answer = attrs.evolve(answer, outcome=attrs.evolve(answer.outcome, error=error))
    if isinstance(answer, Replied):
        replies = {name: _shown_reply(job.plan.replies.get(name), reply) for name, reply in answer.replies.items()}
        answer = attrs.evolve(answer, replies=replies)
    return None if answer is None else orjson.loads(job.plan.answers.encode(answer))


def _shown_reply(codec: Codec[Any] | None, reply: object) -> object:
    # A reply that this code does not declare may have secrets that it does not know.
    return HIDDEN if codec is None else orjson.loads(codec.redact(orjson.dumps(reply)))


def instance_data(job: AnyDefinition, instance: Instance | None, *, hide: Hide = hide) -> dict[str, Any] | None:
    """Return a stored instance as JSON-able data without secrets. Its state and its kind's data are not text.

    Args:
        job: the instance's definition.
        instance: the instance. None if there is none.
        hide: returns each secret's replacement.
    """
    if instance is None:
        return None
    data: dict[str, Any] = data_of(redacted_instance(job, instance, hide=hide))
    data["status"] = instance.status
    for name in ("state", "data"):
        data[name] = orjson.loads(data[name]) if data[name] else None
    return data


WAITS: Final = "waits for a time, a signal or a child"

_SIGNALLED: Final = {"running": "has not ended", "ended": "has ended", "absent": "absent"}


def readable_answer(kind: str, answer: object) -> object:
    """Return an answer in its kind's words, to show it.

    A workflow run that succeeded may have stopped where the program waits, and not at its end. A signal is accepted by
    each workflow that has not ended: its answer says ``running`` also if no run is in progress.

    >>> readable_answer("workflow", {"type": "RunAnswer", "status": "scheduled", "outcome": {"form": "completed"}})
    {'type': 'RunAnswer', 'status': 'scheduled', 'outcome': {'form': 'waits for a time, a signal or a child'}}
    >>> readable_answer("workflow", {"type": "Signalled", "accepted": True, "found": "running", "status": "scheduled"})
    {'type': 'Signalled', 'accepted': True, 'workflow': 'has not ended', 'status': 'scheduled'}

    Args:
        kind: the job's kind.
        answer: the answer as JSON-able data.
    """
    if kind != "workflow" or not isinstance(answer, dict):
        return answer
    members = cast("dict[str, Any]", answer)
    if members.get("type") == "Signalled":
        return {
            "workflow" if name == "found" else name: _SIGNALLED.get(value, value) if name == "found" else value
            for name, value in members.items()
        }
    outcome = cast("dict[str, Any]", members.get("outcome") or {})
    # "Completed" is the run, and would be read as the end of the workflow.
    if outcome.get("form") == "completed" and members.get("status") not in {None, "done"}:
        return members | {"outcome": outcome | {"form": WAITS}}
    return members


def why_no_alarm(instance: dict[str, Any] | None) -> str:
    """Return why an instance's alarm does nothing now.

    >>> why_no_alarm({"status": "scheduled", "alarm_ms": 1_767_225_600_000})
    'its alarm is not due until 2026-01-01T00:00:00Z'
    >>> why_no_alarm({"status": "idle", "alarm_ms": None})
    'it is idle: no alarm is set'
    >>> why_no_alarm({"status": "paused", "alarm_ms": 1_767_225_600_000})
    'it is paused: no alarm fires'

    Args:
        instance: the instance before, as `perdure.wire.explanation` describes it. None if there is none.
    """
    match instance:
        case None:
            return "there is no such instance"
        case {"status": "scheduled", "alarm_ms": int(at_ms)}:
            return f"its alarm is not due until {from_ms(at_ms):%Y-%m-%dT%H:%M:%SZ}"
        case {"status": "retrying", "pending_retry": {"at_ms": int(at_ms)}}:
            return f"its retry is not due until {from_ms(at_ms):%Y-%m-%dT%H:%M:%SZ}"
        case {"status": "idle"}:
            return "it is idle: no alarm is set"
        case {"status": status}:
            return f"it is {status}: no alarm fires"
        case _:
            return "no alarm is due"


def why_parked(newest_first: Iterable[LoggedEvent]) -> str:
    """Return the detail of the newest event that parked an instance, such as the step in a workflow that diverged.

    Returns:
        The detail. Empty if these events do not hold it.
    """
    return next((each.event.detail for each in newest_first if isinstance(each.event, JobParked)), "")


# ---------------------------------------------------------------- futures
MOST_ENTRIES: Final = 1_000
"""How many entries a timeline has by default, and at most."""

MOST_READ: Final = 100
"""How many instances a future reads by default, and at most: the instance, its children, those that messages reach."""


def lines_of_future(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield a future as text: each entry with its time, then notes about all of them.

    Args:
        data: an instance's timeline as JSON-able data.
    """
    width = max((len(each["what"]) for each in data["entries"]), default=0)
    for each in data["entries"]:
        yield f"{short_time(each['at'])}  {each['what']:{width}}  {each['text']}".rstrip()
    if data["entries"]:
        yield ""
    yield from notes_of_future(data)


def notes_of_future(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield how a future ends, and which answers it could only make up.

    Args:
        data: an instance's timeline as JSON-able data.
    """
    until = short_time(data["until"])
    match data["ends"]:
        case "full":
            yield f"cut after {len(data['entries']):,} entries: ask for a shorter time"
        case "horizon":
            yield f"an alarm is set beyond {until}"
        case _ if data["entries"]:
            yield f"after that nothing is due until {until}"
        case _:
            yield f"nothing happens until {until}: no alarm is due"
    if data.get("queued"):  # an older engine does not say so
        yield "it is queued: the instances before it are left out, and it has a place at once"
    if unread := data.get("unread"):  # an older engine does not count them
        yield f"instances that take part and were not read: {unread:,}; each may change this future"
    if not_called := data.get("not_called"):
        yield f"not called: {', '.join(not_called)}"
    made_up = sorted(name for name, sources in data["answered"].items() if sources.get("type"))
    if made_up:
        yield f"answered by type alone, always the same: {', '.join(made_up)}"


def short_time(text: str) -> str:
    """Return an instant in ISO format to the second, in UTC.

    >>> short_time("2026-01-01T09:30:00+00:00")
    '2026-01-01 09:30:00'
    """
    return text[:19].replace("T", " ")
