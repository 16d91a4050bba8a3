"""Keys, which encrypt one text at a time: AES-SIV, deterministic, bound to the record that holds the text."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

import attrs
import orjson

from perdure.values.errors import DefinitionError
from perdure.values.excerpt import MAX_LINE_CHARACTERS, excerpt, shortened
from perdure.values.secret import SEALED, Unreadable, key_of

KEY_BYTES: Final = 64
"""A key's size: AES-256-SIV takes two keys with 32 bytes each."""

MAX_KEYS: Final = 32
"""The maximum number of keys in one `Encryption`."""

ENVIRONMENT: Final = "PERDURE_KEYS"
"""The environment variable that usually holds the keys."""

Plain: TypeAlias = Literal["refused", "accepted"]
"""Whether stored text that is not encrypted is refused, or accepted until it is written again."""

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


@attrs.frozen
class Key:
    """A key.

    Attributes:
        id: its name, which is stored with each text: 1 to 64 letters, digits, dots, hyphens and underscores.
        secret: its 64 random bytes.

    Raises:
        DefinitionError: the id or the byte count is not valid.
    """

    id: str
    secret: bytes = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        # Of a caller without types: the message must not show the secret.
        id_, secret = cast("object", self.id), cast("object", self.secret)
        if not isinstance(id_, str) or _ID.fullmatch(id_) is None:
            raise DefinitionError("id of a key", id_, "1 to 64 letters, digits, dots, hyphens or underscores")
        if not isinstance(secret, bytes) or len(secret) != KEY_BYTES:
            got = f"{len(secret)} bytes" if isinstance(secret, bytes) else type(secret)
            raise DefinitionError(f"secret of key {id_!r}", got, f"{KEY_BYTES} random bytes: Key.new({id_!r})")

    @staticmethod
    def new(id_: str) -> Key:
        """Draw a random key."""
        return Key(id_, os.urandom(KEY_BYTES))

    @staticmethod
    def parse(text: str) -> Key:
        """Read a key from a line ``id:base64``, as `perdure key` prints it.

        Raises:
            DefinitionError: it is not such a line. The message does not show it.
        """
        id_, _, encoded = text.partition(":")
        # `validate`: without it, characters that are not base64 are skipped, and a mistyped key becomes another one.
        try:
            secret = base64.b64decode(encoded, validate=True)
        except ValueError:
            secret = b""
        if not secret:
            raise DefinitionError("a key", f"{len(text)} characters", "a line id:base64, as `perdure key` prints it")
        return Key(id_, secret)

    @property
    def line(self) -> str:
        """The key as a line ``id:base64``, to store it."""
        return f"{self.id}:{base64.b64encode(self.secret).decode()}"


