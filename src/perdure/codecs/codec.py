"""Conversion of one declared type to JSON and back."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, Generic, Literal, TypeVar

import attrs
import orjson
from typing_extensions import TypeForm

from perdure.codecs.diagnosis import Direction, faults, reason, reason_without_value
from perdure.codecs.grammar import Grammar
from perdure.codecs.json_schema import JsonSchema, json_schema
from perdure.codecs.names import describe_type
from perdure.codecs.schema import LONGEST, MAX_NESTING, Schema
from perdure.codecs.unsupported import Unsupported
from perdure.values.errors import DefinitionError, InvalidInput
from perdure.values.excerpt import excerpt
from perdure.values.sealed import why_unreadable
from perdure.values.secret import HIDDEN, Hide, hide, texts_of

T = TypeVar("T")
F = TypeVar("F")

_LONGEST_REASON: Final = 1_000

MAX_PROBLEMS: Final = 20
"""The maximum number of problems in an ``InvalidInput``."""


@attrs.frozen(kw_only=True, eq=False)
class Codec(Generic[T]):
    """Encodes and decodes one declared type, strictly in both directions. Make it with :meth:`of`.

    Attributes:
        what: the input and its job; error messages begin with it.
        type_name: the declared type's readable name.
        form: the declared type itself.
        tagged: the classes of the type that have a pinned tag.
        mutable: the attrs classes and dataclasses of the type that are not frozen, each with its path in the type.
        secret: whether a part of the type is marked with `Secret`.
        always_kept: whether `may_be_kept` returns True for every value.
    """

    what: str
    type_name: str
    form: Any
    tagged: frozenset[type]
    mutable: Mapping[type, str]
    secret: bool
    _schema: Schema = attrs.field(alias="schema", repr=False)
    _doubtful: bool = attrs.field(alias="needs_round_trip", repr=False)
    _unbounded: bool = attrs.field(alias="unbounded", repr=False)
    always_kept: bool = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "always_kept", self._schema.keeps is None)

    @staticmethod
    def of(
        form: TypeForm[F],
        *,
        what: str,
        tags: Mapping[type, str] | None = None,
        other_tags: Literal["refused", "ignored"] = "refused",
    ) -> Codec[F]:
        """Return the codec of a type. This is slow (up to a millisecond per class): keep the codec.

        The reader of a class is generated when it reads its first value, which takes some 0.1 ms.

        Args:
            form: the type: a class, a union, or an alias of one.
            what: the purpose, such as ``"state of 'orders'"``.
            tags: the stable names of classes, which replace their class names. A class with a pinned tag carries it
                wherever it occurs, so that it can become a member of a union later.
            other_tags: whether tags for classes that do not occur in the type are refused or ignored. Codecs that share
                one mapping ignore them; their caller compares the mapping with ``tagged`` of each.

        Raises:
            DefinitionError: the type has no JSON form, or a tag is not valid. The message names the field and the fix.
        """
        if tags is not None and not isinstance(tags, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            raise DefinitionError(f"{what}: tags", tags, "a mapping of classes to names, such as {Placed: 'placed'}")
        name, pinned = describe_type(form), dict(tags or {})
        grammar = Grammar(tags=pinned)
        try:
            schema = grammar.schema(form, name)
        except Unsupported as error:
            raise DefinitionError(f"{what}: {error.path}", error.got, error.expected) from error
        except RecursionError as error:
            expected = "a type that contains itself through an attrs class or a dataclass, not through an alias"
            raise DefinitionError(f"{what}: {name}", form, expected) from error
        unused = [cls for cls in pinned if cls not in grammar.tagged]
        if unused and other_tags == "refused":
            raise DefinitionError(f"{what}: tags", unused[0], f"classes (no TypedDict) that occur in {name}")
        return Codec[F](
            what=what,
            type_name=name,
            form=form,
            tagged=frozenset(pinned).intersection(grammar.tagged),
            mutable=dict(grammar.mutable),
            secret=grammar.secret,
            schema=schema,
            needs_round_trip=grammar.needs_round_trip,
            unbounded=grammar.unbounded,
        )

    def encode(self, value: T) -> bytes:
        """Encode a value, which is checked by the same rules as external input.

        Args:
            value: a value of exactly the declared type: subclasses and coercions are refused.

        Returns:
            JSON that :meth:`decode` converts to an equal value.

        Raises:
            InvalidInput: with one line for each problem, at most 20.
        """
        try:
            data = orjson.dumps(self._schema.write(value))
            if self._doubtful or self._unbounded:
                self._prove(data)
        except Exception as error:  # noqa: BLE001 - it may contain a secret, and is then not chained
            raise self._invalid(Direction.WRITE, value, error) from (None if self.secret else error)
        return data

    def decode(self, data: bytes) -> T:
        """Decode a value: unknown keys are refused, and no type is coerced.

        Args:
            data: UTF-8 JSON.

        Raises:
            InvalidInput: with one line for each problem, at most 20.
        """
        try:
            value: T = self._schema.read(orjson.loads(data), None)
        except orjson.JSONDecodeError as error:
            problem = why_unreadable(data[:_LONGEST_REASON].decode(errors="replace")) or f"not JSON: {error}"
            raise InvalidInput(self.what, (f"$: {problem}",)) from error
        except Exception as error:  # noqa: BLE001 - as above
            raise self._invalid(Direction.READ, orjson.loads(data), error) from (None if self.secret else error)
        return value

    def may_be_kept(self, value: T) -> bool:
        """Return whether a value of the type can be used in the place of its JSON, instead of decoding that.

        Nothing can change such a value, and decoding its JSON returns one that behaves the same.
        """
        keeps = self._schema.keeps
        return keeps is None or keeps(value)

    def json_schema(self) -> JsonSchema:
        """Return the JSON Schema of the type, draft 2020-12: classes and enums are in ``$defs``, under their names.

        :meth:`decode` refuses all JSON that does not validate. It also refuses some that does, because JSON Schema
        cannot express the rule: a number such as ``1.0`` for an ``int``, a date that does not exist, more than 64
        levels, and every value that a class's own validator refuses. ``format`` is an annotation, as in the draft.

        >>> Codec.of(dict[str, int], what="counts").json_schema()["additionalProperties"]
        {'type': 'integer', 'minimum': -9223372036854775808, 'maximum': 18446744073709551615}
        """
        return json_schema(self._schema.describe)

    def redact(self, data: bytes, *, hide: Hide = hide) -> bytes:
        """Replace the secrets of an encoded value, to show it.

        Args:
            data: an encoded value. Where it does not have the declared type, it is hidden too.
            hide: returns the replacement of each secret; by default the text ``<secret>``.

        Returns:
            JSON of the same structure; unchanged if the type has no secrets.
        """
        redact = self._schema.redact
        if not self.secret or redact is None:
            return data
        try:
            plain = orjson.loads(data)
        except orjson.JSONDecodeError:
            return orjson.dumps(HIDDEN)
        return orjson.dumps(redact(plain, hide))

    def secrets(self, data: bytes) -> frozenset[str]:
        """Return the secrets of an encoded value as texts, to remove them from other text."""
        found = set[str]()

        def note(value: Any) -> str:
            found.update(texts_of(value))
            return HIDDEN

        self.redact(data, hide=note)
        return frozenset(found)

    def _invalid(self, direction: Direction, value: Any, error: Exception) -> InvalidInput:
        return InvalidInput(self.what, self._problems(direction, value, error))

    def _prove(self, data: bytes) -> None:
        """Raise if the encoded value would not decode to itself."""
        plain = orjson.loads(data)
        if self._unbounded and _nesting(plain) > MAX_NESTING:
            raise _NotKept(f"nested more than {MAX_NESTING} deep")
        if self._doubtful:
            again = orjson.dumps(self._schema.write(self._schema.read(plain, None)))
            if again != data:
                shown = "" if self.secret else f", from {excerpt(data, LONGEST)} to {excerpt(again, LONGEST)}"
                raise _NotKept(
                    f"changes when it is read back{shown}; a converter, __post_init__ or __init__ of its class must "
                    "keep the fields it receives"
                )

    def _problems(self, direction: Direction, value: Any, error: Exception) -> tuple[str, ...]:
        found = tuple(islice(self._faults(direction, value), MAX_PROBLEMS))
        return found or tuple(islice(self._unreadable(direction, value, error), MAX_PROBLEMS))

    def _unreadable(self, direction: Direction, value: Any, error: Exception) -> Iterator[str]:
        """Yield the problems of a value that can be encoded but not decoded."""
        lines: Iterator[str] = iter(())
        if direction is Direction.WRITE:
            lines = self._faults(Direction.READ, self._schema.write(value))
        is_known = isinstance(error, _NotKept) or not self.secret
        yield next(lines, f"$: {reason(error) if is_known else reason_without_value(error)}")
        yield from lines

    def _faults(self, direction: Direction, value: Any) -> Iterator[str]:
        return faults(self._schema, direction, value, shows="no_secrets" if self.secret else "values")


class _NotKept(ValueError):
    """A value that does not decode to itself; the text contains no secret."""


def _nesting(plain: Any) -> int:
    """Count the levels of lists and dicts, without recursion."""
    depth, level = 0, [plain]
    while level := [each for each in level if isinstance(each, (list, dict))]:
        depth += 1
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
    return depth
