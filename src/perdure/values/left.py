"""The mark of an instance that one version of the code cannot read, and leaves to another."""

from __future__ import annotations

from typing import Final

import attrs

from perdure.values.address import Address
from perdure.values.excerpt import fields_in_line
from perdure.values.failure import FailureRecord

MAX_CODES: Final = 16
"""Versions of the code that a mark keeps. Of more than that, the one that was first to leave tries again."""


UNKNOWN: Final = "unknown"
"""Stands for the code of a version that parked instances which it could not read, before there was a mark."""


@attrs.frozen(kw_only=True)
class Left:
    """Who left an instance or a message, since when, and why.

    Engines of these codes do not try again by themselves. An engine of other code tries at once.

    Attributes:
        codes: the fingerprints of the definitions that could not read it, the oldest first.
        since_ms: when the first of them left it.
        error: why the last of them did; its message begins with the path of the problem.
    """

    __repr__ = fields_in_line

    codes: tuple[str, ...]
    since_ms: int
    error: FailureRecord

    def key(self, address: Address) -> str:
        """Return the text by which a store finds all that the same versions of one job left."""
        return left_key(address, self.codes)


def left_by(before: Left | None, code: str, error: FailureRecord, now_ms: int) -> Left:
    """Return the mark with one more code.

    Args:
        before: the mark so far; None: nothing left it.
        code: the fingerprint of the definition that leaves it now.
        error: why.
        now_ms: the present.
    """
    if before is None:
        return Left(codes=(code,), since_ms=now_ms, error=error)
    codes = (*(one for one in before.codes if one != code), code)[-MAX_CODES:]
    return Left(codes=codes, since_ms=before.since_ms, error=error)


def left_key(address: Address, codes: tuple[str, ...]) -> str:
    """Return the text by which a store finds the rows that these versions of the job of an address left."""
    return f"{address.kind}:{address.name}\t{' '.join(sorted(codes))}"


def codes_of(key: str | None) -> tuple[str, ...]:
    """Return the codes of a key; none for None."""
    return () if key is None else tuple(key.partition("\t")[2].split(" "))


def is_left_to(key: str, job: tuple[str, str], code: str) -> bool:
    r"""Return whether a row with this key is of a job, and was not left by a code.

    >>> [is_left_to("task:orders\t3f 9a", ("task", "orders"), code) for code in ("77", "9a")]
    [True, False]
    """
    head, _, codes = key.partition("\t")
    return head == f"{job[0]}:{job[1]}" and code not in codes.split(" ")


HEALS: Final = {
    "Diverged": "Deploy code that follows its journal: it continues by itself. Or terminate it.",
    "NewerOnly": (
        "Run an engine of the version that wrote it, usually a newer one: it continues there by itself. If an older "
        "version wrote it, declare a version of the state with an upgrade from that one, and deploy."
    ),
    "UpcastFailed": "Fix the function that upgrades its state, and deploy: it continues by itself.",
    "Unreadable": "Start the engine with the key that it is encrypted with, then resume it.",
}
"""How an operator heals a mark, by the class of its error."""

HEALS_ANY: Final = (
    "Deploy code that reads it: it continues by itself. If no version wrote this, it is damage: terminate it, or "
    "restore the row from a backup and resume it."
)


def heals(left: Left) -> str:
    """Return how an operator heals a mark, in one or two sentences."""
    return HEALS.get(left.error.error_type, HEALS_ANY)
