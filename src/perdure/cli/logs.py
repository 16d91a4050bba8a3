"""The engine's log on standard error: one line per record, with its fields as ``name=value``."""

from __future__ import annotations

import logging
import sys
import time
from typing import Literal, TypeAlias

from perdure.telemetry.logs import JsonLine, RunFilter

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
        """Add the fields of the run to a line that a program wrote. A record of the engine shows its fields itself."""
        line = super().formatMessage(record)
        fields = vars(record).get("perdure")
        if not fields or "perdure_message" in vars(record):
            return line
        return line + "".join(f" {name}={value!r}" for name, value in fields.items())


def log_to_stderr(level: LogLevel, form: LogFormat = "text") -> None:
    """Send records of this level and above to standard error.

    A handler that the user's module installed on the root logger is kept. The HTTP client logs each request as info,
    so a tracker would add a line for each batch: of its lines, only warnings are logged, unless the level is debug.

    Args:
        level: the minimum level.
        form: lines of text, or JSON objects.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLine() if form == "text" else JsonLine())
    handler.addFilter(RunFilter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if level == "info":
        logging.getLogger("httpx2").setLevel(logging.WARNING)
