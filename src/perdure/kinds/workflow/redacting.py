"""Replaces the secrets in the stored data of a workflow, to show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from perdure.codecs import Codec
from perdure.jobs.redaction import redacted_failure
from perdure.kinds.workflow.stored import FAILURE, Ended, Header
from perdure.values.secret import Hide

if TYPE_CHECKING:
    from perdure.kinds.workflow.context import AnyWorkflow


def redacted_header(job: AnyWorkflow, header: Header, hide: Hide) -> Header:
    """Return the header without the secrets of its outcome."""
    return header if header.ended is None else attrs.evolve(header, ended=_ended(job, header.ended, hide))


def _ended(job: AnyWorkflow, ended: Ended, hide: Hide) -> Ended:
    match ended.form:
        case "done":
            return attrs.evolve(ended, value=_redacted(job.results, ended.value, hide))
        case "failed":
            record = redacted_failure(job, FAILURE.decode(ended.value.encode()), hide=hide)
            return attrs.evolve(ended, value=FAILURE.encode(record).decode())
        case "cancelled":
            return ended


def _redacted(codec: Codec[Any], encoded: str, hide: Hide) -> str:
    return codec.redact(encoded.encode(), hide=hide).decode()
