"""Convert one declared type to JSON and back.

When a fast reader or writer has refused a value, the codec locates the problems in it. A fingerprint is a digest of an
encoded value.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import attrs
import orjson
from typing_extensions import TypeForm

from perdure._lazy import lazy_module
from perdure.codecs.grammar import Grammar
from perdure.codecs.json_schema import JsonSchema, Unsupported, describe_type, json_schema
from perdure.codecs.schema import (
    LONGEST,
    MAX_NESTING,
    Fault,
    FieldProblem,
    Part,
    Parts,
    Problem,
    RefusedByClass,
    Schema,
    shapes,
)
from perdure.values.errors import DefinitionError, InvalidInput
from perdure.values.excerpt import excerpt
from perdure.values.secret import HIDDEN, Hide, hide, texts_of, why_unreadable
from perdure.values.turn_inputs import digest


class Direction(Enum):
    """Whether a value is decoded or encoded."""

    READ = auto()
    WRITE = auto()


def faults(
    schema: Schema, direction: Direction, value: Any, path: str = "$", depth: int = 0, *, hides_secrets: bool = False
) -> Iterator[str]:
    """Yield one line for each problem in a refused value.

    Args:
        schema: the expected schema.
        direction: whether the value is JSON to decode or a value to encode.
        value: the value.
        path: its path.
        depth: its nesting depth.
        hides_secrets: whether messages show received values only where their type has no secrets.

    Yields:
        Lines such as ``$.items[3].amount: expected int, got '5'``, outermost fields first.
    """
    if depth > MAX_NESTING:
        yield f"{path}: nested more than {MAX_NESTING} deep"
        return
    clean = True
    for part in _parts(schema, direction)(value):
        for line in _part_faults(part, direction, path, depth, hides_secrets=hides_secrets):
            clean = False
            yield line
    if clean:
        yield from _own_fault(schema, direction, value, path, hides_secrets=hides_secrets)


def _parts(schema: Schema, direction: Direction) -> Parts:
    return schema.read_parts if direction is Direction.READ else schema.write_parts


def _part_faults(
    part: Part | Problem, direction: Direction, path: str, depth: int, *, hides_secrets: bool
) -> Iterator[str]:
    match part:
        case Problem(step, text):
            yield f"{path}{step}: {text}"
        case Part(step, schema, value):
            yield from faults(schema, direction, value, path + step, depth + 1, hides_secrets=hides_secrets)


def _own_fault(schema: Schema, direction: Direction, value: Any, path: str, *, hides_secrets: bool) -> Iterator[str]:
    attempt: Callable[[], Any] = (
        (lambda: schema.read(value, None))
        if direction is Direction.READ
        else (lambda: orjson.dumps(schema.write(value)))
    )
    try:
        attempt()
    except Exception as error:  # noqa: BLE001  validators and constructors of the user's classes raise anything
        # The text of an exception may contain the value: messages are logged, shown and sent.
        is_secret = hides_secrets and schema.redact is not None
        if isinstance(error, RefusedByClass):
            yield from (_refusal(path, each, is_secret=is_secret) for each in error.problems)
        else:
            yield f"{path}: {reason_without_value(error) if is_secret else reason(error)}"


def _refusal(path: str, problem: FieldProblem, *, is_secret: bool) -> str:
    at = f"{path}.{problem.field}" if problem.field else path
    # The place inside the field may be the key of a dict, and the reason may quote the value.
    return (
        f"{at}: refused (the reason may contain a secret, and is not shown)"
        if is_secret
        else f"{at}{problem.place}: {problem.text}"
    )


def reason_without_value(error: Exception) -> str:
    """Return any exception's reason, without a text that may contain the value."""
    if isinstance(error, Fault):
        return error.without_value
    return f"{type(error).__name__} (its text may contain a secret, and is not shown)"


def reason(error: Exception) -> str:
    """Return any exception's reason, in one line."""
    text = str(error.args[0]) if error.args else ""
    return text or type(error).__name__


