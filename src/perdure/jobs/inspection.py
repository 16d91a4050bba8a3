"""The debug mode of one run: programs that were built and never run, and a state that was changed in place."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs
from returns.result import Success

from perdure.jobs.draft import ClosedDraft, Draft, GetState
from perdure.programs import Exit
from perdure.programs.watch import Watch
from perdure.values.errors import InvalidInput, PerdureError

MistakeKind: TypeAlias = Literal["program never run", "state changed in place"]


@attrs.frozen(kw_only=True, repr=False)
class HookMistake(PerdureError, AssertionError):
    """A hook did something that has no effect.

    Attributes:
        job: the job, printed ``kind:name``.
        hook: the function, such as ``on_event``.
        mistake: which of the two.
        subject: the program that was never run, printed; or the type of the state.
        place: the file and the line that built the program; empty for a state.
    """

    job: str
    hook: str
    mistake: MistakeKind
    subject: str
    place: str = ""

    def _text(self) -> str:
        if self.mistake == "program never run":
            return (
                f"{self.hook} of {self.job} built {self.subject} at {self.place} and never ran it: put `yield from` "
                "before it, or build it only where it is run"
            )
        return (
            f"{self.hook} of {self.job} changed its state ({self.subject}) in place, and the change is lost: set a "
            "changed copy with ctx.set_state(...)"
        )


@attrs.define
class Inspection:
    """Stands before the draft of one run, and looks at what the program does with it.

    Attributes:
        draft: the draft.
        watch: the programs that the run built.
    """

    draft: Draft
    watch: Watch = attrs.Factory(Watch)
    _found: bytes | None = None

    def answer(self, operation: object) -> object:
        """Let the draft answer; note what the state was when the program first read it."""
        if self._found is None and type(operation) is GetState:
            self._found = self._encoded()
        return self.draft.answer(operation)

    def branch(self) -> ClosedDraft:
        """What parallel branches of the program see: no draft."""
        return self.draft.branch()

    def mistakes(self, exit_: Exit[object, object], *, job: str, hook: str) -> tuple[HookMistake, ...]:
        """Return what the program did without effect. A run that did not succeed may have left programs for later.

        Args:
            exit_: how the program ended.
            job: the job, printed ``kind:name``.
            hook: the function.
        """
        found: list[HookMistake] = []
        if not isinstance(exit_, Success):
            return ()
        for program, place in self.watch.never_run():
            subject = f"{program!r}"
            found.append(
                HookMistake(job=job, hook=hook, mistake="program never run", subject=subject, place=place.in_full())
            )
        if self._is_changed():
            subject = self.draft.codec.type_name
            found.append(HookMistake(job=job, hook=hook, mistake="state changed in place", subject=subject))
        return tuple(found)

    def _is_changed(self) -> bool:
        """Whether the state that the program holds is another one than it read, or set."""
        expected = self._found if self.draft.encoded is None else self.draft.encoded.encode()
        return expected is not None and self._encoded() != expected

    def _encoded(self) -> bytes:
        try:
            return self.draft.codec.encode(self.draft.state)
        except InvalidInput:  # what was changed in place is no state any more
            return b""
