"""The input of a request, from an argument or from standard input."""

from __future__ import annotations

import sys
from typing import Annotated, Final, TypeAlias

import orjson
from cyclopts import Parameter

from perdure.cli.usage_error import UsageError

FROM_STDIN: Final = "-"

KeyOption: TypeAlias = Annotated[
    str | None, Parameter(help="Idempotency key: a repeat with this key changes nothing and prints the first answer.")
]
"""The option ``--key`` of requests."""


def json_payload(text: str) -> str:
    """Return JSON text, read from standard input if the argument is ``-``.

    Raises:
        UsageError: it is not JSON.
    """
    payload = sys.stdin.read() if text == FROM_STDIN else text
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise UsageError(
            f"the input is not JSON: {error}; put it in single quotes, or pass - to read a file"
        ) from error
    return payload.strip()
