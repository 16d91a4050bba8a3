"""Parts a URL: prints it without secrets, and reads sizes in its options, such as ``16MiB``."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from perdure.values.errors import DefinitionError

_SCHEME: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*)?:/*")
_PATHS: Final = ("sqlite:///", "http+unix:///")
_SECRET_NAME: Final = re.compile(r"(?i)pass|pwd|secret|token|key|credential|auth|signature")
_HIDDEN: Final = "..."


def redacted_url(url: str) -> str:
    """Return a URL without its user and its secrets: messages reach logs and terminals.

    A password should have its ``/``, ``?``, ``#`` and ``@`` escaped. Where it has not, more than the password is cut.

    >>> redacted_url("postgresql://app:secret@db/shop?sslpassword=secret&schema=jobs")
    'postgresql://db/shop?sslpassword=...&schema=jobs'
    >>> redacted_url("mysql://app:not/escaped@db/shop")
    'mysql://db/shop'
    >>> redacted_url("sqlite:////srv/a@b/jobs.db")
    'sqlite:////srv/a@b/jobs.db'

    Args:
        url: any text.
    """
    begin = _SCHEME.match(url)
    scheme = "" if begin is None else begin[0]
    rest = url[len(scheme) :]
    if scheme and not scheme.startswith(_PATHS):
        # The last "@": a password may contain one that is not escaped, and the rest of it would be printed.
        user, _, rest = rest.rpartition("@")
        if "?" in user:
            return f"{scheme}{_HIDDEN}"  # a password, or an option with an "@" in it
    base, mark, query = rest.partition("?")
    return f"{scheme}{base}{mark}{'&'.join(map(_shown_parameter, query.split('&')))}"


def _shown_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    if parameter and not equals:
        return _HIDDEN  # the rest of a value whose "&" is not escaped
    return f"{name}={_HIDDEN}" if _SECRET_NAME.search(unquote(name)) else parameter


def split_url(url: str, *, what: str = "store URL", example: str = "sqlite:///jobs.db") -> SplitResult:
    """Split a URL into its parts.

    Args:
        url: a store URL or a server URL.
        what: names it in the error.
        example: a URL that is valid there.

    Raises:
        DefinitionError: it cannot be split, for example because a bracket is missing.
    """
    try:
        return urlsplit(url, allow_fragments=False)
    except ValueError:  # its text has the URL
        expected = f"a URL such as {example!r}, in which an IPv6 address is written [::1]"
        raise DefinitionError(what, redacted_url(url), expected) from None


_UNITS: Final = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_FORM: Final = re.compile(r"([0-9]{1,15}) ?(B|KiB|MiB|GiB|)")


def bytes_of(text: str) -> int | None:
    """Return a size in bytes, or None if the text is not a size.

    >>> [bytes_of(text) for text in ("16MiB", "512 KiB", "0", "16 MB", "-1")]
    [16777216, 524288, 0, None, None]

    Args:
        text: a whole number, and ``KiB``, ``MiB``, ``GiB`` or no unit.
    """
    found = _FORM.fullmatch(text)
    return None if found is None else int(found[1]) * _UNITS[found[2]]
