"""Commands and pages of an engine on a file show no form of a secret that its code printed into an error."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import pytest
from attrs import define, frozen
from operated import serving
from returns.result import Result

from perdure import App, Debounce, Program, Secret, Task, TaskContext, effect
from perdure.cli.commands import run_command

TOKEN = "s3cret-tok/en=4242 ü"  # noqa: S105 - of no account

FORMS: dict[str, Callable[[str], str]] = {
    "repr of bytes": lambda text: repr(text.encode()),
    "json.dumps": json.dumps,
    "quote": lambda text: quote(text, safe=""),
    "basic authentication": lambda text: base64.b64encode(f"app:{text}".encode()).decode(),
}


@frozen
class Login:
    token: Annotated[str, Secret]


@define
class Bank:
    shown: Callable[[str], str]

    def pay(self, token: str) -> Result[None, str]:
        raise ValueError(f"the bank refused {self.shown(token)}")


pay = effect(Bank.pay)


def on_event(ctx: TaskContext[Login], event: Login) -> Program[Any, Any, Any]:
    return ctx.set_state(event).bind(lambda _: ctx.schedule(after="1 ms"))


def execute(ctx: Any) -> Program[Any, Any, Any]:
    return ctx.state.bind(lambda state: pay(state.token))


accounts = Task("accounts", state=Login, event=Login, initial=Login(""), on_event=on_event, execute=execute)
batches: Any = Debounce("batches", event=Login, flush_after="1 ms", execute=execute)


@pytest.mark.parametrize("form", FORMS)
def test_no_command_and_no_page_shows_a_form_of_a_secret(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    app = App(Bank(FORMS[form])).with_jobs(accounts, batches)
    event = json.dumps({"token": TOKEN})
    shown: list[str] = []
    with serving(tmp_path / "jobs.db", app) as named:
        server = named["server"]
        assert run_command(["send", "task:accounts:a", event, *server]) == 0
        assert run_command(["add", "debounce:batches:b", event, *server]) == 0
        for address in ("task:accounts:a", "debounce:batches:b"):
            assert run_command(["wait", address, "--until", "parked", "--timeout", "20 seconds", *server]) == 0
            for command in (["show", address], ["history", address], ["retry", address], ["list"], ["dead-letters"]):
                run_command([*command, *server])
                run_command([*command, *server, "--json"])
        pages = ("", "/instances", "/parked", "/jobs/task/accounts", "/jobs/task/accounts/instances/a")
        shown.extend(_page(f"{server[1]}/dashboard{page}") for page in pages)
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    for command in (["show", "task:accounts:a"], ["history", "task:accounts:a"], ["list"]):
        run_command([*command, "--store", url])
        run_command([*command, "--store", url, "--json"])
    printed = capsys.readouterr()
    texts = [*shown, printed.out, printed.err, caplog.text]
    assert "the bank refused" in "".join(texts)
    assert "&lt;secret&gt;" in "".join(shown)
    hidden = FORMS[form](TOKEN).strip("b'\"")
    parts = {hidden[at : at + 8] for at in range(len(hidden) - 7)} | {TOKEN}
    assert {part for part in parts for text in texts if part in text} == set()


def _page(url: str) -> str:
    try:
        with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own server
            return str(answer.read().decode())
    except urllib.error.HTTPError as refused:
        return str(refused.read().decode())
