"""Log lines that say which run they belong to, for `logging` and structlog, and JSON lines."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import orjson

from perdure.runtime.tasks import run_context
from perdure.values.excerpt import excerpt

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "perdure", "perdure_message"}
"""The attributes that every record of `logging` has; others come from ``extra``."""


def run_fields() -> dict[str, object]:
    """Return the fields in the run that the current code belongs to: ``job``, ``id``, ``run``, ``attempt``, ``hook``.

    Returns:
        The fields. Empty outside runs.
    """
    run = run_context.get()
    if run is None:
        return {}
    return {"job": run.job, "id": run.id, "run": run.run_id, "attempt": run.attempt, "hook": run.hook}


class RunFilter(logging.Filter):
    """Adds the run's fields to each record, as the dict ``record.perdure``. It drops no record.

    Add it to a handler: ``handler.addFilter(RunFilter())``. ``perdure run`` does. The engine's records have that dict
    already: it holds the record's fields.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields, and keep the record."""
        # A record of the engine has its own fields: those of the run would replace them.
        if "perdure" not in vars(record):
            vars(record)["perdure"] = run_fields()
        return True


def add_run(_logger: object, _method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the run's fields to a structlog event. Use it as a processor in ``structlog.configure``.

    A field that the event already has is kept.
    """
    for name, value in run_fields().items():
        event_dict.setdefault(name, value)
    return event_dict


class JsonLine(logging.Formatter):
    """One JSON object a line: ``at`` (UTC), ``level``, ``logger``, ``message``, and the record's fields.

    The fields are the engine record's or the run's fields, and those in ``extra``. ``exception`` and ``stack`` are
    texts. A value that JSON has no form for is printed with ``repr``.
    """

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        attributes = vars(record)
        fields: dict[str, object] = {name: value for name, value in attributes.items() if name not in _OWN}
        fields |= attributes.get("perdure") or {}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        # The four names of the line come last in this union: a field of the user named "level" must not replace the
        # level.
        line = fields | {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": attributes.get("perdure_message") or record.getMessage(),
        }
        ordered = {name: line.pop(name) for name in ("at", "level", "logger", "message")}
        return encoded(ordered | line)


LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LogFormat: TypeAlias = Literal["text", "json"]


class LogLine(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO perdure: engine started store='sqlite:///jobs.db'``, in UTC."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name}: {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - of `logging`
        """Add the run's fields to a line that a program wrote. An engine record already shows its fields."""
        line = super().formatMessage(record)
        fields = vars(record).get("perdure")
        if not fields or "perdure_message" in vars(record):
            return line
        return line + "".join(f" {name}={value!r}" for name, value in fields.items())


def log_to_stderr(level: LogLevel, form: LogFormat = "text") -> None:
    """Send records with at least this level to standard error.

    A handler that the user's module installed on the root logger is kept. The HTTP client logs each request as info, so
    a tracker would add a line for each batch: unless the level is debug, only the client's warnings are logged.

    Args:
        level: the minimum level.
        form: text lines, or JSON objects.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLine() if form == "text" else JsonLine())
    handler.addFilter(RunFilter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if level == "info":
        logging.getLogger("httpx2").setLevel(logging.WARNING)


def encoded(line: Mapping[str, object]) -> str:
    """Return a line as JSON, whatever its values are."""
    try:
        return orjson.dumps(line, default=_shown, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):  # text that is not Unicode, a number of too many digits, a cycle
        return orjson.dumps({_text(name): _value(value) for name, value in line.items()}).decode()


def _value(value: object) -> object:
    """Return a value as JSON if it has a form there, else as text: one odd field changes no other."""
    try:
        return orjson.Fragment(orjson.dumps(value, default=_shown, option=orjson.OPT_NON_STR_KEYS))
    except (TypeError, ValueError):
        return _text(value if isinstance(value, str) else _shown(value))


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - of the user's class
        return excerpt(value)  # names the exception


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
