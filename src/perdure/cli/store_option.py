"""The option ``--store`` of every command that reads a store."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cyclopts import Parameter

StoreOption: TypeAlias = Annotated[str, Parameter(env_var="PERDURE_STORE")]
"""A store's URL, from the command line or the environment."""

StoreIfAny: TypeAlias = Annotated[str | None, Parameter(env_var="PERDURE_STORE")]
"""The same of a command that can do without one."""
