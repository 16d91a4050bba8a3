"""``perdure key``: make a key that encrypts a store."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from perdure.cli.exit_code import ExitCode
from perdure.cli.standard_output import write_lines
from perdure.cli.usage_error import UsageError
from perdure.stores.encryption import Key
from perdure.values.errors import DefinitionError


def key(key_id: Annotated[str, Parameter(name="ID")], /) -> int:
    """Make a random key that encrypts stored data, as a line for `PERDURE_KEYS` or a file of keys.

    The key is shown once and stored nowhere. Without it, the data that is encrypted with it cannot be read.

    Exit code: 0 done, 2 the id is not valid.

    Parameters
    ----------
    key_id
        The name of the key, which is stored with each text: 1 to 64 letters, digits, `.`, `_` or `-`.
    """
    try:
        write_lines([Key.new(key_id).line])
    except DefinitionError as error:
        raise UsageError(str(error)) from error
    return ExitCode.DONE
