"""Why an opening has ended: the reason that its engine reports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from perdure.stores.postgres.failures import DRIVER_ERRORS, NoConnection

OPENED: Final = "another engine has opened the store; start this one again if it is to take over"
EXPIRED: Final = "its lease ended, and another engine declared it dead; start it again"
COPIED: Final = (
    "'perdure copy' ended it, so that no row changes during the copy; when the copy is complete, start it again on the "
    "store that you use from then on"
)
UNKNOWN: Final = "another engine or 'perdure copy' has ended it; start it again"

_ENDED: Final = """
SELECT epoch < 0, lease_until IS NOT NULL FROM {schema}.engines WHERE epoch IN ($1::bigint, -$1::bigint)
"""


async def reason_of_end(first_row: Callable[..., Awaitable[Any]], schema: str, epoch: int) -> str:
    """Return why an opening has ended.

    Args:
        first_row: executes a statement, and returns its first row.
        schema: the quoted name of the schema.
        epoch: the number of the opening.
    """
    try:
        row = await first_row(_ENDED.format(schema=schema), epoch)
    except NoConnection:
        return UNKNOWN
    except DRIVER_ERRORS:
        return UNKNOWN
    if row is None:
        return UNKNOWN
    if row[0]:
        return COPIED
    return EXPIRED if row[1] else OPENED
