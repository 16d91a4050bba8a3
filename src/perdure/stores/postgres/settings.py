"""The settings for a PostgreSQL store, and its URL."""

from __future__ import annotations

import re
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import SplitResult, parse_qsl, urlencode

import attrs

from perdure.stores.url_parts import bytes_of, redacted_url, split_url
from perdure.stores.values import DEFAULT_CACHE_BYTES, IfMissing
from perdure.values.errors import DefinitionError
from perdure.values.times import duration_ms

DEFAULT_SCHEMA: Final = "perdure"

SCHEMES: Final = ("postgresql", "postgres")

Ownership: TypeAlias = Literal["owned", "shared"]

DEFAULT_LEASE_MS: Final = 6_000
# A heartbeat is due several times in a lease: below a second, one slow statement would end it.
MIN_LEASE_MS: Final = 1_000

StoredFor: TypeAlias = Literal["full", "relaxed"]

_WHAT = "store URL"
# Lower case: PostgreSQL folds unquoted names, so an operator finds the schema in psql. At most 63 bytes: the server
# cuts longer names, and two schemas could become one.
_SCHEMA: Final = re.compile("[a-z_][a-z0-9_]{0,62}")
_CHOICES: Final = {
    "durability": ("full", "relaxed"),
    "if_missing": ("create", "refuse"),
    "ownership": ("owned", "shared"),
}
_PORT: Final = re.compile(r":([0-9]{1,5})$")
MAX_PORT: Final = 65_535

_ESCAPED: Final = (
    "'postgresql://user:password@host/database', in whose parts '/', '?', '#' and '@' are written %2F, %3F, %23 and %40"
)
_PARAMETERS: Final = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
_OF_SERVER: Final = ("host", "hostaddr", "port", "target_session_attrs")
_OPTIONS: Final = (
    "'?schema=perdure', '?durability=full' or '?durability=relaxed', '?if_missing=create' or '?if_missing=refuse', "
    "'?ownership=owned' or '?ownership=shared', '?lease=6s', '?cache=16MiB', '?replica=host:5432', each at most once, "
    "and parameters of PostgreSQL such as '?sslmode=require'"
)


@attrs.frozen(kw_only=True)
class PostgresSettings:
    """Where a store is, and how it is used.

    Attributes:
        dsn: the URL without perdure's options, for the driver. It may contain a password.
        name: the store's name in messages, without user and password.
        schema: the schema that holds the tables.
        durability: ``full``: a commit waits until the server has synced it. ``relaxed``: it does not.
        cache_bytes: the bound for the instances that the engine keeps in memory.
        if_missing: what happens when the schema does not exist.
        ownership: ``owned`` by one engine at a time, or ``shared`` by many.
        lease_ms: in a shared store, how long an engine may be silent before another one takes over its work.
        replica: ``dsn`` and ``name`` of the replica that answers lists, searches and counts.
    """

    dsn: str = attrs.field(repr=False)
    name: str
    schema: str = DEFAULT_SCHEMA
    durability: StoredFor = "full"
    cache_bytes: int = DEFAULT_CACHE_BYTES
    if_missing: IfMissing = "create"
    ownership: Ownership = "owned"
    lease_ms: int = DEFAULT_LEASE_MS
    replica: tuple[str, str] | None = attrs.field(default=None, repr=False)

    @property
    def quoted(self) -> str:
        """The schema's name as it stands in statements."""
        return f'"{self.schema}"'


