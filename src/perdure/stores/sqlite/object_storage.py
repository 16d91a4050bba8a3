"""Backups in object storage: the pieces that a store is shipped in, their seals, and the bucket that holds them.

A piece has pages that changed, and the former piece's hash. A generation is a sequence that begins with the whole
store. Objects are created and never overwritten, so that two writers cannot mix their pieces.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from datetime import timedelta
from importlib import import_module
from typing import Any, Final

import attrs
import orjson

from perdure.stores.encryption.keys import Encryption
from perdure.values.errors import BackupFailed, DefinitionError, StoreCorrupt
from perdure.values.excerpt import excerpt

PIECE_PAGES: Final = 2_048
"""Pages in one object: 8 MiB before compression."""

TIMEOUT_S: Final = 30
"""How long one request to the endpoint may take."""

# The number is that of the format: this code refuses another one, which it would misread.
_MAGIC: Final = b"perdure backup 1 "
_PLAIN: Final = b"-"
_LENGTH: Final = struct.Struct(">I")
_NAME: Final = re.compile(r"(\d{13}-[0-9a-f]{8})/(\d{8})")
_COMPLETE: Final = re.compile(r"(\d{13}-[0-9a-f]{8})/complete-(\d{13})")
_SCHEMES: Final = ("s3://", "gs://", "az://", "file://")


@attrs.frozen(kw_only=True)
class Piece:
    """Pages of a store that were written between two commits, or a part of them.

    Attributes:
        moment_ms: when it was read.
        pages: the store's size in pages afterwards.
        more: whether further pieces belong to the same snapshot.
        is_end: whether the generation ends here, because another writer began a new one.
        previous: the former piece's hash, empty for the first.
        digest: a checksum over all pages afterwards, empty in an incomplete snapshot.
        content: the pages, one after another.
    """

    store: str
    moment_ms: int
    page_bytes: int = 0
    pages: int = 0
    more: bool = False
    is_end: bool = False
    previous: str = ""
    digest: str = ""
    numbers: tuple[int, ...] = ()
    content: bytes = attrs.field(default=b"", repr=False)

    def packed(self) -> bytes:
        """Return the piece as bytes."""
        fields = attrs.asdict(self, filter=attrs.filters.exclude("numbers", "content"))
        header = orjson.dumps({**fields, "count": len(self.numbers)})
        numbers = struct.pack(f">{len(self.numbers)}I", *self.numbers)
        # Level 1: shipping runs beside the engine, and a higher level costs CPU time for little.
        return _LENGTH.pack(len(header)) + header + numbers + zlib.compress(self.content, 1)

    @staticmethod
    def unpacked(data: bytes) -> Piece:
        """Read a piece.

        Raises:
            ValueError: these bytes are not one.
        """
        try:
            start = _LENGTH.size + _LENGTH.unpack_from(data)[0]
            header = orjson.loads(data[_LENGTH.size : start])
            count = header.pop("count")
            numbers = struct.unpack_from(f">{count}I", data, start)
            size = count * header["page_bytes"]
            # Limited to the size that the header promises: a small object could otherwise unpack to fill the memory.
            content = zlib.decompressobj().decompress(data[start + 4 * count :], size) if size else b""
            if len(content) != size or count > PIECE_PAGES:
                raise ValueError(f"expected {size} bytes")
            return Piece(numbers=numbers, content=content, **header)
        except (struct.error, zlib.error, orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(str(error)) from error


def seal(piece: Piece, name: str, encryption: Encryption | None) -> bytes:
    """Return the object for a piece, encrypted under a key if there is one.

    Args:
        piece: the piece.
        name: the object's name. It is authenticated: an object decrypts under no other name.
        encryption: the keys.
    """
    packed = piece.packed()
    if encryption is None:
        return _MAGIC + _PLAIN + b"\n" + packed
    # The name is sealed with the content: an object that was moved to another name does not open.
    key, sealed = encryption.seal_bytes(packed, "backup", name)
    return _MAGIC + key.encode() + b"\n" + sealed


def unseal(data: bytes, name: str, encryption: Encryption | None, *, url: str) -> Piece:
    """Read an object.

    Raises:
        StoreCorrupt: its key is missing, or it was changed or moved.
    """
    what = f"object {name} of {url}"
    head, _, body = data.partition(b"\n")
    key = head.removeprefix(_MAGIC).decode(errors="replace")
    if not head.startswith(_MAGIC):
        raise StoreCorrupt(what, "it is not part of a backup")
    try:
        if key == _PLAIN.decode():
            # "refused" holds for backups as well: an attacker could replace an object by one in plain text.
            if encryption is not None and encryption.plain == "refused":
                raise StoreCorrupt(what, "it is not encrypted; read it without a key")
            return Piece.unpacked(body)
        if encryption is None:
            raise StoreCorrupt(what, f"it is encrypted with key {excerpt(key)}; pass that key")
        return Piece.unpacked(encryption.unseal_bytes(key, body, "backup", name))
    except ValueError as error:
        raise StoreCorrupt(what, str(error)) from error


@attrs.frozen
class StoredObject:
    """An object's place.

    Attributes:
        generation: the generation's name: when it began, and a random part.
        number: its position in the generation, from 1.
    """

    generation: str
    number: int
    size_bytes: int
    stored_ms: int

    @property
    def name(self) -> str:
        """The object's name."""
        return name_of(self.generation, self.number)


