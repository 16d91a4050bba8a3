"""``perdure openapi``: the description of an app's HTTP interface, without a server."""

from __future__ import annotations

import json

from perdure.cli.app_argument import AppArgument
from perdure.cli.app_loader import import_app
from perdure.cli.exit_code import ExitCode
from perdure.cli.standard_output import write_lines
from perdure.wire.openapi import TITLE, described


def openapi(app: AppArgument, *, title: str = TITLE, server: str = "/") -> int:
    """Print the OpenAPI document of an app, which a server of it returns as `/openapi.json`.

    Equal definitions print equal text: commit it, and a difference in review is a change of the interface.

    Exit code: 0 done, 2 the app cannot be imported.

    Parameters
    ----------
    title
        The title of the document.
    server
        The URL of the engine, or the path below which it is mounted.
    """
    document = described(import_app(app).served.values(), title=title, server=server)
    write_lines(json.dumps(document, indent=2).splitlines())
    return ExitCode.DONE
