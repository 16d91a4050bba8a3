"""The operations of a store that take several requests together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from returns.result import Result

from perdure.values.address import Address
from perdure.values.errors import Conflict, OutcomeUnknown, StoreError
from perdure.values.frozen import turn_value
from perdure.values.instance import Fence
from perdure.values.transition import Loaded, Transition


@turn_value
class LoadRequest:
    """The arguments of ``load``."""

    address: Address
    idempotency_key: str | None = None
    now_ms: int = 0


class LoadAllOperation(Protocol):
    """The function ``load_all``."""

    def __call__(
        self,
        requests: Sequence[LoadRequest],
        answered: Callable[[Sequence[Result[Loaded, StoreError]]], None],
        /,
    ) -> None:
        """Read several addresses."""
        ...


class CommitAllOperation(Protocol):
    """The function ``commit_all``."""

    def __call__(
        self,
        transitions: Sequence[Transition],
        answered: Callable[[Sequence[Result[Fence, StoreError | Conflict | OutcomeUnknown]]], None],
        /,
    ) -> None:
        """Write several transitions."""
        ...
