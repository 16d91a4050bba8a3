"""Values that are marked with `Secret` are shown nowhere.

A long unique text represents each secret, and every text that is shown to people is searched for it.
"""

from __future__ import annotations

import base64
import html
import json
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import quote, quote_plus

import orjson
import pytest
from attrs import define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.result import Result

from perdure import App, Debounce, DebounceContext, Program, Secret, Task, TaskContext, effect, fail
from perdure.jobs.redaction import redacted_instance
from perdure.stores.rows import to_json
from perdure.testing import World
from perdure.values.secret import HIDDEN, scrubbed

Token = Annotated[str, Secret]


@frozen
class Account:
    name: str = "ann"
    token: Token = ""
    others: dict[Token, Token] = field(factory=dict)
    pin: Annotated[int, Secret] | None = None


@frozen
class Login:
    how: str
    token: Token
    card: Annotated[tuple[str, ...], Secret] = ()


@frozen
class Denied:
    token: Token
    login: Login | None = None


@define
class Services:
    """A bank that knows no token, and says so in some encoding."""

    shown: Callable[[str], str] = repr

    def pay(self, token: str) -> Result[None, Denied]:
        raise ValueError(f"no such token: {self.shown(token)}")


pay = effect(Services.pay)


def on_event(ctx: TaskContext[Account], event: Login) -> Program[Any, Any, Any]:
    match event.how:
        case "deny":
            return fail(Denied(event.token, event))
        case "raise":
            raise ValueError(f"no such token: {event.token!r}")
        case "pay":
            return pay(event.token)
        case "bad state":
            return ctx.set_state([event])  # type: ignore[arg-type]
        case _:
            account = Account("ann", event.token, {event.token: event.token}, 12345678)
            return ctx.set_state(account).bind(lambda _: ctx.schedule(after="1 hour"))


def execute(ctx: TaskContext[Account]) -> Program[Any, Denied]:
    return ctx.state.bind(lambda state: fail(Denied(state.token)))


def flush(ctx: DebounceContext[Login]) -> Program[Any, Any, Any]:
    return ctx.state.bind(lambda event: pay(event.token))


accounts = Task(
    "accounts",
    state=Account,
    event=Login,
    initial=Account(),
    on_event=on_event,
    execute=execute,
    errors=Denied,
    state_in_events=True,
)
batches: Any = Debounce("batches", event=Login, flush_after="1 hour", execute=flush, state_in_events=True)


def shown(value: Any) -> Iterator[str]:
    """Yield the texts in which a value is shown."""
    yield f"{value!r} {value}"
    error = value.failure() if type(value).__name__ == "Failure" else value
    if isinstance(error, BaseException):
        yield f"{error!r}" + "".join(traceback.format_exception(error))


def surfaces(token: str, encode: Callable[[str], str] = repr) -> Iterator[str]:
    """Let jobs meet a secret in every way, and yield each text that is shown."""
    with World(App(Services(encode)).with_jobs(accounts, batches), at_end="leave") as world:
        task, debounce = world.handle(accounts), world.handle(batches)
        by_name = world.jobs.handle_by_name("task", "accounts")
        for how in ("keep", "deny", "raise", "pay", "bad state"):
            yield from shown(world.attempt(task.send("a", Login(how, token, (token,)))))
            explaining = world.jobs.explain(accounts, "a", lambda job, how=how: job.send(Login(how, token)))
            yield from shown(world.attempt(explaining))
            payload = orjson.dumps({"how": how, "token": token}).decode()
            yield from shown(world.attempt(by_name.explain("send", "a", payload)))
        yield from shown(world.attempt(task.send("a", Login("keep", (token,)))))  # type: ignore[arg-type]
        yield from shown(world.attempt(task.send("a", [Login("keep", token)])))  # type: ignore[arg-type]
        for payload in ({"token": token}, [token], {"how": 5, "token": [token]}, {"how": "x", "tken": token}):
            yield from shown(world.attempt(by_name.call("send", "a", orjson.dumps(payload).decode())))
            yield from shown(world.attempt(by_name.explain("send", "a", orjson.dumps(payload).decode())))
            yield from shown(world.attempt(by_name.call("send", "a", payload)))  # type: ignore[arg-type]
        yield from shown(world.attempt(debounce.add("b", Login("keep", token, (token,)))))
        world.advance("2 hours")
        yield from shown(world.attempt(task.status("a")))
        yield from shown(world.attempt(by_name.shown_state("a")))
        yield from shown(world.attempt(world.jobs.list()))
        for job, id_ in ((accounts, "a"), (batches, "b")):
            instance = world.instance(job, id_)
            assert instance is not None
            yield from shown(instance)
            yield to_json(redacted_instance(job, instance))
            for event in world.history(job, id_):
                yield from shown(event)
                yield to_json(event)
        for record in world.logs:
            yield f"{record.message} {dict(record.fields)}"


