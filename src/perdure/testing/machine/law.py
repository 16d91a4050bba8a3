"""The laws that every job must keep."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from perdure.values.errors import PerdureError

Law: TypeAlias = Literal[
    "an accepted request changes the state once",
    "an acknowledged request is stored",
    "a repeat with its key gets the first answer and changes nothing",
    "transitions of an instance follow each other",
    "a successor is another incarnation",
    "a run that is delivered again is marked",
    "a run that is repeated has one id",
    "a message arrives once",
    "messages of a pair arrive in order",
    "a terminated instance is gone",
    "an unfinished instance has an alarm or is held",
    "nothing is left half-done",
    "the engine comes to rest",
    "a program follows its own journal",
    "the job does what its model does",
    "an invariant of the test",
]


@attrs.frozen(repr=False)
class InvariantViolated(PerdureError, AssertionError):
    """A job violated a law.

    Attributes:
        law: the law.
        what: the observation.
    """

    law: Law
    what: str

    def _text(self) -> str:
        return f"{self.law}: {self.what}"
