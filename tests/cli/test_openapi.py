"""``perdure openapi``: the document of an app without a server."""

import json

from openapi_spec_validator import validate

from perdure.cli.commands import run_command
from perdure.cli.process import ExitCode


def test_it_prints_the_document_of_an_app(capsys):
    command = ["openapi", "rich_jobs:APP", "--title", "Ordérs", "--server", "https://jobs.example"]
    printed = []
    for _ in range(2):
        assert run_command(command) == ExitCode.DONE
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    document = json.loads(printed[0])
    validate(document)
    assert document["info"]["title"] == "Ordérs"
    assert document["servers"] == [{"url": "https://jobs.example"}]
    assert "/v1/jobs/debounce/batch/instances/{id}/add" in document["paths"]


def test_an_app_that_cannot_be_imported_is_a_usage_error(capsys):
    assert run_command(["openapi", "no_such_module:app"]) == ExitCode.MISCONFIGURED
    assert capsys.readouterr().out == ""