def settings_of(url: str) -> PostgresSettings:
    """Return a URL's settings.

    >>> settings_of("postgresql://app:secret@db/orders?schema=jobs&sslmode=require").name
    'postgresql://db/orders?schema=jobs'

    Args:
        url: ``postgresql://user:password@host:port/database?options``.

    Raises:
        DefinitionError: the URL or an option is not valid.
    """
    parts = split_url(url)
    if "@" in parts.path or "@" in parts.query:  # what follows would be taken for the name of a database, and be shown
        raise DefinitionError(_WHAT, redacted_url(url), _ESCAPED)
    if parts.scheme not in SCHEMES or not _are_hosts(parts.netloc.rpartition("@")[2]):
        raise DefinitionError(_WHAT, redacted_url(url), "'postgresql://user@host:5432/database'")
    own: dict[str, Any] = {}
    others: list[tuple[str, str]] = []
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        found = _option(name, text)
        if found is None:
            _check_parameter(name, text)
            others.append((name, text))
        elif found == "invalid" or name in own:
            raise DefinitionError(f"option {name!r} of a {_WHAT}", text, _OPTIONS)
        else:
            own[name] = found[0]
    own["cache_bytes"] = own.pop("cache", DEFAULT_CACHE_BYTES)
    own["lease_ms"] = own.pop("lease", DEFAULT_LEASE_MS)
    schema = own.get("schema", DEFAULT_SCHEMA)
    name = f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if "replica" in own:
        own["replica"] = _replica(parts, own["replica"], others)
    return PostgresSettings(
        # Without this library's own options: the driver passes unknown ones to the server, which refuses them.
        dsn=parts._replace(query=urlencode(others)).geturl(),
        # The default schema is left out: one store has one name in logs, whether or not the URL states the default.
        name=name if schema == DEFAULT_SCHEMA else f"{name}?schema={schema}",
        **own,
    )


def _replica(parts: SplitResult, hosts: str, others: list[tuple[str, str]]) -> tuple[str, str]:
    """Return a replica's URL, with the user, database and parameters of the primary's, and its name."""
    user, separator, _ = parts.netloc.rpartition("@")
    # Without the parameters that choose a server: they are about the primary.
    query = urlencode([(name, text) for name, text in others if name not in _OF_SERVER])
    dsn = parts._replace(netloc=f"{user}{separator}{hosts}", query=query).geturl()
    return dsn, f"postgresql://{hosts}{parts.path}"


def _are_hosts(hosts: str) -> bool:
    """Return whether this lists hosts, each with a port or not. Without any, the driver uses its default."""
    ports = (_PORT.search(host) for host in hosts.split(",") if ":" in host and not host.endswith("]"))
    return all(port is not None and 0 < int(port.group(1)) <= MAX_PORT for port in ports)


def _check_parameter(name: str, text: str) -> None:
    """Check a PostgreSQL parameter that has few values: the driver would report it as if the server failed."""
    choices = _PARAMETERS.get(name)
    if choices is not None and text not in choices:
        raise DefinitionError(f"parameter {name!r} of a {_WHAT}", text, f"one of {', '.join(choices)}")


def _option(name: str, text: str) -> tuple[object] | Literal["invalid"] | None:
    """Return the value for a perdure option, or None for a PostgreSQL parameter."""
    match name:
        case "schema":
            return (text,) if _is_schema(text) else "invalid"
        case "cache":
            size = bytes_of(text)
            return "invalid" if size is None else (size,)
        case "replica":
            return (text,) if text and "@" not in text and "/" not in text and _are_hosts(text) else "invalid"
        case "lease":
            return (duration_ms(text, what=f"option 'lease' of a {_WHAT}", minimum_ms=MIN_LEASE_MS),)
        case _ if name in _CHOICES:
            return (text,) if text in _CHOICES[name] else "invalid"
        case _:
            return None


def _is_schema(text: str) -> bool:
    # "pg_" is reserved: PostgreSQL refuses to create such a schema.
    return _SCHEMA.fullmatch(text) is not None and not text.startswith("pg_")


def is_postgres(url: str) -> bool:
    """Return whether a URL names a PostgreSQL store."""
    return split_url(url).scheme in SCHEMES


def shown_url(url: str) -> str:
    """Return a store URL as messages show it: a PostgreSQL one without user and password."""
    return settings_of(url).name if is_postgres(url) else redacted_url(url)


def check_schema(name: str) -> None:
    """Check a schema's name.

    Raises:
        DefinitionError: it is not a lower-case name.
    """
    if not _is_schema(name):
        raise DefinitionError("schema of a store", name, "a name of lower-case letters, digits and '_', such as 'jobs'")