def name_of(generation: str, number: int) -> str:
    """Return an object's name."""
    return f"{generation}/{number:08d}"


class BackupBucket:
    """A folder in object storage.

    Attributes:
        url: ``s3://bucket/path``, ``gs://bucket/path``, ``az://account/container/path`` or ``file:///path``.
    """

    def __init__(self, url: str, *, config: dict[str, str] | None = None, timeout_s: float = TIMEOUT_S) -> None:
        if not url.startswith(_SCHEMES):
            raise DefinitionError("URL of a backup", excerpt(url), f"a URL that begins with {', '.join(_SCHEMES)}")
        try:
            self._client: Any = import_module("obstore")
            stores: Any = import_module("obstore.store")
        except ModuleNotFoundError as error:
            expected = "the extra backup: pip install 'perdure[backup]'"
            raise DefinitionError("backups in object storage", str(error), expected) from error
        self.url = url
        try:
            if url.startswith("file://"):
                self._store = stores.from_url(url, mkdir=True)
            else:
                limits = {"timeout": timedelta(seconds=timeout_s), "allow_http": True}
                # No retries in the client: `Shipper` retries, and must limit the log between two attempts.
                self._store = stores.from_url(
                    url, config=config, client_options=limits, retry_config={"max_retries": 0}
                )
        except Exception as error:
            raise DefinitionError("URL of a backup", excerpt(url), f"one that the storage accepts: {error}") from error

    def create(self, name: str, data: bytes) -> None:
        """Store an object under a new name. Repeating the call with the same bytes changes nothing.

        Raises:
            BackupFailed: the name is taken by other bytes.
            OSError: the endpoint did not store it, as far as is known.
        """
        already: type[Exception] = self._client.exceptions.AlreadyExistsError
        try:
            # "create": two writers must not overwrite each other. The loser finds other bytes under its name.
            self._client.put(self._store, name, data, mode="create")
        except already as error:
            # The same bytes: the answer to the first attempt was lost.
            if self.read(name) != data:
                reason = "another perdure backup ships to this URL; this one ends, so that one writer remains"
                raise BackupFailed(self.url, reason) from error
        # All errors: the client's classes differ by provider, and each means "not stored as far as is known".
        except Exception as error:
            raise OSError(str(error).partition("\n")[0]) from error

    def read(self, name: str) -> bytes:
        """Return an object.

        Raises:
            OSError: the endpoint did not return it.
        """
        try:
            return bytes(self._client.get(self._store, name).bytes())
        except Exception as error:
            raise OSError(str(error).partition("\n")[0]) from error

    def objects(self) -> list[StoredObject]:
        """Return all objects, sorted by generation and number.

        Raises:
            OSError: the endpoint did not answer.
        """
        found = [(_NAME.fullmatch(path), size, stored_ms) for path, size, stored_ms in self._listed()]
        objects = [StoredObject(match[1], int(match[2]), size, at_ms) for match, size, at_ms in found if match]
        return sorted(objects, key=lambda each: (each.generation, each.number))

    def completed(self) -> list[tuple[str, int]]:
        """Return the generations that have a complete snapshot, and when they had the first one.

        Raises:
            OSError: the endpoint did not answer.
        """
        found = [_COMPLETE.fullmatch(path) for path, _, _ in self._listed()]
        return sorted((match[1], int(match[2])) for match in found if match)

    def complete(self, generation: str, moment_ms: int) -> None:
        """Note that a generation has a complete snapshot.

        Raises:
            OSError: the endpoint did not store it.
        """
        self.create(f"{generation}/complete-{moment_ms:013d}", b"")

    def delete_before(self, generation: str) -> None:
        """Delete all older generations.

        Raises:
            OSError: the endpoint did not delete them.
        """
        # By name, because a generation's name begins with its time.
        old = [path for path, _, _ in self._listed() if path < generation]
        try:
            if old:
                self._client.delete(self._store, old)
        except Exception as error:
            raise OSError(str(error).partition("\n")[0]) from error

    def _listed(self) -> list[tuple[str, int, int]]:
        try:
            found = [each for batch in self._client.list(self._store) for each in batch]
        except Exception as error:
            raise OSError(str(error).partition("\n")[0]) from error
        return [(each["path"], each["size"], int(each["last_modified"].timestamp() * 1000)) for each in found]


def hash_of(data: bytes) -> str:
    """Return an object's hash, which the next one holds."""
    return hashlib.sha256(data).hexdigest()