def fingerprint(data: bytes) -> str:
    """Return a digest of a payload, to detect a different request with the same idempotency key.

    An object's key order does not matter. A list's order does. The digest is BLAKE2b with 128 bits: two payloads do not
    have the same digest by chance, nor can a sender construct such a pair.

    Args:
        data: JSON, as a codec encodes it.

    Returns:
        32 hexadecimal digits.

    Raises:
        InvalidInput: the bytes are not JSON.

    >>> fingerprint(b'{"a":1,"b":2}') == fingerprint(b'{"b":2,"a":1}')
    True
    """
    try:
        # Sorted: a client in another language may write the same object with its keys in another order.
        canonical = orjson.dumps(orjson.loads(data), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, TypeError) as error:
        raise InvalidInput("payload to fingerprint", (f"$: not JSON: {error}",)) from error
    return digest(canonical).hex()


if TYPE_CHECKING:
    from perdure.codecs import unknown_members
    from perdure.codecs.shapes import Shape
    from perdure.codecs.unknown_members import CarriedMembers, ValueRest
else:
    unknown_members = lazy_module("perdure.codecs.unknown_members")  # for values of newer code only

T = TypeVar("T")
F = TypeVar("F")

KEPT_VALUES: Final = 256
"""How many values a `RowCodec` keeps."""

LONGEST_KEPT: Final = 4_096
"""The longest text whose value a `RowCodec` keeps, in characters."""

_LONGEST_REASON: Final = 1_000

MAX_PROBLEMS: Final = 20
"""The maximum number of problems in an ``InvalidInput``."""


@attrs.frozen(repr=False)
class NewerOnly(InvalidInput):
    """Code that knows more about the type wrote the value: this code cannot read it, or would lose a part of it."""


class Opened(NamedTuple, Generic[T]):
    """A value that was read, with its unknown part.

    Attributes:
        value: the value.
        rest: the part of its JSON that the type does not know, because newer code wrote it. None if there is none.
    """

    value: T
    rest: ValueRest | None

    def with_rest(self) -> Opened[T] | None:
        """Return the same if it has a rest, else None."""
        return None if self.rest is None else self


