"""``perdure token``: the secret that it prints opens the server that has its line."""

import pytest

from perdure.cli.commands import run_command
from perdure.cli.process import ExitCode
from perdure.server.access import Tokens


def printed(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Return the secret and the line."""
    secret, line = (text.partition(":")[2].strip() for text in capsys.readouterr().out.splitlines())
    return secret, line


def test_the_secret_matches_the_line(capsys: pytest.CaptureFixture[str]):
    assert run_command(["token", "shop", "--scopes", "read"]) == ExitCode.DONE
    secret, line = printed(capsys)
    token = Tokens.parse(line).holder(secret)
    assert token is not None
    assert (token.name, token.scopes) == ("shop", {"read"})
    assert secret not in line
    run_command(["token", "shop"])
    assert printed(capsys)[0] != secret


@pytest.mark.parametrize("arguments", [["sh op"], ["owner"], ["shop", "--scopes", "all"], ["shop", "--scopes", ""], []])
def test_an_invalid_name_or_scope_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    assert run_command(["token", *arguments]) == ExitCode.MISCONFIGURED
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("--scopes" if len(arguments) > 1 else "NAME") in printed.err
    assert all(repr(each) in printed.err for each in arguments[-1:])
