"""Attributes: typed values that a pure function computes from a state, by which a store finds instances.

A value's key is text whose order by code point is the values' order, so that one index serves every type.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, Final, Generic, Literal, NoReturn, TypeAlias, TypeVar, cast, get_args, get_origin, overload

import attrs

from perdure.values.errors import DefinitionError, InvalidArgument
from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.frozen import frozen
from perdure.values.secret import is_marked

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)
T = TypeVar("T")

MAX_ATTRIBUTES: Final = 16
"""Attributes of one definition."""

MAX_ATTRIBUTE_NAME: Final = 64
"""Characters in an attribute's name."""

MAX_ATTRIBUTE_BYTES: Final = 256
"""Bytes of a text in UTF-8. An index entry of PostgreSQL cannot hold much more beside an id."""

MAX_CONDITIONS: Final = 16
"""Conditions in one filter."""

FOUND: Final = "v"
"""The first character of a value's key."""

FAILED: Final = "!"
"""The first character of the key of a value that could not be computed. The rest says why."""

_AFTER_FOUND: Final = "w"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGN: Final = 1 << 63
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_EXPONENT: Final = 100_000
_NINES: Final = str.maketrans("0123456789", "9876543210")
_UNIONS: Final = (typing.Union, types.UnionType)

Operator: TypeAlias = Literal["=", "<", "<=", ">", ">="]
"""How a condition compares."""

TypeWord: TypeAlias = Literal["bool", "int", "str", "datetime", "Decimal", "enum"]
"""The type of an attribute."""

_CONDITION: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(<=|>=|=|<|>)(.*)", re.DOTALL)
_ORDERED: Final[frozenset[TypeWord]] = frozenset(("int", "str", "datetime", "Decimal"))


# ---------------------------------------------------------------- keys
def _whole_key(value: int) -> str:
    # Shifted: the texts of negative numbers would not be in their order.
    return format(value + _SIGN, "016x")


def _decimal_key(value: Decimal) -> str:
    """Return digits that compare as the numbers do: the sign, the exponent, then the digits without trailing zeros."""
    sign, digits, _ = value.as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    if not text:
        return "1"
    exponent = value.adjusted() + _EXPONENT
    if not sign:
        return f"2{exponent:06d}{text}"
    # Complements, and an end after every digit: the greater the amount, the less the number.
    return f"0{2 * _EXPONENT - exponent:06d}{text.translate(_NINES)}~"


def _fits(value: object, kind: type) -> bool:
    # `type`, not `isinstance`: a bool is an int, and a subclass of a text could compare otherwise.
    return type(value) is kind