ALPHABET = st.characters(exclude_categories=["Cs"])
TOKENS = st.text(ALPHABET, min_size=6, max_size=40).map(lambda text: f"s3cret{text}")


def parts_in(text: str, printed: str) -> set[str]:
    """Return the parts of eight characters of a printed secret that a text contains, but for escapes around it."""
    inner = printed.removeprefix("b").strip("'\"")
    return {part for at in range(len(inner) - 7) if (part := inner[at : at + 8]) in text}


@settings(max_examples=8)
@given(st.text(ALPHABET, min_size=8, max_size=40).map(lambda text: f"s3cret{text}'\"\\"))
def test_no_text_that_is_shown_contains_a_secret(token: str) -> None:
    texts = list(surfaces(token))
    assert any(HIDDEN in text for text in texts)
    for text in texts:
        assert "s3cret" not in text
        assert "12345678" not in text


ESCAPES: Mapping[str, Callable[[str], str]] = {
    "repr": repr,
    "ascii": ascii,
    "repr of bytes": lambda text: repr(text.encode()),
    "repr of latin-1": lambda text: repr(text.encode("latin-1", "backslashreplace")),
    "json.dumps": json.dumps,
    "orjson": lambda text: orjson.dumps(text).decode(),
    "html": html.escape,
    "quote": quote,
    "quote all": lambda text: re.sub("%..", lambda hexadecimal: hexadecimal[0].lower(), quote(text, safe="")),
    "quote_plus": quote_plus,
}
ENCODINGS: Mapping[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "basic authentication": lambda text: base64.b64encode(f"user:{text}:".encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
}
FORMS = {
    **ESCAPES,
    **ENCODINGS,
    **{f"{one}, {two}": (one, two) for one in ESCAPES for two in ("repr", "json.dumps", "quote")},
    **{f"{one}, {two}": (one, two) for one in ("repr", "json.dumps") for two in ENCODINGS},
    **{f"{one}, quote all": (one, "quote all") for one in ENCODINGS},
}
"""An escape or an encoding, or two, one after the other."""


def shown_as(name: str, text: str) -> str:
    form = FORMS[name]
    if isinstance(form, tuple):
        one, two = form
        return (ESCAPES | ENCODINGS)[two](ESCAPES.get(one, ENCODINGS.get(one, repr))(text))
    return form(text)


@given(name=st.sampled_from(sorted(FORMS)), around=st.tuples(st.text(max_size=9), st.text(max_size=9)), token=TOKENS)
def test_no_part_of_a_secret_is_left_in_any_form(name: str, around: tuple[str, str], token: str) -> None:
    printed = shown_as(name, token).encode("utf-8", "replace").decode()
    assert not parts_in(scrubbed(f"{around[0]} {printed} {around[1]}", {token}), printed)


def test_an_encoded_text_with_a_secret_in_it_is_replaced_with_its_rest() -> None:
    printed = base64.b64encode(b"someone:hunter2-secret:elsewhere").decode()
    assert scrubbed(f"Basic {printed} refused", {"hunter2-secret"}) == "Basic <secret> refused"


@given(st.binary(min_size=9, max_size=40))
def test_no_part_of_secret_bytes_is_left(data: bytes) -> None:
    stored = base64.b64encode(data).decode()
    for printed in (repr(data), repr(repr(data))[1:-1], data.decode("latin-1"), quote(data), data.hex(), stored):
        assert not parts_in(scrubbed(f"before {printed} after", {stored}), printed)


@settings(max_examples=8)
@given(name=st.sampled_from(sorted(FORMS)), token=TOKENS)
def test_no_text_that_is_shown_contains_a_form_of_a_secret(name: str, token: str) -> None:
    printed = shown_as(name, token)
    for text in surfaces(token, lambda each: shown_as(name, each)):
        assert not parts_in(text, printed)


def test_a_text_without_secrets_is_unchanged() -> None:
    text = "GET /orders/c2VjcmV0?page=2%20 failed: b'\\x00' 616263 &amp; ..."
    assert scrubbed(text, {"another", "s3cret/word", "YW5vdGhlcg==", "abc"}) == text


@pytest.mark.parametrize("secret", ["\\" * 99, "\n\n\\" * 33, "'\"" * 50, "&amp;" * 20])
def test_the_search_takes_no_longer_than_the_text(secret: str) -> None:
    """Nested repetitions would try each way to divide these texts, for hours."""
    scrubbed((secret[:-1] + "x") * 40 + "\\" * 4_000, {secret})
