"""Logs the mistakes that the debug mode finds, once for each location."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from perdure.jobs.inspection import HookMistake, MistakeKind
from perdure.runtime.record import LogRecord, Runtime

MESSAGES: Final[Mapping[MistakeKind, str]] = {
    "program never run": "a hook built a program and never ran it",
    "state changed in place": "a hook changed its state in place, and the change is lost",
    "input changed in place": "a hook changed its event in place, and its caller holds the same value",
}


@attrs.define
class MistakeLog:
    """Logs the first mistake of each location.

    Attributes:
        runtime: writes the log.
    """

    runtime: Runtime
    _places: set[tuple[str, str, str, str]] = attrs.Factory(set[tuple[str, str, str, str]])

    def __call__(self, mistake: HookMistake) -> None:
        """Log a mistake, unless one of the same location was logged before."""
        place = (mistake.job, mistake.hook, mistake.mistake, mistake.place)
        if place in self._places:
            return
        self._places.add(place)
        fields = {"job": mistake.job, "hook": mistake.hook, "subject": mistake.subject}
        if mistake.place:
            fields["place"] = mistake.place
        self.runtime.log(LogRecord("error", MESSAGES[mistake.mistake], fields))
