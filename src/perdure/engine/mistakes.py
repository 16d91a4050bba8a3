"""The mistakes that the debug mode finds: reported at the end of a program, and logged once for each location."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.inspection import HookMistake, MistakeKind
from perdure.jobs.redaction import secrets_of_run
from perdure.jobs.step import Execute
from perdure.programs import Exit
from perdure.runtime.record import LogRecord, Runtime
from perdure.values.secret import scrubbed

MESSAGES: Final[Mapping[MistakeKind, str]] = {
    "program never run": "a hook built a program and never ran it",
    "state changed in place": "a hook changed its state in place, and the change is lost",
    "input changed in place": "a hook changed its event in place, and its caller holds the same value",
}


MistakeFound: TypeAlias = Callable[[HookMistake], object]
"""Called with each mistake that the debug mode finds in a run."""


def report_mistakes(job: AnyDefinition, execute: Execute, exit_: Exit[Any, Any], found: MistakeFound) -> None:
    """Report the mistakes of a hook, once for each end of a program.

    Args:
        job: the definition of the instance.
        execute: the run.
        exit_: the exit of its program.
        found: called with each mistake.
    """
    inspection = execute.draft.inspection
    if inspection is None or inspection.exited:
        return
    inspection.exited = True
    address, secrets = execute.instance.address, secrets_of_run(job, execute)
    for mistake in inspection.mistakes(exit_, job=f"{address.kind}:{address.name}", hook=execute.hook):
        found(attrs.evolve(mistake, subject=scrubbed(mistake.subject, secrets)))


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
