"""Sessions: only a cookie that the process itself issued opens the dashboard, and only for its time."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from visitor import TOKENS as BROWSERS
from visitor import fields_of, signed_in, visit

from perdure.server.access import COOKIE, MAX_COOKIE, MAX_ENDED, SESSION_MS, Sessions, Tokens, cookie_in
from perdure.server.listening import CLOSING

SESSIONS = Sessions(b"k" * 32)
TOKENS = Tokens.parse("; ".join(f"{name} read {name}-secret-of-this-token-0123456789" for name in ("ada", "bob")))
ADA, BOB = TOKENS.tokens
NOW_MS = 1_800_000_000_000
ISSUED = SESSIONS.issue(ADA, NOW_MS)


def test_a_cookie_names_its_token_until_it_expires():
    times = (NOW_MS, NOW_MS + SESSION_MS - 1_000, NOW_MS + SESSION_MS)
    assert [SESSIONS.holder(ISSUED, TOKENS, now_ms) for now_ms in times] == [ADA, ADA, None]


@given(st.integers(0, len(ISSUED) - 1), st.characters(codec="ascii"))
def test_a_cookie_with_one_other_character_is_forged(position, other):
    changed = ISSUED[:position] + other + ISSUED[position + 1 :]
    assert (SESSIONS.holder(changed, TOKENS, NOW_MS) is None) == (changed != ISSUED)


@given(st.text(max_size=2 * MAX_COOKIE))
def test_no_other_text_is_a_cookie(text):
    assert SESSIONS.holder(text, TOKENS, NOW_MS) is None


def test_a_cookie_ends_with_its_process_its_token_and_its_secret():
    other_secret = Tokens.parse("ada read another-secret-of-this-token-0123456789")
    without_ada = Tokens((BOB,))
    found = [
        Sessions(b"x" * 32).holder(ISSUED, TOKENS, NOW_MS),
        SESSIONS.holder(ISSUED, other_secret, NOW_MS),
        SESSIONS.holder(ISSUED, without_ada, NOW_MS),
        SESSIONS.holder(ISSUED.replace("ada", "bob"), TOKENS, NOW_MS),
    ]
    assert found == [None] * 4


def test_a_session_ends_when_its_caller_signs_out_and_no_other_does():
    sessions = Sessions(b"k" * 32)
    cookies = [sessions.issue(token, NOW_MS) for token in (ADA, ADA, BOB)]
    sessions.end(cookies[0], TOKENS, NOW_MS)
    sessions.end(cookies[2] + "x", TOKENS, NOW_MS)  # no session
    assert [sessions.holder(cookie, TOKENS, NOW_MS) for cookie in cookies] == [None, ADA, BOB]


@pytest.mark.parametrize(("ended", "left"), [(MAX_ENDED, ADA), (MAX_ENDED + 1, None)])
def test_ended_sessions_are_bounded_and_none_of_them_begins_again(ended, left):
    """At the limit, all sessions of the token end; those that begin later do not."""
    sessions = Sessions(b"k" * 32)
    kept, bob, *cookies = [sessions.issue(token, NOW_MS) for token in (ADA, BOB, *[ADA] * ended)]
    for cookie in cookies:
        sessions.end(cookie, TOKENS, NOW_MS)
    later = sessions.issue(ADA, NOW_MS)
    found = [sessions.holder(cookie, TOKENS, NOW_MS) for cookie in (kept, bob, later)]
    assert found == [left, BOB, ADA]
    assert {sessions.holder(cookie, TOKENS, NOW_MS) for cookie in cookies} == {None}


def test_ended_sessions_that_have_expired_are_forgotten():
    sessions = Sessions(b"k" * 32)
    kept = sessions.issue(ADA, NOW_MS + SESSION_MS)
    for cookie in [sessions.issue(ADA, NOW_MS) for _ in range(MAX_ENDED)]:
        sessions.end(cookie, TOKENS, NOW_MS)
    sessions.end(sessions.issue(ADA, NOW_MS + SESSION_MS), TOKENS, NOW_MS + SESSION_MS)
    assert sessions.holder(kept, TOKENS, NOW_MS + SESSION_MS) == ADA


def test_the_token_of_a_form_is_that_of_its_caller_and_session():
    token = SESSIONS.form_token("ada", ISSUED)
    given_to = [("ada", ISSUED), ("bob", ISSUED), ("ada", "")]
    assert [SESSIONS.is_form_token(token, *each) for each in given_to] == [True, False, False]
    assert not SESSIONS.is_form_token("é\udcff", "ada", ISSUED)


def test_the_cookie_is_found_among_others():
    headers = [(b"accept", b"*/*"), (b"cookie", f"a=b; {COOKIE}={ISSUED}; c=d".encode())]
    assert [cookie_in(headers), cookie_in(headers[:1]), cookie_in([(b"cookie", b"a=b")])] == [ISSUED, "", ""]


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://]/", "//[", "null", ""])
def test_an_origin_that_is_no_url_is_another_site(origin):
    async def scenario(visitor):
        paths = ("", "/login", "/static/x", "/no-such-page")
        return [(await visitor.get(path, Origin=origin)).status_code for path in paths]

    assert visit(scenario) == [403] * 4


def test_a_page_that_follows_the_engine_ends_with_its_session():
    async def scenario(visitor):
        await signed_in(visitor, "operator")
        csrf = fields_of((await visitor.get()).text)["csrf"]
        cookie = f"{COOKIE}={visitor.http.cookies[COOKIE]}".encode()
        sent, requests = [], [{"type": "http.request", "body": b"", "more_body": False}]
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/dashboard/live",
            "raw_path": b"/dashboard/live",
            "root_path": "",
            "query_string": b"page=/",
            "headers": [(b"host", b"localhost"), (b"cookie", cookie)],
            "client": ("127.0.0.1", 1),
            "scheme": "http",
            "http_version": "1.1",
            "server": ("localhost", 80),
            CLOSING: lambda: len(sent) > 4,
        }

        async def receive():
            return requests.pop() if requests else await asyncio.Event().wait()

        async def send(message):
            sent.append(message.get("body", b"").partition(b"\n")[0])
            if sent[-1] == b"event: page":
                await visitor.post("/logout", {"csrf": csrf})

        await visitor.api(scope, receive, send)
        return sent

    assert visit(scenario, access=BROWSERS) == [b"", b"retry: 1000", b"event: page", b"event: signed-out", b""]


def test_a_copy_of_a_cookie_opens_nothing_after_signing_out():
    async def scenario(visitor):
        await signed_in(visitor, "operator")
        cookie = {"Cookie": f"{COOKIE}={visitor.http.cookies[COOKIE]}"}
        page = await visitor.get()
        await visitor.post("/logout", {"csrf": fields_of(page.text)["csrf"]})
        visitor.http.cookies.clear()
        copied = await visitor.get("/instances", **cookie)
        return page.status_code, copied.status_code, copied.headers["location"]

    assert visit(scenario, access=BROWSERS) == (200, 303, "/dashboard/login?following=%2Finstances")