@attrs.frozen(kw_only=True, eq=False)
class Codec(Generic[T]):
    """Encodes and decodes one declared type, strictly in both directions. Make it with :meth:`of`.

    Attributes:
        what: the input and its job. Error messages begin with this text.
        type_name: the declared type's readable name.
        form: the declared type itself.
        tagged: the classes in the type that have a pinned tag.
        mutable: the classes in the type that are not frozen, each with its path in the type.
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
    _kept_shape: list[Shape] = attrs.field(init=False, repr=False, factory=list["Shape"])

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "always_kept", self._schema.keeps is None)

    @staticmethod
    def of(
        form: TypeForm[F],
        *,
        what: str,
        tags: Mapping[type, str] | None = None,
        ignores_other_tags: bool = False,
    ) -> Codec[F]:
        """Return a type's codec. This is slow (up to a millisecond per class): keep the codec.

        A class's reader is generated when it reads its first value, which takes some 0.1 ms.

        Args:
            form: the type: a class, a union, or an alias for one.
            what: the purpose, such as ``"state of 'orders'"``.
            tags: stable names that replace class names. A class with a pinned tag carries it wherever it occurs, so
                that it can become a union member later.
            ignores_other_tags: whether tags for classes that do not occur in the type are ignored, and not refused.
                Codecs that share one mapping ignore them. Their caller compares the mapping with each codec's
                ``tagged``.

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
        if unused and not ignores_other_tags:
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
        """Encode a value, after checking it by the same rules as external input.

        Args:
            value: a value with exactly the declared type: subclasses and coercions are refused.

        Returns:
            JSON that :meth:`decode` converts to an equal value.

        Raises:
            InvalidInput: with one line for each problem, at most 20.
        """
        try:
            data = orjson.dumps(self._schema.write(value))
            # Proved only for classes with code of their own: a value that changes when it is read would differ after
            # each restart.
            if self._doubtful or self._unbounded:
                self._prove(data)
        except Exception as error:  # noqa: BLE001 - it may contain a secret, and is then not chained
            # Not chained: a traceback prints its causes, and with them the secret.
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
            raise self._no_json(data, error) from error
        except Exception as error:  # noqa: BLE001 - as above
            raise self._invalid(Direction.READ, orjson.loads(data), error) from (None if self.secret else error)
        return value

    def open(self, data: bytes) -> Opened[T]:
        """Decode a stored value, which newer code may have written. `close` writes its unknown part back.

        A value that this code knows is decoded as by `decode`, at the same cost. An unknown member is kept. An object
        without a tag is read as the union's first class, because older code declared that class alone.

        Raises:
            NewerOnly: it has a class, a choice or a form that this code does not know.
            InvalidInput: it does not have the type.
        """
        try:
            # The strict reader first: nearly every value is of this version, and must cost no more than `decode`.
            return Opened(self._schema.read(orjson.loads(data), None), None)
        except Exception:  # noqa: BLE001, S110 - a refused value is read again below, and its problems are found
            pass
        return self._reopened(data)

    def accept(self, data: bytes, bare: bytes = b"") -> T:
        """Decode an input, which a caller with newer or older code may have sent: no part may be lost.

        Args:
            data: the input.
            bare: the same without the members that have their defaults, as the sender's code knows them. See `bare`.
                A member that this code does not know carries nothing if it is missing there.

        Raises:
            NewerOnly: it has a part that this code does not know, an unknown member included.
            InvalidInput: it does not have the type.
        """
        try:
            # Nearly every input is of this version.
            return self.decode(data)
        except InvalidInput as strict:
            return self._accepted(data, bare, strict)

    def _accepted(self, data: bytes, bare: bytes, strict: InvalidInput) -> T:
        try:
            opened = self.open(data)
            # An input has no row that could keep the rest: dropped, a part of the request would silently not happen.
            # Looked for in `bare`, because a known member may be missing there, and has another default here.
            if (opened.rest is not None or bare) and (unknown := self.unknown(bare or data)):
                raise NewerOnly(strict.what, unknown)  # noqa: TRY301 - as below
        except NewerOnly as newer:
            places = {_place(each) for each in newer.problems}
            said = tuple(each for each in strict.problems if _place(each) in places)  # it names the expected type
            raise NewerOnly(strict.what, newer.problems if self.secret or not said else said) from None
        except InvalidInput:
            raise strict from None
        return opened.value

    def unknown(self, data: bytes) -> tuple[str, ...]:
        """Return the input parts that this code does not know, each with its path, at most `MAX_PROBLEMS`.

        Raises:
            InvalidInput: it is not JSON, or nested too deep for any type.
        """
        self.check_json(data)
        plain = orjson.loads(data)
        if _is_deep(plain):
            raise InvalidInput(self.what, (f"$: nested more than {MAX_NESTING} deep",))
        return self._unknown(plain)

    def close(self, value: T, opened: Opened[T], *, new: object = None) -> tuple[bytes, Opened[T]]:
        """Encode a value that replaces an opened one, together with the opened value's rest.

        Args:
            value: the value.
            opened: the value before.
            new: an input. Its objects replace older ones, and take over none of the older ones' unknown members.

        Returns:
            The JSON, and what `open` would return for it. Its value is ``value`` itself.

        Raises:
            NewerOnly: a part of the rest has no certain place in the value.
            InvalidInput: the value does not have the type.
        """
        data = self.encode(value)
        # The common case costs one test.
        if opened.rest is None:
            return data, Opened(value, None)
        try:
            joining = shapes.Joining("$", unknown_members.objects_in(new))
            joined, rest = self._shape().join(orjson.loads(data), value, opened.rest, joining)
        except unknown_members.NotKept as lost:
            raise NewerOnly(self.what, (str(lost),)) from None
        return orjson.dumps(joined), Opened(value, rest)

    def carry(self, data: bytes, value: T, carried: CarriedMembers) -> bytes:
        """Return an encoded value with the unknown members that belong to its objects.

        Args:
            data: the encoded value.
            value: the value itself.
            carried: the members, by the objects that a run has read.
        """
        return orjson.dumps(self._shape().carry(orjson.loads(data), value, carried))

    def bare(self, data: bytes) -> bytes:
        """Return an encoded value's shortest form, which is the same in older and newer code.

        It lacks the members that have their defaults and the first classes' tags. Its keys are sorted. `accept` reads
        it as the same value. Do not store it: another version may have another default.

        Args:
            data: an encoded value.
        """
        plain = orjson.loads(data)
        # Deeper JSON is no value of any type, and would exceed the stack here.
        is_deep = self._unbounded and _is_deep(plain)
        bare = plain if is_deep else self._shape().bare(plain, shapes.omits_defaults)
        return orjson.dumps(bare, option=orjson.OPT_SORT_KEYS)

    def input_digest(self, data: bytes) -> str:
        """Return an encoded input's digest, which `is_same_input` compares.

        It has 32 characters, and 12 for each place in the type whose member has its default.
        """
        plain = orjson.loads(data)
        if self._unbounded and _is_deep(plain):
            return fingerprint(data)
        return shapes.digest_of(self._shape(), plain)

    def is_same_input(self, data: bytes, first: str) -> bool:
        """Return whether an encoded input has the digest that older or newer code computed for another one."""
        if self.input_digest(data) == first:
            return True
        plain = orjson.loads(data)
        is_deep = self._unbounded and _is_deep(plain)
        return not is_deep and shapes.is_same_input(self._shape(), plain, first, size=len(data))

    def check_json(self, data: bytes) -> None:
        """Check that an encoded value is JSON, for this type or for another one.

        Raises:
            InvalidInput: it is not.
        """
        try:
            orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise self._no_json(data, error) from error

    def may_be_kept(self, value: T) -> bool:
        """Return whether a value can be kept in place of its JSON, instead of decoding the JSON again.

        Nothing can change such a value, and decoding its JSON returns one that behaves the same.
        """
        keeps = self._schema.keeps
        return keeps is None or keeps(value)

    def json_schema(self) -> JsonSchema:
        """Return the type's JSON Schema, draft 2020-12: classes and enums are in ``$defs``, under their names.

        :meth:`decode` refuses all JSON that does not validate. It also refuses some that does, because JSON Schema
        cannot express the rule: a number such as ``1e17`` for an ``int``, a date that does not exist, more than 64
        levels, and every value that a class's own validator refuses. ``format`` is an annotation, as in the draft.

        >>> Codec.of(dict[str, int], what="counts").json_schema()["additionalProperties"]
        {'type': 'integer', 'minimum': -9223372036854775808, 'maximum': 18446744073709551615}
        """
        return json_schema(self._schema.describe)

    def redact(self, data: bytes, *, hide: Hide = hide) -> bytes:
        """Replace the secrets in an encoded value, to show it.

        Args:
            data: an encoded value. Where it does not have the declared type, it is hidden too.
            hide: returns each secret's replacement, by default the text ``<secret>``.

        Returns:
            JSON with the same structure. Members that the type does not know are hidden too, and so is a value whose
            class it does not know: newer code may have marked them.
        """
        try:
            plain = orjson.loads(data)
        except orjson.JSONDecodeError:
            # Text that is not JSON may contain the secret anywhere.
            return orjson.dumps(HIDDEN) if self.secret else data
        shown = self._without_unknown(plain)
        redact = self._schema.redact
        if self.secret and redact is not None:
            return orjson.dumps(redact(shown, hide))
        return data if shown is plain else orjson.dumps(shown)

    def _without_unknown(self, plain: Any) -> Any:
        """Return JSON without its unknown parts. Return the same object if there are none."""
        try:
            self._schema.read(plain, None)
        except Exception:  # noqa: BLE001 - it is shown anyway, as far as this code knows its parts
            if _is_deep(plain):
                return plain
            known, rest = self._shape().split(plain)
            # A class that only newer code knows may be marked there, with all of its members.
            if self._unknown(plain, is_read=True):
                return HIDDEN
            return plain if rest is None else unknown_members.with_unknown(known, rest, HIDDEN)
        return plain

    def secrets(self, data: bytes) -> frozenset[str]:
        """Return an encoded value's secrets as texts, to remove them from other text."""
        found = set[str]()

        def note(value: Any) -> str:
            found.update(texts_of(value))
            return HIDDEN

        self.redact(data, hide=note)
        return frozenset(found)

    def _no_json(self, data: bytes, error: Exception) -> InvalidInput:
        # Only its beginning: an input may be large.
        problem = why_unreadable(data[:_LONGEST_REASON].decode(errors="replace")) or f"not JSON: {error}"
        return InvalidInput(self.what, (f"$: {problem}",))

    def _shape(self) -> Shape:
        # Made when newer data is first met: most processes never need it.
        if not self._kept_shape:
            self._kept_shape.append(self._schema.shape())
        return self._kept_shape[0]

    def _reopened(self, data: bytes) -> Opened[T]:
        """Open a value that the strict reader has refused.

        Raises:
            NewerOnly: newer code wrote it.
            InvalidInput: it does not have the type, not even without its unknown members.
        """
        try:
            plain = orjson.loads(data)
        except orjson.JSONDecodeError:
            return Opened(self.decode(data), None)  # which raises
        shape = self._shape()
        known, rest = (plain, None) if _is_deep(plain) else shape.split(plain)
        try:
            value: T = self._schema.read(known, None)
        except Exception as error:  # noqa: BLE001 - it may contain a secret, and is then not chained
            unknown = () if _is_deep(plain) else self._unknown(plain, is_read=True)
            refused = NewerOnly(self.what, unknown) if unknown else self._invalid(Direction.READ, plain, error)
            raise refused from (None if self.secret else error)
        if rest is None:
            return Opened(value, None)
        # A converter that changes the known part makes the places of the unknown parts uncertain.
        if self._doubtful and self._schema.write(value) != known:
            raise NewerOnly(self.what, ("$: a class of this code changes what newer code wrote when it reads it",))
        return Opened(value, shape.hold(rest, value))

    def _unknown(self, plain: Any, *, is_read: bool = False) -> tuple[str, ...]:
        """Return the unknown parts. For a value that is read, leave out the members, which are kept."""
        found = (each for each in self._shape().unknown(plain, "$") if not (is_read and each.is_member))
        return tuple(map(str, islice(found, MAX_PROBLEMS)))

    def _invalid(self, direction: Direction, value: Any, error: Exception) -> InvalidInput:
        return InvalidInput(self.what, self._problems(direction, value, error))

    def _prove(self, data: bytes) -> None:
        """Raise if the encoded value would not decode to itself."""
        plain = orjson.loads(data)
        if self._unbounded and _nesting(plain) > MAX_NESTING:
            raise _NotKept(f"nested more than {MAX_NESTING} deep")
        if self._doubtful:
            again = orjson.dumps(self._schema.write(self._schema.read(plain, None)))
            # Compared as JSON: a class's own `==` may hold for values that are stored differently.
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
        """Yield the problems in a value that can be encoded but not decoded."""
        lines: Iterator[str] = iter(())
        if direction is Direction.WRITE:
            lines = self._faults(Direction.READ, self._schema.write(value))
        is_known = isinstance(error, _NotKept) or not self.secret
        yield next(lines, f"$: {reason(error) if is_known else reason_without_value(error)}")
        yield from lines

    def _faults(self, direction: Direction, value: Any) -> Iterator[str]:
        return faults(self._schema, direction, value, hides_secrets=self.secret)


