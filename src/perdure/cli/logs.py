"""The engine's log on standard error: one line per record, with its fields as ``name=value``."""

from __future__ import annotations

import logging
import sys
import time
from typing import Literal, TypeAlias

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


class LogLine(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO perdure: engine started store='sqlite:///jobs.db'``, in UTC."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name}: {message}", style="{")


def log_to_stderr(level: LogLevel) -> None:
    """Send records of this level and above to standard error.

    A handler that the user's module installed on the root logger is kept.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLine())
    logging.basicConfig(level=level.upper(), handlers=[handler])
