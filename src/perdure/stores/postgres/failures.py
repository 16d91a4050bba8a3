"""Errors of the driver and the server as errors of a store."""

from __future__ import annotations

from typing import Final

from perdure.stores.postgres.driver import asyncpg
from perdure.values.errors import OutcomeUnknown, StoreError, StoreUnavailable

EPOCH_ENDED: Final = "PD001"
"""Raised by the functions of the schema when another opening has ended this one."""

READ_ONLY: Final = "25006"
"""Raised by a server that is a replica, or has become one."""

DRIVER_ERRORS: Final[tuple[type[Exception], ...]] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that has received the last error of its server, and not yet its end
    OSError,
    TimeoutError,
)
"""What an operation of the driver may raise. `ConnectionError` is an `OSError`."""

UNSENDABLE: Final[tuple[type[Exception], ...]] = (asyncpg.DataError, ValueError, TypeError, OverflowError)
"""Raised by the driver before it sends a value that it cannot encode."""

LOCK_NOT_AVAILABLE: Final = "55P03"
NO_FREE_CONNECTION: Final = "53300"
CANNOT_CONNECT_NOW: Final = "57P03"
COMPLETION_UNKNOWN: Final = "40003"

QUERY_CANCELED: Final = "57014"
"""Raised by a server that undid a statement, because an operator cancelled it, or it took longer than a time limit."""

_AGAIN: Final = ("40001", "40P01", LOCK_NOT_AVAILABLE)  # serialization failure, deadlock

_HINTS: Final = {
    READ_ONLY: "the server is a replica; add target_session_attrs=read-write to the URL, with all hosts",
    "28P01": "the password or the user is wrong; check the URL, or PGPASSWORD",
    "28000": "the server refuses this user; check the URL and pg_hba.conf",
    "42704": "check the options of the URL: those that perdure does not know are parameters of PostgreSQL",
    "3D000": "create it first, or check the URL",
    "42501": (
        "the role lacks a privilege; grant CREATE on the database, or have an administrator run the SQL of "
        "'perdure migrate --print-sql' and grant USAGE on the schema and all privileges on its tables and sequences"
    ),
    NO_FREE_CONNECTION: (
        "the server has no free connection; raise max_connections, use fewer engines (each has up to six), or put "
        "PgBouncer in between"
    ),
    QUERY_CANCELED: "nothing was written; an operator cancelled the statement, or it exceeded statement_timeout",
    LOCK_NOT_AVAILABLE: "another transaction holds a lock of the tables; look for it in pg_stat_activity, and end it",
    CANNOT_CONNECT_NOW: "the server is starting or shutting down",
    "PD002": "finish it with 'perdure copy', or drop the schema",
}


class NoConnection(Exception):
    """There was no connection: nothing was sent.

    Attributes:
        reason: the error of the driver.
    """

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason


def state_of(error: BaseException) -> str:
    """Return the SQLSTATE of an error; empty if it did not come from the server."""
    return str(getattr(error, "sqlstate", None) or "")


def is_worth_repeating(error: BaseException) -> bool:
    """Return whether the server undid a statement because of other transactions."""
    return state_of(error) in _AGAIN


def is_worth_waiting(error: BaseException) -> bool:
    """Return whether the server has no free connection, or is starting: a connection may succeed later."""
    return state_of(error) in (NO_FREE_CONNECTION, CANNOT_CONNECT_NOW)


def ends_the_session(error: BaseException) -> bool:
    """Return whether the server ended the session with an error: ``FATAL``, or ``PANIC`` if it ended itself."""
    severity = getattr(error, "severity_en", None) or getattr(error, "severity", None)  # a pooler sends only the second
    return severity in ("FATAL", "PANIC")


def is_about_the_connection(error: BaseException) -> bool:
    """Return whether a statement may have been executed although it failed.

    A server that undid it says so with the severity ``ERROR``. One that ends may have written the commit before: a
    failing disk of the log, for example, is the ``PANIC`` of a class that is a refusal otherwise.
    """
    if ends_the_session(error):
        return True
    if isinstance(error, UNSENDABLE):
        return False
    if not isinstance(error, asyncpg.PostgresError):
        return True
    state = state_of(error)
    return state != QUERY_CANCELED and (state[:2] in ("08", "57", "") or state == COMPLETION_UNKNOWN)


def reason_of(error: BaseException) -> str:
    """Return the text of an error with a hint, without passwords."""
    text = str(error) or type(error).__name__
    hint = _HINTS.get(state_of(error))
    if hint is None and isinstance(error, OSError):
        hint = "check that the server runs and accepts connections at this address"
    return text if hint is None else f"{text}: {hint}"


def unavailable(operation: str, error: BaseException) -> StoreUnavailable:
    """Return the error of an operation that wrote nothing."""
    return StoreUnavailable(operation, reason_of(error))


def failure_of_write(operation: str, error: BaseException) -> StoreError | OutcomeUnknown:
    """Return the error of a statement that writes."""
    return OutcomeUnknown(reason_of(error)) if is_about_the_connection(error) else unavailable(operation, error)
