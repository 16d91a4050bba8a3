"""Tokens: parsed from text, compared by digest, never shown."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.server.access import (
    ANONYMOUS,
    LOCAL,
    MAX_FILE_BYTES,
    MAX_TOKENS,
    OWNER,
    UNCHECKED,
    Caller,
    Tokens,
    tokens_from,
)
from perdure.values.errors import DefinitionError

SECRET = "tMkZ2WZlOTG0yq0KTwmaT-iEBpnGpRZtPu4lTg3Vxfw"  # noqa: S105 - of no server
OTHER = SECRET[::-1]

secrets = st.text("abcXYZ019-._~+/", min_size=32, max_size=60)


def test_a_secret_finds_its_token_and_no_other_text_does():
    tokens = Tokens.parse(f"# comment\nshop read,call {SECRET} # of the web shop\n\nops read,call,operate {OTHER}")
    found = tokens.holder(SECRET)
    assert found is not None
    assert (found.name, found.scopes) == ("shop", {"read", "call"})
    for wrong in (SECRET[:-1], SECRET + "x", SECRET.swapcase(), "", "\udc80", "ä", f"sha256:{found.digest.hex()}"):
        assert tokens.holder(wrong) is None


def test_a_digest_represents_its_secret():
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert Tokens.parse(f"shop read sha256:{digest}") == Tokens.parse(f"shop read {SECRET}")


@given(secrets)
def test_no_secret_is_in_a_repr(secret: str):
    tokens = Tokens.parse(f"shop read {secret}")
    shown = repr(tokens) + repr(tokens.tokens[0])
    assert secret not in shown
    assert hashlib.sha256(secret.encode()).hexdigest() not in shown
    assert repr(hashlib.sha256(secret.encode()).digest()) not in shown


@given(
    secrets,
    st.sampled_from(
        [
            "{}",
            "shop {}",
            "{} read",
            "{} read {}",
            "shop {} read",
            "shop read,{} {}",
            "shop read {}!",
            "shop read x{:.30}",
            "shop read {} {}",
            "shop read,call,{} x",
            "a read {}; a call {}x",
            "a read {}; b call {}",
            "a read sha256:{}",
        ]
    ),
)
def test_an_invalid_line_is_refused_without_showing_a_secret(secret: str, form: str):
    with pytest.raises(DefinitionError) as refused:
        Tokens.parse(form.format(secret, secret, secret))
    assert secret[:30] not in str(refused.value) + repr(refused.value)


@pytest.mark.parametrize("caller", [LOCAL, OWNER, UNCHECKED, ANONYMOUS], ids=lambda caller: caller.name)
def test_a_token_cannot_have_the_name_of_a_caller_without_one(caller: Caller):
    with pytest.raises(DefinitionError, match="another name"):
        Tokens.parse(f"{caller.name} read {SECRET}")


def test_the_number_of_tokens_is_limited():
    lines = [f"client-{number} read {number:032d}" for number in range(MAX_TOKENS + 1)]
    assert len(Tokens.parse("\n".join(lines[:-1])).tokens) == MAX_TOKENS
    for text in ("", "# none", "\n".join(lines)):
        with pytest.raises(DefinitionError):
            Tokens.parse(text)


def test_a_file_comes_before_the_environment(tmp_path: Path):
    file = tmp_path / "tokens"
    file.write_text(f"of-file read {SECRET}\n")
    file.chmod(0o600)
    environ = {"PERDURE_TOKENS": f"of-environment read {SECRET}"}
    named = [tokens_from(environ, file), tokens_from(environ), tokens_from({})]
    assert [tokens and tokens.tokens[0].name for tokens in named] == ["of-file", "of-environment", None]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int):
    file = tmp_path / "tokens"
    file.write_text(f"shop read {SECRET}\n")
    file.chmod(mode)
    with pytest.raises(DefinitionError, match="chmod 600"):
        tokens_from({}, file)


def test_other_files_are_refused(tmp_path: Path):
    large, binary, pipe = tmp_path / "large", tmp_path / "binary", tmp_path / "pipe"
    large.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    binary.write_bytes(b"shop read " + SECRET.encode() + b"\xff")
    os.mkfifo(pipe)
    for file in (large, binary, pipe, tmp_path, tmp_path / "missing"):
        if file.exists():
            file.chmod(0o700 if file.is_dir() else 0o600)
        with pytest.raises(DefinitionError) as refused:
            tokens_from({}, file)
        assert SECRET not in str(refused.value)
