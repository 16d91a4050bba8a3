"""The debug mode of one run: finds programs that never run, and states and inputs that are changed in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast

import attrs
from returns.result import Failure, Success

from perdure.codecs import Codec
from perdure.jobs.draft import ClosedDraft, Draft
from perdure.jobs.operations import GetState
from perdure.jobs.request import CommandSpec, Request
from perdure.programs import Exit
from perdure.programs.watch import Watch
from perdure.values.errors import InvalidInput, PerdureError

MistakeKind: TypeAlias = Literal["program never run", "state changed in place", "input changed in place"]


@attrs.frozen(kw_only=True, repr=False)
class HookMistake(PerdureError, AssertionError):
    """A hook did something without effect, or changed a value that its caller holds.

    Attributes:
        job: the job, printed ``kind:name``.
        hook: the function, such as ``on_event``.
        mistake: which of the three.
        subject: the program that was never run, printed; or the type of the state or the input.
        place: the file and the line that built the program; empty for a state or an input.
    """

    job: str
    hook: str
    mistake: MistakeKind
    subject: str
    place: str = ""

    def _text(self) -> str:
        hook = f"{self.hook} of {self.job}"
        if self.mistake == "program never run":
            return (
                f"{hook} built {self.subject} at {self.place} and never ran it: put `yield from` before it, or build "
                "it only where it is run"
            )
        if self.mistake == "state changed in place":
            return (
                f"{hook} changed its state ({self.subject}) in place, and the change is lost: set a changed copy with "
                "ctx.set_state(...)"
            )
        return f"{hook} changed its event ({self.subject}) in place, and its caller holds the same value: change a copy"


@attrs.frozen
class _Received:
    """The input of a run: the value that the hook received, and its encoded form before the hook received it."""

    value: object
    codec: Codec[object]
    before: bytes

    def is_changed(self) -> bool:
        return _encoded(self.codec, self.value) != self.before


@attrs.define
class Inspection:
    """Intercepts the context operations of one run, and finds the mistakes of its hook. Make it with :meth:`of`.

    Attributes:
        draft: the draft.
        received: the input of the run; None when it has none, or when the run was delivered again.
        watch: the programs that the run built.
        exited: whether the program has ended, and its mistakes were returned.
    """

    draft: Draft
    received: _Received | None = None
    watch: Watch = attrs.Factory(Watch)
    exited: bool = False
    _found: bytes | None = None

    @staticmethod
    def of(
        draft: Draft, request: Request, commands: Mapping[str, CommandSpec[Any]], *, is_first_hook: bool
    ) -> Inspection:
        """Return the inspection of a run that has not begun.

        Args:
            draft: its draft.
            request: the request that it serves.
            commands: the commands of the job, by name.
            is_first_hook: whether no other hook has run for the request.
        """
        is_first = is_first_hook and draft.inspection is None
        return Inspection(draft, _received(request, commands.get(request.action), is_first_hook=is_first))

    def answer(self, operation: object) -> object:
        """Answer from the draft; note the encoded state when the program first reads it."""
        if self._found is None and type(operation) is GetState:
            self._found = self._encoded_state()
        return self.draft.answer(operation)

    def branch(self) -> ClosedDraft:
        """Return the interceptor of parallel branches: they have no draft."""
        return self.draft.branch()

    def mistakes(self, exit_: Exit[object, object], *, job: str, hook: str) -> tuple[HookMistake, ...]:
        """Return the mistakes of the hook. A run that did not succeed may have left programs for later.

        Args:
            exit_: the exit of the program.
            job: the job, printed ``kind:name``.
            hook: the function.
        """
        found: list[HookMistake] = []
        if isinstance(exit_, Success):
            for program, place in self.watch.never_run() if self.draft.is_complete else ():
                subject = f"{program!r}"
                found.append(
                    HookMistake(job=job, hook=hook, mistake="program never run", subject=subject, place=place.in_full())
                )
            if self._is_state_changed():
                subject = self.draft.codec.type_name
                found.append(HookMistake(job=job, hook=hook, mistake="state changed in place", subject=subject))
        if isinstance(exit_, Success | Failure) and self.received is not None and self.received.is_changed():
            subject = self.received.codec.type_name
            found.append(HookMistake(job=job, hook=hook, mistake="input changed in place", subject=subject))
        return tuple(found)

    def _is_state_changed(self) -> bool:
        """Return whether the state that the program holds differs from the one that it read, or set."""
        expected = self._found if self.draft.encoded is None else self.draft.encoded.encode()
        if expected is not None and self.draft.opened is not None:  # the state has no unknown members, its text has
            codec = self.draft.codec
            expected = _encoded(codec, codec.open(expected).value)
        return expected is not None and self._encoded_state() != expected

    def _encoded_state(self) -> bytes:
        return _encoded(self.draft.codec, self.draft.state)


def _received(request: Request, spec: CommandSpec[Any] | None, *, is_first_hook: bool) -> _Received | None:
    if spec is None or spec.input is None or not request.payload or not attrs.has(type(request.command)):
        return None
    field = next(iter(attrs.fields(cast("type[attrs.AttrsInstance]", type(request.command)))), None)
    if field is None:
        return None
    value = getattr(request.command, field.name)
    if is_first_hook:
        # the body of a hook without @program has already run, so the payload is the only copy from before it
        before = _encoded(spec.input, spec.input.accept(request.payload.encode()))
    else:  # an earlier hook of the same request had its own inspection
        before = _encoded(spec.input, value)
    return _Received(value, spec.input, before)


def _encoded(codec: Codec[object], value: object) -> bytes:
    try:
        return codec.encode(value)
    except InvalidInput:  # a value that was changed in place may not have its type any more
        return b""
