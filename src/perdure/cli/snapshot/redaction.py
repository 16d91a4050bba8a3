"""The removal of personal data from a row before it is written to a file."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# JSON passes here unchanged, and narrowing it by its class leaves the types of its contents unknown.

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

import attrs
import orjson

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.redaction import redacted_instance
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim, Instance

BLANK: Final = "x"

_FORMS: Final = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "00000000-0000-0000-0000-000000000000"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "2000-01-01"),
    (re.compile(r"\d{4}-\d\d-\d\dT\S+"), "2000-01-01T00:00:00+00:00"),
    (re.compile(r"-?PT[\d.]+S"), "PT0S"),
    (re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?"), "0"),
)
"""The texts of UUIDs, dates, instants, durations and numbers, each with the value that replaces it."""


@attrs.frozen
class Redaction:
    """Removes personal data. The structure of the JSON is unchanged, so that code can read it.

    The id is replaced by a number, and so is the id of a sender. Messages and tracebacks of errors, run ids, trace
    contexts and idempotency keys are removed. In states, events and typed errors only the fields in ``keys`` are
    redacted.

    Attributes:
        keys: names of fields, at any depth: each character of a text below them is replaced by an ``x``.
        served: the definitions whose marked secrets are replaced too, by kind and name.
    """

    keys: Collection[str]
    served: Mapping[tuple[str, str], AnyDefinition] = attrs.Factory(dict[tuple[str, str], AnyDefinition])

    def row(self, instance: Instance, id_: str) -> Instance:
        """Redact a row.

        Args:
            instance: the stored instance.
            id_: the replacement of its id.
        """
        job = self.served.get((instance.address.kind, instance.address.name))
        if job is not None:
            instance = redacted_instance(job, instance, hide=_fixed)
        pending_retry = instance.pending_retry
        return attrs.evolve(
            instance,
            address=attrs.evolve(instance.address, id=id_),
            state=self._json(instance.state),
            data=self._json(instance.data),
            pending_retry=None
            if pending_retry is None
            else attrs.evolve(pending_retry, run_id="run", trace=None, error=self._error(pending_retry.error)),
            claim=self._claim(instance.claim),
            event_claim=self._claim(instance.event_claim),
            last_error=None if instance.last_error is None else self._error(instance.last_error),
            alarm_trace=None,
        )

    def journal(self, instance: Instance, rows: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Redact a journal; None if there is none, or if its definition knows of secrets in it.

        A row is one or more lines, each a JSON value or empty.

        Args:
            instance: the stored instance.
            rows: the rows of its journal.
        """
        job = self.served.get((instance.address.kind, instance.address.name))
        if rows is None or (job is not None and job.has_secret_rows(rows)):
            return None
        return tuple("\n".join(map(self._json, row.split("\n"))) for row in rows)

    def _claim(self, claim: Claim | None) -> Claim | None:
        if claim is None:
            return None
        return attrs.evolve(
            claim,
            run_id="run",
            trace=None,
            payload=None if claim.payload is None else self._json(claim.payload),
            key=None if claim.key is None else BLANK,
            message_sender=None if claim.message_sender is None else f"{claim.message_sender.rpartition(':')[0]}:1",
        )

    def _error(self, error: FailureRecord) -> FailureRecord:
        data = None if error.data is None else self._json(error.data)
        return attrs.evolve(error, message="", traceback=None, data=data)

    def _json(self, text: str) -> str:
        """Redact the texts below the chosen keys, also in a state inside another text, as in a frozen batch."""
        if not text or not self.keys:
            return text
        return orjson.dumps(self._below(orjson.loads(text))).decode()

    def _below(self, value: object) -> object:
        match value:
            case dict():
                items: dict[str, object] = value
                return {key: _blanked(each) if key in self.keys else self._below(each) for key, each in items.items()}
            case list():
                return [self._below(each) for each in list[object](value)]
            case str() if value[:1] in ("{", "["):
                return self._nested(value)
            case _:
                return value

    def _nested(self, text: str) -> str:
        try:
            return self._json(text)
        except orjson.JSONDecodeError:
            return text


def _fixed(value: object) -> object:
    """Return a value of the same kind that says nothing about the secret, not even its length."""
    match value:
        case str():
            return next((fixed for form, fixed in _FORMS if form.fullmatch(value)), BLANK * 8)
        case bool() | None:
            return value and False
        case int() | float():
            return type(value)(0)
        case dict():
            items: dict[str, object] = value
            return {f"{_fixed(key)}{at}": _fixed(each) for at, (key, each) in enumerate(items.items())}
        case list():
            return [_fixed(each) for each in list[object](value)]
        case _:
            return None


def _blanked(value: object) -> object:
    match value:
        case str():
            return BLANK * len(value)
        case dict():
            items: dict[str, object] = value
            return {key: _blanked(each) for key, each in items.items()}
        case list():
            return [_blanked(each) for each in list[object](value)]
        case _:
            return value
