"""The debug mode: which runs are inspected, and who learns of a mistake. The log names each location once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.draft import HookBug, HookBugKind, Inspection
from perdure.jobs.redaction import secrets_of_run
from perdure.jobs.step import Execute
from perdure.programs import Exit
from perdure.programs.drivers import Suspended
from perdure.programs.inline import run_to_first_effect
from perdure.programs.interpreter import interpret, watched
from perdure.runtime.record import LogRecord, Runtime
from perdure.values.secret import scrubbed

MESSAGES: Final[Mapping[HookBugKind, str]] = {
    "program never run": "a hook built a program and never ran it",
    "state changed in place": "a hook changed its state in place, and the change is lost",
    "input changed in place": "a hook changed its event in place, and its caller holds the same value",
}


MistakeFound: TypeAlias = Callable[[HookBug], object]
"""Called with each mistake that the debug mode finds in a run."""


@attrs.define(eq=False)
class HookChecks:
    """Inspects a sample of the runs of each hook.

    A mistake of a hook has a location, and the log names it once: the first runs find most, and one of many the rest.

    Attributes:
        found: called with each mistake.
        first: the number of runs of a hook and a class of event that are all inspected.
        one_of: of the later runs, one of this many is inspected; 1 for each run.
    """

    found: MistakeFound
    first: int = 32
    one_of: int = 64
    _runs: dict[tuple[str, str, type], int] = attrs.Factory(dict[tuple[str, str, type], int])

    def samples(self, job: AnyDefinition, hook: str, command: object) -> bool:
        """Return whether the next run of a hook is inspected, and count the run.

        Args:
            job: the definition of the instance.
            hook: the function.
            command: the command of its request.
        """
        if self.one_of == 1:
            return True
        # By the class of the event: each class is a branch of the hook, and a rare one may hold the mistake.
        what = (job.name, hook, getattr(command, "event", command).__class__)
        runs = self._runs.get(what, 0)
        self._runs[what] = runs + 1
        return runs < self.first or runs % self.one_of == 0

    def report(self, job: AnyDefinition, execute: Execute, exit_: Exit[Any, Any]) -> None:
        """Report the mistakes of a hook, once for each end of a program.

        Args:
            job: the definition of the instance.
            execute: the run.
            exit_: the exit of its program.
        """
        inspection = execute.draft.inspection
        if inspection is None or inspection.exited:
            return
        inspection.exited = True
        address, secrets = execute.instance.address, secrets_of_run(job, execute)
        for mistake in inspection.mistakes(exit_, job=f"{address.kind}:{address.name}", hook=execute.hook):
            self.found(attrs.evolve(mistake, subject=scrubbed(mistake.subject, secrets)))


def run_inspected(
    job: AnyDefinition, execute: Execute, services: object
) -> Exit[object, object] | Suspended[object, object]:
    """Run a program until its first effect or wait, under an inspection.

    Args:
        job: the definition of the instance.
        execute: the run, which has not begun.
        services: the services of the program.
    """
    draft, commands = execute.draft, job.plan.commands
    inspection = Inspection.of(draft, execute.request, commands, is_first_hook=execute.prior is None)
    draft.inspection = inspection
    return run_to_first_effect(watched(interpret(execute.program, services, (inspection,)), inspection.watch))


@attrs.define
class MistakeLog:
    """Logs the first mistake of each location.

    Attributes:
        runtime: writes the log.
    """

    runtime: Runtime
    _places: set[tuple[str, str, str, str]] = attrs.Factory(set[tuple[str, str, str, str]])

    def __call__(self, mistake: HookBug) -> None:
        """Log a mistake, unless one of the same location was logged before."""
        place = (mistake.job, mistake.hook, mistake.mistake, mistake.place)
        if place in self._places:
            return
        self._places.add(place)
        fields = {"job": mistake.job, "hook": mistake.hook, "subject": mistake.subject}
        if mistake.place:
            fields["place"] = mistake.place
        self.runtime.log(LogRecord("error", MESSAGES[mistake.mistake], fields))
