"""A store's URL as messages show it."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from perdure.values.errors import DefinitionError

_USER: Final = re.compile(r"(?<=://)[^/?#]*@")
_PASSWORD: Final = re.compile(r"(?i)(?<=[?&])((?:\w*password)=)[^&]*")


def redacted_url(url: str) -> str:
    """Return a URL without its user and its passwords: messages reach logs and terminals.

    >>> redacted_url("postgresql://app:secret@db/shop?sslpassword=secret&schema=jobs")
    'postgresql://db/shop?sslpassword=...&schema=jobs'
    >>> redacted_url("sqlite:///jobs.db")
    'sqlite:///jobs.db'

    Args:
        url: any text.
    """
    return _PASSWORD.sub(r"\1...", _USER.sub("", url))


def split_url(url: str) -> SplitResult:
    """Return the parts of a store's URL.

    Raises:
        DefinitionError: it has none, for example because a bracket is missing.
    """
    try:
        return urlsplit(url, allow_fragments=False)
    except ValueError as error:
        raise DefinitionError("store URL", redacted_url(url), f"a URL such as 'sqlite:///jobs.db' ({error})") from error