def _place(problem: str) -> str:
    return problem.partition(": ")[0]


class _NotKept(ValueError):
    """A value does not decode to itself. The text contains no secret."""


def _is_deep(plain: Any) -> bool:
    """Return whether JSON is nested deeper than any value."""
    return _nesting(plain) > MAX_NESTING


def _nesting(plain: Any) -> int:
    """Count nested list and dict levels, without recursion."""
    depth, level = 0, [plain]
    while level := [each for each in level if isinstance(each, (list, dict))]:
        depth += 1
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
    return depth


class RowCodec(Generic[T]):
    """Reads and writes row texts, and keeps the last values that it read or wrote: one turn reads a row many times.

    Only for types whose values cannot change, because two readers receive the same value. Texts that are refused are
    not kept, nor long ones, because they would fill the memory.

    Args:
        left_out: the ends of a text that are left out: the last members with their defaults, the last one first.
    """

    __slots__ = ("_codec", "_kept", "_left_out")

    def __init__(self, codec: Codec[T], left_out: tuple[str, ...] = ()) -> None:
        self._codec = codec
        self._left_out = left_out
        self._kept: dict[str, T] = {}

    def read(self, text: str) -> T:
        """Return a text's value.

        Raises:
            InvalidInput: the codec refuses it.
        """
        try:
            return self._kept[text]
        except KeyError:
            value = self._codec.decode(text.encode())
            self._keep(text, value)
            return value

    def write(self, value: T) -> str:
        """Return a value's text."""
        text = self._codec.encode(value).decode()
        for end in self._left_out:
            if text.endswith(end):
                text = text[: -len(end)] + "}"
        self._keep(text, value)
        return text

    def _keep(self, text: str, value: T) -> None:
        if len(text) > LONGEST_KEPT:
            return
        # A full one begins anew: engines of several threads share it, and none iterates over what another changes.
        if len(self._kept) >= KEPT_VALUES:
            self._kept = {}
        self._kept[text] = value
