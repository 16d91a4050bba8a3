"""The target of a command, its token and its exit code."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import attrs
import pytest

from perdure.cli.process import ExitCode, UsageError, code_of
from perdure.cli.target.opening import MAX_TOKEN_BYTES, UNSET, TargetOptions, chosen_urls, token_of
from perdure.cli.target.remote import connected
from perdure.values import errors
from perdure.wire.operations import HEALTH

STORE, SERVER = "sqlite:///jobs.db", "http://127.0.0.1:8080"


def test_an_option_has_precedence_over_the_environment() -> None:
    everything = {"PERDURE_STORE": "sqlite:///other.db", "PERDURE_SERVER": "http://other"}
    assert chosen_urls(TargetOptions(store=STORE), everything) == (STORE,)
    assert chosen_urls(TargetOptions(server=(SERVER,)), everything) == (SERVER,)
    assert chosen_urls(UNSET, {"PERDURE_SERVER": SERVER, "PERDURE_STORE": ""}) == (SERVER,)
    with pytest.raises(UsageError, match="PERDURE_SERVER and PERDURE_STORE name two targets"):
        chosen_urls(UNSET, everything)


@pytest.mark.parametrize("url", ["http://me:hidden@host", "ftp://me:hidden@host"])
def test_a_url_with_a_password_is_refused_and_not_printed(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        chosen_urls(TargetOptions(server=(SERVER, url)), {})
    assert "hidden" not in str(refused.value)


def test_a_command_calls_one_of_several_servers_that_answers() -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"state":"ok","detail":""}')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as answering:
        thread = threading.Thread(target=answering.serve_forever)
        thread.start()
        urls = tuple(f"http://127.0.0.1:{port}" for port in (1, answering.server_port))
        with connected(urls, None, "60 seconds") as found:
            state = found.perform(HEALTH).state
        answering.shutdown()
        thread.join()
    assert (state, found.name) == ("ok", ", ".join(urls))


def test_a_token_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret-2\n")
    assert token_of({}) is None
    assert token_of({"PERDURE_TOKEN": "secret-1"}) == "secret-1"
    assert token_of({"PERDURE_TOKEN_FILE": str(file)}) == "secret-2"


@pytest.mark.parametrize("content", [b"", b"two tokens", b"\xff", b"x" * (MAX_TOKEN_BYTES + 1), None])
def test_a_file_without_one_token_is_refused_and_not_printed(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match="PERDURE_TOKEN_FILE") as refused:
        token_of({"PERDURE_TOKEN_FILE": str(file)})
    assert "two tokens" not in str(refused.value)


def test_two_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="both set"):
        token_of({"PERDURE_TOKEN": "a", "PERDURE_TOKEN_FILE": str(tmp_path)})


RETRY_LATER = {"ServerUnreachable", "EngineClosed", "Overloaded", "StoreUnavailable"}


def test_every_error_has_an_exit_code() -> None:
    """A script may repeat a command with exit code 4, and one with 5 if it has a key."""
    found = {}
    for cls in vars(errors).values():
        if isinstance(cls, type) and issubclass(cls, errors.PerdureError) and attrs.has(cls):
            error = cls(*("x" for field in attrs.fields(cls) if field.init))
            found[cls.__name__] = code_of(error)
    assert {name for name, code in found.items() if code is ExitCode.UNREACHABLE} == RETRY_LATER
    assert {name for name, code in found.items() if code is ExitCode.UNKNOWN} == {"OutcomeUnknown"}
    assert ExitCode.DONE not in found.values()
    assert found["Rejected"] is found["InvalidInput"] is found["UnknownJob"] is ExitCode.REFUSED
    assert found["AccessDenied"] is found["StoreCorrupt"] is ExitCode.MISCONFIGURED


def answered_with(reply: bytes, scheme: str) -> str:
    """The error of a command that names a server which answers each connection with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1_000)
                connection.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(errors.ServerUnreachable) as refused, connected((url,), None, "60 seconds") as found:
            found.perform(HEALTH)
        thread.join()
    return str(refused.value)


def test_a_server_that_is_not_one_of_http_is_named_at_once() -> None:
    """A database at the port, TLS at a plain address, and a plain server at one with TLS."""
    assert "check the port, or write https://" in answered_with(b"E\x00\x00\x00\x85SFATAL", "http")
    assert "closed the connection, so it stops, or it does not use plain HTTP" in answered_with(b"", "http")
    assert "does not use TLS: write http://" in answered_with(b"HTTP/1.1 400 Bad Request\r\n\r\n", "https")
