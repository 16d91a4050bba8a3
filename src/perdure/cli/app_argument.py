"""The argument that names an app: ``MODULE:APP`` or ``--app MODULE:APP``."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cyclopts import Parameter

AppArgument: TypeAlias = Annotated[
    str,
    Parameter(
        name="--app",
        env_var="PERDURE_APP",
        help="The app, written MODULE:APP: an App, or a function without parameters that returns one. The current "
        "directory is searched first. --app may be left out.",
    ),
]
