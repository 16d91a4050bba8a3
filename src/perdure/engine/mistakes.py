"""Logs what the debug mode finds: each place once, however often its code runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from perdure.jobs.inspection import HookMistake, MistakeKind
from perdure.runtime.record import LogRecord, Runtime

MESSAGES: Final[Mapping[MistakeKind, str]] = {
    "program never run": "a hook built a program and never ran it",
    "state changed in place": "a hook changed its state in place, and the change is lost",
}


@attrs.define
class MistakeLog:
    """Called with each mistake of a hook; the first one of each place is logged.

    Attributes:
        runtime: what logs.
    """

    runtime: Runtime
    _places: set[tuple[str, str, str, str]] = attrs.Factory(set[tuple[str, str, str, str]])

    def __call__(self, mistake: HookMistake) -> None:
        """Log a mistake, unless one of the same place was logged before."""
        place = (mistake.job, mistake.hook, mistake.mistake, mistake.place)
        if place in self._places:
            return
        self._places.add(place)
        fields = {"job": mistake.job, "hook": mistake.hook, "subject": mistake.subject, "place": mistake.place}
        self.runtime.log(LogRecord("error", MESSAGES[mistake.mistake], fields))
