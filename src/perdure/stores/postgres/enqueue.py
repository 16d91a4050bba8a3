"""Commands in an application's transaction: delivered if it commits, and only then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction
from secrets import token_hex
from typing import Any, Final, Literal

import attrs

from perdure.jobs.context import Post
from perdure.programs import Program
from perdure.programs.container import node_of
from perdure.programs.instructions import PERFORM
from perdure.stores.encryption.keys import Encryption
from perdure.stores.encryption.sealed_store import sealed_outside
from perdure.stores.postgres.settings import DEFAULT_SCHEMA, check_schema
from perdure.values.errors import DefinitionError, InvalidArgument

__all__ = ["enqueue", "enqueue_async"]

_SYNC: Final = (
    "a connection of psycopg, or a connection or session of SQLAlchemy; pass one of asyncpg, and each async one, to "
    "enqueue_async"
)
_ASYNC: Final = (
    "a connection of asyncpg, or an async connection of psycopg, or an async connection or session of SQLAlchemy; "
    "pass each other one to enqueue"
)
_COMMAND: Final = "a command such as tell(orders, 'order-1').send(event)"


def enqueue(
    connection: object,
    *commands: Program[None],
    schema: str = DEFAULT_SCHEMA,
    encryption: Encryption | None = None,
) -> tuple[int, ...]:
    """Send commands in the transaction that is open on a psycopg or SQLAlchemy connection.

    They are stored when that transaction commits, and disappear when it rolls back. An engine delivers them within
    milliseconds after the commit, exactly once, and commands to one instance in their order. Different transactions
    have no order.

    Args:
        connection: psycopg's ``Connection``, or SQLAlchemy's ``Connection`` or ``Session``, to the store's database.
        commands: commands built by `perdure.tell`, such as ``tell(orders, "order-1").send(event)``.
        schema: the store's schema.
        encryption: the app's keys, if it encrypts: it cannot read payloads that are not encrypted.

    Returns:
        The message ids.

    Raises:
        DefinitionError: the connection is async or from another library, or a command is another program.
        InvalidArgument: an id contains U+0000, which PostgreSQL does not accept.
        InvalidInput: a command's input does not have the declared type.
    """
    execute = _sync(connection)
    # All statements exist before the first one is sent: a command that is refused leaves the transaction as it was.
    return tuple(int(execute(statement)) for statement in _statements(commands, schema, encryption))


async def enqueue_async(
    connection: object,
    *commands: Program[None],
    schema: str = DEFAULT_SCHEMA,
    encryption: Encryption | None = None,
) -> tuple[int, ...]:
    """Send commands as `enqueue` does, on an asyncpg connection, or an async psycopg or SQLAlchemy connection.

    Args:
        connection: asyncpg's ``Connection``, psycopg's ``AsyncConnection``, or SQLAlchemy's ``AsyncConnection`` or
            ``AsyncSession``. Without an open transaction each command has its own.
        commands: commands built by `perdure.tell`.
        schema: the store's schema.
        encryption: the app's keys, if it encrypts: it cannot read payloads that are not encrypted.

    Returns:
        The message ids.

    Raises:
        DefinitionError: the connection is not async or from another library, or a command is another program.
        InvalidArgument: an id contains U+0000, which PostgreSQL does not accept.
        InvalidInput: a command's input does not have the declared type.
    """
    execute = _async(connection)
    # A list: `tuple` takes no asynchronous generator.
    return tuple([int(await execute(statement)) for statement in _statements(commands, schema, encryption)])


@attrs.frozen
class _Statement:
    """A call to the function ``send``."""

    schema: str
    values: tuple[str, ...]

    def sql(self, *marks: str) -> str:
        return f'SELECT "{self.schema}".send({", ".join(marks)})'

    @property
    def named(self) -> dict[str, str]:
        return dict(zip("abcde", self.values, strict=True))


def _statements(commands: Sequence[Program[None]], schema: str, encryption: Encryption | None) -> list[_Statement]:
    # Before the name becomes part of the SQL text.
    check_schema(schema)
    if encryption is not None and not isinstance(encryption, Encryption):  # pyright: ignore[reportUnnecessaryIsInstance] - of a caller without types
        raise DefinitionError("encryption of enqueue", encryption, "an Encryption, or None")
    return [_Statement(schema, _values(_post(command), encryption)) for command in commands]


def _post(command: object) -> Post:
    program: Any = command
    if isinstance(program, Program):
        tag, instruction, _ = node_of(program)  # pyright: ignore[reportUnknownArgumentType] - any program
        # Only a command alone: any other program needs a turn to run in, and here is no engine.
        if tag == PERFORM and isinstance(instruction, Post):
            return instruction
    raise DefinitionError("a command to enqueue", command, _COMMAND)


def _values(post: Post, encryption: Encryption | None) -> tuple[str, ...]:
    target, payload = post.target, post.payload()
    # The function of the schema takes the id as it is, and PostgreSQL has no text with U+0000.
    if "\0" in str(target):
        raise InvalidArgument("id of a command to enqueue", target.id, "text without U+0000")
    if encryption is not None:
        # A random salt: the instant that salts other messages is set by the server.
        payload = sealed_outside(encryption, target, post.action, payload, salt=token_hex(8))
    return target.kind, target.name, target.id, post.action, payload


def _sync(connection: Any) -> Callable[[_Statement], Any]:
    match _library(connection):
        case "psycopg" if _executes(connection) == "sync":
            return lambda one: connection.execute(one.sql(*["%s"] * 5), one.values).fetchone()[0]
        case "sqlalchemy" if _executes(connection) == "sync":
            text = _text()
            return lambda one: connection.execute(text(one.sql(":a", ":b", ":c", ":d", ":e")), one.named).scalar_one()
        case _:
            raise DefinitionError("connection of enqueue", connection, _SYNC)


def _async(connection: Any) -> Callable[[_Statement], Any]:
    match _library(connection):
        case "asyncpg":
            return lambda one: connection.fetchval(one.sql("$1", "$2", "$3", "$4", "$5"), *one.values)
        case "psycopg" if _executes(connection) == "async":

            async def execute(one: _Statement) -> Any:
                return (await (await connection.execute(one.sql(*["%s"] * 5), one.values)).fetchone())[0]

            return execute
        case "sqlalchemy" if _executes(connection) == "async":
            text = _text()

            async def execute_text(one: _Statement) -> Any:
                return (await connection.execute(text(one.sql(":a", ":b", ":c", ":d", ":e")), one.named)).scalar_one()

            return execute_text
        case _:
            raise DefinitionError("connection of enqueue_async", connection, _ASYNC)


def _executes(connection: object) -> Literal["sync", "async", "no"]:
    """Return how a connection executes a statement. An engine or a pool does not."""
    execute = getattr(connection, "execute", None)
    if not callable(execute):
        return "no"
    return "async" if iscoroutinefunction(execute) else "sync"


def _library(connection: object) -> str:
    """Return the package that a connection's class, or one that it is derived from, belongs to."""
    packages = [cls.__module__.partition(".")[0] for cls in type(connection).__mro__]
    return next((name for name in packages if name in ("asyncpg", "psycopg", "sqlalchemy")), "")


def _text() -> Callable[[str], Any]:
    from sqlalchemy import text  # noqa: PLC0415 - the caller has it

    return text
