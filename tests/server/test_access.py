"""Which requests a server accepts: a function of its rule, the client's address and the headers."""

from typing import Literal

import pytest

from perdure.server.access import Caller, Headers, Tokens, identify, is_loopback
from perdure.server.responses import access_refusal
from perdure.values.errors import AccessDenied

SECRET = "tMkZ2WZlOTG0yq0KTwmaT-iEBpnGpRZtPu4lTg3Vxfw"  # noqa: S105 - of no server
TOKENS = Tokens.parse(f"shop read,call {SECRET}")
LOCAL: Headers = [(b"host", b"localhost:8080")]


def cause(access: Tokens | Literal["local", "owner_socket"], client: str | None, headers: Headers) -> str | None:
    """Return the cause of the refusal, or None."""
    found = identify(access, client, headers)
    return found.cause if isinstance(found, AccessDenied) else None


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER"])
def test_a_token_grants_its_scopes(scheme: bytes):
    caller = identify(TOKENS, "203.0.113.9", [(b"authorization", scheme + b" " + SECRET.encode())])
    assert caller == Caller(name="shop", scopes=frozenset({"read", "call"}))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "no_token"),
        ([b"Bearer " + SECRET.encode() + b"x"], "wrong_token"),
        ([b"Bearer"], "wrong_token"),
        ([b"Bearer \xff"], "wrong_token"),
        ([b"Basic " + SECRET.encode()], "wrong_token"),
        ([SECRET.encode()], "wrong_token"),
        ([b"Bearer " + SECRET.encode()] * 2, "wrong_token"),
        ([b"Bearer " + b"x" * 100_000], "wrong_token"),
    ],
)
def test_a_missing_or_wrong_token_is_refused_with_a_challenge(values: list[bytes], expected: str):
    denied = identify(TOKENS, "127.0.0.1", [(b"authorization", value) for value in values])
    assert isinstance(denied, AccessDenied)
    assert denied.cause == expected
    assert SECRET not in str(denied)
    refusal = access_refusal(denied)
    assert (refusal.status, refusal.headers[0][0]) == (401, b"www-authenticate")


@pytest.mark.parametrize(
    "host", [b"localhost", b"LOCALHOST:1", b"127.0.0.1:8080", b"127.1.2.3", b"[::1]:8080", b"[::1]"]
)
@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_without_tokens_a_local_program_is_served(host: bytes, client: str):
    assert cause("local", client, [(b"host", host), (b"sec-fetch-site", b"none")]) is None


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        ("203.0.113.9", LOCAL),
        ("::ffff:203.0.113.9", LOCAL),
        (None, LOCAL),  # a Unix socket: of another server, whose mode is unknown
        ("testclient", LOCAL),
        ("127.0.0.1", []),
        ("127.0.0.1", [(b"host", b"evil.example:8080")]),  # DNS rebinding
        ("127.0.0.1", [(b"host", b"localhost.evil.example")]),
        ("127.0.0.1", [(b"host", b"127.0.0.1.evil.example")]),
        ("127.0.0.1", [(b"host", b"0.0.0.0:8080")]),
        ("127.0.0.1", [(b"host", b"localhost"), (b"host", b"evil.example")]),
        ("127.0.0.1", [*LOCAL, (b"origin", b"https://evil.example")]),
        ("127.0.0.1", [*LOCAL, (b"origin", b"http://localhost:3000")]),
        ("127.0.0.1", [*LOCAL, (b"origin", b"null")]),
        ("127.0.0.1", [*LOCAL, (b"sec-fetch-site", b"cross-site")]),
        ("127.0.0.1", [*LOCAL, (b"sec-fetch-site", b"same-site")]),
        ("127.0.0.1", [*LOCAL, (b"x-forwarded-for", b"203.0.113.9")]),
        ("127.0.0.1", [*LOCAL, (b"forwarded", b"for=127.0.0.1")]),
        ("127.0.0.1", [*LOCAL, (b"via", b"1.1 proxy")]),
    ],
)
def test_without_tokens_every_other_request_is_refused(client: str | None, headers: Headers):
    assert cause("local", client, headers) == "not_local"


@pytest.mark.parametrize("host", [b"engine", b"localhost", b"127.0.0.1:8080", b"[::1]:8080", b"x"])
def test_the_socket_of_the_owner_serves_every_program(host: bytes):
    assert cause("owner_socket", None, []) is None
    assert cause("owner_socket", None, [(b"host", host)]) is None


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-real-ip", b"203.0.113.9")],
        [(b"host", b"localhost"), (b"origin", b"https://evil.example")],
        [(b"host", b"localhost"), (b"sec-fetch-site", b"cross-site")],
        [(b"host", b"evil.example:8080")],  # DNS rebinding, through a tunnel
        [(b"host", b"localhost"), (b"host", b"evil.example")],
    ],
)
def test_the_socket_of_the_owner_serves_no_proxy_and_no_page_of_a_browser(headers: Headers):
    assert cause("owner_socket", None, headers) == "not_local"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.0.9", "::1"])
def test_an_address_of_the_loopback_interface(host: str):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "::", "10.0.0.1", "evil.example", "localhost.example", "0x7f.1"])
def test_any_other_address(host: str):
    assert not is_loopback(host)
