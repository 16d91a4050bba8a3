"""No URL that a user passes is printed with its password, and none ends in a traceback."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure import App
from perdure.cli.commands import run_command
from perdure.remote import connect
from perdure.stores.url_parts import redacted_url
from perdure.telemetry.tracker import tracker
from perdure.values.errors import PerdureError

Out = pytest.CaptureFixture[str]

SCHEMES = (
    "postgresql",
    "postgres",
    "postgresql+asyncpg",
    "sqlite",
    "memory",
    "mysql",
    "http",
    "https",
    "http+unix",
    "",
)
FORMS = (
    "{scheme}://app:{password}@{host}/shop",
    "{scheme}:/app:{password}@{host}/shop",
    "{scheme}:app:{password}@{host}/shop",
    "app:{password}@{host}/shop",
    "{scheme}://{password}@{host}/shop",
    "{scheme}://app:5432{password}@{host}/shop?schema=jobs",
    "{scheme}://app:1/{password}@{host}/shop",
    "{scheme}://{host}/shop?password={password}",
    "{scheme}://{host}/shop?sslmode=require&SSLPassword={password}&schema=jobs",
    "{scheme}:///shop?api_key={password}&lease=1",
    "{scheme}://{host}/shop?access%5Ftoken={password}",
)
HOSTS = ("127.0.0.1:1", "[::1]:1", "[::1", "::1]", "127.0.0.1:port", "127.0.0.1:0", "")
SECRET = "cr3t"  # noqa: S105 - of no account
PASSWORDS = st.text("/?#@:[]%& ", max_size=3).map(lambda text: f"s3{text}{SECRET}")

STORES = (
    ["check", "web_shop.jobs:app", "--store"],
    ["stats", "--store"],
    ["verify", "--store"],
    ["vacuum", "--store"],
    ["migrate", "--store"],
    ["doctor", "--store"],
    ["backup", "--output", "copy.db", "--store"],
    ["snapshot", "--output", "rows", "--store"],
    ["copy", "sqlite:///copy.db"],
    ["list", "--store"],
    ["run", "web_shop.jobs:app", "--store"],
)
SERVERS = (["list", "--server"], ["health", "--server"], ["doctor", "--server"], ["hold", "task:one", "--server"])


@st.composite
def urls(draw: st.DrawFn) -> str:
    """Return a URL with a secret in it, valid or not, escaped or not."""
    form, scheme = draw(st.sampled_from(FORMS)), draw(st.sampled_from(SCHEMES))
    return form.format(scheme=scheme, password=draw(PASSWORDS), host=draw(st.sampled_from(HOSTS)))


@given(urls())
def test_a_redacted_url_has_no_secret(url: str) -> None:
    assert SECRET not in redacted_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///jobs.db",
        "sqlite:////srv/a@b/jobs.db?durability=relaxed",
        "memory://",
        "postgresql://db:5432/shop?schema=jobs",
        "postgresql://[::1]:5432/shop",
        "http://127.0.0.1:8080",
        "http+unix:///run/a@b.sock",
        "jobs.db",
        "data/a@b/jobs.db",
    ],
)
def test_a_url_without_secrets_is_shown_as_it_is(url: str) -> None:
    assert redacted_url(url) == url


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(command=st.sampled_from([*STORES, *SERVERS]), url=urls())
def test_no_command_prints_a_secret_of_a_url(capsys: Out, command: list[str], url: str) -> None:
    code = run_command([*command, url])
    printed = capsys.readouterr()
    assert code in {1, 2, 4}
    assert printed.err
    assert SECRET not in printed.out + printed.err


@settings(max_examples=60, deadline=None)
@given(urls())
def test_no_value_or_error_of_the_library_shows_a_secret_of_a_url(url: str) -> None:
    app = App(None)
    assert SECRET not in repr(app.open(url))
    if url.startswith(("postgres:", "postgresql:")):
        return  # a server that is not there is waited for
    for attempt in (_opened(app, url), _connected(url)):
        assert SECRET not in str(asyncio.run(attempt))
    assert SECRET not in _tracker(url)


def _tracker(url: str) -> str:
    try:
        return repr(tracker(url))
    except PerdureError as error:
        return str(error)


async def _opened(app: App[None], url: str) -> PerdureError | None:
    try:
        async with app.open(url):
            return None
    except PerdureError as error:
        return error


async def _connected(url: str) -> PerdureError | None:
    try:
        async with connect(url):
            return None
    except PerdureError as error:
        return error


@pytest.mark.parametrize("url", ["[::1/db", "postgresql://[::1/db", "http://[::1"])
def test_a_url_with_a_broken_host_is_a_usage_error(capsys: Out, url: str) -> None:
    for command in (*STORES, *SERVERS):
        assert run_command([*command, url]) in {1, 2}, command
        assert "expected" in capsys.readouterr().err or command[0] == "doctor"


@pytest.mark.parametrize(
    ("option", "example"), [("--server", "http://127.0.0.1:8080"), ("--store", "sqlite:///jobs.db")]
)
def test_a_url_of_another_scheme_is_answered_with_an_example(option: str, example: str, capsys: Out) -> None:
    assert run_command(["list", option, "ftp://host/x"]) == 2
    assert f"such as {example}" in " ".join(capsys.readouterr().err.split())