@attrs.frozen(kw_only=True)
class Encryption:
    """Encrypts the data that a store keeps for you. Pass it to the app: ``App(services, encryption=...)``.

    Every text is written with the primary key and read with any. To rotate, make a new key the primary one and keep the
    old one in ``older``: each instance is encrypted again when it is written.

    Attributes:
        primary: encrypts.
        older: further keys to decrypt with, at most 31.
        plain: whether stored text that is not encrypted is ``refused``, or ``accepted`` while an existing store is
            being encrypted.

    Raises:
        DefinitionError: two keys have one id, there are too many, or `cryptography` is not installed.
    """

    primary: Key
    older: tuple[Key, ...] = ()
    plain: Plain = "refused"
    _ciphers: dict[str, Any] = attrs.field(init=False, repr=False, eq=False)  # of AESSIV

    def __attrs_post_init__(self) -> None:
        keys = (self.primary, *self.older)
        ids = [key.id for key in keys]
        if len(set(ids)) < len(ids):
            raise DefinitionError("keys of an encryption", ids, "keys with different ids")
        if len(keys) > MAX_KEYS:
            raise DefinitionError("keys of an encryption", len(keys), f"at most {MAX_KEYS}")
        if self.plain not in ("refused", "accepted"):
            raise DefinitionError("plain of an encryption", self.plain, "'refused' or 'accepted'")
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESSIV  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            expected = "the extra encryption: pip install 'perdure[encryption]'"
            raise DefinitionError("encryption", str(error), expected) from error
        object.__setattr__(self, "_ciphers", {key.id: AESSIV(key.secret) for key in keys})

    @staticmethod
    def from_text(text: str, *, plain: Plain = "refused") -> Encryption:
        """Read keys from lines ``id:base64``, the primary one first. Empty lines and those with ``#`` are skipped.

        Raises:
            DefinitionError: there is no key, or a line is not one.
        """
        lines = [line.strip() for line in re.split(r"[\n,]", text)]
        keys = [Key.parse(line) for line in lines if line and not line.startswith("#")]
        if not keys:
            raise DefinitionError("keys of an encryption", "no key", "a line id:base64, as `perdure key` prints it")
        return Encryption(primary=keys[0], older=tuple(keys[1:]), plain=plain)

    @staticmethod
    def from_environment(name: str = ENVIRONMENT, *, plain: Plain = "refused") -> Encryption:
        """Read keys from an environment variable. Separate them by commas or lines.

        Raises:
            DefinitionError: it is not set, or not valid.
        """
        text = os.environ.get(name)
        if text is None:
            raise DefinitionError(f"the environment variable {name}", None, "the keys, as `perdure key` prints them")
        return Encryption.from_text(text, plain=plain)

    @staticmethod
    def from_file(path: str | os.PathLike[str], *, plain: Plain = "refused") -> Encryption:
        """Read keys from a file.

        Raises:
            DefinitionError: it cannot be read, or is not valid.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DefinitionError("the file of keys", str(error), "a readable file of lines id:base64") from error
        return Encryption.from_text(text, plain=plain)

    @property
    # Sorted: the text is part of the code's fingerprint, which the order of keys must not change.
    def reads(self) -> str:
        """The texts that these keys read, described without the keys."""
        return " ".join((self.plain, *sorted(self._ciphers)))

    def __repr__(self) -> str:
        older = "".join(f", older {key.id}" for key in self.older)
        text = f"<{type(self).__name__} with key {self.primary.id}{older}, plain {self.plain}>"
        return shortened(text, MAX_LINE_CHARACTERS)

    # ------------------------------------------------------------ one text
    def seal(self, text: str, *context: str, salt: str = "") -> str:
        """Encrypt a text for one place. Equal texts with equal contexts and salts have equal ciphertexts.

        Args:
            text: any text. Empty text stays empty.
            context: the record and the field that hold it: it decrypts nowhere else.
            salt: makes texts in one place differ. Stored with the text.
        """
        # An empty text stays: it hides nothing, and stores test for it.
        if not text:
            return text
        key = self.primary.id
        # The context is authenticated: a text that is moved to another row or field does not decrypt.
        # The salt too: it is stored in plain text, and must not be exchanged.
        sealed = self._ciphers[key].encrypt(text.encode(), [orjson.dumps((*context, salt))])
        return f"{SEALED}{key}:{salt}:{base64.b64encode(sealed).decode()}"

    def unseal(self, text: str, *context: str) -> str:
        """Decrypt a text. `Unreadable` if its key is missing, or the text was changed or moved.

        Args:
            text: the stored text.
            context: the record and the field that hold it.
        """
        key = key_of(text)
        if key is None:
            # Refused by default: otherwise a writer without the key could replace a ciphertext by plain text of its
            # choice.
            if not text or self.plain == "accepted":
                return text
            return Unreadable("it is stored as plain text; read it with Encryption(plain='accepted')", text)
        cipher = self._ciphers.get(key)
        if cipher is None:
            known = ", ".join(self._ciphers)
            return Unreadable(f"it is encrypted with key {excerpt(key)}, which is missing (keys: {known})", text)
        # Key and salt have no colon, and base64 has none either.
        _, _, salt, encoded = text[len(SEALED) - 1 :].split(":", 3) if text.count(":") >= _COLONS else ("", "", "", "")
        try:
            plain: bytes = cipher.decrypt(base64.b64decode(encoded, validate=True), [orjson.dumps((*context, salt))])
            return plain.decode()
        # Any exception: a text that was cut or changed makes its instance unreadable, and must not fail the page that
        # it is in.
        except Exception:  # noqa: BLE001 - InvalidTag, or an error of a text that was cut
            return Unreadable(f"it was changed, or moved here, after it was encrypted with key {excerpt(key)}", text)

    def seal_bytes(self, data: bytes, *context: str) -> tuple[str, bytes]:
        """Encrypt bytes for one place. Return the key's id, and the encrypted bytes."""
        return self.primary.id, self._ciphers[self.primary.id].encrypt(data, [orjson.dumps(context)])

    def unseal_bytes(self, key: str, data: bytes, *context: str) -> bytes:
        """Decrypt bytes.

        Raises:
            ValueError: the key is missing, or they were changed or moved.
        """
        cipher = self._ciphers.get(key)
        if cipher is None:
            raise ValueError(
                f"it is encrypted with key {excerpt(key)}, which is missing (keys: {', '.join(self._ciphers)})"
            )
        try:
            plain: bytes = cipher.decrypt(data, [orjson.dumps(context)])
        except Exception as error:
            raise ValueError(
                f"it was changed, or moved here, after it was encrypted with key {excerpt(key)}"
            ) from error
        return plain


_COLONS: Final = SEALED.count(":") + 2
