"""Requests: the HTTP interface's paths, and one request in a batch as a JSON line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, cast
from urllib.parse import quote

import attrs
import orjson

from perdure.codecs import MAX_NESTING
from perdure.jobs.request import WaitFor
from perdure.values.address import Address
from perdure.values.errors import InvalidInput
from perdure.values.excerpt import excerpt, fields_in_line

BATCHES: Final = "/v1/calls"

DASHBOARD: Final = "/dashboard"
"""The dashboard's path in the application. It is here, because servers and commands without its extra know it, too."""


def instance_path(address: Address, *more: str) -> str:
    """Return an instance's path, percent-encoded.

    >>> instance_path(Address("task", "orders", "a/b"), "explain", "send")
    '/v1/jobs/task/orders/instances/a%2Fb/explain/send'
    >>> instance_path(Address("task", "orders", ".."))
    '/v1/jobs/task/orders/instances/%2E%2E'

    Args:
        address: the instance.
        *more: further parts.
    """
    return "/".join((job_path(address.kind, address.name), "instances", *map(path_part, (address.id, *more))))


def job_path(kind: str, name: str) -> str:
    """Return a job's path, percent-encoded."""
    return f"/v1/jobs/{path_part(kind)}/{path_part(name)}"


def path_part(part: str) -> str:
    """Encode one part. HTTP clients remove the parts ``.`` and ``..`` from a path (RFC 3986, section 5.2.4)."""
    # An id may be "..": removed by a client, the request would reach another path.
    return quote(part, safe="") if part not in {".", ".."} else part.replace(".", "%2E")


READS: Final = ("status", "get_state", "shown_state", "shown_outcome", "load", "steps")
"""The actions in a batch that read. ``shown_state`` and ``shown_outcome``: without secrets.
``load``: the stored data that an explanation is computed from."""

LISTS: Final = ("load", "steps")
"""Those that read a journal, which is as expensive as a list."""


@attrs.frozen(kw_only=True)
class Envelope:
    """A request to one instance.

    Attributes:
        number: the request's number in its batch. Its answer carries it.
        action: the action, or one of `READS`.
        payload: the input as JSON. Empty if the action takes none.
        interrupt: whether ``terminate`` cancels a run in progress.
        bare: the payload without the members that have their defaults. Empty if the server need not know them.
        trace: the caller's trace context, as the header ``traceparent``. None if it has none.
    """

    __repr__ = fields_in_line

    number: int
    kind: str
    job: str
    id: str
    action: str
    payload: bytes = b""
    key: str | None = None
    wait_for: WaitFor = "completion"
    interrupt: bool = False
    bare: bytes = b""
    trace: str | None = None

    def encoded(self, number: int | None = None) -> bytes:
        """Encode it as one line, without the line break.

        Args:
            number: its number in the batch, instead of its own.
        """
        line: dict[str, Any] = {
            "n": self.number if number is None else number,
            "kind": self.kind,
            "job": self.job,
            "id": self.id,
            "action": self.action,
        }
        if self.payload:
            # As it is: it need not be decoded to be sent.
            line["payload"] = orjson.Fragment(self.payload.replace(b"\n", b" "))  # in JSON, it is only between values
        if self.bare:
            line["bare"] = orjson.Fragment(self.bare)
        if self.key is not None:
            line["key"] = self.key
        if self.wait_for != "completion":
            line["wait_for"] = self.wait_for
        if self.interrupt:
            line["interrupt"] = True
        if self.trace is not None:
            line["trace"] = self.trace
        return orjson.dumps(line)


_TEXT: Final = frozenset({"kind", "job", "id", "action"})
_OPTIONAL: Final[Mapping[str, tuple[type, ...]]] = {
    "key": (str, type(None)),
    "interrupt": (bool,),
    "trace": (str, type(None)),
}
_KNOWN: Final = _TEXT | _OPTIONAL.keys() | {"n", "payload", "bare", "wait_for"}


def envelope_of(line: bytes, *, where: str) -> Envelope:
    """Decode one line.

    Args:
        line: the result of `Envelope.encoded`.
        where: the place in the batch, for the message.

    Raises:
        InvalidInput: with one line for each problem.
    """
    try:
        parsed: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(where, (f"$: not JSON: {error}",)) from error
    if not isinstance(parsed, dict):
        raise InvalidInput(where, (f"$: expected an object, got {excerpt(parsed)}",))
    given = cast("dict[str, Any]", parsed)
    problems = tuple(_problems(given))
    if problems:
        raise InvalidInput(where, problems)
    try:
        payload = orjson.dumps(given["payload"]) if "payload" in given else b""
        bare = orjson.dumps(given["bare"]) if "bare" in given else b""
    # Found here, it is the caller's problem. Further on, it would be a defect of the server.
    except TypeError as error:  # it was read with up to 1,024 levels, and is written with up to 254
        problem = f"$.payload: expected at most {MAX_NESTING} levels of lists and objects"
        raise InvalidInput(where, (problem,)) from error
    return Envelope(
        number=given["n"],
        kind=given["kind"],
        job=given["job"],
        id=given["id"],
        action=given["action"],
        payload=payload,
        key=given.get("key"),
        wait_for=given.get("wait_for", "completion"),
        interrupt=given.get("interrupt", False),
        bare=bare,
        trace=given.get("trace"),
    )


def _problems(given: dict[str, Any]) -> list[str]:
    found = [f"$.{name}: unknown member" for name in given if name not in _KNOWN]
    number = given.get("n")
    # Clients in JavaScript read larger numbers inexactly, and could not match the answer.
    if type(number) is not int or not 0 <= number < 2**53:
        found.append(f"$.n: expected a whole number from 0, got {excerpt(number)}")
    found += [
        f"$.{name}: expected text, got {excerpt(given.get(name))}"
        for name in _TEXT
        if not isinstance(given.get(name), str)
    ]
    for name, kinds in _OPTIONAL.items():
        if name in given and not isinstance(given[name], kinds):
            found.append(f"$.{name}: expected {kinds[0].__name__}, got {excerpt(given[name])}")
    if given.get("wait_for", "completion") not in ("completion", "start"):
        found.append(f"$.wait_for: expected 'completion' or 'start', got {excerpt(given['wait_for'])}")
    return sorted(found)


# ---------------------------------------------------------------- answers
def answered(number: int, answer: bytes) -> bytes:
    """Encode one request's answer as a line, with its line break."""
    return orjson.dumps({"n": number, "answer": orjson.Fragment(answer)}, option=orjson.OPT_APPEND_NEWLINE)


def refused(number: int, problem: Mapping[str, Any]) -> bytes:
    """Encode one request's problem as a line, with its line break."""
    return orjson.dumps({"n": number, "problem": problem}, option=orjson.OPT_APPEND_NEWLINE)


@attrs.frozen
class BatchReply:
    """The reply to one request in a batch.

    Attributes:
        form: whether ``body`` is the answer or the problem.
        body: parsed JSON.
    """

    number: int
    form: Literal["answer", "problem"]
    body: Any


def reply_of(line: bytes) -> BatchReply | None:
    """Decode one line from a batch's answer. None if it is not one."""
    try:
        given = orjson.loads(line)
        if "problem" in given:
            return BatchReply(given["n"], "problem", given["problem"])
        return BatchReply(given["n"], "answer", given["answer"])
    # A line that was cut by a lost connection: its request is in doubt, and the others have their answers.
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