@frozen(kw_only=True)
class AttributeType:
    """The values that an attribute can have.

    Attributes:
        enum: the class, for an enumeration.
    """

    word: TypeWord
    enum: type[Enum] | None = None

    @property
    def is_ordered(self) -> bool:
        """Whether values are less or greater than others. Members of an enumeration and bools are only equal."""
        return self.word in _ORDERED

    def key(self, value: object) -> str:
        """Return a value's key.

        Raises:
            ValueError: the value has another type, or is too large. The message says which values are expected.
        """
        text = self._text(value)
        if len(text.encode("utf-8", "surrogatepass")) > MAX_ATTRIBUTE_BYTES:
            raise ValueError(f"expected at most {MAX_ATTRIBUTE_BYTES} bytes of text, got {excerpt(value)}")
        return FOUND + text

    def _text(self, value: object) -> str:
        match self.word:
            case "bool" if _fits(value, bool):
                return "1" if value else "0"
            case "int" if _fits(value, int) and -_SIGN <= cast("int", value) < _SIGN:
                return _whole_key(cast("int", value))
            case "str" if _fits(value, str):
                return cast("str", value)
            case "datetime" if isinstance(value, datetime) and value.utcoffset() is not None:
                # In whole microseconds: as a float, large instants would lose some.
                return _whole_key((value - _EPOCH) // _MICROSECOND)
            case "Decimal" if _fits(value, Decimal) and _is_small(cast("Decimal", value)):
                return _decimal_key(cast("Decimal", value))
            case "enum" if self.enum is not None and isinstance(value, self.enum):
                return member_text(value)
            case _:
                raise ValueError(f"expected {self.expected}, got {excerpt(value)}")

    @property
    def expected(self) -> str:
        """The values that it accepts, in words."""
        members = () if self.enum is None else tuple(map(member_text, self.enum))
        return {
            "bool": "True or False",
            "int": "a whole number of 64 bits",
            "str": f"text of at most {MAX_ATTRIBUTE_BYTES} bytes",
            "datetime": "an instant with its offset",
            "Decimal": "a finite Decimal with an exponent of at most 5 digits",
            "enum": f"one of {', '.join(members)}",
        }[self.word]

    def read(self, text: str) -> object:
        """Return the value that a text in a condition means.

        Raises:
            ValueError: the text does not mean such a value.
        """
        match self.word:
            case "str":
                return text
            case "bool" if text in {"true", "false"}:
                return text == "true"
            case "int":
                return int(text)
            case "datetime":
                return datetime.fromisoformat(text)
            case "Decimal":
                return Decimal(text)
            case "enum" if self.enum is not None:
                return next(member for member in self.enum if member_text(member) == text)
            case _:
                raise ValueError(text)

    def written(self, value: object) -> str:
        """Return a value as a condition's text has it."""
        match value:
            case bool():
                return "true" if value else "false"
            case datetime():
                return value.isoformat()
            case Enum():
                return member_text(value)
            case _:
                return str(value)


def _is_small(value: Decimal) -> bool:
    return value.is_finite() and (not value or -_EXPONENT < value.adjusted() < _EXPONENT)


def member_text(member: Enum) -> str:
    """Return the text of an enumeration's member: its value if that is text, otherwise its name."""
    return member.value if isinstance(member.value, str) else member.name


# ---------------------------------------------------------------- conditions
@frozen
class Condition:
    """One condition of a filter: an attribute compared with a value. A filter's conditions must all hold.

    Print it to get its text, such as ``amount>=100``, which `attribute` and every client read back.

    Attributes:
        attribute: the attribute's name.
        operator: how it compares.
        value: the value, as text.
    """

    __repr__ = fields_in_line

    attribute: str
    operator: Operator
    value: str

    def __str__(self) -> str:
        return f"{self.attribute}{self.operator}{self.value}"

    def __bool__(self) -> NoReturn:
        """Refuse: ``a < x < b`` and ``a and b`` would drop a condition."""
        raise TypeError(f"expected a list of conditions, such as where=[{self}]; got the truth of one")


@frozen
class KeyRange:
    """The keys of one attribute that a filter wants.

    Attributes:
        attribute: the attribute's name.
        low: the least key.
        high: a text after the greatest key.
    """

    __repr__ = fields_in_line

    attribute: str
    low: str
    high: str

    @property
    def only(self) -> str | None:
        """The one key in the range. None if there may be more."""
        return self.low if self.high == f"{self.low}\0" else None

    def __contains__(self, key: str) -> bool:
        return self.low <= key < self.high


def _key_range(condition: Condition, key: str) -> KeyRange:
    after = f"{key}\0"  # the first text after it
    low, high = {
        "=": (key, after),
        "<": (FOUND, key),
        "<=": (FOUND, after),
        ">": (after, _AFTER_FOUND),
        ">=": (key, _AFTER_FOUND),
    }[condition.operator]
    return KeyRange(condition.attribute, low, high)


def key_ranges(types: Mapping[str, AttributeType], where: Sequence[str], job: str) -> tuple[KeyRange, ...]:
    """Return the keys that a filter wants: one range for each attribute that it names, by name.

    Args:
        types: the attributes of the job, by name.
        where: the conditions' texts.
        job: the job, printed ``kind:name``.

    Raises:
        InvalidArgument: a text is no condition, or does not fit the job's attributes.
    """
    found: dict[str, KeyRange] = {}
    for text in where:
        condition = parsed(text)
        type_ = types.get(condition.attribute)
        if type_ is None:
            names = ", ".join(sorted(types)) or "none: declare them with attributes=(...)"
            raise InvalidArgument("where", text, f"an attribute of {job}: {names}")
        one = _key_range(condition, _key_of(type_, condition, text))
        other = found.get(condition.attribute)
        found[condition.attribute] = (
            one if other is None else KeyRange(one.attribute, max(one.low, other.low), min(one.high, other.high))
        )
    return tuple(found[name] for name in sorted(found))


def _key_of(type_: AttributeType, condition: Condition, text: str) -> str:
    if condition.operator != "=" and not type_.is_ordered:
        raise InvalidArgument("where", text, f"'=': values of {condition.attribute} are only equal or not")
    try:
        return type_.key(type_.read(condition.value))
    except (ValueError, ArithmeticError, StopIteration) as error:
        # A text has the words of JSON: a caller that reads True here would write it, and be refused again.
        value = "true or false" if type_.word == "bool" else type_.expected
        raise InvalidArgument("where", text, f"{value} after {condition.attribute}{condition.operator}") from error


def parsed(text: str) -> Condition:
    """Parse a condition's text, such as ``amount>=100``. A name alone means that it is true.

    Raises:
        InvalidArgument: it is no condition.
    """
    if _NAME.fullmatch(text):
        return Condition(text, "=", "true")
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise InvalidArgument("where", text, "a name, one of = < <= > >=, and a value, such as amount>=100")
    name, operator, value = match.groups()
    return Condition(name, cast("Operator", operator), value)


def checked_where(where: object, what: str) -> tuple[str, ...]:
    """Return the texts of a filter's conditions.

    Raises:
        InvalidArgument: it is no sequence of conditions, or has too many.
    """
    expected = f"a list of at most {MAX_CONDITIONS} conditions, such as [tenant == 'acme', 'amount>100']"
    # A text is a sequence, too, whose characters would be the conditions.
    if isinstance(where, str) or not isinstance(where, Sequence):
        raise InvalidArgument(what, where, expected)
    given: Sequence[object] = where  # pyright: ignore[reportUnknownVariableType] - each is checked below
    if len(given) > MAX_CONDITIONS:
        raise InvalidArgument(what, f"{len(given)} conditions", expected)
    texts: list[str] = []
    for one in given:
        match one:
            case str():
                parsed(one)
                texts.append(one)
            case Condition():
                texts.append(str(one))
            case Attribute():
                texts.append(str(one.is_true))  # pyright: ignore[reportUnknownMemberType] - its types do not matter
            case _:
                raise InvalidArgument(what, one, expected)
    return tuple(texts)


# ---------------------------------------------------------------- declarations
@attrs.frozen(eq=False, repr=False)
class Attribute(Generic[S_contra, T]):
    """A typed value of each instance, which `attribute` declares. Compare it to get a `Condition`.

    ``amount > 100``, ``tenant == "acme"``; a bool is a condition by itself, and ``~past_due`` is its opposite.

    Attributes:
        name: its name.
        type: its values.
        function: computes it from the state. None: the instance has no value.
        version: a number that you raise when the values change and the function's text does not.

    Raises:
        DefinitionError: the type is not one that `attribute` found.
    """

    name: str
    type: AttributeType
    function: Callable[[S_contra], T | None]
    version: int = 1

    def __attrs_post_init__(self) -> None:
        given = cast("object", self.type)
        # Without this, a class in its place fails only when an engine opens, far from the declaration.
        if not isinstance(given, AttributeType):  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller has types
            raise DefinitionError(f"type of attribute {self.name}", given, "a function declared with @attribute")

    def __repr__(self) -> str:
        return f"<Attribute {excerpt(self.name)}: {excerpt(self.type)}>"

    def __call__(self, state: S_contra, /) -> T | None:
        """Compute the value."""
        return self.function(state)

    def _compared(self, operator: Operator, value: object) -> Condition:
        condition = Condition(self.name, operator, "")
        if operator != "=" and not self.type.is_ordered:
            raise InvalidArgument(f"{self.name} {operator}", value, f"==: a {self.type.word} is only equal or not")
        try:
            self.type.key(value)
        except ValueError as error:
            raise InvalidArgument(f"{condition}", value, self.type.expected) from error
        return attrs.evolve(condition, value=self.type.written(value))

    # A comparison makes a condition, as in other query builders. Definitions compare attributes by identity.
    def __eq__(self, value: T) -> Condition:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._compared("=", value)

    def __ne__(self, value: object) -> NoReturn:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Refuse: an index does not find different values."""
        raise TypeError(f"{self.name} != {value!r}: expected ==, <, <=, > or >=")

    def __lt__(self, value: T) -> Condition:
        return self._compared("<", value)

    def __le__(self, value: T) -> Condition:
        return self._compared("<=", value)

    def __gt__(self, value: T) -> Condition:
        return self._compared(">", value)

    def __ge__(self, value: T) -> Condition:
        return self._compared(">=", value)

    def __invert__(self: Attribute[S_contra, bool]) -> Condition:
        """Return the condition that it is false."""
        return self._compared("=", False)  # noqa: FBT003 - the value

    @property
    def is_true(self) -> Condition:
        """The condition that it is true."""
        return self._compared("=", True)  # noqa: FBT003 - the value

    __hash__ = object.__hash__


@overload
def attribute(function: Callable[[S], T | None], /) -> Attribute[S, T]: ...
@overload
def attribute(*, name: str | None = None, version: int = 1) -> Callable[[Callable[[S], T | None]], Attribute[S, T]]: ...
def attribute(function: Any = None, /, *, name: str | None = None, version: int = 1) -> Any:
    """Declare a pure function of the state as an attribute, by which instances are found.

    The function's return annotation is the attribute's type: ``bool``, ``int``, ``str``, an aware ``datetime``,
    ``Decimal`` or an ``Enum``, or one of these with ``None`` for instances without a value. Pass it to the definition:
    ``Task(..., attributes=(tenant, past_due))``.

    The store keeps values as they are, in an encrypted store as well: declare nothing that must not be read there.

    Args:
        function: the function.
        name: the attribute's name, by default the function's: up to 64 letters, digits and underscores.
        version: raise it when the values change although the function's text does not, such as with a constant that it
            reads. The engine then computes all values again.

    Raises:
        DefinitionError: the name, the type or the version is not valid.
    """
    if function is None:
        return partial(_declared, name=name, version=version)
    return _declared(function, name, version)


def _declared(function: object, name: object, version: object) -> Attribute[Any, Any]:
    if not isinstance(function, types.FunctionType):
        raise DefinitionError("function of an attribute", function, "a function of the state, declared with def")
    chosen = function.__name__ if name is None else name
    if not isinstance(chosen, str) or not _NAME.fullmatch(chosen) or len(chosen) > MAX_ATTRIBUTE_NAME:
        expected = f"1 to {MAX_ATTRIBUTE_NAME} letters, digits and underscores, and no digit first"
        raise DefinitionError("name of an attribute", chosen, expected)
    if type(version) is not int or version < 1:
        raise DefinitionError(f"version of attribute {chosen}", version, "a whole number from 1")
    return Attribute(chosen, _type_of(function, chosen), function, version)


_WORDS: Final[Mapping[object, TypeWord]] = {
    bool: "bool",
    int: "int",
    str: "str",
    datetime: "datetime",
    Decimal: "Decimal",
}


def _type_of(function: types.FunctionType, name: str) -> AttributeType:
    what = f"type of attribute {name}"
    expected = "an annotation '-> T' with bool, int, str, datetime, Decimal or an Enum, or 'T | None'"
    try:
        form: Any = typing.get_type_hints(function, include_extras=True).get("return", _MISSING)
    except (NameError, TypeError, AttributeError) as error:
        raise DefinitionError(what, str(error), expected) from error
    if is_marked(form):
        raise DefinitionError(what, form, "a type that is not marked as Secret: a store shows and compares attributes")
    if get_origin(form) in _UNIONS:
        members = [each for each in get_args(form) if each is not type(None)]
        form = members[0] if len(members) == 1 else _MISSING
    if isinstance(form, type) and issubclass(form, Enum):
        return AttributeType(word="enum", enum=form)
    if form not in _WORDS:
        raise DefinitionError(what, cast("object", form), expected)
    return AttributeType(word=_WORDS[form])


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


_MISSING: Final = _Missing()


# ---------------------------------------------------------------- in a store
AttributeKeys: TypeAlias = tuple[tuple[str, str | None], ...]
"""Attributes with their keys, by name. None: the instance has no value."""

AttributeState: TypeAlias = Literal["clearing", "filling", "whole"]
"""How far a store has an attribute: old rows are deleted, then each instance gets its value, then it is whole."""


@frozen(kw_only=True)
class StoredAttribute:
    """One attribute that a store keeps.

    Attributes:
        kind: the job's kind.
        name: the job's name.
        attribute: the attribute's name.
        fingerprint: identifies the function that computes it.
        state: how far the store has it.
        position: the last id that has its value, while it is filled.
        generation: counts how often it was begun.
        failures: whether a value could not be computed.
        doubt: ``none``; ``some`` while an engine that computes other values, or none, may write the job.
    """

    __repr__ = fields_in_line

    kind: str
    name: str
    attribute: str
    fingerprint: str
    state: AttributeState = "clearing"
    position: str = ""
    generation: int = 0
    failures: bool = False
    doubt: Literal["none", "some"] = "none"
