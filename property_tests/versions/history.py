"""The history of a deploy: each call of the clients with its answer, and the keys that services have seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from attrs import Factory, define, frozen
from versioned_jobs import Code

from perdure.values.errors import (
    EngineClosed,
    InvalidInput,
    OutcomeUnknown,
    PerdureError,
    Rejected,
    ServerUnreachable,
    SignalRefused,
    Undecodable,
)

Age: TypeAlias = Literal["old", "new"]
ABSENT = 20
"""How often a signal finds no workflow before its caller stops."""


@frozen
class Try:
    """One failed try of a call.

    Attributes:
        at: the version of the engine that answered; None if none did.
        error: the failure.
    """

    at: Age | None
    error: PerdureError


@define(eq=False)
class Call:
    """A call of a client.

    Attributes:
        name: the call, for messages.
        of: the version of the client.
        key: its idempotency key.
        number: the number of its request; None if it has none.
        input: the JSON of its input, if it has one with a number.
        tries: the failed ones.
        answer: the value of the last try, once it succeeded.
        state: how far it is.
    """

    name: str
    of: Age
    key: str | None = None
    number: int | None = None
    id: str = ""
    input: Any = None
    tries: list[Try] = Factory(list[Try])
    answer: Any = None
    state: Literal["open", "answered", "failed"] = "open"

    @property
    def is_doubtful(self) -> bool:
        """Return whether a try may have been applied although it failed."""
        return self.state != "answered" and any(isinstance(each.error, OutcomeUnknown) for each in self.tries)

    def repeats(self, error: PerdureError) -> bool:
        """Return whether a caller repeats it: always with a key, otherwise if nothing of it was applied."""
        if isinstance(error, OutcomeUnknown | Rejected):
            return self.key is not None
        if isinstance(error, SignalRefused):
            return error.found == "absent" and len(self.tries) < ABSENT
        return isinstance(error, EngineClosed | ServerUnreachable | InvalidInput | Undecodable)


class History(Protocol):
    """Everything that was called while two versions of one job ran."""

    kind: str
    codes: dict[Age, Code]
    calls: list[Call]

    @property
    def keys(self) -> Mapping[str, set[str]]:
        """The keys of each work that the services were called with."""
        ...

    def ask(self, make: Callable[[Any], Any]) -> Any:
        """Make a call with the handle of a newer client; it must succeed."""
        ...

    def start(self, call: Call, make: Callable[[Any], Any]) -> Call:
        """Make a call in the background: it is repeated while that is safe."""
        ...

    def next_number(self) -> int:
        """Return the number of the next request."""
        ...
