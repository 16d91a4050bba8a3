"""Reports defects to Sentry: once for each run, with its job, and without local variables' values."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import attrs

from perdure.engine.sinks import EngineView, OpenSink
from perdure.values.address import Address
from perdure.values.errors import DefinitionError
from perdure.values.event import JobFailed
from perdure.values.live_event import AnyEvent
from perdure.values.status import FailureRecord

MAX_RUNS: Final = 1_000
"""Runs that the sink remembers, to report each once."""

MISSING_EXTRA: Final = "the extra 'sentry': pip install 'perdure[sentry]'"
_FRAME: Final = re.compile(
    r'^  File "(?P<filename>.+)", line (?P<lineno>\d+), in (?P<function>.+)\n(?:    (?P<line>.*))?', re.MULTILINE
)


@attrs.frozen
class Sentry:
    """A sink that reports defects to Sentry. `sentry` makes it.

    Attributes:
        name: the sink's name in logs.
    """

    name: str = "sentry"

    def open(self, engine: EngineView, /) -> AbstractAsyncContextManager[OpenSink]:
        """Begin to report.

        Raises:
            DefinitionError: the extra ``sentry`` is not installed.
        """
        return self._open(engine)

    @asynccontextmanager
    async def _open(self, _: EngineView) -> AsyncGenerator[OpenSink]:
        try:
            import sentry_sdk  # noqa: PLC0415 - of the extra
            from sentry_sdk.integrations.logging import ignore_logger  # noqa: PLC0415 - as above
        except ModuleNotFoundError as error:
            raise DefinitionError("sentry", error, MISSING_EXTRA) from error
        ignore_logger("perdure")  # the engine logs each failure: it would be reported twice
        yield OpenSink(on_event=Reports(sentry_sdk.capture_event))


def sentry() -> Sentry:
    """Return a sink that reports each job defect to Sentry: ``app.with_sinks(sentry())``.

    Call ``sentry_sdk.init`` first. A defect is an exception that none of the job's types announces. A typed error is an
    answer, and is not reported. A run's first failed attempt is reported, not its retries. The event has the tags
    ``perdure.job``, ``perdure.hook`` and ``perdure.error``, the run in its context, and the traceback as the engine
    stores it: without local variables' values, and with secrets replaced.
    """
    return Sentry()


@attrs.define
class Reports:
    """Reports each run's first defect.

    Attributes:
        capture: sends an event.
    """

    capture: Any
    _reported: OrderedDict[str, None] = attrs.Factory(OrderedDict[str, None])

    def __call__(self, event: AnyEvent) -> None:
        """Report the event if it is the first defect in its run."""
        # Once for a run: a defect that retries for a day would use up the quota of the project.
        if not isinstance(event, JobFailed) or event.error.form == "failure" or event.run_id in self._reported:
            return
        self._reported[event.run_id] = None
        # Bounded: an engine that runs for months would remember each failed run.
        if len(self._reported) > MAX_RUNS:
            self._reported.popitem(last=False)
        self.capture(report_of(event))


def report_of(event: JobFailed) -> dict[str, Any]:
    """Return the Sentry event for a failed attempt."""
    address, error = Address.parse(event.address), event.error
    job = f"{address.kind}:{address.name}"
    return {
        "level": "error",
        "platform": "python",
        "logger": "perdure",
        "timestamp": event.at.isoformat(),
        "transaction": f"{job} {event.hook}",
        "tags": {"perdure.job": job, "perdure.hook": event.hook, "perdure.error": error.error_type},
        "contexts": {
            "perdure": {
                "job": job,
                "id": address.id,
                "run": event.run_id,
                "hook": event.hook,
                "attempt": event.attempt,
                "delivery": event.delivery,
                "retry_at": None if event.retry_at is None else event.retry_at.isoformat(),
            }
        },
        "exception": {"values": [_exception(error)]},
    }


def _exception(error: FailureRecord) -> dict[str, Any]:
    frames = [
        {
            "filename": frame["filename"],
            "abs_path": frame["filename"],
            "lineno": int(frame["lineno"]),
            "function": frame["function"],
            "context_line": frame["line"] or "",
        }
        # From the stored text: the exception itself has local variables, and those may hold secrets.
        for frame in _FRAME.finditer(error.traceback or "")
    ]
    exception: dict[str, Any] = {
        "type": error.error_type,
        "value": error.message,
        "mechanism": {"type": "perdure", "handled": False},
    }
    return exception | ({"stacktrace": {"frames": frames}} if frames else {})
