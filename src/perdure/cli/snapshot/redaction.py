"""The removal of personal data from a row before it is written to a file."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# JSON passes here unchanged, and narrowing it by its class leaves the types of its contents unknown.

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import attrs
import orjson

from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim, Instance

BLANK: Final = "x"


@attrs.frozen
class Redaction:
    """Removes personal data. The structure of the JSON is unchanged, so that code can read it.

    The id is replaced by a number, and so is the id of a sender. Messages and tracebacks of errors, run ids and
    idempotency keys are removed. In states, events and typed errors only the fields in ``keys`` are redacted.

    Attributes:
        keys: names of fields, at any depth: each character of a text below them is replaced by an ``x``.
    """

    keys: Collection[str]

    def row(self, instance: Instance, number: int) -> Instance:
        """Redact a row.

        Args:
            instance: the stored instance.
            number: the replacement of its id.
        """
        pending_retry = instance.pending_retry
        return attrs.evolve(
            instance,
            address=attrs.evolve(instance.address, id=str(number)),
            state=self._json(instance.state),
            data=self._json(instance.data),
            pending_retry=None
            if pending_retry is None
            else attrs.evolve(pending_retry, run_id="run", error=self._error(pending_retry.error)),
            claim=self._claim(instance.claim),
            event_claim=self._claim(instance.event_claim),
            last_error=None if instance.last_error is None else self._error(instance.last_error),
        )

    def _claim(self, claim: Claim | None) -> Claim | None:
        if claim is None:
            return None
        return attrs.evolve(
            claim,
            run_id="run",
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
